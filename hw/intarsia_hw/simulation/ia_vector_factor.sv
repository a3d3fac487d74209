// The product of rtl/ia_vector_factor.sv for simulation: the same ports, and the same bits in every cycle where y_i stands
// still.
module ia_vector_factor #(
  parameter int unsigned YBits = 21
) (
  input  logic        clk_i,
  input  logic [8:0]  x_i,
  input  logic [YBits-1:0] y_i,
  input  logic [YBits-1:0] add_i,
  output logic [YBits+9:0] product_o
);

  localparam int unsigned Bits = YBits + 10;

  logic [Bits-1:0] product_q;
  always_ff @(posedge clk_i) begin
    product_q <= Bits'($signed(x_i)) * Bits'(y_i) + Bits'(add_i);
    product_o <= product_q;
  end

endmodule
