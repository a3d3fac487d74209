// The convolution engine: Conv words of the MAC queue, and the setup words before them.
//
// A Conv is taken when the loops of the one before have ended. From then on the sequencers have what they need of it, the
// epilogue has its own copy, and setup words write the registers for the next one. Its sums grow in one buffer of
// accumulators while the tile before is drained from the other, whichever Conv that belongs to.
//
// Time of a group of pixels, counted from its issue by ia_conv_dense: addresses at the source ports 2; words 6; operands
// of the array 7; sums 18; in the accumulators 20. ia_conv_depthwise issues an output where dense groups are 1 cycle old.
`include "checks.svh"

module ia_conv #(
  parameter int unsigned Pixels = 2,
  parameter int unsigned TileGroups = 32,
  parameter int unsigned ActBanks = 8,
  parameter int unsigned BankWords = 2048,
  parameter int unsigned DspLanes = 12
) (
  input  logic                  clk_i,
  input  logic                  rst_ni,
  input  logic                  word_valid_i,
  output logic                  word_ready_o,
  input  logic [127:0]          word_i,
  output logic                  done_o,
  output logic                  busy_o,
  // Activation memory
  output logic [Pixels-1:0]     source_read_o,
  output logic [16*Pixels-1:0]  source_address_o,
  input  logic [128*Pixels-1:0] source_data_i,
  output logic                  residual_read_o,
  output logic [15:0]           residual_address_o,
  input  logic [127:0]          residual_data_i,
  output logic                  conv_write_o,
  output logic [15:0]           conv_write_address_o,
  output logic [127:0]          conv_write_data_o,
  // Weight and parameter memory
  output logic                  weight_read_o,
  output logic [15:0]           weight_row_o,
  input  logic [511:0]          weight_data_i,
  output logic                  parameter_read_o,
  output logic [15:0]           parameter_address_o,
  input  logic [127:0]          parameter_data_i
);

  localparam int unsigned GroupBits = $clog2(TileGroups);
  localparam int unsigned PixelBits = $clog2(Pixels);
  localparam int unsigned ReadLatency = 4;
  localparam int unsigned IssueToData = 6;
  localparam int unsigned IssueToSwitch = 7;
  localparam int unsigned IssueToSum = 18;

  // ---- words

  logic              waits, take, setup_ready, reads_known, holds_known, primed, room, clear, late, settled;
  logic              dense_busy, depthwise_busy;
  ia_isa_pkg::conv_t conv;
  assign conv  = word_i;
  assign waits = word_valid_i && conv.opcode == ia_isa_pkg::OpConv;
  assign take  = waits && setup_ready && primed && room && clear && !dense_busy && !depthwise_busy;
  assign word_ready_o = waits ? take : !late;

  logic [ActBanks-1:0] source_banks, residual_banks, target_banks;
  ia_isa_pkg::conv_source_t   source;
  ia_isa_pkg::conv_window_t   window;
  ia_isa_pkg::conv_target_t   target;
  ia_isa_pkg::conv_residual_t residual;
  ia_isa_pkg::conv_add_t      add;
  logic [15:0]          row_step, stride_step, origin;
  logic [17:0]          last_group;
  logic [16*Pixels-1:0] start_x, start_y, start_address;
  logic [15:0]          next_x, next_y, next_address, wrap_x, wrap_y, wrap_address, wrap_at;

  ia_conv_setup #(.Pixels(Pixels), .ActBanks(ActBanks), .BankWords(BankWords)) u_setup (
    .clk_i,
    .rst_ni,
    .setup_i(word_valid_i && !waits && !late),
    .waits_i(waits),
    .taken_i(take),
    .word_i,
    .ready_o(setup_ready),
    .reads_known_o(reads_known),
    .holds_known_o(holds_known),
    .source_banks_o(source_banks),
    .residual_banks_o(residual_banks),
    .target_banks_o(target_banks),
    .source_o(source),
    .window_o(window),
    .target_o(target),
    .residual_o(residual),
    .add_o(add),
    .row_step_o(row_step),
    .stride_step_o(stride_step),
    .origin_o(origin),
    .last_group_o(last_group),
    .start_x_o(start_x),
    .start_y_o(start_y),
    .start_address_o(start_address),
    .next_x_o(next_x),
    .next_y_o(next_y),
    .next_address_o(next_address),
    .wrap_x_o(wrap_x),
    .wrap_y_o(wrap_y),
    .wrap_address_o(wrap_address),
    .wrap_at_o(wrap_at)
  );

  logic joins;
  assign joins = conv.residual && conv.finish;
  ia_conv_hazards #(.ActBanks(ActBanks)) u_hazards (
    .clk_i,
    .rst_ni,
    .source_banks_i(source_banks),
    .residual_banks_i(residual_banks),
    .target_banks_i(target_banks),
    .reads_known_i(reads_known),
    .holds_known_i(holds_known),
    .finishes_i(conv.finish),
    .joins_i(joins),
    .taken_i(take),
    .done_i(done_o),
    .clear_o(clear),
    .late_o(late),
    .busy_o
  );

  // ---- loops

  logic                 buffer_q, buffer_free;
  logic [1:0]           full_q;
  logic                 finishes_q;   // the Conv in the loops has an epilogue
  logic [7:0]           fill_q;
  logic                 dense_valid, dense_first, dense_tile_end, dense_step, dense_step_last;
  logic                 dense_tile_last, dense_block_last;
  logic [GroupBits-1:0] dense_group;
  logic [Pixels-1:0]    dense_read;
  logic [16*Pixels-1:0] dense_address;
  logic                 depth_valid, depth_first, depth_tile_end, depth_step, depth_step_last, depth_tile_last;
  logic                 depth_block_last, depth_shift;
  logic [GroupBits-1:0] depth_group;
  logic [1:0]           depth_select, depth_read;
  logic [4:0]           depth_gather;
  logic [31:0]          depth_address;

  ia_conv_dense #(.Pixels(Pixels), .TileGroups(TileGroups)) u_dense (
    .clk_i,
    .rst_ni,
    .start_i(take && !conv.depthwise),
    .continues_i(!conv.start),
    .source_i(source),
    .window_i(window),
    .row_step_i(row_step),
    .last_group_i(last_group),
    .start_x_i(start_x),
    .start_y_i(start_y),
    .start_address_i(start_address),
    .next_x_i(next_x),
    .next_y_i(next_y),
    .next_address_i(next_address),
    .wrap_x_i(wrap_x),
    .wrap_y_i(wrap_y),
    .wrap_address_i(wrap_address),
    .wrap_at_i(wrap_at),
    .buffer_free_i(buffer_free),
    .busy_o(dense_busy),
    .valid_o(dense_valid),
    .group_o(dense_group),
    .first_o(dense_first),
    .tile_end_o(dense_tile_end),
    .step_o(dense_step),
    .step_last_o(dense_step_last),
    .tile_last_o(dense_tile_last),
    .block_last_o(dense_block_last),
    .read_o(dense_read),
    .address_o(dense_address)
  );

  ia_conv_depthwise #(.TileGroups(TileGroups)) u_depthwise (
    .clk_i,
    .rst_ni,
    .start_i(take && conv.depthwise),
    .source_i(source),
    .window_i(window),
    .row_step_i(row_step),
    .stride_step_i(stride_step),
    .origin_i(origin),
    .buffer_free_i(buffer_free),
    .settled_i(settled),
    .busy_o(depthwise_busy),
    .valid_o(depth_valid),
    .group_o(depth_group),
    .select_o(depth_select),
    .first_o(depth_first),
    .tile_end_o(depth_tile_end),
    .step_o(depth_step),
    .step_last_o(depth_step_last),
    .tile_last_o(depth_tile_last),
    .block_last_o(depth_block_last),
    .gather_o(depth_gather),
    .shift_o(depth_shift),
    .read_o(depth_read),
    .address_o(depth_address)
  );

  // Which buffer the sums grow in, and which buffers have not been drained.
  logic tile_end, drained, drained_buffer;
  assign tile_end    = (dense_tile_end || depth_tile_end) && finishes_q;
  assign buffer_free = !full_q[buffer_q];
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      buffer_q <= 1'b0;
      full_q   <= 2'b00;
    end else begin
      if (tile_end) buffer_q <= !buffer_q;
      for (int unsigned i = 0; i < 2; i++) begin
        if (tile_end && buffer_q == 1'(i)) full_q[i] <= 1'b1;
        else if (drained && drained_buffer == 1'(i)) full_q[i] <= 1'b0;
      end
    end
  end
  always_ff @(posedge clk_i) begin
    if (take) begin
      finishes_q <= conv.finish;
      fill_q     <= source.fill;
    end
  end

  // ---- weights

  logic       row, row_zero;
  logic [1:0] row_index;
  ia_weight_loader u_weights (
    .clk_i,
    .rst_ni,
    .waits_i(waits),
    .waits_row_i(conv.weight_row),
    .waits_depthwise_i(conv.depthwise),
    .taken_i(take),
    .primed_o(primed),
    .step_i(dense_step || depth_step),
    .step_last_i(depth_step ? depth_step_last : dense_step_last),
    .tile_last_i(depth_step ? depth_tile_last : dense_tile_last),
    .block_last_i(depth_step ? depth_block_last : dense_block_last),
    .settled_o(settled),
    .weight_read_o,
    .weight_row_o,
    .row_o(row),
    .row_index_o(row_index),
    .row_zero_o(row_zero)
  );

  // ---- controls on their way; entry i is for groups that are i + 1 cycles old

  typedef struct packed {
    logic                 valid;
    logic                 first;
    logic                 begins;  // a step
    logic                 tile;    // the sums of the tile are complete
    logic                 buffer;
    logic [GroupBits-1:0] group;
    logic [1:0]           select;
  } control_t;
  localparam int unsigned ControlBits = GroupBits + 7;
  control_t dense_control_q, entering;
  logic [ControlBits*(IssueToSum-1)-1:0] controls_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      dense_control_q <= '0;
    end else begin
      dense_control_q        <= '0;
      dense_control_q.valid  <= dense_valid;
      dense_control_q.first  <= dense_first;
      dense_control_q.begins <= dense_step;
      dense_control_q.tile   <= dense_tile_end;
      dense_control_q.buffer <= buffer_q;
      dense_control_q.group  <= dense_group;
    end
  end
  always_comb begin
    entering = dense_control_q;
    if (depth_valid) begin
      entering.valid  = 1'b1;
      entering.first  = depth_first;
      entering.begins = depth_step;
      entering.tile   = depth_tile_end;
      entering.buffer = buffer_q;
      entering.group  = depth_group;
      entering.select = depth_select;
    end
  end

  /* verilator lint_off UNUSEDSIGNAL */
  control_t at_switch, at_sum, at_end;
  /* verilator lint_on UNUSEDSIGNAL */
  always_ff @(posedge clk_i) begin
    if (!rst_ni) controls_q <= '0;
    else controls_q <= {controls_q[ControlBits*(IssueToSum-2)-1:0], entering};
  end
  // controls_q's entry i is for groups that are i + 2 cycles old.
  assign at_switch = controls_q[ControlBits*(IssueToSwitch-2)+:ControlBits];
  assign at_sum    = controls_q[ControlBits*(IssueToSum-3)+:ControlBits];
  assign at_end    = controls_q[ControlBits*(IssueToSum-2)+:ControlBits];

  // ---- operands

  logic [Pixels-1:0]             read;
  logic [16*Pixels-1:0]          address;
  logic [Pixels*ReadLatency-1:0] reads_q;
  logic [8*IssueToData-1:0]      fills_q;
  logic [5*IssueToSwitch-1:0]    gathers_q;
  logic [5:0]                    shifts_q;
  always_comb begin
    read    = dense_read;
    address = dense_address;
    if (depth_read != 2'b00) begin
      read[1:0]     = depth_read;
      address[31:0] = depth_address;
    end
  end
  assign source_read_o    = read;
  assign source_address_o = address;

  always_ff @(posedge clk_i) begin
    reads_q   <= {reads_q[Pixels*(ReadLatency-1)-1:0], read};
    fills_q   <= {fills_q[8*(IssueToData-1)-1:0], fill_q};
    gathers_q <= {gathers_q[5*(IssueToSwitch-1)-1:0], depth_gather};
    shifts_q  <= {shifts_q[4:0], depth_shift};
  end

  logic [128*Pixels-1:0] x;
  logic [1919:0]         windows;
  ia_conv_operands #(.Pixels(Pixels)) u_operands (
    .clk_i,
    .source_data_i,
    .read_i(reads_q[Pixels*(ReadLatency-1)+:Pixels]),
    .fill_i(fills_q[8*(IssueToData-1)+:8]),
    .x_o(x),
    .gather_i(gathers_q[5*(IssueToSwitch-1)+:5]),
    .shift_i(shifts_q[5]),
    .window_o(windows)
  );

  // ---- array, accumulators, epilogue

  logic [16*19*Pixels-1:0] sums;
  ia_mac_array #(.Pixels(Pixels), .DspLanes(DspLanes)) u_array (
    .clk_i,
    .rst_ni,
    .row_i(row),
    .row_index_i(row_index),
    .row_zero_i(row_zero),
    .row_data_i(weight_data_i),
    .switch_i(at_switch.begins),
    .x_i(x),
    .select_i(at_switch.select),
    .window_i(windows),
    .sum_o(sums)
  );

  logic                 drain_buffer;
  logic [GroupBits-1:0] drain_group;
  logic [PixelBits-1:0] drain_even, drain_odd;
  logic [511:0]         drain_data;
  ia_accumulators #(.Pixels(Pixels), .TileGroups(TileGroups)) u_accumulators (
    .clk_i,
    .rst_ni,
    .valid_i(at_sum.valid),
    .buffer_i(at_sum.buffer),
    .first_i(at_sum.first),
    .group_i(at_sum.group),
    .sum_i(sums),
    .drain_buffer_i(drain_buffer),
    .drain_group_i(drain_group),
    .drain_even_i(drain_even),
    .drain_odd_i(drain_odd),
    .drain_data_o(drain_data)
  );

  ia_conv_epilogue #(.Pixels(Pixels), .TileGroups(TileGroups)) u_epilogue (
    .clk_i,
    .rst_ni,
    .start_i(take),
    .room_o(room),
    .conv_i(conv),
    .window_i(window),
    .target_i(target),
    .residual_i(residual),
    .add_i(add),
    .done_o,
    .tile_i(at_end.tile && at_end.valid),
    .drained_o(drained),
    .drained_buffer_o(drained_buffer),
    .drain_buffer_o(drain_buffer),
    .drain_group_o(drain_group),
    .drain_even_o(drain_even),
    .drain_odd_o(drain_odd),
    .drain_data_i(drain_data),
    .parameter_read_o,
    .parameter_address_o,
    .parameter_data_i,
    .residual_read_o,
    .residual_address_o,
    .residual_data_i,
    .conv_write_o,
    .conv_write_address_o,
    .conv_write_data_o
  );

  `CHECK(OneSequencer, !(dense_control_q.valid && depth_valid))
  `CHECK(OneStep, !(dense_step && depth_step))

endmodule
