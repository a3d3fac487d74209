// The second step of the epilogue, rtl/ia_conv_second.sv, for simulation: the same ports, and the same bits in every
// cycle where multipliers stand still.
module ia_conv_second (
  input  logic        clk_i,
  input  logic [71:0] values_i,
  input  logic [71:0] residuals_i,
  input  logic [20:0] multiplier_i,
  input  logic [20:0] residual_multiplier_i,
  input  logic [5:0]  shift_i,
  input  logic [7:0]  zero_point_i,
  input  logic [7:0]  clamp_min_i,
  input  logic [7:0]  clamp_max_i,
  input  logic        clamp_turned_i,
  output logic [63:0] values_o
);
  /* verilator no_inline_module */
  /* verilator lint_off BLKSEQ */

  `include "rounded.svh"

  localparam int unsigned Wait = 11;  // cycles from the values to the shift by less than 16

  logic [63:0] product [8*16];  // [stage][lane]
  logic [5:0]  coarse;
  logic [15:0] rounded_q [8];
  logic [15:0] moved [8];
  logic [63:0] values;

  always_ff @(posedge clk_i) begin
    /* verilator unroll_disable */
    for (int unsigned i = 0; i < 8; i++) begin
      values[8*i+:8] = clamp_turned_i || $signed(moved[i]) > 16'($signed(clamp_max_i)) ? clamp_max_i
                       : $signed(moved[i]) < 16'($signed(clamp_min_i)) ? clamp_min_i : moved[i][7:0];
    end
    values_o <= values;
    /* verilator unroll_disable */
    for (int unsigned i = 0; i < 8; i++) moved[i] = rounded_q[i] + 16'($signed(zero_point_i));
    /* verilator unroll_disable */
    for (int unsigned i = 0; i < 8; i++) rounded_q[i] = rounded(product[8*(Wait-1)+i], coarse + {2'd0, shift_i[3:0]});
    coarse = shift_i[5] ? 6'd32 : {1'b0, shift_i[4], 4'd0};
    /* verilator unroll_full */
    for (int unsigned stage = Wait - 1; stage > 0; stage--) begin
      /* verilator unroll_disable */
      for (int unsigned i = 0; i < 8; i++) product[8*stage+i] = product[8*(stage-1)+i];
    end
    /* verilator unroll_disable */
    for (int unsigned i = 0; i < 8; i++) begin
      product[i] = 64'($signed(values_i[9*i+:9])) * 64'(multiplier_i)
                   + 64'($signed(residuals_i[9*i+:9])) * 64'(residual_multiplier_i);
    end
  end

endmodule
