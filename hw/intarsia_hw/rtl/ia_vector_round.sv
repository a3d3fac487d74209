// round(value / 2**shift) + zero_point, clamped; half goes to even. One lane, a result every cycle, four cycles late.
//
// Only nine bits of the quotient matter, for all above them ends in the clamp: the shifter selects 17 bits by whole bytes,
// then 10 of these. What lies below is one bit (is any set?), what lies above another (is any unlike the sign?).
module ia_vector_round #(
  parameter int unsigned ValueBits = 54  // 48 to 55
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

  localparam int unsigned TopBits = ValueBits - 47;

  // ---- whole bytes: bits 8 * coarse - 1 to 8 * coarse + 15

  logic        sign;
  logic [16:0] window, window_q;
  logic        below, below_q, above, above_q, sign_q;

  assign sign = value_i[ValueBits-1];

  // Bytes that are not zero, and those that are not the sign's, from bit 7 of a byte on to bit 6 of the next one.
  logic [5:0] set;
  logic [5:1] unlike;
  assign set[0]    = |value_i[6:0];
  assign unlike[5] = value_i[ValueBits-1:47] != {TopBits{sign}};
  for (genvar k = 1; k < 6; k++) begin : g_set
    assign set[k] = set[k-1] || |value_i[8*k-1+:8];
  end
  for (genvar k = 1; k < 5; k++) begin : g_unlike
    assign unlike[k] = unlike[k+1] || value_i[8*k+7+:8] != {8{sign}};
  end

  always_comb begin
    unique case (coarse_i)
      3'd0: window = {value_i[15:0], 1'b0};
      3'd1: window = value_i[23:7];
      3'd2: window = value_i[31:15];
      3'd3: window = value_i[39:23];
      3'd4: window = value_i[47:31];
      3'd5: window = {{(9 - TopBits){sign}}, value_i[ValueBits-1:39]};
      3'd6: window = {{(17 - TopBits){sign}}, value_i[ValueBits-1:47]};
      3'd7: window = {17{sign}};
    endcase
    unique case (coarse_i)
      3'd0: below = 1'b0;
      3'd1: below = set[0];
      3'd2: below = set[1];
      3'd3: below = set[2];
      3'd4: below = set[3];
      3'd5: below = set[4];
      3'd6: below = set[5];
      3'd7: below = set[5] || value_i[ValueBits-1:47] != '0;
    endcase
    unique case (coarse_i)
      3'd0: above = unlike[1];
      3'd1: above = unlike[2];
      3'd2: above = unlike[3];
      3'd3: above = unlike[4];
      3'd4: above = unlike[5];
      default: above = 1'b0;
    endcase
  end

  always_ff @(posedge clk_i) begin
    window_q <= window;
    below_q  <= below;
    above_q  <= above;
    sign_q   <= sign;
  end

  // ---- bits: the quotient's nine, and the one below them

  logic [9:0] quotient, quotient_q;
  logic       rest, rest_q, over, over_q, over_sign_q;

  always_comb begin
    unique case (fine_i)
      3'd0: begin
        quotient = window_q[9:0];
        rest     = below_q;
        over     = window_q[16:9] != {8{sign_q}};
      end
      3'd1: begin
        quotient = window_q[10:1];
        rest     = below_q || window_q[0];
        over     = window_q[16:10] != {7{sign_q}};
      end
      3'd2: begin
        quotient = window_q[11:2];
        rest     = below_q || window_q[1:0] != '0;
        over     = window_q[16:11] != {6{sign_q}};
      end
      3'd3: begin
        quotient = window_q[12:3];
        rest     = below_q || window_q[2:0] != '0;
        over     = window_q[16:12] != {5{sign_q}};
      end
      3'd4: begin
        quotient = window_q[13:4];
        rest     = below_q || window_q[3:0] != '0;
        over     = window_q[16:13] != {4{sign_q}};
      end
      3'd5: begin
        quotient = window_q[14:5];
        rest     = below_q || window_q[4:0] != '0;
        over     = window_q[16:14] != {3{sign_q}};
      end
      3'd6: begin
        quotient = window_q[15:6];
        rest     = below_q || window_q[5:0] != '0;
        over     = window_q[16:15] != {2{sign_q}};
      end
      3'd7: begin
        quotient = window_q[16:7];
        rest     = below_q || window_q[6:0] != '0;
        over     = window_q[16] != sign_q;
      end
    endcase
  end

  always_ff @(posedge clk_i) begin
    quotient_q  <= quotient;
    rest_q      <= rest;
    over_q      <= over || above_q;
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
