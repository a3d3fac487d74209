// Parameter memory: ParameterGroups groups of 16 output channels, as 8 entries of 16 bytes (two channels) each.
// Three cycles from an address to its data: address register, memory, output register.
`include "checks.svh"

module ia_parameter_memory #(
  parameter int unsigned ParameterGroups = 128  // a power of two
) (
  input  logic         clk_i,
  input  logic         rst_ni,
  input  logic         write_i,
  input  logic [15:0]  write_address_i,  // group * 8 + entry
  input  logic [127:0] write_data_i,
  input  logic         read_i,
  input  logic [15:0]  read_address_i,
  output logic [127:0] read_data_o
);

  localparam int unsigned Entries = 8 * ParameterGroups;
  localparam int unsigned AddressBits = $clog2(Entries);

  `CHECK_PARAM(EntriesAreAPowerOfTwo, Entries == 1 << AddressBits)

  logic                   write_q, read_q;
  logic [AddressBits-1:0] write_address_q, read_address_q;
  logic [127:0]           write_data_q, data;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) write_q <= 1'b0;
    else write_q <= write_i;
  end

  always_ff @(posedge clk_i) begin
    write_address_q <= write_address_i[AddressBits-1:0];
    write_data_q    <= write_data_i;
    read_q          <= read_i;
    read_address_q  <= read_address_i[AddressBits-1:0];
    read_data_o     <= data;
  end

  ia_memory_rows #(.Width(128), .Rows(Entries)) u_rows (
    .clk_i(clk_i),
    .write_i(write_q),
    .write_row_i(write_address_q),
    .write_data_i(write_data_q),
    .read_i(read_q),
    .read_row_i(read_address_q),
    .read_data_o(data)
  );

  logic unused;
  assign unused = &{1'b0, write_address_i, read_address_i};

  `CHECK(WritesStayInside, write_i |-> 32'(write_address_i) < Entries)

endmodule
