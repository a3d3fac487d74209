// The loops of a dense convolution: output blocks, tiles, kernel rows, kernel columns, input blocks, groups of pixels.
//
// A step (one kernel tap of one input block) of a tile takes a cycle a group, and at least the four in which the next
// block of weights loads. Two cycles after a group is issued its addresses stand at the source ports.
`include "checks.svh"

module ia_conv_dense #(
  parameter int unsigned Pixels = 2,
  parameter int unsigned TileGroups = 32,
  localparam int unsigned GroupBits = $clog2(TileGroups)
) (
  input  logic                     clk_i,
  input  logic                     rst_ni,
  input  logic                     start_i,        // take a Conv: the inputs below are those of it
  input  logic                     continues_i,    // its sums go on in the accumulators
  /* verilator lint_off UNUSEDSIGNAL */
  input  ia_isa_pkg::conv_source_t source_i,
  input  ia_isa_pkg::conv_window_t window_i,
  /* verilator lint_on UNUSEDSIGNAL */
  input  logic [15:0]              row_step_i,
  input  logic [17:0]              last_group_i,
  input  logic [16*Pixels-1:0]     start_x_i,
  input  logic [16*Pixels-1:0]     start_y_i,
  input  logic [16*Pixels-1:0]     start_address_i,
  input  logic [15:0]              next_x_i,
  input  logic [15:0]              next_y_i,
  input  logic [15:0]              next_address_i,
  input  logic [15:0]              wrap_x_i,
  input  logic [15:0]              wrap_y_i,
  input  logic [15:0]              wrap_address_i,
  input  logic [15:0]              wrap_at_i,
  input  logic                     buffer_free_i,  // the accumulators of the next tile have been drained
  output logic                     busy_o,
  // Issue of a group
  output logic                     valid_o,
  output logic [GroupBits-1:0]     group_o,
  output logic                     first_o,        // the sums begin here
  output logic                     tile_end_o,     // the sums of the tile are complete
  // Begin of a step, for the weights
  output logic                     step_o,
  output logic                     step_last_o,    // it is the last of its tile,
  output logic                     tile_last_o,    // the tile the last of its output block,
  output logic                     block_last_o,   // the block the last of the Conv
  // Two cycles later
  output logic [Pixels-1:0]        read_o,
  output logic [16*Pixels-1:0]     address_o
);

  localparam int unsigned LeastCycles = 4;

  `CHECK_PARAM(TilesHoldAStep, TileGroups >= LeastCycles && TileGroups == 1 << GroupBits)

  // ---- what the Conv is

  logic                 continues_q;
  logic [15:0]          block_pitch_q, row_step_q;
  logic [13:0]          height_q, width_q;
  logic [5:0]           kernel_height_q, kernel_width_q, dilation_y_q, dilation_x_q;
  logic [11:0]          input_blocks_q;
  logic [17:0]          last_group_q;
  logic [16*Pixels-1:0] start_x_q, start_y_q, start_address_q;
  logic [15:0]          next_x_q, next_y_q, next_address_q, wrap_x_q, wrap_y_q, wrap_address_q, wrap_at_q;

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      continues_q     <= continues_i;
      block_pitch_q   <= source_i.block_pitch;
      row_step_q      <= row_step_i;
      kernel_height_q <= window_i.kernel_height - 6'd1;
      kernel_width_q  <= window_i.kernel_width - 6'd1;
      dilation_y_q    <= window_i.dilation_y;
      dilation_x_q    <= window_i.dilation_x;
      input_blocks_q  <= window_i.input_blocks - 12'd1;
      last_group_q    <= last_group_i;
      start_x_q       <= start_x_i;
      start_y_q       <= start_y_i;
      start_address_q <= start_address_i;
      next_x_q        <= next_x_i;
      next_y_q        <= next_y_i;
      next_address_q  <= next_address_i;
      wrap_x_q        <= wrap_x_i;
      wrap_y_q        <= wrap_y_i;
      wrap_address_q  <= wrap_address_i;
      wrap_at_q       <= wrap_at_i;
    end
  end

  // ---- loops

  logic                 busy_q, first_q, last_block_q;
  logic [GroupBits:0]   group_q, end_q, steps_q;   // groups of the tile; cycles of a step, less 1
  logic [17:GroupBits]  tiles_left_q;              // tiles of the block after this one
  logic                 last_tile_q, next_last_q, last_group;
  logic [5:0]           ky_q, kx_q;
  logic [11:0]          ib_q, ob_q;
  logic                 last_ib, last_kx, last_step, hold, run, step_begin, step_end, tile_end, valid;

  assign last_ib    = ib_q == '0;
  assign last_kx    = last_ib && kx_q == '0;
  assign last_step  = last_kx && ky_q == '0;
  assign hold       = group_q == '0 && first_q && !continues_q && !buffer_free_i;
  assign run        = busy_q && !hold;
  assign valid      = run && group_q <= end_q;
  assign step_begin = run && group_q == '0;
  assign step_end   = run && group_q == steps_q;
  assign tile_end   = step_end && last_step;

  // The tile after this one; there is time to work it out while this one runs.
  logic [GroupBits:0] rest, count;
  logic               starts_last;
  assign starts_last = last_group_i[17:GroupBits] == '0;
  assign rest        = {1'b0, start_i ? last_group_i[GroupBits-1:0] : last_group_q[GroupBits-1:0]};
  assign count       = (start_i ? starts_last : next_last_q) ? rest : (GroupBits + 1)'(TileGroups - 1);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) busy_q <= 1'b0;
    else if (start_i) busy_q <= 1'b1;
    else if (tile_end && last_tile_q && last_block_q) busy_q <= 1'b0;
  end

  always_ff @(posedge clk_i) begin
    if (start_i || step_end) group_q <= '0;
    else if (run) group_q <= group_q + 1'b1;

    next_last_q <= (last_tile_q ? last_group_q[17:GroupBits] : tiles_left_q - 1'b1) == '0;
    if (start_i || tile_end) begin
      if (start_i) tiles_left_q <= last_group_i[17:GroupBits];
      else if (last_tile_q) tiles_left_q <= last_group_q[17:GroupBits];
      else tiles_left_q <= tiles_left_q - 1'b1;
      last_tile_q <= start_i ? starts_last : next_last_q;
      end_q       <= count;
      steps_q     <= count < (GroupBits + 1)'(LeastCycles - 1) ? (GroupBits + 1)'(LeastCycles - 1) : count;
    end

    if (start_i) begin
      ob_q         <= window_i.output_blocks - 12'd1;
      last_block_q <= window_i.output_blocks == 12'd1;
    end else if (tile_end && last_tile_q) begin
      ob_q         <= ob_q - 12'd1;
      last_block_q <= ob_q == 12'd1;
    end

    if (start_i) begin
      first_q <= 1'b1;
      ib_q    <= window_i.input_blocks - 12'd1;
      kx_q    <= window_i.kernel_width - 6'd1;
      ky_q    <= window_i.kernel_height - 6'd1;
    end else if (step_end) begin
      first_q <= last_step;
      ib_q    <= last_ib ? input_blocks_q : ib_q - 12'd1;
      if (last_ib) kx_q <= last_kx ? kernel_width_q : kx_q - 6'd1;
      if (last_kx) ky_q <= last_step ? kernel_height_q : ky_q - 6'd1;
    end
  end

  assign last_group = group_q == end_q;

  assign busy_o       = busy_q;
  assign valid_o      = valid;
  assign group_o      = group_q[GroupBits-1:0];
  assign first_o      = first_q && !continues_q;
  assign tile_end_o   = valid && last_step && last_group;
  assign step_o       = step_begin;
  assign step_last_o  = last_step;
  assign tile_last_o  = last_tile_q;
  assign block_last_o = last_block_q;

  // ---- offset of the step's tap from the window's first

  logic [15:0] offset_q, column_offset_q, row_offset_q, offset, basis, added;
  logic [15:0] tap_x_q, tap_y_q;

  always_comb begin
    basis = row_offset_q;
    added = row_step_q;
    if (!last_ib) begin
      basis = offset_q;
      added = block_pitch_q;
    end else if (!last_kx) begin
      basis = column_offset_q;
      added = 16'(dilation_x_q);
    end
    offset = basis + added;
  end

  always_ff @(posedge clk_i) begin
    if (start_i || tile_end) begin
      offset_q        <= '0;
      column_offset_q <= '0;
      row_offset_q    <= '0;
      tap_x_q         <= '0;
      tap_y_q         <= '0;
    end else if (step_end) begin
      offset_q <= offset;
      if (last_ib) column_offset_q <= offset;
      if (last_kx) row_offset_q <= offset;
      if (last_kx) tap_x_q <= '0;
      else if (last_ib) tap_x_q <= tap_x_q + 16'(dilation_x_q);
      if (last_kx) tap_y_q <= tap_y_q + 16'(dilation_y_q);
    end
  end

  // ---- addresses

  logic [13:0] height_now_q, width_now_q;
  always_ff @(posedge clk_i) begin
    if (start_i) begin
      height_q <= source_i.height;
      width_q  <= source_i.width;
    end
    height_now_q <= height_q;
    width_now_q  <= width_q;
  end

  logic valid_q;
  always_ff @(posedge clk_i) valid_q <= valid;

  for (genvar p = 0; p < Pixels; p++) begin : gen_pixel
    logic [15:0] x, y, address, x_q, y_q, address_q;
    ia_conv_pixel u_pixel (
      .clk_i,
      .load_i(start_i),
      .forward_i(valid),
      .back_i(step_end && !(last_step && !last_tile_q)),
      .keep_i(tile_end && !last_tile_q),
      .rewind_i(step_begin && last_step && last_tile_q),
      .start_x_i(start_i ? start_x_i[16*p+:16] : start_x_q[16*p+:16]),
      .start_y_i(start_i ? start_y_i[16*p+:16] : start_y_q[16*p+:16]),
      .start_address_i(start_i ? start_address_i[16*p+:16] : start_address_q[16*p+:16]),
      .next_x_i(next_x_q),
      .next_y_i(next_y_q),
      .next_address_i(next_address_q),
      .wrap_x_i(wrap_x_q),
      .wrap_y_i(wrap_y_q),
      .wrap_address_i(wrap_address_q),
      .wrap_at_i(wrap_at_q),
      .x_o(x),
      .y_o(y),
      .address_o(address)
    );
    always_ff @(posedge clk_i) begin
      x_q       <= x + tap_x_q;
      y_q       <= y + tap_y_q;
      address_q <= address + offset_q;
    end
    // Negative positions are large unsigned ones.
    logic [16:0] below_height, below_width;
    assign below_height = {1'b0, y_q} - 17'(height_now_q);
    assign below_width  = {1'b0, x_q} - 17'(width_now_q);
    logic unused;
    assign unused = ^{below_height[15:0], below_width[15:0]};
    always_ff @(posedge clk_i) begin
      read_o[p]           <= valid_q && below_height[16] && below_width[16];
      address_o[16*p+:16] <= address_q;
    end
  end

endmodule
