// Where one pixel of a group lies in the source: column, row and address of its window's first tap.
//
// A step forward goes to the same pixel of the next group. The place where the tile began is kept, since every step of
// the sum begins there again.
module ia_conv_pixel (
  input  logic        clk_i,
  input  logic        load_i,     // to the start of the rectangle
  input  logic        forward_i,  // to the next group
  input  logic        back_i,     // to the start of the tile
  input  logic        keep_i,     // with forward_i: the tile begins there
  input  logic        rewind_i,   // the tile begins at the start of the rectangle
  input  logic [15:0] start_x_i,
  input  logic [15:0] start_y_i,
  input  logic [15:0] start_address_i,
  input  logic [15:0] next_x_i,
  input  logic [15:0] next_y_i,
  input  logic [15:0] next_address_i,
  input  logic [15:0] wrap_x_i,
  input  logic [15:0] wrap_y_i,
  input  logic [15:0] wrap_address_i,
  input  logic [15:0] wrap_at_i,
  output logic [15:0] x_o,
  output logic [15:0] y_o,
  output logic [15:0] address_o
);

  logic [15:0] x_q, y_q, address_q, tile_x_q, tile_y_q, tile_address_q;
  logic [15:0] x, y, address;
  logic [16:0] beyond;
  logic        wraps;

  // A subtraction has a carry chain, where a comparison would be a tree of LUTs.
  assign beyond  = {x_q[15], x_q} - {wrap_at_i[15], wrap_at_i};
  assign wraps   = !beyond[16];
  assign x       = x_q + (wraps ? wrap_x_i : next_x_i);
  assign y       = y_q + (wraps ? wrap_y_i : next_y_i);
  assign address = address_q + (wraps ? wrap_address_i : next_address_i);

  always_ff @(posedge clk_i) begin
    if (load_i) begin
      x_q       <= start_x_i;
      y_q       <= start_y_i;
      address_q <= start_address_i;
    end else if (back_i) begin
      x_q       <= tile_x_q;
      y_q       <= tile_y_q;
      address_q <= tile_address_q;
    end else if (forward_i) begin
      x_q       <= x;
      y_q       <= y;
      address_q <= address;
    end
    if (load_i || rewind_i) begin
      tile_x_q       <= start_x_i;
      tile_y_q       <= start_y_i;
      tile_address_q <= start_address_i;
    end else if (keep_i) begin
      tile_x_q       <= x;
      tile_y_q       <= y;
      tile_address_q <= address;
    end
  end

  logic unused;
  assign unused    = ^beyond[15:0];
  assign x_o       = x_q;
  assign y_o       = y_q;
  assign address_o = address_q;

endmodule
