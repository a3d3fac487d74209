// The end of a scale: value / 2**(shift + 1) rounded half to even, zero point, clamp. Four cycles, one value a cycle.
//
// A shift in bytes picks 17 bits and tells what is lost below and above them; a shift of 0 to 7 leaves 9 bits and the one
// below them. Results beyond 9 bits are clamped whatever the zero point is, so they may saturate.
module ia_conv_round #(
  parameter int unsigned Width = 53  // bits of the value
) (
  input  logic             clk_i,
  input  logic [Width-1:0] value_i,
  input  logic [2:0]       bytes_i,       // with value_i: shift / 8, at most 5
  input  logic [2:0]       bits_i,        // one cycle later: shift % 8
  input  logic [7:0]       zero_point_i,  // two cycles later
  input  logic [7:0]       clamp_min_i,   // three cycles later
  input  logic [7:0]       clamp_max_i,
  input  logic             clamp_turned_i, // clamp_min > clamp_max: clamp_max wins
  output logic [7:0]       value_o
);
  /* verilator no_inline_module */

  localparam int unsigned Wide = 64;

  // ---- bytes

  logic [Wide-1:0] wide;
  logic            sign;
  logic [7:0]      ones, zeros;  // of each byte: all its bits are the sign; all its bits are 0
  assign wide = {{(Wide - Width){value_i[Width-1]}}, value_i};
  assign sign = value_i[Width-1];

  always_comb begin
    for (int unsigned i = 0; i < 8; i++) begin
      ones[i]  = wide[8*i+:8] == {8{sign}};
      zeros[i] = wide[8*i+:8] == 8'd0;
    end
  end

  logic [16:0] part_q, part;
  logic        over_q, over, below_q, below, sign_q;
  always_comb begin
    unique case (bytes_i)
      3'd0: begin
        part  = wide[16:0];
        over  = ones[7:2] != '1;
        below = 1'b0;
      end
      3'd1: begin
        part  = wide[24:8];
        over  = ones[7:3] != '1;
        below = zeros[0] == 1'b0;
      end
      3'd2: begin
        part  = wide[32:16];
        over  = ones[7:4] != '1;
        below = zeros[1:0] != '1;
      end
      3'd3: begin
        part  = wide[40:24];
        over  = ones[7:5] != '1;
        below = zeros[2:0] != '1;
      end
      3'd4: begin
        part  = wide[48:32];
        over  = ones[7:6] != '1;
        below = zeros[3:0] != '1;
      end
      default: begin
        part  = wide[56:40];
        over  = ones[7] != 1'b1;
        below = zeros[4:0] != '1;
      end
    endcase
  end
  always_ff @(posedge clk_i) begin
    part_q  <= part;
    over_q  <= over;
    below_q <= below;
    sign_q  <= sign;
  end

  // ---- bits

  logic [9:0] fine, fine_q;
  logic       over2_q, below2_q, sign2_q;
  logic [6:0] lost_above, lost_below;
  assign fine       = 10'(part_q >> bits_i);
  assign lost_above = (part_q[16:10] ^ {7{sign_q}}) >> bits_i;
  assign lost_below = part_q[6:0] & ~(7'h7f << bits_i);

  always_ff @(posedge clk_i) begin
    fine_q   <= fine;
    over2_q  <= over_q || lost_above != '0 || fine[9] != sign_q;
    below2_q <= below_q || lost_below != '0;
    sign2_q  <= sign_q;
  end

  // ---- rounding and zero point

  logic [8:0]  whole;
  logic        up;
  logic [10:0] sum_q;
  assign whole = over2_q ? {sign2_q, {8{!sign2_q}}} : fine_q[9:1];
  assign up    = !over2_q && fine_q[0] && (below2_q || fine_q[1]);

  always_ff @(posedge clk_i) begin
    sum_q <= {{3{zero_point_i[7]}}, zero_point_i} + {{2{whole[8]}}, whole} + 11'(up);
  end

  // ---- clamp

  logic is_below, is_above;
  assign is_below = $signed(sum_q) < $signed({{3{clamp_min_i[7]}}, clamp_min_i});
  assign is_above = clamp_turned_i || $signed(sum_q) > $signed({{3{clamp_max_i[7]}}, clamp_max_i});
  always_ff @(posedge clk_i) begin
    value_o <= is_above ? clamp_max_i : is_below ? clamp_min_i : sum_q[7:0];
  end

endmodule
