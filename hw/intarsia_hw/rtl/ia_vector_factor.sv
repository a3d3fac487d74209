// x * y + add: 9 bits with a sign times bits without one. The product follows x by two cycles, and is not registered.
module ia_vector_factor #(
  parameter int unsigned YBits = 21
) (
  input  logic        clk_i,
  input  logic [8:0]  x_i,
  input  logic [YBits-1:0] y_i,    // steady
  input  logic [YBits-1:0] add_i,  // beside x_i
  output logic [YBits+9:0] product_o
);

  logic [YBits:0]   y;
  logic [YBits+2:0] sum_1, sum_2, sum_3, sum_4, sum_5;
  logic [YBits:0]   sum_2_q, sum_4_q;  // without the bits that are final
  logic [5:0]  x_late_q;  // bits 8 to 3
  logic [1:0]  x_last_q;
  logic [3:0]  low_q;
  logic [7:0]  low_late_q;

  assign y = {1'b0, y_i};

  ia_vector_row #(.YBits(YBits + 1)) u_row_1 (
    .sum_i({3'b0, add_i}), .y_i(y), .digit_i({x_i[1:0], 1'b0}), .sum_o(sum_1));
  ia_vector_row #(.YBits(YBits + 1)) u_row_2 (
    .sum_i({{2{sum_1[YBits+2]}}, sum_1[YBits+2:2]}), .y_i(y), .digit_i(x_i[3:1]), .sum_o(sum_2));

  always_ff @(posedge clk_i) begin
    sum_2_q  <= sum_2[YBits+2:2];
    low_q    <= {sum_2[1:0], sum_1[1:0]};
    x_late_q <= x_i[8:3];
  end

  ia_vector_row #(.YBits(YBits + 1)) u_row_3 (
    .sum_i({{2{sum_2_q[YBits]}}, sum_2_q}), .y_i(y), .digit_i(x_late_q[2:0]), .sum_o(sum_3));
  ia_vector_row #(.YBits(YBits + 1)) u_row_4 (
    .sum_i({{2{sum_3[YBits+2]}}, sum_3[YBits+2:2]}), .y_i(y), .digit_i(x_late_q[4:2]), .sum_o(sum_4));

  always_ff @(posedge clk_i) begin
    sum_4_q    <= sum_4[YBits+2:2];
    low_late_q <= {sum_4[1:0], sum_3[1:0], low_q};
    x_last_q   <= x_late_q[5:4];
  end

  ia_vector_row #(.YBits(YBits + 1)) u_row_5 (
    .sum_i({{2{sum_4_q[YBits]}}, sum_4_q}), .y_i(y), .digit_i({x_last_q[1], x_last_q}), .sum_o(sum_5));

  assign product_o = {sum_5[YBits+1:0], low_late_q};

  logic unused;
  assign unused = &{1'b0, sum_5[YBits+2]};

endmodule
