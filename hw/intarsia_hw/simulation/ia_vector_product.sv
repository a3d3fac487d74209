// The product of rtl/ia_vector_product.sv for simulation: the same ports, and the same bits in every cycle.
module ia_vector_product (
  input  logic        clk_i,
  input  logic [8:0]  x_i,
  input  logic [8:0]  y_i,
  output logic [16:0] product_o
);

  logic [16:0] product_q;
  always_ff @(posedge clk_i) begin
    product_q <= 17'($signed(x_i)) * 17'($signed(y_i));
    product_o <= product_q;
  end

endmodule
