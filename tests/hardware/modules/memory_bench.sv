// The load and store engines with all memories, without the rest of the core.
module memory_bench #(
  parameter int unsigned ActBanks = 8,
  parameter int unsigned BankWords = 128,
  parameter int unsigned WeightRows = 256,
  parameter int unsigned ParameterGroups = 8,
  parameter int unsigned Tables = 2,
  parameter int unsigned PatchWords = 64,
  parameter int unsigned AddressBits = 32,
  parameter int unsigned AxiBytes = 8,
  parameter int unsigned BurstBytes = 128,
  parameter int unsigned Outstanding = 8
) (
  input  logic                     clk_i,
  input  logic                     rst_ni,
  input  logic [4*AddressBits-1:0] segment_base_i,
  input  logic                     stop_i,
  // LOAD
  input  logic                     load_word_valid_i,
  output logic                     load_word_ready_o,
  input  logic [127:0]             load_word_i,
  output logic                     load_done_o,
  output logic                     load_busy_o,
  output logic                     load_wait_memory_o,
  output logic                     load_idle_o,
  output logic                     load_error_o,
  output logic [1:0]               load_error_response_o,
  output logic [AddressBits-1:0]   load_error_address_o,
  output logic                     load_write_o,
  output logic                     m_load_arvalid_o,
  input  logic                     m_load_arready_i,
  output logic [AddressBits-1:0]   m_load_araddr_o,
  output logic [7:0]               m_load_arlen_o,
  input  logic                     m_load_rvalid_i,
  output logic                     m_load_rready_o,
  input  logic [8*AxiBytes-1:0]    m_load_rdata_i,
  input  logic [1:0]               m_load_rresp_i,
  input  logic                     m_load_rlast_i,
  // STORE
  input  logic                     store_word_valid_i,
  output logic                     store_word_ready_o,
  input  logic [127:0]             store_word_i,
  output logic                     store_done_o,
  output logic                     store_busy_o,
  output logic                     store_wait_memory_o,
  output logic                     store_idle_o,
  output logic                     store_error_o,
  output logic [1:0]               store_error_response_o,
  output logic [AddressBits-1:0]   store_error_address_o,
  output logic                     m_store_awvalid_o,
  input  logic                     m_store_awready_i,
  output logic [AddressBits-1:0]   m_store_awaddr_o,
  output logic [7:0]               m_store_awlen_o,
  output logic                     m_store_wvalid_o,
  input  logic                     m_store_wready_i,
  output logic [8*AxiBytes-1:0]    m_store_wdata_o,
  output logic [AxiBytes-1:0]      m_store_wstrb_o,
  output logic                     m_store_wlast_o,
  input  logic                     m_store_bvalid_i,
  output logic                     m_store_bready_o,
  input  logic [1:0]               m_store_bresp_i,
  // Lookups beside the loading of tables
  input  logic                     table_read_i,
  input  logic [3:0]               table_read_table_i,
  input  logic [127:0]             table_read_bytes_i,
  output logic [127:0]             table_read_data_o
);

  logic         load_write, weight_write, parameter_write, table_write, table_write_ready, store_read;
  logic [15:0]  load_address, weight_row, parameter_address, table_address, store_address;
  logic [1:0]   weight_quarter;
  logic [127:0] load_data, weight_data, parameter_data, table_data, store_data;
  logic [255:0] unused_source;
  logic [127:0] unused_residual, unused_vector, unused_parameter;
  logic [511:0] unused_weight;

  assign load_write_o = load_write;

  ia_load #(
    .AddressBits(AddressBits), .AxiBytes(AxiBytes), .BurstBytes(BurstBytes), .Outstanding(Outstanding),
    .PatchWords(PatchWords)
  ) u_load (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .word_valid_i(load_word_valid_i),
    .word_ready_o(load_word_ready_o),
    .word_i(load_word_i),
    .done_o(load_done_o),
    .busy_o(load_busy_o),
    .wait_memory_o(load_wait_memory_o),
    .segment_base_i(segment_base_i),
    .load_write_o(load_write),
    .load_write_address_o(load_address),
    .load_write_data_o(load_data),
    .weight_write_o(weight_write),
    .weight_write_row_o(weight_row),
    .weight_write_quarter_o(weight_quarter),
    .weight_write_data_o(weight_data),
    .parameter_write_o(parameter_write),
    .parameter_write_address_o(parameter_address),
    .parameter_write_data_o(parameter_data),
    .table_write_o(table_write),
    .table_write_ready_i(table_write_ready),
    .table_write_address_o(table_address),
    .table_write_data_o(table_data),
    .stop_i(stop_i),
    .idle_o(load_idle_o),
    .error_o(load_error_o),
    .error_response_o(load_error_response_o),
    .error_address_o(load_error_address_o),
    .arvalid_o(m_load_arvalid_o),
    .arready_i(m_load_arready_i),
    .araddr_o(m_load_araddr_o),
    .arlen_o(m_load_arlen_o),
    .rvalid_i(m_load_rvalid_i),
    .rready_o(m_load_rready_o),
    .rdata_i(m_load_rdata_i),
    .rresp_i(m_load_rresp_i),
    .rlast_i(m_load_rlast_i)
  );

  ia_store #(
    .AddressBits(AddressBits), .AxiBytes(AxiBytes), .BurstBytes(BurstBytes), .Outstanding(Outstanding)
  ) u_store (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .word_valid_i(store_word_valid_i),
    .word_ready_o(store_word_ready_o),
    .word_i(store_word_i),
    .done_o(store_done_o),
    .busy_o(store_busy_o),
    .wait_memory_o(store_wait_memory_o),
    .segment_base_i(segment_base_i),
    .store_read_o(store_read),
    .store_address_o(store_address),
    .store_data_i(store_data),
    .stop_i(stop_i),
    .idle_o(store_idle_o),
    .error_o(store_error_o),
    .error_response_o(store_error_response_o),
    .error_address_o(store_error_address_o),
    .awvalid_o(m_store_awvalid_o),
    .awready_i(m_store_awready_i),
    .awaddr_o(m_store_awaddr_o),
    .awlen_o(m_store_awlen_o),
    .wvalid_o(m_store_wvalid_o),
    .wready_i(m_store_wready_i),
    .wdata_o(m_store_wdata_o),
    .wstrb_o(m_store_wstrb_o),
    .wlast_o(m_store_wlast_o),
    .bvalid_i(m_store_bvalid_i),
    .bready_o(m_store_bready_o),
    .bresp_i(m_store_bresp_i)
  );

  ia_activation_memory #(.Pixels(2), .ActBanks(ActBanks), .BankWords(BankWords)) u_activations (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .source_read_i(2'b00),
    .source_address_i('0),
    .source_data_o(unused_source),
    .residual_read_i(1'b0),
    .residual_address_i('0),
    .residual_data_o(unused_residual),
    .vector_read_i(1'b0),
    .vector_address_i('0),
    .vector_data_o(unused_vector),
    .store_read_i(store_read),
    .store_address_i(store_address),
    .store_data_o(store_data),
    .conv_write_i(1'b0),
    .conv_write_address_i('0),
    .conv_write_data_i('0),
    .vector_write_i(1'b0),
    .vector_write_address_i('0),
    .vector_write_data_i('0),
    .vector_write_lanes_i('0),
    .load_write_i(load_write),
    .load_write_address_i(load_address),
    .load_write_data_i(load_data)
  );

  ia_weight_memory #(.WeightRows(WeightRows)) u_weights (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .weight_write_i(weight_write),
    .weight_write_row_i(weight_row),
    .weight_write_quarter_i(weight_quarter),
    .weight_write_data_i(weight_data),
    .read_i(1'b0),
    .read_row_i('0),
    .read_data_o(unused_weight)
  );

  ia_parameter_memory #(.ParameterGroups(ParameterGroups)) u_parameters (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .write_i(parameter_write),
    .write_address_i(parameter_address),
    .write_data_i(parameter_data),
    .read_i(1'b0),
    .read_address_i('0),
    .read_data_o(unused_parameter)
  );

  ia_table_memory #(.Tables(Tables)) u_tables (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .write_i(table_write),
    .write_ready_o(table_write_ready),
    .write_address_i(table_address),
    .write_data_i(table_data),
    .read_i(table_read_i),
    .read_table_i(table_read_table_i),
    .read_bytes_i(table_read_bytes_i),
    .read_data_o(table_read_data_o)
  );

  logic unused;
  assign unused = &{1'b0, unused_source, unused_residual, unused_vector, unused_weight, unused_parameter};

endmodule
