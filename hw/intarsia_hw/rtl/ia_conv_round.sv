// The end of a scale: value / 2**(shift + 1) rounded half to even, zero point, clamp. Four cycles, one value a cycle.
//
// The shift is taken 16, 4 and 1 at a time; each part keeps the bits that may still be needed and remembers what it loses:
// `over` bits above that are not the sign, `below` bits that are not 0. The last part leaves 9 bits of the result and the
// one below them. Results beyond 9 bits are clamped whatever the zero point is, so they may saturate.
module ia_conv_round #(
  parameter int unsigned Width = 53  // bits of the value, 33 to 53
) (
  input  logic             clk_i,
  input  logic [Width-1:0] value_i,
  input  logic [1:0]       coarse_i,       // with value_i: shift / 16, at most 2
  input  logic [3:0]       fine_i,         // one cycle later: shift % 16
  input  logic [7:0]       zero_point_i,   // two cycles later
  input  logic [7:0]       clamp_min_i,    // three cycles later
  input  logic [7:0]       clamp_max_i,
  input  logic             clamp_turned_i, // clamp_min > clamp_max: clamp_max wins
  output logic [7:0]       value_o
);
  /* verilator no_inline_module */

  // ---- by 16

  logic [56:0] wide;
  logic        sign, signs24, signs40;
  logic [24:0] part, part_q;
  logic        over, over_q, below, below_q, sign_q;
  assign wide    = {{(57 - Width){value_i[Width-1]}}, value_i};
  assign sign    = value_i[Width-1];
  assign signs24 = wide[39:24] == {16{sign}};
  assign signs40 = wide[52:40] == {13{sign}};

  always_comb begin
    unique case (coarse_i)
      2'd0: begin
        part  = wide[24:0];
        over  = !signs24 || !signs40;
        below = 1'b0;
      end
      2'd1: begin
        part  = wide[40:16];
        over  = !signs40;
        below = wide[15:0] != '0;
      end
      default: begin
        part  = wide[56:32];
        over  = 1'b0;
        below = wide[31:16] != '0 || wide[15:0] != '0;
      end
    endcase
  end
  always_ff @(posedge clk_i) begin
    part_q  <= part;
    over_q  <= over;
    below_q <= below;
    sign_q  <= sign;
  end

  // ---- by 4, then by 1

  logic [12:0] middle;
  logic [9:0]  fine, fine_q;
  logic        over4, below4, over1, below1, over_qq, below_qq, sign_qq;
  logic [2:0]  signs4, zeros4;
  always_comb begin
    for (int unsigned i = 0; i < 3; i++) begin
      signs4[i] = part_q[13+4*i+:4] == {4{sign_q}};
      zeros4[i] = part_q[4*i+:4] == 4'd0;
    end
    unique case (fine_i[3:2])
      2'd0: begin
        middle = part_q[12:0];
        over4  = signs4 != 3'b111;
        below4 = 1'b0;
      end
      2'd1: begin
        middle = part_q[16:4];
        over4  = signs4[2:1] != 2'b11;
        below4 = !zeros4[0];
      end
      2'd2: begin
        middle = part_q[20:8];
        over4  = !signs4[2];
        below4 = zeros4[1:0] != 2'b11;
      end
      default: begin
        middle = part_q[24:12];
        over4  = 1'b0;
        below4 = zeros4 != 3'b111;
      end
    endcase
    unique case (fine_i[1:0])
      2'd0: begin
        fine   = middle[9:0];
        over1  = middle[12:9] != {4{sign_q}};
        below1 = 1'b0;
      end
      2'd1: begin
        fine   = middle[10:1];
        over1  = middle[12:10] != {3{sign_q}};
        below1 = middle[0];
      end
      2'd2: begin
        fine   = middle[11:2];
        over1  = middle[12:11] != {2{sign_q}};
        below1 = middle[1:0] != 2'd0;
      end
      default: begin
        fine   = middle[12:3];
        over1  = middle[12] != sign_q;
        below1 = middle[2:0] != 3'd0;
      end
    endcase
  end
  always_ff @(posedge clk_i) begin
    fine_q   <= fine;
    over_qq  <= over_q || over4 || over1;
    below_qq <= below_q || below4 || below1;
    sign_qq  <= sign_q;
  end

  // ---- rounding and zero point

  logic [8:0]  whole;
  logic        up;
  logic [11:0] sum;
  logic [10:0] sum_q;
  assign whole = over_qq ? {sign_qq, {8{!sign_qq}}} : fine_q[9:1];
  assign up    = !over_qq && fine_q[0] && (below_qq || fine_q[1]);
  // The carry goes in below the last bit.
  assign sum   = {{3{zero_point_i[7]}}, zero_point_i, 1'b1} + {{2{whole[8]}}, whole, up};
  always_ff @(posedge clk_i) sum_q <= sum[11:1];

  // ---- clamp

  logic is_below, is_above;
  assign is_below = $signed(sum_q) < $signed({{3{clamp_min_i[7]}}, clamp_min_i});
  assign is_above = clamp_turned_i || $signed(sum_q) > $signed({{3{clamp_max_i[7]}}, clamp_max_i});
  always_ff @(posedge clk_i) begin
    value_o <= is_above ? clamp_max_i : is_below ? clamp_min_i : sum_q[7:0];
  end

  logic unused;
  assign unused = sum[0];

endmodule
