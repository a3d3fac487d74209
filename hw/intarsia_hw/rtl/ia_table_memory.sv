// Lookup tables of 256 bytes: 16 lanes look up a byte each in the same table, in 8 copies with two ports.
//
// Every port reads, so a write waits for cycles without a read: the 16 bytes of an entry are kept here and go into the
// copies two a cycle. write_ready_o says that the entry before has landed.
// Three cycles from an address to its data: address register, memory, output register.
`include "checks.svh"

module ia_table_memory #(
  parameter int unsigned Tables = 4
) (
  input  logic         clk_i,
  input  logic         rst_ni,
  input  logic         write_i,
  output logic         write_ready_o,
  input  logic [15:0]  write_address_i,  // table * 16 + entry of 16 bytes
  input  logic [127:0] write_data_i,
  input  logic         read_i,
  input  logic [3:0]   read_table_i,
  input  logic [127:0] read_bytes_i,     // lane i looks up the byte [8*i+:8]
  output logic [127:0] read_data_o
);

  localparam int unsigned TableBits = Tables == 1 ? 1 : $clog2(Tables);
  localparam int unsigned Bytes = 256 << TableBits;

  `CHECK_PARAM(ThereAreTables, Tables >= 1 && Tables <= 16)

  logic                 busy_q, read_q;
  logic [2:0]           pair_q;  // the bytes that are written next
  logic [TableBits+3:0] write_address_q;
  logic [127:0]         write_data_q, bytes_q;
  logic [TableBits-1:0] table_q;
  logic                 write_pair;

  assign write_ready_o = !busy_q;
  assign write_pair    = busy_q && !read_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      busy_q <= 1'b0;
      read_q <= 1'b0;
      pair_q <= '0;
    end else begin
      read_q <= read_i;
      if (write_pair) pair_q <= pair_q + 3'd1;
      if (!busy_q) busy_q <= write_i;
      else if (write_pair && pair_q == 3'd7) busy_q <= 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    bytes_q <= read_bytes_i;
    table_q <= read_table_i[TableBits-1:0];
    if (!busy_q) begin
      write_address_q <= write_address_i[TableBits+3:0];
      write_data_q    <= write_data_i;
    end else if (write_pair) begin
      write_data_q <= {16'd0, write_data_q[127:16]};
    end
  end

  logic [127:0] data;

  for (genvar copy = 0; copy < 8; copy++) begin : g_copy
    ia_table_bank #(.Bytes(Bytes)) u_bank (
      .clk_i(clk_i),
      .write_i(write_pair),
      .a_address_i(write_pair ? {write_address_q, pair_q, 1'b0} : {table_q, bytes_q[16*copy+:8]}),
      .b_address_i(write_pair ? {write_address_q, pair_q, 1'b1} : {table_q, bytes_q[16*copy+8+:8]}),
      .a_write_data_i(write_data_q[7:0]),
      .b_write_data_i(write_data_q[15:8]),
      .a_data_o(data[16*copy+:8]),
      .b_data_o(data[16*copy+8+:8])
    );
  end

  always_ff @(posedge clk_i) read_data_o <= data;

  logic unused;
  assign unused = &{1'b0, write_address_i, read_table_i};

  `CHECK(WritesStayInside, write_i |-> 32'(write_address_i) < 16 * Tables)

endmodule
