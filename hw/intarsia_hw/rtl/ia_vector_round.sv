// round(value / 2**shift) + zero_point, clamped; half goes to even. One lane, a result every cycle, four cycles late.
//
// Only nine bits of the quotient matter, for all above them ends in the clamp. So the shifter is three rows of 4:1
// multiplexers, by multiples of 16, of 4, and of 1, each a few bits narrower than the one before. What falls off below is
// one bit (was any of it set?), what falls off above another (was any of it unlike the sign?).
module ia_vector_round #(
  parameter int unsigned ValueBits = 54  // 48 to 55: the largest shift leaves nothing but the sign
) (
  input  logic        clk_i,
  input  logic [ValueBits-1:0] value_i,  // signed; its low 16 bits are zero but in the second pass of a long sum
  input  logic [2:0]  coarse_i,      // shift = 8 * coarse_i + fine_i, steady
  input  logic [2:0]  fine_i,
  input  logic [7:0]  zero_point_i,
  input  logic [7:0]  clamp_min_i,
  input  logic [7:0]  clamp_max_i,
  input  logic        other_valid_i, // beside other_i, which becomes the next result
  input  logic [7:0]  other_i,
  output logic [7:0]  result_o
);

  // ---- multiples of 16: bits 16 * coarse[2:1] - 1 to 16 * coarse[2:1] + 23

  logic        sign, sign_q;
  logic [24:0] window, window_q;
  logic        below, below_q, above, above_q;
  logic [3:1]  set;
  logic [2:1]  unlike;

  assign sign      = value_i[ValueBits-1];
  assign set[1]    = value_i[14:0] != '0;
  assign set[2]    = value_i[30:15] != '0;
  assign set[3]    = value_i[46:31] != '0;
  assign unlike[1] = value_i[38:23] != {16{sign}};
  assign unlike[2] = value_i[ValueBits-1:39] != {(ValueBits - 39){sign}};

  always_comb begin
    unique case (coarse_i[2:1])
      2'd0: window = {value_i[23:0], 1'b0};
      2'd1: window = value_i[39:15];
      2'd2: window = {{(56 - ValueBits){sign}}, value_i[ValueBits-1:31]};
      2'd3: window = {{(72 - ValueBits){sign}}, value_i[ValueBits-1:47]};
    endcase
    unique case (coarse_i[2:1])
      2'd0: below = 1'b0;
      2'd1: below = set[1];
      2'd2: below = set[1] || set[2];
      2'd3: below = set[1] || set[2] || set[3];
    endcase
    above = !coarse_i[2] && (unlike[2] || (unlike[1] && !coarse_i[1]));
  end

  always_ff @(posedge clk_i) begin
    window_q <= window;
    below_q  <= below;
    above_q  <= above;
    sign_q   <= sign;
  end

  // ---- multiples of 4, then of 1: the quotient's nine bits and the one below them

  logic [12:0] middle;
  logic [9:0]  quotient, quotient_q;
  logic        middle_below, middle_above, rest, rest_q, over, over_q, over_sign_q;

  always_comb begin
    unique case ({coarse_i[0], fine_i[2]})
      2'd0: begin
        middle       = window_q[12:0];
        middle_below = 1'b0;
        middle_above = window_q[24:12] != {13{sign_q}};
      end
      2'd1: begin
        middle       = window_q[16:4];
        middle_below = window_q[3:0] != '0;
        middle_above = window_q[24:16] != {9{sign_q}};
      end
      2'd2: begin
        middle       = window_q[20:8];
        middle_below = window_q[7:0] != '0;
        middle_above = window_q[24:20] != {5{sign_q}};
      end
      2'd3: begin
        middle       = window_q[24:12];
        middle_below = window_q[11:0] != '0;
        middle_above = window_q[24] != sign_q;
      end
    endcase
    unique case (fine_i[1:0])
      2'd0: begin
        quotient = middle[9:0];
        rest     = 1'b0;
        over     = middle[12:9] != {4{sign_q}};
      end
      2'd1: begin
        quotient = middle[10:1];
        rest     = middle[0];
        over     = middle[12:10] != {3{sign_q}};
      end
      2'd2: begin
        quotient = middle[11:2];
        rest     = middle[1:0] != '0;
        over     = middle[12:11] != {2{sign_q}};
      end
      2'd3: begin
        quotient = middle[12:3];
        rest     = middle[2:0] != '0;
        over     = middle[12] != sign_q;
      end
    endcase
  end

  always_ff @(posedge clk_i) begin
    quotient_q  <= quotient;
    rest_q      <= rest || middle_below || below_q;
    over_q      <= over || middle_above || above_q;
    over_sign_q <= sign_q;
  end

  // ---- round, add the zero point

  logic       up, carry;
  logic [8:0] whole;
  logic [9:0] total, total_q;

  assign up    = !over_q && quotient_q[0] && (rest_q || quotient_q[1]);
  assign whole = over_q ? {over_sign_q, {8{!over_sign_q}}} : quotient_q[9:1];
  assign {total, carry} = {{2{zero_point_i[7]}}, zero_point_i, up} + {whole[8], whole, up};

  always_ff @(posedge clk_i) total_q <= total;

  // ---- clamp

  logic low, high;
  assign low  = $signed(total_q) < $signed({{2{clamp_min_i[7]}}, clamp_min_i});
  assign high = $signed(total_q) > $signed({{2{clamp_max_i[7]}}, clamp_max_i});

  always_ff @(posedge clk_i) begin
    if (other_valid_i) result_o <= other_i;
    else if (high) result_o <= clamp_max_i;
    else if (low) result_o <= clamp_min_i;
    else result_o <= total_q[7:0];
  end

  logic unused;
  assign unused = &{1'b0, carry};

endmodule
