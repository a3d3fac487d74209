// The first step of the epilogue, rtl/ia_conv_first.sv, for simulation: the same ports, and the same bits in every cycle
// where a group of parameters stands for ten cycles.
//
// All registers are variables of one process, which goes from the last stage to the first. A product is made at once, and
// waits until it would have been complete; so is a shift.
module ia_conv_first (
  input  logic         clk_i,
  input  logic         rst_ni,
  input  logic         load_i,
  input  logic [511:0] biases_i,
  input  logic [335:0] multipliers_i,
  input  logic [95:0]  shifts_i,
  input  logic [511:0] sums_i,
  input  logic [7:0]   zero_point_i,
  input  logic [7:0]   clamp_min_i,
  input  logic [7:0]   clamp_max_i,
  input  logic         clamp_turned_i,
  output logic [127:0] values_o
);
  /* verilator no_inline_module */
  /* verilator lint_off BLKSEQ */

  `include "rounded.svh"

  localparam int unsigned Wait = 9;  // cycles from a sum with its bias to the shift by less than 16

  logic [10:0] load_q;
  always_ff @(posedge clk_i) load_q <= rst_ni ? {load_q[9:0], load_i} : '0;

  // By lane; numbers are stages, as in ia_conv_scale
  logic [31:0]  bias0 [16];
  logic [31:0]  sum1 [16];
  logic [63:0]  multiplier1 [16];
  logic [5:0]   shift1 [16];
  logic [63:0]  product [16*16];  // [stage, from 2][lane]
  logic [5:0]   coarse9 [16];
  logic [5:0]   coarse10 [16];
  logic [5:0]   fine10 [16];
  logic [15:0]  rounded11 [16];
  logic [15:0]  moved12 [16];
  logic [127:0] values;

  always_ff @(posedge clk_i) begin
    /* verilator unroll_disable */
    for (int unsigned i = 0; i < 16; i++) begin
      values[8*i+:8] = clamp_turned_i || $signed(moved12[i]) > 16'($signed(clamp_max_i)) ? clamp_max_i
                       : $signed(moved12[i]) < 16'($signed(clamp_min_i)) ? clamp_min_i : moved12[i][7:0];
    end
    values_o <= values;
    /* verilator unroll_disable */
    for (int unsigned i = 0; i < 16; i++) moved12[i] = rounded11[i] + 16'($signed(zero_point_i));
    /* verilator unroll_disable */
    for (int unsigned i = 0; i < 16; i++) rounded11[i] = rounded(product[16*(Wait-1)+i], coarse10[i] + fine10[i]);
    coarse10 = coarse9;
    if (load_q[10]) begin
      /* verilator unroll_disable */
      for (int unsigned i = 0; i < 16; i++) fine10[i] = {2'd0, shift1[i][3:0]};
    end
    if (load_q[9]) begin
      /* verilator unroll_disable */
      for (int unsigned i = 0; i < 16; i++) coarse9[i] = shift1[i][5] ? 6'd32 : {1'b0, shift1[i][4], 4'd0};
    end
    /* verilator unroll_full */
    for (int unsigned stage = Wait - 1; stage > 0; stage--) begin
      /* verilator unroll_disable */
      for (int unsigned i = 0; i < 16; i++) product[16*stage+i] = product[16*(stage-1)+i];
    end
    /* verilator unroll_disable */
    for (int unsigned i = 0; i < 16; i++) product[i] = 64'($signed(sum1[i])) * multiplier1[i];
    if (load_q[1]) begin
      /* verilator unroll_disable */
      for (int unsigned i = 0; i < 16; i++) begin
        multiplier1[i] = 64'(multipliers_i[21*i+:21]);
        shift1[i]      = shifts_i[6*i+:6];
      end
    end
    /* verilator unroll_disable */
    for (int unsigned i = 0; i < 16; i++) sum1[i] = bias0[i] + sums_i[32*i+:32];
    if (load_q[0]) begin
      /* verilator unroll_disable */
      for (int unsigned i = 0; i < 16; i++) bias0[i] = biases_i[32*i+:32];
    end
  end

endmodule
