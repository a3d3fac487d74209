// Engines that do nothing but take time: control can be tested without them, and faster.
//
// A run word takes as many cycles as its tag says; up to Overlap words are in work at once, and end in order. The Load
// stub reads one burst at the offset of the word, the Store stub writes nothing.

// verilator lint_off UNUSEDSIGNAL
// verilator lint_off UNDRIVEN
// verilator lint_off UNUSEDPARAM
// verilator lint_off DECLFILENAME
module stub_engine #(
  parameter int unsigned Overlap = 2
) (
  input  logic         clk_i,
  input  logic         rst_ni,
  input  logic         word_valid_i,
  output logic         word_ready_o,
  input  logic [127:0] word_i,
  output logic         done_o,
  output logic         busy_o
);

  logic        run, queue_valid, queue_ready, room, working_q;
  logic [9:0]  tag, left_q;

  assign run          = ia_isa_pkg::is_run(word_i[5:0]);
  assign word_ready_o = !run || room;

  ia_fifo #(.Width(10), .Depth(Overlap)) u_words (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .in_valid_i(word_valid_i && run),
    .in_ready_o(room),
    .in_data_i(word_i[47:38]),
    .out_valid_o(queue_valid),
    .out_ready_i(queue_ready),
    .out_data_o(tag)
  );

  assign queue_ready = working_q && left_q == 0;
  assign busy_o      = queue_valid;

  always_ff @(posedge clk_i) begin
    done_o <= rst_ni && queue_ready;
    if (!rst_ni || queue_ready) working_q <= 1'b0;
    else if (queue_valid) working_q <= 1'b1;
    if (!working_q) left_q <= tag;
    else if (left_q != 0) left_q <= left_q - 1;
  end

endmodule

module ia_load #(
  parameter int unsigned AddressBits = 32,
  parameter int unsigned AxiBytes = 8,
  parameter int unsigned BurstBytes = 128,
  parameter int unsigned Outstanding = 8,
  parameter int unsigned PatchWords = 512
) (
  input  logic                     clk_i,
  input  logic                     rst_ni,
  input  logic                     word_valid_i,
  output logic                     word_ready_o,
  input  logic [127:0]             word_i,
  output logic                     done_o,
  output logic                     busy_o,
  output logic                     wait_memory_o,
  input  logic [4*AddressBits-1:0] segment_base_i,
  output logic                     load_write_o,
  output logic [15:0]              load_write_address_o,
  output logic [127:0]             load_write_data_o,
  output logic                     weight_write_o,
  output logic [15:0]              weight_write_row_o,
  output logic [1:0]               weight_write_quarter_o,
  output logic [127:0]             weight_write_data_o,
  output logic                     parameter_write_o,
  output logic [15:0]              parameter_write_address_o,
  output logic [127:0]             parameter_write_data_o,
  output logic                     table_write_o,
  input  logic                     table_write_ready_i,
  output logic [15:0]              table_write_address_o,
  output logic [127:0]             table_write_data_o,
  input  logic                     stop_i,
  output logic                     idle_o,
  output logic                     error_o,
  output logic [1:0]               error_response_o,
  output logic [AddressBits-1:0]   error_address_o,
  output logic                     arvalid_o,
  input  logic                     arready_i,
  output logic [AddressBits-1:0]   araddr_o,
  output logic [7:0]               arlen_o,
  input  logic                     rvalid_i,
  output logic                     rready_o,
  input  logic [8*AxiBytes-1:0]    rdata_i,
  input  logic [1:0]               rresp_i,
  input  logic                     rlast_i
);

  logic              engine_valid, engine_ready, reads, read_ready, data_valid;
  ia_isa_pkg::load_t load;
  logic [127:0]      data;

  assign load         = word_i;
  assign reads        = load.opcode == ia_isa_pkg::OpLoad;
  assign engine_valid = word_valid_i && (!reads || read_ready);
  assign word_ready_o = engine_ready && (!reads || read_ready);

  stub_engine #(.Overlap(2)) u_engine (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .word_valid_i(engine_valid),
    .word_ready_o(engine_ready),
    .word_i(word_i),
    .done_o(done_o),
    .busy_o(busy_o)
  );

  ia_axi_read #(
    .AddressBits(AddressBits),
    .AxiBytes(AxiBytes),
    .BurstBytes(BurstBytes),
    .Outstanding(Outstanding),
    .WordsBits(20)
  ) u_read (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .request_valid_i(word_valid_i && reads && engine_ready),
    .request_ready_o(read_ready),
    .request_address_i(segment_base_i[AddressBits*load.segment+:AddressBits] + AddressBits'({load.offset, 4'd0})),
    .request_words_i(20'd8),
    .request_close_i(1'b1),
    .data_valid_o(data_valid),
    .data_ready_i(1'b1),
    .data_o(data),
    .stop_i(stop_i),
    .idle_o(idle_o),
    .error_o(error_o),
    .error_response_o(error_response_o),
    .error_address_o(error_address_o),
    .arvalid_o(arvalid_o),
    .arready_i(arready_i),
    .araddr_o(araddr_o),
    .arlen_o(arlen_o),
    .rvalid_i(rvalid_i),
    .rready_o(rready_o),
    .rdata_i(rdata_i),
    .rresp_i(rresp_i),
    .rlast_i(rlast_i)
  );

  assign wait_memory_o = !idle_o;

  assign load_write_o = '0;
  assign weight_write_o = '0;
  assign parameter_write_o = '0;
  assign table_write_o = '0;

endmodule

module ia_conv #(
  parameter int unsigned Pixels = 2,
  parameter int unsigned TileGroups = 32,
  parameter int unsigned ActBanks = 16,
  parameter int unsigned BankWords = 1024
) (
  input  logic                  clk_i,
  input  logic                  rst_ni,
  input  logic                  word_valid_i,
  output logic                  word_ready_o,
  input  logic [127:0]          word_i,
  output logic                  done_o,
  output logic                  busy_o,
  output logic [Pixels-1:0]     source_read_o,
  output logic [16*Pixels-1:0]  source_address_o,
  input  logic [128*Pixels-1:0] source_data_i,
  output logic                  residual_read_o,
  output logic [15:0]           residual_address_o,
  input  logic [127:0]          residual_data_i,
  output logic                  conv_write_o,
  output logic [15:0]           conv_write_address_o,
  output logic [127:0]          conv_write_data_o,
  output logic                  weight_read_o,
  output logic [15:0]           weight_row_o,
  input  logic [511:0]          weight_data_i,
  output logic                  parameter_read_o,
  output logic [15:0]           parameter_address_o,
  input  logic [127:0]          parameter_data_i
);

  stub_engine #(.Overlap(2)) u_engine (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .word_valid_i(word_valid_i),
    .word_ready_o(word_ready_o),
    .word_i(word_i),
    .done_o(done_o),
    .busy_o(busy_o)
  );

  assign source_read_o = '0;
  assign residual_read_o = '0;
  assign conv_write_o = '0;
  assign weight_read_o = '0;
  assign parameter_read_o = '0;

