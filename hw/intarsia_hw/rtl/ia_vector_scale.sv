// Scaling of one lane: multiplies by one or two factors; ia_vector_round does the rest.
//
// x is 17 bits, high * 256 + low; a factor for each part. Seven cycles from x to the result.
//   ADD            low * multiplier + high * second_multiplier, two operands of 9 bits
//   MULTIPLY, SUM  x * multiplier: split_i, both multipliers are the same, low is 8 bits without a sign
//   long sums      two passes, four cycles apart: the low 16 bits of the sum, without a sign, then the high 16 bits with
//                  add_before_i. The first product's high bits are added to the second one, and its low 16 bits are kept
//                  beside it.
module ia_vector_scale #(
  parameter int unsigned MultiplierBits = 21
) (
  input  logic        clk_i,
  // Steady while a word is at work
  input  logic [MultiplierBits-1:0] multiplier_i,
  input  logic [MultiplierBits-1:0] second_multiplier_i,
  input  logic        split_i,
  input  logic        long_i,
  input  logic [2:0]  coarse_i,  // the shift of {value, 16 bits}: 8 * coarse_i + fine_i
  input  logic [2:0]  fine_i,
  input  logic [7:0]  zero_point_i,
  input  logic [7:0]  clamp_min_i,
  input  logic [7:0]  clamp_max_i,
  // x
  input  logic [8:0]  low_i,     // signed
  input  logic [8:0]  high_i,    // signed
  input  logic        add_before_i,  // one cycle before x: it is the second pass of a long sum
  // Results of another kind go out in their place
  input  logic        other_valid_i,
  input  logic [7:0]  other_i,
  output logic [7:0]  result_o
);

  // ---- products, two rows a cycle; the last row and the sum of both in the third

  localparam int unsigned ProductBits = MultiplierBits + 10;
  localparam int unsigned ValueBits = MultiplierBits + 17;

  logic [ProductBits-1:0]    low_product, high_product;
  logic [MultiplierBits-1:0] before_q;
  logic [ValueBits-1:0]      value_q;

  ia_vector_factor #(.YBits(MultiplierBits)) u_low (
    .clk_i(clk_i), .x_i(low_i), .y_i(multiplier_i), .add_i(before_q), .product_o(low_product));
  ia_vector_factor #(.YBits(MultiplierBits)) u_high (
    .clk_i(clk_i), .x_i(high_i), .y_i(second_multiplier_i), .add_i('0),
    .product_o(high_product));

  always_ff @(posedge clk_i) begin
    value_q  <= {{7{low_product[ProductBits-1]}}, low_product}
        + (split_i ? {high_product[ProductBits-2:0], 8'b0} : {{7{high_product[ProductBits-1]}}, high_product});
    before_q <= add_before_i ? value_q[ValueBits-2:16] : '0;
  end

  // ---- the low bits of the first pass wait for the second one

  logic [15:0] kept_1_q, kept_2_q, kept_3_q, kept_4_q;

  always_ff @(posedge clk_i) begin
    kept_1_q <= long_i ? value_q[15:0] : '0;
    kept_2_q <= long_i ? kept_1_q : '0;
    kept_3_q <= long_i ? kept_2_q : '0;
    kept_4_q <= long_i ? kept_3_q : '0;
  end

  ia_vector_round #(.ValueBits(ValueBits + 16)) u_round (
    .clk_i(clk_i), .value_i({value_q, kept_4_q}), .coarse_i(coarse_i), .fine_i(fine_i), .zero_point_i(zero_point_i),
    .clamp_min_i(clamp_min_i), .clamp_max_i(clamp_max_i), .other_valid_i(other_valid_i), .other_i(other_i),
    .result_o(result_o));

  logic unused;
  assign unused = &{1'b0, high_product[ProductBits-1]};

endmodule
