// Sums over windows, 16 lanes a cycle, that come out four lanes a cycle.
//
// A lane sums four to seven pixels in 11 bits. Then, and at the end of the window, its short sum less as many zero points
// is added to the long sum of 32 bits. There are adders for four long sums: lanes 4 * k to 4 * k + 3 run k cycles behind
// lanes 0 to 3, so each four reach the adders in their own cycle. The 16 long sums go round in a ring of four stages.
// A window of one pixel passes an operand less its zero point through here.
//
// In what follows the cycle n of a token is the one n cycles after its address; x_i is the word of cycle 5.
`include "checks.svh"

module ia_vector_sum (
  input  logic         clk_i,
  input  logic         rst_ni,
  // Steady while a word is at work
  input  logic [7:0]   zero_point_i,
  input  logic         keep_i,         // ring stays as it is for the next word
  input  logic         start_i,        // windows begin with zero
  input  logic         long_i,         // every window's sums come out twice, four cycles apart
  // Tokens of the first operand
  input  logic [4:1]   last_i,         // in cycles 1 to 4: last of its window
  input  logic         valid_4_i,      // in cycle 4
  input  logic [127:0] x_i,            // in cycle 5, the words that the tokens of the cycle before asked for
  // Lanes 4 * group to 4 * group + 3 at cycle 7 + group
  output logic [1:0]   group_7_o,
  // At cycle 8 + group
  output logic         valid_o,        // sums of a whole window, as often as they are to be scaled
  output logic         again_o,        // with valid_o: for the second time
  output logic [127:0] sums_o
);

  // ---- cut windows into chunks of four to seven pixels

  logic       whole_4, drain_4, ring_has_sum_q;
  logic [2:0] pixels_q;  // in the chunk so far
  logic       valid_5_q, begin_5_q, drain_5_q, final_5_q, keep_5_q;
  logic [10:0] zero_points_q, zero_points_held_q;

  assign whole_4 = pixels_q == 3'd3 || pixels_q[2];
  assign drain_4 = valid_4_i && (last_i[4] || (whole_4 && last_i[3:1] == '0));

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      pixels_q       <= '0;
      ring_has_sum_q <= 1'b0;
    end else if (valid_4_i) begin
      pixels_q <= drain_4 ? '0 : pixels_q + 3'd1;
      if (drain_4) ring_has_sum_q <= !last_i[4];
    end
  end

  always_ff @(posedge clk_i) begin
    valid_5_q <= valid_4_i;
    begin_5_q <= pixels_q == '0;
    drain_5_q <= drain_4;
    final_5_q <= last_i[4];
    keep_5_q  <= ring_has_sum_q || !start_i;
    if (valid_4_i) begin
      zero_points_q <= {{3{zero_point_i[7]}}, zero_point_i} + (pixels_q == '0 ? '0 : zero_points_q);
    end
  end

  // ---- short sums

  logic [3:1]   valid_q, begin_q;  // of the lanes that run behind
  logic [31:0]  x_1_q;
  logic [63:0]  x_2_q;
  logic [95:0]  x_3_q;
  logic [175:0] short_q;

  always_ff @(posedge clk_i) begin
    valid_q <= {valid_q[2:1], valid_5_q};
    begin_q <= {begin_q[2:1], begin_5_q};
    // Held while there is nothing new.
    if (valid_5_q) x_3_q <= x_i[127:32];
    if (valid_q[1]) x_2_q <= x_3_q[95:32];
    if (valid_q[2]) x_1_q <= x_2_q[63:32];
  end

  for (genvar lane = 0; lane < 16; lane++) begin : g_short
    logic       valid, first;
    logic [7:0] x;
    if (lane < 4) begin : g_now
      assign valid = valid_5_q;
      assign first = begin_5_q;
      assign x     = x_i[8*lane+:8];
    end else begin : g_behind
      assign valid = valid_q[lane/4];
      assign first = begin_q[lane/4];
      if (lane < 8) begin : g_1
        assign x = x_3_q[8*(lane-4)+:8];
      end else if (lane < 12) begin : g_2
        assign x = x_2_q[8*(lane-8)+:8];
      end else begin : g_3
        assign x = x_1_q[8*(lane-12)+:8];
      end
    end
    always_ff @(posedge clk_i) begin
      if (valid) short_q[11*lane+:11] <= {{3{x[7]}}, x} + (first ? '0 : short_q[11*lane+:11]);
    end
  end

  // ---- four lanes a cycle, less the zero points

  logic [4:1]  drain_q;  // the four cycles, from 6 on, in which a chunk's sums leave
  logic [1:0]  group_q, group_7_q;
  logic        final_q, keep_q, valid_7_q, final_7_q, keep_7_q, again_7_q;
  logic [43:0] chosen;
  logic [47:0] part_q;

  always_comb begin
    unique case (group_q)
      2'd0: chosen = short_q[0+:44];
      2'd1: chosen = short_q[44+:44];
      2'd2: chosen = short_q[88+:44];
      2'd3: chosen = short_q[132+:44];
    endcase
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      drain_q   <= '0;
      valid_7_q <= 1'b0;
    end else begin
      drain_q   <= {drain_q[3:1], drain_5_q};
      valid_7_q <= drain_q != '0;
    end
    group_q <= {drain_q[2] || drain_q[3], drain_q[1] || drain_q[3]};
    if (drain_5_q) begin
      final_q            <= final_5_q;
      keep_q             <= keep_5_q;
      zero_points_held_q <= zero_points_q;
    end
    final_7_q <= final_q;
    keep_7_q  <= keep_q;
    group_7_q <= group_q;
  end
  assign group_7_o = group_7_q;

  for (genvar lane = 0; lane < 4; lane++) begin : g_part
    always_ff @(posedge clk_i) begin
      if (drain_q == '0) part_q[12*lane+:12] <= '0;
      else part_q[12*lane+:12] <= {chosen[11*lane+10], chosen[11*lane+:11]}
          - {zero_points_held_q[10], zero_points_held_q};
    end
  end

  // ---- long sums

  logic         step_7, keep_7;
  logic [3:0]   again_q;
  logic [127:0] ring_1_q, ring_2_q, ring_3_q, ring_4_q;

  assign step_7 = valid_7_q || again_7_q;
  assign keep_7 = keep_7_q || again_7_q;
  assign again_7_q = again_q[3];

  for (genvar lane = 0; lane < 4; lane++) begin : g_long
    always_ff @(posedge clk_i) begin
      if (step_7) begin
        ring_1_q[32*lane+:32] <= {{20{part_q[12*lane+11]}}, part_q[12*lane+:12]}
            + (keep_7 ? ring_4_q[32*lane+:32] : '0);
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      again_q <= '0;
      valid_o <= 1'b0;
    end else begin
      again_q <= {again_q[2:0], valid_7_q && final_7_q && long_i};
      valid_o <= (valid_7_q && final_7_q) || again_7_q;
    end
    again_o <= again_7_q;
    // Cleared between sums. (A register that can be cleared is no shift register in LUT memory, of which there is less.)
    if (!keep_i) begin
      ring_2_q <= '0;
      ring_3_q <= '0;
      ring_4_q <= '0;
    end else if (step_7) begin
      ring_2_q <= ring_1_q;
      ring_3_q <= ring_2_q;
      ring_4_q <= ring_3_q;
    end
  end
  assign sums_o = ring_1_q;

  `CHECK(DrainsDoNotMeet, drain_5_q |-> drain_q[3:1] == '0)
  `CHECK(NoDrainWhileSumsComeAgain, again_7_q |-> !valid_7_q)

endmodule
