// Second step of the epilogue for eight lanes: value * multiplier + residual * residual_multiplier >> shift, zero point,
// clamp.
//
// Fourteen cycles, eight lanes a cycle. What all lanes share stands still while values are on their way.
module ia_conv_second (
  input  logic        clk_i,
  input  logic [71:0] values_i,       // signed
  input  logic [71:0] residuals_i,    // signed
  input  logic [20:0] multiplier_i,
  input  logic [20:0] residual_multiplier_i,
  input  logic [5:0]  shift_i,        // less 1
  input  logic [7:0]  zero_point_i,
  input  logic [7:0]  clamp_min_i,
  input  logic [7:0]  clamp_max_i,
  input  logic        clamp_turned_i, // clamp_min > clamp_max: clamp_max wins
  output logic [63:0] values_o
);

  for (genvar i = 0; i < 8; i++) begin : gen_lane
    logic [32:0] product;
    ia_conv_residual u_residual (
      .clk_i,
      .value_i(values_i[9*i+:9]),
      .residual_i(residuals_i[9*i+:9]),
      .multiplier_i,
      .residual_multiplier_i,
      .product_o(product)
    );
    ia_conv_round #(.Width(33)) u_round (
      .clk_i,
      .value_i(product),
      .coarse_i(shift_i[5:4]),
      .fine_i(shift_i[3:0]),
      .zero_point_i,
      .clamp_min_i,
      .clamp_max_i,
      .clamp_turned_i,
      .value_o(values_o[8*i+:8])
    );
  end

endmodule
