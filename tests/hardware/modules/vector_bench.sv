// The vector unit with memories of its own: one bank of activations and the tables, with the latencies of the real ones.
module vector_bench #(
  parameter int unsigned Words = 1024,
  parameter int unsigned Tables = 4
) (
  input  logic         clk_i,
  input  logic         rst_ni,
  input  logic         word_valid_i,
  output logic         word_ready_o,
  input  logic [127:0] word_i,
  output logic         done_o,
  output logic         busy_o,
  output logic         stray_o  // an address outside of the memory
);

  logic         read, write, table_read;
  logic [15:0]  read_address, write_address, write_lanes;
  logic [127:0] read_data, write_data, table_bytes, table_data;
  logic [3:0]   table_number;

  ia_vector u_vector (
    .clk_i(clk_i), .rst_ni(rst_ni),
    .word_valid_i(word_valid_i), .word_ready_o(word_ready_o), .word_i(word_i), .done_o(done_o), .busy_o(busy_o),
    .vector_read_o(read), .vector_address_o(read_address), .vector_data_i(read_data),
    .vector_write_o(write), .vector_write_address_o(write_address), .vector_write_data_o(write_data),
    .vector_write_lanes_o(write_lanes),
    .table_read_o(table_read), .table_o(table_number), .table_bytes_o(table_bytes), .table_data_i(table_data));

  logic [127:0] activations [Words];
  logic [7:0]   entries [256*Tables];

  logic         read_q, write_q, table_read_q;
  logic [15:0]  read_address_q, write_address_q, write_lanes_q;
  logic [127:0] write_data_q, read_1_q, read_2_q, table_bytes_q, table_1_q;
  logic [3:0]   table_q;

  always_ff @(posedge clk_i) begin
    read_q          <= read && rst_ni;
    read_address_q  <= read_address;
    write_q         <= write && rst_ni;
    write_address_q <= write_address;
    write_data_q    <= write_data;
    write_lanes_q   <= write_lanes;
    table_read_q    <= table_read;
    table_q         <= table_number;
    table_bytes_q   <= table_bytes;
    stray_o         <= (read_q && 32'(read_address_q) >= Words) || (write_q && 32'(write_address_q) >= Words);

    // What was not asked for is rubbish.
    read_1_q  <= read_q ? activations[read_address_q[$clog2(Words)-1:0]] : {16{8'hA5}};
    read_2_q  <= read_1_q;
    read_data <= read_2_q;
    for (int lane = 0; lane < 16; lane++) begin
      if (write_q && write_lanes_q[lane]) begin
        activations[write_address_q[$clog2(Words)-1:0]][8*lane+:8] <= write_data_q[8*lane+:8];
      end
      table_1_q[8*lane+:8] <= table_read_q
          ? entries[{table_q[$clog2(Tables)-1:0], table_bytes_q[8*lane+:8]}] : 8'h5A;
    end
    table_data <= table_1_q;
  end

  logic unused;
  assign unused = &{1'b0, table_q};

endmodule
