// Block memory with one write port and one read port. Data of a read stands after the next clock edge.
// Where a row is read in the cycle in which it is written, what comes is undefined.
module ia_memory_rows #(
  parameter int unsigned Width = 128,
  parameter int unsigned Rows = 1024
) (
  input  logic                    clk_i,
  input  logic                    write_i,
  input  logic [$clog2(Rows)-1:0] write_row_i,
  input  logic [Width-1:0]        write_data_i,
  input  logic                    read_i,
  input  logic [$clog2(Rows)-1:0] read_row_i,
  output logic [Width-1:0]        read_data_o
);

  (* ram_style = "block" *) logic [Width-1:0] rows_q [Rows];

  always_ff @(posedge clk_i) begin
    if (write_i) rows_q[write_row_i] <= write_data_i;
  end

  always_ff @(posedge clk_i) begin
    if (read_i) read_data_o <= rows_q[read_row_i];
  end

endmodule
