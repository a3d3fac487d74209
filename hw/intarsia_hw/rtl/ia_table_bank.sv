// One copy of the lookup tables: two ports that read a byte each, or write one.
module ia_table_bank #(
  parameter int unsigned Bytes = 1024
) (
  input  logic                     clk_i,
  input  logic                     write_i,  // both ports write
  input  logic [$clog2(Bytes)-1:0] a_address_i,
  input  logic [$clog2(Bytes)-1:0] b_address_i,
  input  logic [7:0]               a_write_data_i,
  input  logic [7:0]               b_write_data_i,
  output logic [7:0]               a_data_o,
  output logic [7:0]               b_data_o
);

  (* ram_style = "block" *) logic [7:0] bytes_q [Bytes];

  always_ff @(posedge clk_i) begin
    if (write_i) bytes_q[a_address_i] <= a_write_data_i;
    else a_data_o <= bytes_q[a_address_i];
  end

  always_ff @(posedge clk_i) begin
    if (write_i) bytes_q[b_address_i] <= b_write_data_i;
    else b_data_o <= bytes_q[b_address_i];
  end

endmodule
