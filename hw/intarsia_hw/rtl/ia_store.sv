// STORE queue: copies rectangles of activation memory to DRAM.
//
// A Store is walked twice: row by row for the write requests, word by word for the reads of activation memory. Words are
// read as far ahead as the DMA has room for them. The next Store is taken when both walks are done, while the bursts of
// this one are still on their way.
`include "checks.svh"

module ia_store #(
  parameter int unsigned AddressBits = 32,
  parameter int unsigned AxiBytes = 8,
  parameter int unsigned BurstBytes = 128,
  parameter int unsigned Outstanding = 8
) (
  input  logic                     clk_i,
  input  logic                     rst_ni,
  // Words of the queue
  input  logic                     word_valid_i,
  output logic                     word_ready_o,
  input  logic [127:0]             word_i,
  output logic                     done_o,
  output logic                     busy_o,
  output logic                     wait_memory_o,
  input  logic [4*AddressBits-1:0] segment_base_i,   // bytes, multiples of 16; segment s at AddressBits * s
  // Activation memory
  output logic                     store_read_o,
  output logic [15:0]              store_address_o,
  input  logic [127:0]             store_data_i,     // 4 cycles later
  // Control
  input  logic                     stop_i,
  output logic                     idle_o,
  output logic                     error_o,
  output logic [1:0]               error_response_o,
  output logic [AddressBits-1:0]   error_address_o,
  // AXI
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

  localparam int unsigned FifoWords = 32;
  localparam int unsigned FifoBits = $clog2(FifoWords);
  localparam int unsigned ReadLatency = 4;
  localparam int unsigned InFlight = 4;  // run words at most
  localparam int unsigned WordBits = AddressBits - 4;

  // ---- words

  ia_isa_pkg::store_shape_t shape_q, shape_word;
  ia_isa_pkg::store_t       store_word;
  logic                     is_run, taken, starts_q, requests_valid, reads_valid;
  logic [2:0]               in_flight_q;
  logic [WordBits-1:0]      segment_base_q;
  logic [27:0]              offset_q;
  logic [15:0]              base_q;

  assign shape_word = word_i;
  assign store_word = word_i;
  assign is_run     = store_word.opcode == ia_isa_pkg::OpStore;

  assign word_ready_o = !starts_q &&
                        (!is_run || (!requests_valid && !reads_valid && in_flight_q != 3'(InFlight)));
  assign taken        = word_valid_i && word_ready_o && is_run;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      shape_q     <= '0;
      starts_q    <= 1'b0;
      in_flight_q <= '0;
    end else begin
      if (word_valid_i && word_ready_o && !is_run) shape_q <= shape_word;
      starts_q    <= taken;
      in_flight_q <= in_flight_q + 3'(taken) - 3'(done_o);
    end
  end

  always_ff @(posedge clk_i) begin
    if (taken) begin
      segment_base_q <= segment_base_i[AddressBits*32'(store_word.segment)+4+:WordBits];
      offset_q       <= store_word.offset;
      base_q         <= store_word.base;
    end
  end

  // ---- requests, a row each

  logic                request_step, request_last, request_ready;
  logic [WordBits-1:0] request_address;
  logic [13:0]         columns_q;
  logic                unused_column, unused_row;

  always_ff @(posedge clk_i) begin
    if (starts_q) columns_q <= shape_q.columns;
  end

  ia_rectangle #(
    .AddressBits(WordBits), .ColumnsBits(1), .RowPitchBits(16), .BlockPitchBits(26)
  ) u_requests (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .start_i(starts_q),
    .base_i(segment_base_q + WordBits'(offset_q)),
    .blocks_i(shape_q.blocks),
    .rows_i(shape_q.rows),
    .columns_i(1'b1),
    .column_pitch_i(2'd0),
    .row_pitch_i(shape_q.dram_row_pitch),
    .block_pitch_i(shape_q.dram_block_pitch),
    .valid_o(requests_valid),
    .address_o(request_address),
    .last_column_o(unused_column),
    .last_row_o(unused_row),
    .last_o(request_last),
    .step_i(request_step)
  );

  assign request_step = requests_valid && request_ready;

  // ---- reads, a word each

  logic                   read_step, data_left, unused_read_column, unused_read_row, unused_read_last;
  logic [FifoBits:0]      space_q;  // words of the FIFO that no read has been made for
  logic                   read_q;
  logic [15:0]            read_address, read_address_q;
  logic [ReadLatency-1:0] reading_q;

  ia_rectangle u_reads (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .start_i(starts_q),
    .base_i(base_q),
    .blocks_i(shape_q.blocks),
    .rows_i(shape_q.rows),
    .columns_i(shape_q.columns),
    .column_pitch_i(2'd1),
    .row_pitch_i(shape_q.row_pitch),
    .block_pitch_i(shape_q.block_pitch),
    .valid_o(reads_valid),
    .address_o(read_address),
    .last_column_o(unused_read_column),
    .last_row_o(unused_read_row),
    .last_o(unused_read_last),
    .step_i(read_step)
  );

  assign read_step       = reads_valid && space_q != 0;
  assign store_read_o    = read_q;
  assign store_address_o = read_address_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      read_q    <= 1'b0;
      reading_q <= '0;
      space_q   <= (FifoBits + 1)'(FifoWords);
    end else begin
      read_q    <= read_step;
      reading_q <= {reading_q[ReadLatency-2:0], read_q};
      space_q   <= space_q - (FifoBits + 1)'(read_step) + (FifoBits + 1)'(data_left);
    end
  end

  always_ff @(posedge clk_i) read_address_q <= read_address;

  // ---- DMA

  ia_axi_write #(
    .AddressBits(AddressBits), .AxiBytes(AxiBytes), .BurstBytes(BurstBytes), .Outstanding(Outstanding),
    .WordsBits(14), .FifoWords(FifoWords)
  ) u_write (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .request_valid_i(requests_valid),
    .request_ready_o(request_ready),
    .request_address_i({request_address, 4'd0}),
    .request_words_i(columns_q),
    .request_close_i(request_last),
    .data_valid_i(reading_q[ReadLatency-1]),
    .data_i(store_data_i),
    .data_left_o(data_left),
    .closed_o(done_o),
    .stop_i(stop_i),
    .idle_o(idle_o),
    .error_o(error_o),
    .error_response_o(error_response_o),
    .error_address_o(error_address_o),
    .awvalid_o(awvalid_o),
    .awready_i(awready_i),
    .awaddr_o(awaddr_o),
    .awlen_o(awlen_o),
    .wvalid_o(wvalid_o),
    .wready_i(wready_i),
    .wdata_o(wdata_o),
    .wstrb_o(wstrb_o),
    .wlast_o(wlast_o),
    .bvalid_i(bvalid_i),
    .bready_o(bready_o),
    .bresp_i(bresp_i)
  );

  assign busy_o        = in_flight_q != 0;
  assign wait_memory_o = busy_o && !starts_q && !read_step;

  logic unused;
  assign unused = &{1'b0, shape_q.unused, shape_q.opcode, segment_base_i, store_word.unused, store_word.tag,
                    store_word.signal, store_word.wait_, unused_column, unused_row, unused_read_column,
                    unused_read_row, unused_read_last};

endmodule