endmodule

module ia_vector (
  input  logic         clk_i,
  input  logic         rst_ni,
  input  logic         word_valid_i,
  output logic         word_ready_o,
  input  logic [127:0] word_i,
  output logic         done_o,
  output logic         busy_o,
  output logic         vector_read_o,
  output logic [15:0]  vector_address_o,
  input  logic [127:0] vector_data_i,
  output logic         vector_write_o,
  output logic [15:0]  vector_write_address_o,
  output logic [127:0] vector_write_data_o,
  output logic [15:0]  vector_write_lanes_o,
  output logic         table_read_o,
  output logic [3:0]   table_o,
  output logic [127:0] table_bytes_o,
  input  logic [127:0] table_data_i
);

  stub_engine #(.Overlap(2)) u_engine (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .word_valid_i(word_valid_i),
    .word_ready_o(word_ready_o),
    .word_i(word_i),
    .done_o(done_o),
    .busy_o(busy_o)
  );

  assign vector_read_o = '0;
  assign vector_write_o = '0;
  assign table_read_o = '0;

endmodule

module ia_store #(
  parameter int unsigned AddressBits = 32,
  parameter int unsigned AxiBytes = 8,
  parameter int unsigned BurstBytes = 128,
  parameter int unsigned Outstanding = 8
) (
  input  logic                     clk_i,
  input  logic                     rst_ni,
  input  logic                     word_valid_i,
  output logic                     word_ready_o,
  input  logic [127:0]             word_i,
  output logic                     done_o,
  output logic                     busy_o,
  output logic                     wait_memory_o,
  input  logic [4*AddressBits-1:0] segment_base_i,
  output logic                     store_read_o,
  output logic [15:0]              store_address_o,
  input  logic [127:0]             store_data_i,
  input  logic                     stop_i,
  output logic                     idle_o,
  output logic                     error_o,
  output logic [1:0]               error_response_o,
  output logic [AddressBits-1:0]   error_address_o,
  output logic                     awvalid_o,
  input  logic                     awready_i,
  output logic [AddressBits-1:0]   awaddr_o,
  output logic [7:0]               awlen_o,
  output logic                     wvalid_o,
  input  logic                     wready_i,
  output logic [8*AxiBytes-1:0]    wdata_o,
  output logic [AxiBytes-1:0]      wstrb_o,
  output logic                     wlast_o,
  input  logic                     bvalid_i,
  output logic                     bready_o,
  input  logic [1:0]               bresp_i
);

  assign wait_memory_o = 1'b0;
  assign idle_o        = 1'b1;
  assign error_o       = 1'b0;
  assign awvalid_o     = 1'b0;
  assign wvalid_o      = 1'b0;
  assign bready_o      = 1'b1;

  stub_engine #(.Overlap(2)) u_engine (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .word_valid_i(word_valid_i),
    .word_ready_o(word_ready_o),
    .word_i(word_i),
    .done_o(done_o),
    .busy_o(busy_o)
  );

  assign store_read_o = '0;

endmodule
