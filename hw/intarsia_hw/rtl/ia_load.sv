// LOAD queue: copies words of DRAM to activation memory, constants to their memories, and cuts patches of images.
//
// A run word is worked on in two places. Its requests are made row by row as soon as it is taken; its data is delivered
// when its turn comes, by a job that travels through a small FIFO. So the requests of the next words go out while the data
// of this one arrives, and everything lands in order.
`include "checks.svh"

module ia_load #(
  parameter int unsigned AddressBits = 32,
  parameter int unsigned AxiBytes = 8,
  parameter int unsigned BurstBytes = 128,
  parameter int unsigned Outstanding = 8,
  parameter int unsigned PatchWords = 512  // line buffer for patches, in words of 16 bytes; a power of two
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
  // Memories
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
  // Control
  input  logic                     stop_i,
  output logic                     idle_o,
  output logic                     error_o,
  output logic [1:0]               error_response_o,
  output logic [AddressBits-1:0]   error_address_o,
  // AXI
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

  localparam int unsigned WordBits = AddressBits - 4;
  localparam int unsigned InFlight = 4;   // run words at most
  localparam int unsigned RunBits = 20;   // of a run of words: 65,535 tables of 16 words

  // ---- words of the queue

  ia_isa_pkg::load_shape_t         shape_q, shape_word;
  ia_isa_pkg::load_patch_shape_t   patch_shape_q, patch_shape_word;
  ia_isa_pkg::load_patch_target_t  patch_target_q, patch_target_word;
  ia_isa_pkg::load_t               load_word;
  ia_isa_pkg::load_constants_t     constants_word;
  ia_isa_pkg::load_patch_t         patch_word;

  assign shape_word        = word_i;
  assign patch_shape_word  = word_i;
  assign patch_target_word = word_i;
  assign load_word         = word_i;
  assign constants_word    = word_i;
  assign patch_word        = word_i;

  // What a run word asks for, and what its job is. Kinds of jobs:
  localparam logic [1:0] KindLoad = 2'd0;
  localparam logic [1:0] KindConstants = 2'd1;
  localparam logic [1:0] KindPatch = 2'd2;

  // Taken: in the first cycle sums and shifts are made, then the job starts; a patch is planned in between.
  typedef enum logic [1:0] {StateIdle, StatePrepare, StatePlan, StateStart} state_e;
  state_e     state_q;
  logic       is_run, is_constants, is_patch, taken, starts, plan_done, job_ready, requests_valid;
  logic [2:0] in_flight_q;

  assign is_constants = load_word.opcode == ia_isa_pkg::OpLoadConstants;
  assign is_patch     = load_word.opcode == ia_isa_pkg::OpLoadPatch;
  assign is_run       = load_word.opcode == ia_isa_pkg::OpLoad || is_constants || is_patch;
  assign word_ready_o = state_q == StateIdle && (!is_run || in_flight_q != 3'(InFlight));
  assign taken        = word_valid_i && word_ready_o && is_run;
  assign starts       = state_q == StateStart && !requests_valid && job_ready;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      shape_q        <= '0;
      patch_shape_q  <= '0;
      patch_target_q <= '0;
    end else if (word_valid_i && word_ready_o) begin
      if (load_word.opcode == ia_isa_pkg::OpLoadShape) shape_q <= shape_word;
      if (load_word.opcode == ia_isa_pkg::OpLoadPatchShape) patch_shape_q <= patch_shape_word;
      if (load_word.opcode == ia_isa_pkg::OpLoadPatchTarget) patch_target_q <= patch_target_word;
    end
  end

  logic [1:0]          kind_q;
  logic [1:0]          memory_q;
  logic                upsample_q;
  logic [WordBits-1:0] segment_base_q;
  logic [27:0]         offset_q;
  logic [15:0]         base_q;   // in ACT, or the first entry
  logic [15:0]         count_q;  // entries

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q     <= StateIdle;
      in_flight_q <= '0;
    end else begin
      in_flight_q <= in_flight_q + 3'(taken) - 3'(done_o);
      case (state_q)
        StateIdle: if (taken) state_q <= StatePrepare;
        StatePrepare: state_q <= kind_q == KindPatch ? StatePlan : StateStart;
        StatePlan: if (plan_done) state_q <= StateStart;
        StateStart: if (starts) state_q <= StateIdle;
        default: state_q <= StateIdle;
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    if (taken) begin
      // Segment and offset lie in other bits of LoadConstants.
      segment_base_q <= is_constants ? segment_base_i[AddressBits*32'(constants_word.segment)+4+:WordBits]
                                     : segment_base_i[AddressBits*32'(load_word.segment)+4+:WordBits];
      offset_q       <= is_constants ? constants_word.offset : load_word.offset;
      base_q         <= is_constants ? constants_word.at : load_word.base;
      count_q        <= constants_word.count;
      memory_q       <= constants_word.memory;
      upsample_q     <= load_word.upsample[0] && !is_constants && !is_patch;
      kind_q         <= is_patch ? KindPatch : is_constants ? KindConstants : KindLoad;
    end
  end

  // ---- plan: the rectangle in DRAM, and the job

  logic [WordBits-1:0] start_q;                        // first word in DRAM
  logic [9:0]          blocks_q;
  logic [15:0]         rows_q;                         // rows of data; 0: a patch that needs no row of its image
  logic [13:0]         columns_q;                      // words in a row
  logic [15:0]         target_q, row_pitch_q, block_pitch_q;  // in the memory written
  logic [3:0]          entry_bits;                     // a constant's entry has 1 << entry_bits words
  logic [WordBits-1:0] plan_start;
  logic [15:0]         plan_rows;
  logic [13:0]         plan_columns;

  assign entry_bits = memory_q == ia_isa_pkg::MemoryWeights ? 4'd2 :
                      memory_q == ia_isa_pkg::MemoryParameters ? 4'd3 : 4'd4;

  always_ff @(posedge clk_i) begin
    if (state_q == StatePrepare) begin
      start_q       <= segment_base_q + WordBits'(offset_q);
      blocks_q      <= kind_q == KindLoad ? shape_q.blocks : 10'd1;
      block_pitch_q <= shape_q.block_pitch;
      if (kind_q == KindConstants) begin
        rows_q      <= count_q;
        columns_q   <= 14'd1 << entry_bits;
        target_q    <= base_q << entry_bits;
        row_pitch_q <= 16'd1 << entry_bits;
      end else begin
        rows_q      <= 16'((15'(shape_q.rows) + 15'(upsample_q)) >> upsample_q);
        columns_q   <= 14'((15'(shape_q.columns) + 15'(upsample_q)) >> upsample_q);
        target_q    <= base_q;
        row_pitch_q <= {1'b0, shape_q.row_pitch, 1'b0} >> !upsample_q;
      end
    end else if (state_q == StatePlan && plan_done) begin
      start_q   <= plan_start;
      rows_q    <= plan_rows;
      columns_q <= plan_columns;
    end
  end

  // ---- requests: a row each; constants in one piece

  logic                request_step, request_last, request_ready, asks;
  logic                unused_request_column, unused_request_row;
  logic [WordBits-1:0] request_address;
  logic [RunBits-1:0]  request_words_q;
  logic [15:0]         dram_row_pitch;

  assign asks           = starts && rows_q != 0;
  assign dram_row_pitch = kind_q == KindPatch ? {4'd0, patch_shape_q.pitch} : shape_q.dram_row_pitch;

  always_ff @(posedge clk_i) begin
    if (starts) request_words_q <= kind_q == KindConstants ? RunBits'(count_q) << entry_bits : RunBits'(columns_q);
  end

  ia_rectangle #(
    .AddressBits(WordBits), .ColumnsBits(1), .RowPitchBits(16), .BlockPitchBits(26)
  ) u_requests (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .start_i(asks),
    .base_i(start_q),
    .blocks_i(blocks_q),
    .rows_i(kind_q == KindConstants ? 14'd1 : rows_q[13:0]),
    .columns_i(1'b1),
    .column_pitch_i(2'd0),
    .row_pitch_i(dram_row_pitch),
    .block_pitch_i(shape_q.dram_block_pitch),
    .valid_o(requests_valid),
    .address_o(request_address),
    .last_column_o(unused_request_column),
    .last_row_o(unused_request_row),
    .last_o(request_last),
    .step_i(request_step)
  );

  assign request_step = requests_valid && request_ready;

  logic         data_valid, data_ready;
  logic [127:0] data;

  ia_axi_read #(
    .AddressBits(AddressBits), .AxiBytes(AxiBytes), .BurstBytes(BurstBytes), .Outstanding(Outstanding),
    .WordsBits(RunBits)
  ) u_read (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .request_valid_i(requests_valid),
    .request_ready_o(request_ready),
    .request_address_i({request_address, 4'd0}),
    .request_words_i(request_words_q),
    .request_close_i(request_last),
    .data_valid_o(data_valid),
    .data_ready_i(data_ready),
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

  // ---- delivery

  logic         route_done, patch_done, patch_ready, patch_start, patch_idle, fill_valid, fill_ready, patch_write;
  logic         route_waits, patch_works, fill_last;
  logic [15:0]  patch_address;
  logic [127:0] patch_data;

  ia_load_route u_route (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .job_valid_i(starts),
    .job_ready_o(job_ready),
    .job_patch_i(kind_q == KindPatch),
    .job_constants_i(kind_q == KindConstants),
    .job_memory_i(memory_q),
    .job_upsample_i(upsample_q),
    .job_odd_rows_i(shape_q.rows[0]),
    .job_odd_columns_i(shape_q.columns[0]),
    .job_blocks_i(blocks_q),
    .job_rows_i(rows_q),
    .job_columns_i(columns_q),
    .job_target_i(target_q),
    .job_row_pitch_i(row_pitch_q),
    .job_block_pitch_i(block_pitch_q),
    .data_valid_i(data_valid),
    .data_ready_o(data_ready),
    .data_i(data),
    .waits_o(route_waits),
    .done_o(route_done),
    .patch_ready_i(patch_ready),
    .patch_start_o(patch_start),
    .patch_idle_i(patch_idle),
    .fill_valid_o(fill_valid),
    .fill_ready_i(fill_ready),
    .fill_last_o(fill_last),
    .patch_write_i(patch_write),
    .patch_address_i(patch_address),
    .patch_data_i(patch_data),
    .load_write_o(load_write_o),
    .weight_write_o(weight_write_o),
    .parameter_write_o(parameter_write_o),
    .table_write_o(table_write_o),
    .table_write_ready_i(table_write_ready_i),
    .write_address_o(load_write_address_o),
    .write_data_o(load_write_data_o)
  );

  assign weight_write_row_o        = load_write_address_o >> 2;
  assign weight_write_quarter_o    = load_write_address_o[1:0];
  assign weight_write_data_o       = load_write_data_o;
  assign parameter_write_address_o = load_write_address_o;
  assign parameter_write_data_o    = load_write_data_o;
  assign table_write_address_o     = load_write_address_o;
  assign table_write_data_o        = load_write_data_o;

  assign done_o        = route_done || patch_done;
  assign busy_o        = in_flight_q != 0;
  assign wait_memory_o = busy_o && route_waits && !patch_works;

  // ---- patches

  logic [15:0]        row_bytes;
  logic [12:0]        row_words;
  logic [7:0]         segment_bytes;
  logic [5:0]         step_bytes;
  logic signed [18:0] left_byte;
  logic [13:0]        first, stop;

  assign plan_rows    = 16'(stop - first);
  assign plan_columns = 14'(row_words);

  ia_patch_plan #(.WordBits(WordBits)) u_plan (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .start_i(state_q == StatePrepare && kind_q == KindPatch),
    .done_o(plan_done),
    .height_i(patch_shape_q.height),
    .width_i(patch_shape_q.width),
    .channels_i(patch_shape_q.channels),
    .pitch_i(patch_shape_q.pitch),
    .kernel_height_i(patch_shape_q.kernel_height),
    .kernel_width_i(patch_shape_q.kernel_width),
    .stride_y_i(patch_shape_q.stride_y),
    .stride_x_i(patch_shape_q.stride_x),
    .rows_i(patch_target_q.rows),
    .pad_top_i(patch_target_q.pad_top),
    .pad_left_i(patch_target_q.pad_left),
    .image_i(start_q),
    .row_bytes_o(row_bytes),
    .row_words_o(row_words),
    .segment_bytes_o(segment_bytes),
    .step_bytes_o(step_bytes),
    .left_byte_o(left_byte),
    .first_o(first),
    .stop_o(stop),
    .start_o(plan_start)
  );

  ia_load_patch #(.PatchWords(PatchWords)) u_patch (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .job_valid_i(starts && kind_q == KindPatch),
    .job_row_bytes_i(row_bytes),
    .job_row_words_i(row_words),
    .job_segment_bytes_i(segment_bytes),
    .job_step_bytes_i(step_bytes),
    .job_left_byte_i(left_byte),
    .job_first_i(first),
    .job_stop_i(stop),
    .job_pad_top_i(patch_target_q.pad_top),
    .job_kernel_height_i(patch_shape_q.kernel_height),
    .job_stride_y_i(patch_shape_q.stride_y),
    .job_fill_i(patch_shape_q.fill),
    .job_rows_i(patch_target_q.rows),
    .job_columns_i(patch_target_q.columns),
    .job_base_i(base_q),
    .job_row_pitch_i(patch_target_q.row_pitch),
    .job_block_pitch_i(patch_target_q.block_pitch),
    .ready_o(patch_ready),
    .start_i(patch_start),
    .idle_o(patch_idle),
    .works_o(patch_works),
    .done_o(patch_done),
    .fill_valid_i(fill_valid),
    .fill_ready_o(fill_ready),
    .fill_data_i(data),
    .fill_last_i(fill_last),
    .write_o(patch_write),
    .write_address_o(patch_address),
    .write_data_o(patch_data)
  );
  logic unused;
  assign unused = &{1'b0, shape_q.unused, shape_q.opcode, segment_base_i, load_word.unused, load_word.tag,
                    load_word.signal, load_word.wait_, constants_word.unused, constants_word.opcode,
                    constants_word.tag, constants_word.signal, constants_word.wait_, patch_word,
                    patch_shape_q, patch_target_q, unused_request_column, unused_request_row};

  `CHECK(OneWordEndsAtATime, !(route_done && patch_done))

endmodule
