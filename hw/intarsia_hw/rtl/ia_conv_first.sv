// First step of the epilogue for the 16 lanes of a pixel: (sum + bias) * multiplier >> shift, zero point, clamp.
//
// Fourteen cycles, a pixel a cycle. A group of parameters stands for ten cycles at least.
module ia_conv_first (
  input  logic         clk_i,
  input  logic         rst_ni,
  input  logic         load_i,         // the next cycle but one has the first sums of a group of channels
  input  logic [511:0] biases_i,       // of that group from then on
  input  logic [335:0] multipliers_i,
  input  logic [95:0]  shifts_i,       // less 1
  input  logic [511:0] sums_i,
  // Of the pixel whose sums came twelve cycles before
  input  logic [7:0]   zero_point_i,
  // Thirteen cycles before
  input  logic [7:0]   clamp_min_i,
  input  logic [7:0]   clamp_max_i,
  input  logic         clamp_turned_i, // clamp_min > clamp_max: clamp_max wins
  output logic [127:0] values_o
);

  logic [10:0] load_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) load_q <= '0;
    else load_q <= {load_q[9:0], load_i};
  end

  for (genvar i = 0; i < 16; i++) begin : gen_lane
    logic [52:0] product;
    logic [1:0]  coarse;
    logic [3:0]  fine;
    ia_conv_scale u_scale (
      .clk_i,
      .rst_ni,
      .load_i(load_q),
      .bias_i(biases_i[32*i+:32]),
      .multiplier_i(multipliers_i[21*i+:21]),
      .shift_i(shifts_i[6*i+:6]),
      .sum_i(sums_i[32*i+:32]),
      .product_o(product),
      .coarse_o(coarse),
      .fine_o(fine)
    );
    ia_conv_round #(.Width(53)) u_round (
      .clk_i,
      .value_i(product),
      .coarse_i(coarse),
      .fine_i(fine),
      .zero_point_i,
      .clamp_min_i,
      .clamp_max_i,
      .clamp_turned_i,
      .value_o(values_o[8*i+:8])
    );
  end

endmodule
