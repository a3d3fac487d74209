// The outer loops of a depthwise convolution: output blocks, strips of one or two rows of outputs, tiles of columns,
// sub-windows of 3x3 taps. One sub-window over one tile is a pass; the next pass is worked out while this one runs.
`include "checks.svh"

module ia_depthwise_planner #(
  parameter int unsigned TileGroups = 32,
  localparam int unsigned GroupBits = $clog2(TileGroups)
) (
  input  logic                     clk_i,
  input  logic                     rst_ni,
  input  logic                     start_i,
  /* verilator lint_off UNUSEDSIGNAL */
  input  ia_isa_pkg::conv_source_t source_i,
  input  ia_isa_pkg::conv_window_t window_i,
  /* verilator lint_on UNUSEDSIGNAL */
  input  logic [15:0]              row_step_i,
  input  logic [15:0]              stride_step_i,
  input  logic [15:0]              origin_i,
  output logic                     busy_o,         // more passes are to come
  output logic                     pass_o,         // the next pass is ready
  input  logic                     pass_taken_i,
  output logic [15:0]              x_o,            // column of the source that the first output begins with
  output logic [15:0]              address_o,      // of that column, first row of the first pair that is read
  output logic [4:0]               rows_o,         // rows of the window that exist
  output logic [1:0]               first_pair_o,
  output logic [1:0]               pairs_o,        // pairs of rows that are read, 0 to 3
  output logic                     partial_o,      // rows are missing
  output logic [GroupBits:0]       columns_o,      // outputs across
  output logic                     two_rows_o,
  output logic [1:0]               width_o,        // columns of the sub-window
  output logic                     follows_o,      // the window goes on from the tile before
  output logic                     first_o,        // first pass of its tile
  output logic                     last_o,         // last pass of its tile,
  output logic                     tile_last_o,    // last tile of its block,
  output logic                     block_last_o    // last block
);

  // ---- what the Conv is

  logic [15:0] block_pitch_q, two_rows_step_q, stride_step_q, start_x_q, start_y_q, tap_x_q, tap_y_q, tap_rows_q;
  logic [13:0] height_q, columns_q, rows_q;
  logic [5:0]  kernel_height_q, kernel_width_q, dilation_y_q;
  logic [3:0]  stride_y_q, stride_x_q;
  logic        pairs_q, slides_q;

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      block_pitch_q   <= source_i.block_pitch;
      two_rows_step_q <= {row_step_i[14:0], 1'b0};
      stride_step_q   <= stride_step_i;
      start_x_q       <= -{{4{source_i.pad_left[11]}}, source_i.pad_left};
      start_y_q       <= -{{4{source_i.pad_top[11]}}, source_i.pad_top};
      tap_x_q         <= 16'(window_i.dilation_x) + {9'd0, window_i.dilation_x, 1'b0};
      tap_y_q         <= 16'(window_i.dilation_y) + {9'd0, window_i.dilation_y, 1'b0};
      tap_rows_q      <= row_step_i + {row_step_i[14:0], 1'b0};
      height_q        <= source_i.height;
      columns_q       <= window_i.columns;
      rows_q          <= window_i.rows;
      kernel_height_q <= window_i.kernel_height;
      kernel_width_q  <= window_i.kernel_width;
      dilation_y_q    <= window_i.dilation_y;
      stride_y_q      <= window_i.stride_y;
      stride_x_q      <= window_i.stride_x;
      pairs_q         <= window_i.stride_y <= 4'd2 && window_i.dilation_y == 6'd1;
      // With three columns of kernel and short steps the window of a tile is the start of the next tile's.
      slides_q        <= window_i.kernel_width == 6'd3 && window_i.dilation_x == 6'd1 && window_i.stride_x <= 4'd2
                         && window_i.kernel_height <= 6'd3;
    end
  end

  // ---- loops

  logic        busy_q, ready_q;
  logic [2:0]  row_q;                      // row of the window that is looked at; 5 to 7 before the first
  logic [11:0] blocks_left_q;
  logic [13:0] rows_left_q, columns_left_q;
  logic [5:0]  taps_down_q, taps_across_q;
  logic [15:0] block_address_q, strip_y_q, strip_address_q, tile_x_q, tile_address_q;
  logic [15:0] down_y_q, down_address_q, across_q;
  logic        first_tile_q, taken_q;

  // What follows from the loops, in the cycles before rows are looked at
  logic        two_rows_q, tile_whole_q, last_across_q, last_down_q, last_tile_q, last_strip_q, last_block_q, first_q;
  logic [13:0] tile_columns_q;
  logic [15:0] strip_address_next_q, strip_y_next_q, tile_step_q, block_address_next_q;
  logic [2:0]  rows_needed_q;

  always_ff @(posedge clk_i) begin
    two_rows_q    <= pairs_q && rows_left_q != 14'd1;
    last_across_q <= taps_across_q <= 6'd3;
    last_down_q   <= taps_down_q <= 6'd3;
    last_block_q  <= blocks_left_q == 12'd1;
    first_q       <= taps_down_q == kernel_height_q && taps_across_q == kernel_width_q;
    // One more cycle
    tile_columns_q       <= two_rows_q ? 14'(TileGroups / 2) : 14'(TileGroups);
    tile_step_q          <= two_rows_q ? 16'(stride_x_q) << (GroupBits - 1) : 16'(stride_x_q) << GroupBits;
    tile_whole_q         <= columns_left_q > (two_rows_q ? 14'(TileGroups / 2) : 14'(TileGroups));
    last_strip_q         <= rows_left_q <= (two_rows_q ? 14'd2 : 14'd1);
    strip_address_next_q <= strip_address_q + (two_rows_q ? {stride_step_q[14:0], 1'b0} : stride_step_q);
    strip_y_next_q       <= strip_y_q + (two_rows_q ? {11'd0, stride_y_q, 1'b0} : 16'(stride_y_q));
    block_address_next_q <= block_address_q + block_pitch_q;
    rows_needed_q        <= (last_down_q ? taps_down_q[2:0] : 3'd3) + (two_rows_q ? stride_y_q[2:0] : 3'd0);
  end
  assign last_tile_q = !tile_whole_q;

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      blocks_left_q   <= window_i.output_blocks;
      rows_left_q     <= window_i.rows;
      columns_left_q  <= window_i.columns;
      taps_down_q     <= window_i.kernel_height;
      taps_across_q   <= window_i.kernel_width;
      block_address_q <= origin_i;
      strip_y_q       <= -{{4{source_i.pad_top[11]}}, source_i.pad_top};
      strip_address_q <= origin_i;
      tile_x_q        <= -{{4{source_i.pad_left[11]}}, source_i.pad_left};
      tile_address_q  <= origin_i;
      down_y_q        <= '0;
      down_address_q  <= '0;
      across_q        <= '0;
      first_tile_q    <= 1'b1;
    end else if (taken_q) begin
      taps_across_q <= last_across_q ? kernel_width_q : taps_across_q - 6'd3;
      across_q      <= last_across_q ? '0 : across_q + tap_x_q;
      if (last_across_q) begin
        taps_down_q    <= last_down_q ? kernel_height_q : taps_down_q - 6'd3;
        down_y_q       <= last_down_q ? '0 : down_y_q + tap_y_q;
        down_address_q <= last_down_q ? '0 : down_address_q + tap_rows_q;
        if (last_down_q) begin
          first_tile_q <= last_tile_q;
          if (!last_tile_q) begin
            columns_left_q <= columns_left_q - tile_columns_q;
            tile_x_q       <= tile_x_q + tile_step_q;
            tile_address_q <= tile_address_q + tile_step_q;
          end else begin
            columns_left_q <= columns_q;
            tile_x_q       <= start_x_q;
            if (!last_strip_q) begin
              rows_left_q     <= rows_left_q - (two_rows_q ? 14'd2 : 14'd1);
              strip_y_q       <= strip_y_next_q;
              strip_address_q <= strip_address_next_q;
              tile_address_q  <= strip_address_next_q;
            end else begin
              rows_left_q     <= rows_q;
              strip_y_q       <= start_y_q;
              strip_address_q <= block_address_next_q;
              tile_address_q  <= block_address_next_q;
              block_address_q <= block_address_next_q;
              blocks_left_q   <= blocks_left_q - 12'd1;
            end
          end
        end
      end
    end
  end

  // ---- rows of the window, one a cycle

  logic [15:0] y_q, pass_address_q;
  logic [4:0]  rows_found_q;
  logic [16:0] below;
  logic        exists;
  assign below  = {1'b0, y_q} - 17'(height_q);
  assign exists = below[16] && row_q < rows_needed_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      busy_q  <= 1'b0;
      ready_q <= 1'b0;
      taken_q <= 1'b0;
      row_q   <= 3'd5;
    end else begin
      taken_q <= ready_q && pass_taken_i;
      if (start_i) busy_q <= 1'b1;
      else if (taken_q && last_across_q && last_down_q && last_tile_q && last_strip_q && last_block_q) busy_q <= 1'b0;
      if (start_i || taken_q) row_q <= 3'd5;
      else if (busy_q && !ready_q) row_q <= row_q + 3'd1;
      if (start_i || pass_taken_i) ready_q <= 1'b0;
      else if (busy_q && !taken_q && row_q == 3'd4) ready_q <= 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (row_q == 3'd7) begin
      y_q            <= strip_y_q + down_y_q;
      pass_address_q <= tile_address_q + down_address_q + across_q;
      rows_found_q   <= '0;
    end else if (!ready_q && !taken_q && row_q < 3'd5) begin
      y_q <= y_q + 16'(dilation_y_q);
      rows_found_q[row_q] <= exists;
      // Pairs above the first row that exists are left out.
      if (row_q[0] && !exists && rows_found_q == '0) pass_address_q <= pass_address_q + two_rows_step_q;
    end
  end

  logic [2:0] pair;
  assign pair = {rows_found_q[4], rows_found_q[3:2] != '0, rows_found_q[1:0] != '0};

  assign busy_o       = busy_q;
  assign pass_o       = ready_q;
  assign x_o          = tile_x_q + across_q;
  assign address_o    = pass_address_q;
  assign rows_o       = rows_found_q;
  assign first_pair_o = pair[0] ? 2'd0 : pair[1] ? 2'd1 : 2'd2;
  assign pairs_o      = 2'(pair[0]) + 2'(pair[1]) + 2'(pair[2]);
  assign columns_o    = tile_whole_q ? tile_columns_q[GroupBits:0] : columns_left_q[GroupBits:0];
  assign two_rows_o   = two_rows_q;
  assign width_o      = last_across_q ? taps_across_q[1:0] : 2'd3;
  assign follows_o    = slides_q && !first_tile_q;
  assign first_o      = first_q;
  assign last_o       = last_across_q && last_down_q;
  assign tile_last_o  = last_tile_q && last_strip_q;
  assign block_last_o = last_block_q;

  always_comb begin
    partial_o = 1'b0;
    for (int unsigned i = 0; i < 5; i++) if (3'(i) < rows_needed_q && !rows_found_q[i]) partial_o = 1'b1;
  end

  logic unused_below;
  assign unused_below = ^below[15:0];

endmodule
