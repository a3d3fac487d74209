// Weight memory: rows of 64 bytes, written a quarter at a time, read whole.
// Three cycles from an address to its data: address register, memory, output register.
`include "checks.svh"

module ia_weight_memory #(
  parameter int unsigned WeightRows = 3072  // a power of two up to 1024, or a multiple of 1024
) (
  input  logic         clk_i,
  input  logic         rst_ni,
  input  logic         weight_write_i,
  input  logic [15:0]  weight_write_row_i,
  input  logic [1:0]   weight_write_quarter_i,  // which 16 bytes of the row
  input  logic [127:0] weight_write_data_i,
  input  logic         read_i,
  input  logic [15:0]  read_row_i,
  output logic [511:0] read_data_o
);

  localparam int unsigned PartRows = WeightRows < 1024 ? WeightRows : 1024;
  localparam int unsigned Parts = WeightRows / PartRows;
  localparam int unsigned RowBits = $clog2(PartRows);
  localparam int unsigned PartBits = Parts == 1 ? 1 : $clog2(Parts);

  `CHECK_PARAM(RowsFillTheirParts, WeightRows == Parts * PartRows && PartRows == 1 << RowBits)

  logic         write_q, read_q;
  logic [15:0]  write_row_q, read_row_q;
  logic [1:0]   quarter_q;
  logic [127:0] write_data_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) write_q <= 1'b0;
    else write_q <= weight_write_i;
  end

  always_ff @(posedge clk_i) begin
    write_row_q  <= weight_write_row_i;
    quarter_q    <= weight_write_quarter_i;
    write_data_q <= weight_write_data_i;
    read_q       <= read_i;
    read_row_q   <= read_row_i;
  end

  logic [PartBits-1:0]  write_part, read_part, part_q;
  logic [512*Parts-1:0] data;

  assign write_part = PartBits'(write_row_q >> RowBits);
  assign read_part  = PartBits'(read_row_q >> RowBits);

  for (genvar part = 0; part < Parts; part++) begin : g_part
    for (genvar quarter = 0; quarter < 4; quarter++) begin : g_quarter
      ia_memory_rows #(.Width(128), .Rows(PartRows)) u_rows (
        .clk_i(clk_i),
        .write_i(write_q && write_part == PartBits'(part) && quarter_q == 2'(quarter)),
        .write_row_i(write_row_q[RowBits-1:0]),
        .write_data_i(write_data_q),
        .read_i(read_q && read_part == PartBits'(part)),
        .read_row_i(read_row_q[RowBits-1:0]),
        .read_data_o(data[512*part+128*quarter+:128])
      );
    end
  end

  always_ff @(posedge clk_i) begin
    part_q      <= read_part;
    read_data_o <= data[512*32'(part_q)+:512];
  end

  `CHECK(WritesStayInside, weight_write_i |-> 32'(weight_write_row_i) < WeightRows)

endmodule
