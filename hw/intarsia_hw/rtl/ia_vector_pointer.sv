// The address base + b * block_pitch + y * row_pitch + x * column_pitch along a walk of pixels.
module ia_vector_pointer (
  input  logic        clk_i,
  input  logic        begin_i,
  input  logic        pixel_end_i,
  input  logic        line_end_i,      // with pixel_end_i
  input  logic        block_end_i,     // with line_end_i
  input  logic [15:0] base_i,          // beside begin_i
  input  logic        column_pitch_i,
  input  logic [13:0] row_pitch_i,
  input  logic [15:0] block_pitch_i,
  output logic [15:0] address_o
);

  logic [15:0] block_q, line_q, from, add, next;

  always_comb begin
    if (begin_i) from = '0;
    else if (block_end_i) from = block_q;
    else if (line_end_i) from = line_q;
    else from = address_o;
    if (begin_i) add = base_i;
    else if (block_end_i) add = block_pitch_i;
    else if (line_end_i) add = {2'b0, row_pitch_i};
    else add = {15'b0, column_pitch_i};
  end
  assign next = add + from;

  always_ff @(posedge clk_i) begin
    if (begin_i || pixel_end_i) address_o <= next;
    if (begin_i || line_end_i) line_q <= next;
    if (begin_i || block_end_i) block_q <= next;
  end

endmodule
