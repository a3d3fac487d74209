// The overlay: registers, program fetcher, four queues with their engines, memories, and three AXI masters.
//
//   fetch -> issue -> load    DRAM -> activations, weights, parameters, tables
//                  -> conv    activations -> activations, by weights and parameters
//                  -> vector  activations -> activations, by tables
//                  -> store   activations -> DRAM
//
// What the queues do is ordered by semaphores alone; memories serve whoever addresses them.
module ia_core #(
  parameter int unsigned Pixels = 2,            // that the array works on in a cycle
  parameter int unsigned TileGroups = 32,       // groups of Pixels in a tile
  parameter int unsigned ActBanks = 16,
  parameter int unsigned BankWords = 1024,      // of 16 bytes
  parameter int unsigned WeightRows = 3072,     // of 64 bytes
  parameter int unsigned ParameterGroups = 128,
  parameter int unsigned Tables = 4,
  parameter int unsigned PatchWords = 512,      // of 16 bytes, in the line buffer of LoadPatch
  parameter int unsigned QueueWords = 16,
  parameter int unsigned SemaphoreMax = 255,
  parameter int unsigned AxiBytes = 8,          // of a beat of the masters
  parameter int unsigned AddressBits = 32,      // of the masters
  parameter int unsigned BurstBytes = 128,      // longest burst, and the boundary that none crosses
  parameter int unsigned Outstanding = 8,       // bursts in flight of each master
  parameter bit [63:0]   ConfigHash = 64'd0     // what programs for this configuration carry
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,
  output logic                   irq_o,
  // AXI4-Lite slave: registers
  input  logic                   s_axi_awvalid_i,
  output logic                   s_axi_awready_o,
  input  logic [11:0]            s_axi_awaddr_i,
  input  logic                   s_axi_wvalid_i,
  output logic                   s_axi_wready_o,
  input  logic [31:0]            s_axi_wdata_i,
  input  logic [3:0]             s_axi_wstrb_i,
  output logic                   s_axi_bvalid_o,
  input  logic                   s_axi_bready_i,
  output logic [1:0]             s_axi_bresp_o,
  input  logic                   s_axi_arvalid_i,
  output logic                   s_axi_arready_o,
  input  logic [11:0]            s_axi_araddr_i,
  output logic                   s_axi_rvalid_o,
  input  logic                   s_axi_rready_i,
  output logic [31:0]            s_axi_rdata_o,
  output logic [1:0]             s_axi_rresp_o,
  // AXI master: the program
  output logic                   m_fetch_arvalid_o,
  input  logic                   m_fetch_arready_i,
  output logic [AddressBits-1:0] m_fetch_araddr_o,
  output logic [7:0]             m_fetch_arlen_o,
  input  logic                   m_fetch_rvalid_i,
  output logic                   m_fetch_rready_o,
  input  logic [8*AxiBytes-1:0]  m_fetch_rdata_i,
  input  logic [1:0]             m_fetch_rresp_i,
  input  logic                   m_fetch_rlast_i,
  // AXI master: what the LOAD queue reads
  output logic                   m_load_arvalid_o,
  input  logic                   m_load_arready_i,
  output logic [AddressBits-1:0] m_load_araddr_o,
  output logic [7:0]             m_load_arlen_o,
  input  logic                   m_load_rvalid_i,
  output logic                   m_load_rready_o,
  input  logic [8*AxiBytes-1:0]  m_load_rdata_i,
  input  logic [1:0]             m_load_rresp_i,
  input  logic                   m_load_rlast_i,
  // AXI master: what the STORE queue writes
  output logic                   m_store_awvalid_o,
  input  logic                   m_store_awready_i,
  output logic [AddressBits-1:0] m_store_awaddr_o,
  output logic [7:0]             m_store_awlen_o,
  output logic                   m_store_wvalid_o,
  input  logic                   m_store_wready_i,
  output logic [8*AxiBytes-1:0]  m_store_wdata_o,
  output logic [AxiBytes-1:0]    m_store_wstrb_o,
  output logic                   m_store_wlast_o,
  input  logic                   m_store_bvalid_i,
  output logic                   m_store_bready_o,
  input  logic [1:0]             m_store_bresp_i
);

  localparam int unsigned Queues = ia_registers_pkg::Queues;
  localparam int unsigned WordsBits = ia_registers_pkg::ProgramWordsBits;
  localparam int unsigned Load = 32'(ia_isa_pkg::QueueLoad);
  localparam int unsigned Mac = 32'(ia_isa_pkg::QueueMac);
  localparam int unsigned Vec = 32'(ia_isa_pkg::QueueVec);
  localparam int unsigned Store = 32'(ia_isa_pkg::QueueStore);

  // ---- registers and sequencing

  logic                     start, soft_reset, interrupt_clear, config_matches;
  logic [AddressBits-1:0]   program_base;
  logic [WordsBits-1:0]     program_words;
  logic [4*AddressBits-1:0] segment_base;
  logic                     running, done, error, interrupt;
  logic [3:0]               error_cause;
  logic [2:0]               error_queue;
  logic [WordsBits-1:0]     error_word;
  logic [15:0]              error_state;
  logic [AddressBits-1:0]   error_address;
  logic [4:0]               counter_number;
  logic [63:0]              counter_sum;

  ia_registers #(.AddressBits(AddressBits), .ConfigHash(ConfigHash)) u_registers (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .s_axi_awvalid_i(s_axi_awvalid_i),
    .s_axi_awready_o(s_axi_awready_o),
    .s_axi_awaddr_i(s_axi_awaddr_i),
    .s_axi_wvalid_i(s_axi_wvalid_i),
    .s_axi_wready_o(s_axi_wready_o),
    .s_axi_wdata_i(s_axi_wdata_i),
    .s_axi_wstrb_i(s_axi_wstrb_i),
    .s_axi_bvalid_o(s_axi_bvalid_o),
    .s_axi_bready_i(s_axi_bready_i),
    .s_axi_bresp_o(s_axi_bresp_o),
    .s_axi_arvalid_i(s_axi_arvalid_i),
    .s_axi_arready_o(s_axi_arready_o),
    .s_axi_araddr_i(s_axi_araddr_i),
    .s_axi_rvalid_o(s_axi_rvalid_o),
    .s_axi_rready_i(s_axi_rready_i),
    .s_axi_rdata_o(s_axi_rdata_o),
    .s_axi_rresp_o(s_axi_rresp_o),
    .start_o(start),
    .soft_reset_o(soft_reset),
    .interrupt_clear_o(interrupt_clear),
    .config_matches_o(config_matches),
    .program_base_o(program_base),
    .program_words_o(program_words),
    .segment_base_o(segment_base),
    .irq_o(irq_o),
    .running_i(running),
    .done_i(done),
    .error_i(error),
    .interrupt_i(interrupt),
    .error_cause_i(error_cause),
    .error_queue_i(error_queue),
    .error_word_i(error_word),
    .error_state_i(error_state),
    .error_address_i(error_address),
    .counter_number_o(counter_number),
    .counter_sum_i(counter_sum)
  );

  logic                     core_rst_n, clear_counters, counting, stop;
  logic                     program_done, dmas_idle, moved;
  logic                     fetch_idle, fetch_moved, fetch_malformed, fetch_missing_end;
  logic [WordsBits-1:0]     fetch_index;
  logic [Queues-1:0]        queue_full, queue_waiting, queue_blocked, queue_moved, queue_finished, queue_empty;
  logic [Queues-1:0]        queue_ended, engine_busy, engine_done;
  logic                     load_idle, store_idle, load_waits, store_waits;
  logic                     fetch_error, load_error, store_error;
  logic [1:0]               fetch_response, load_response, store_response;
  logic [AddressBits-1:0]   fetch_error_address, load_error_address, store_error_address;
  logic [1:0]               fetch_queue;

  ia_sequencer #(.AddressBits(AddressBits)) u_sequencer (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .start_i(start),
    .soft_reset_i(soft_reset),
    .interrupt_clear_i(interrupt_clear),
    .config_matches_i(config_matches),
    .core_rst_no(core_rst_n),
    .clear_counters_o(clear_counters),
    .counting_o(counting),
    .stop_o(stop),
    .program_done_i(program_done),
    .dmas_idle_i(dmas_idle),
    .moved_i(moved),
    .queue_state_i({queue_full, engine_busy, queue_blocked, queue_waiting}),
    .malformed_i(fetch_malformed),
    .missing_end_i(fetch_missing_end),
    .malformed_queue_i(fetch_queue),
    .word_index_i(fetch_index),
    .axi_error_i({store_error, load_error, fetch_error}),
    .axi_response_i({store_response, load_response, fetch_response}),
    .axi_address_i({store_error_address, load_error_address, fetch_error_address}),
    .running_o(running),
    .done_o(done),
    .error_o(error),
    .interrupt_o(interrupt),
    .error_cause_o(error_cause),
    .error_queue_o(error_queue),
    .error_word_o(error_word),
    .error_state_o(error_state),
    .error_address_o(error_address)
  );

  assign dmas_idle    = fetch_idle && load_idle && store_idle;
  assign program_done = queue_ended[Store] && &queue_empty && engine_busy == '0 && dmas_idle;
  assign moved        = fetch_moved || queue_moved != '0 || queue_finished != '0 || engine_busy != '0 || !dmas_idle;

  // ---- counters

  localparam int unsigned Counters = ia_registers_pkg::Counters;
  localparam int unsigned Kinds = ia_registers_pkg::CounterKinds;

  logic [Queues-1:0]   engine_waits;
  logic [Counters-1:0] counted_q;

  assign engine_waits = {store_waits, 1'b0, 1'b0, load_waits};

  always_ff @(posedge clk_i) begin
    counted_q    <= '0;
    counted_q[0] <= counting;
    for (int unsigned q = 0; q < Queues; q++) begin
      counted_q[Kinds*(q+1)+ia_registers_pkg::CounterBusy]          <= counting && engine_busy[q];
      counted_q[Kinds*(q+1)+ia_registers_pkg::CounterWaitSemaphore] <= counting && queue_waiting[q] && !engine_busy[q];
      counted_q[Kinds*(q+1)+ia_registers_pkg::CounterWaitMemory]    <= counting && engine_waits[q];
      counted_q[Kinds*(q+1)+ia_registers_pkg::CounterWords]         <= counting && queue_finished[q];
    end
  end

  ia_counters #(.Counters(Counters)) u_counters (
    .clk_i(clk_i),
    .clear_i(clear_counters),
    .event_i(counted_q),
    .number_i(counter_number),
    .sum_o(counter_sum)
  );

  // ---- fetching and issuing

  logic [Queues-1:0]     fetch_valid, fetch_ready;
  logic [127:0]          fetch_word;
  logic [Queues-1:0]     take_valid, take_grant, signal_valid, signal_ready;
  logic [16*Queues-1:0]  take_mask, signal_mask;
  logic [Queues-1:0]     word_valid, word_ready;
  logic [128*Queues-1:0] words;

  ia_fetch #(
    .AddressBits(AddressBits),
    .AxiBytes(AxiBytes),
    .BurstBytes(BurstBytes),
    .Outstanding(Outstanding)
  ) u_fetch (
    .clk_i(clk_i),
    .rst_ni(core_rst_n),
    .base_i(program_base),
    .words_i(program_words),
    .word_valid_o(fetch_valid),
    .word_ready_i(fetch_ready),
    .word_o(fetch_word),
    .stop_i(stop),
    .idle_o(fetch_idle),
    .moved_o(fetch_moved),
    .malformed_o(fetch_malformed),
    .missing_end_o(fetch_missing_end),
    .word_index_o(fetch_index),
    .error_o(fetch_error),
    .error_response_o(fetch_response),
    .error_address_o(fetch_error_address),
    .arvalid_o(m_fetch_arvalid_o),
    .arready_i(m_fetch_arready_i),
    .araddr_o(m_fetch_araddr_o),
    .arlen_o(m_fetch_arlen_o),
    .rvalid_i(m_fetch_rvalid_i),
    .rready_o(m_fetch_rready_o),
    .rdata_i(m_fetch_rdata_i),
    .rresp_i(m_fetch_rresp_i),
    .rlast_i(m_fetch_rlast_i)
  );

  assign fetch_queue = fetch_word[5:4];
  assign queue_full  = fetch_valid & ~fetch_ready;

  ia_issue #(.QueueWords(QueueWords)) u_issue [Queues-1:0] (
    .clk_i(clk_i),
    .rst_ni(core_rst_n),
    .hold_i(stop),
    .in_valid_i(fetch_valid),
    .in_ready_o(fetch_ready),
    .in_word_i(fetch_word),
    .take_valid_o(take_valid),
    .take_mask_o(take_mask),
    .take_grant_i(take_grant),
    .signal_valid_o(signal_valid),
    .signal_mask_o(signal_mask),
    .signal_ready_i(signal_ready),
    .word_valid_o(word_valid),
    .word_ready_i(word_ready),
    .word_o(words),
    .done_i(engine_done),
    .waiting_o(queue_waiting),
    .blocked_o(queue_blocked),
    .moved_o(queue_moved),
    .finished_o(queue_finished),
    .empty_o(queue_empty),
    .ended_o(queue_ended)
  );

  ia_semaphores #(.SemaphoreMax(SemaphoreMax)) u_semaphores (
    .clk_i(clk_i),
    .rst_ni(core_rst_n),
    .take_valid_i(take_valid),
    .take_mask_i(take_mask),
    .take_grant_o(take_grant),
    .signal_valid_i(signal_valid),
    .signal_mask_i(signal_mask),
    .signal_ready_o(signal_ready)
  );

  // ---- memories

  logic [Pixels-1:0]     source_read;
  logic [16*Pixels-1:0]  source_address;
  logic [128*Pixels-1:0] source_data;
  logic                  residual_read, vector_read, store_read;
  logic [15:0]           residual_address, vector_address, store_address;
  logic [127:0]          residual_data, vector_data, store_data;
  logic                  conv_write, vector_write, load_write;
  logic [15:0]           conv_write_address, vector_write_address, load_write_address, vector_write_lanes;
  logic [127:0]          conv_write_data, vector_write_data, load_write_data;

  ia_activation_memory #(.Pixels(Pixels), .ActBanks(ActBanks), .BankWords(BankWords)) u_activations (
    .clk_i(clk_i),
    .rst_ni(core_rst_n),
    .source_read_i(source_read),
    .source_address_i(source_address),
    .source_data_o(source_data),
    .residual_read_i(residual_read),
    .residual_address_i(residual_address),
    .residual_data_o(residual_data),
    .vector_read_i(vector_read),
    .vector_address_i(vector_address),
    .vector_data_o(vector_data),
    .store_read_i(store_read),
    .store_address_i(store_address),
    .store_data_o(store_data),
    .conv_write_i(conv_write),
    .conv_write_address_i(conv_write_address),
    .conv_write_data_i(conv_write_data),
    .vector_write_i(vector_write),
    .vector_write_address_i(vector_write_address),
    .vector_write_data_i(vector_write_data),
    .vector_write_lanes_i(vector_write_lanes),
    .load_write_i(load_write),
    .load_write_address_i(load_write_address),
    .load_write_data_i(load_write_data)
  );

  logic         weight_write, weight_read;
  logic [15:0]  weight_write_row, weight_read_row;
  logic [1:0]   weight_write_quarter;
  logic [127:0] weight_write_data;
  logic [511:0] weight_read_data;

  ia_weight_memory #(.WeightRows(WeightRows)) u_weights (
    .clk_i(clk_i),
    .rst_ni(core_rst_n),
    .weight_write_i(weight_write),
    .weight_write_row_i(weight_write_row),
    .weight_write_quarter_i(weight_write_quarter),
    .weight_write_data_i(weight_write_data),
    .read_i(weight_read),
    .read_row_i(weight_read_row),
    .read_data_o(weight_read_data)
  );

  logic         parameter_write, parameter_read;
  logic [15:0]  parameter_write_address, parameter_read_address;
  logic [127:0] parameter_write_data, parameter_read_data;

  ia_parameter_memory #(.ParameterGroups(ParameterGroups)) u_parameters (
    .clk_i(clk_i),
    .rst_ni(core_rst_n),
    .write_i(parameter_write),
    .write_address_i(parameter_write_address),
    .write_data_i(parameter_write_data),
    .read_i(parameter_read),
    .read_address_i(parameter_read_address),
    .read_data_o(parameter_read_data)
  );

  logic         table_write, table_write_ready, table_read;
  logic [15:0]  table_write_address;
  logic [3:0]   table_read_table;
  logic [127:0] table_write_data, table_read_bytes, table_read_data;

  ia_table_memory #(.Tables(Tables)) u_tables (
    .clk_i(clk_i),
    .rst_ni(core_rst_n),
    .write_i(table_write),
    .write_ready_o(table_write_ready),
    .write_address_i(table_write_address),
    .write_data_i(table_write_data),
    .read_i(table_read),
    .read_table_i(table_read_table),
    .read_bytes_i(table_read_bytes),
    .read_data_o(table_read_data)
  );

  // ---- engines

  ia_load #(
    .AddressBits(AddressBits),
    .AxiBytes(AxiBytes),
    .BurstBytes(BurstBytes),
    .Outstanding(Outstanding),
    .PatchWords(PatchWords)
  ) u_load (
    .clk_i(clk_i),
    .rst_ni(core_rst_n),
    .word_valid_i(word_valid[Load]),
    .word_ready_o(word_ready[Load]),
    .word_i(words[128*Load+:128]),
    .done_o(engine_done[Load]),
    .busy_o(engine_busy[Load]),
    .wait_memory_o(load_waits),
    .segment_base_i(segment_base),
    .load_write_o(load_write),
    .load_write_address_o(load_write_address),
    .load_write_data_o(load_write_data),
    .weight_write_o(weight_write),
    .weight_write_row_o(weight_write_row),
    .weight_write_quarter_o(weight_write_quarter),
    .weight_write_data_o(weight_write_data),
    .parameter_write_o(parameter_write),
    .parameter_write_address_o(parameter_write_address),
    .parameter_write_data_o(parameter_write_data),
    .table_write_o(table_write),
    .table_write_ready_i(table_write_ready),
    .table_write_address_o(table_write_address),
    .table_write_data_o(table_write_data),
    .stop_i(stop),
    .idle_o(load_idle),
    .error_o(load_error),
    .error_response_o(load_response),
    .error_address_o(load_error_address),
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

  ia_conv #(
    .Pixels(Pixels),
    .TileGroups(TileGroups),
    .ActBanks(ActBanks),
    .BankWords(BankWords)
  ) u_conv (
    .clk_i(clk_i),
    .rst_ni(core_rst_n),
    .word_valid_i(word_valid[Mac]),
    .word_ready_o(word_ready[Mac]),
    .word_i(words[128*Mac+:128]),
    .done_o(engine_done[Mac]),
    .busy_o(engine_busy[Mac]),
    .source_read_o(source_read),
    .source_address_o(source_address),
    .source_data_i(source_data),
    .residual_read_o(residual_read),
    .residual_address_o(residual_address),
    .residual_data_i(residual_data),
    .conv_write_o(conv_write),
    .conv_write_address_o(conv_write_address),
    .conv_write_data_o(conv_write_data),
    .weight_read_o(weight_read),
    .weight_row_o(weight_read_row),
    .weight_data_i(weight_read_data),
    .parameter_read_o(parameter_read),
    .parameter_address_o(parameter_read_address),
    .parameter_data_i(parameter_read_data)
  );

  ia_vector u_vector (
    .clk_i(clk_i),
    .rst_ni(core_rst_n),
    .word_valid_i(word_valid[Vec]),
    .word_ready_o(word_ready[Vec]),
    .word_i(words[128*Vec+:128]),
    .done_o(engine_done[Vec]),
    .busy_o(engine_busy[Vec]),
    .vector_read_o(vector_read),
    .vector_address_o(vector_address),
    .vector_data_i(vector_data),
    .vector_write_o(vector_write),
    .vector_write_address_o(vector_write_address),
    .vector_write_data_o(vector_write_data),
    .vector_write_lanes_o(vector_write_lanes),
    .table_read_o(table_read),
    .table_o(table_read_table),
    .table_bytes_o(table_read_bytes),
    .table_data_i(table_read_data)
  );

  ia_store #(
    .AddressBits(AddressBits),
    .AxiBytes(AxiBytes),
    .BurstBytes(BurstBytes),
    .Outstanding(Outstanding)
  ) u_store (
    .clk_i(clk_i),
    .rst_ni(core_rst_n),
    .word_valid_i(word_valid[Store]),
    .word_ready_o(word_ready[Store]),
    .word_i(words[128*Store+:128]),
    .done_o(engine_done[Store]),
    .busy_o(engine_busy[Store]),
    .wait_memory_o(store_waits),
    .segment_base_i(segment_base),
    .store_read_o(store_read),
    .store_address_o(store_address),
    .store_data_i(store_data),
    .stop_i(stop),
    .idle_o(store_idle),
    .error_o(store_error),
    .error_response_o(store_response),
    .error_address_o(store_error_address),
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

endmodule
