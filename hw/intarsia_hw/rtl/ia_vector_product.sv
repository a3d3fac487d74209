// (A - zero_point) * (B - second_zero_point) of one lane, in two cycles.
module ia_vector_product (
  input  logic        clk_i,
  input  logic [8:0]  x_i,  // signed, -255 to 255, as is y_i
  input  logic [8:0]  y_i,
  output logic [16:0] product_o
);

  logic [10:0] sum_1, sum_2, sum_3, sum_4, sum_5;
  logic [8:0]  sum_3_q;
  logic [5:0]  low_q;
  logic [8:0]  x_q, y_q;

  ia_vector_row #(.YBits(9)) u_row_1 (
    .sum_i('0), .y_i(y_i), .digit_i({x_i[1:0], 1'b0}), .sum_o(sum_1));
  ia_vector_row #(.YBits(9)) u_row_2 (
    .sum_i({{2{sum_1[10]}}, sum_1[10:2]}), .y_i(y_i), .digit_i(x_i[3:1]), .sum_o(sum_2));
  ia_vector_row #(.YBits(9)) u_row_3 (
    .sum_i({{2{sum_2[10]}}, sum_2[10:2]}), .y_i(y_i), .digit_i(x_i[5:3]), .sum_o(sum_3));

  always_ff @(posedge clk_i) begin
    sum_3_q <= sum_3[10:2];
    low_q   <= {sum_3[1:0], sum_2[1:0], sum_1[1:0]};
    x_q     <= x_i;
    y_q     <= y_i;
  end

  ia_vector_row #(.YBits(9)) u_row_4 (
    .sum_i({{2{sum_3_q[8]}}, sum_3_q}), .y_i(y_q), .digit_i(x_q[7:5]), .sum_o(sum_4));
  ia_vector_row #(.YBits(9)) u_row_5 (
    .sum_i({{2{sum_4[10]}}, sum_4[10:2]}), .y_i(y_q), .digit_i({x_q[8], x_q[8:7]}), .sum_o(sum_5));

  always_ff @(posedge clk_i) product_o <= {sum_5[8:0], sum_4[1:0], low_q};

  logic unused;
  assign unused = &{1'b0, x_q[4:0], sum_5[10:9]};

endmodule
