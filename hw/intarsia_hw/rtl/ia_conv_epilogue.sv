// Drains tiles of accumulators, makes int8 words of them and writes them. It has a copy of what it needs of its Conv, and
// holds one more Conv that waits, so that the array may be one Conv ahead.
//
// One output pixel a cycle; with a residual every other cycle. Cycles after a pixel is issued: its sums come after 2,
// the first step ends after 15, its word is written after 16; with a residual, which is asked for after 11, after 32.
`include "checks.svh"

module ia_conv_epilogue #(
  parameter int unsigned Pixels = 2,
  parameter int unsigned TileGroups = 32,
  localparam int unsigned GroupBits = $clog2(TileGroups),
  localparam int unsigned PixelBits = $clog2(Pixels)
) (
  input  logic                       clk_i,
  input  logic                       rst_ni,
  // A Conv is handed over
  input  logic                       start_i,
  output logic                       room_o,
  input  ia_isa_pkg::conv_t          conv_i,
  input  ia_isa_pkg::conv_window_t   window_i,
  input  ia_isa_pkg::conv_target_t   target_i,
  input  ia_isa_pkg::conv_residual_t residual_i,
  input  ia_isa_pkg::conv_add_t      add_i,
  output logic                       done_o,
  // Accumulators
  input  logic                       tile_i,           // the sums of one more tile are complete
  output logic                       drained_o,        // sums of another tile may come
  output logic                       drained_buffer_o, // to this buffer
  output logic                       drain_buffer_o,
  output logic [GroupBits-1:0]       drain_group_o,
  output logic [PixelBits-1:0]       drain_even_o,
  output logic [PixelBits-1:0]       drain_odd_o,
  input  logic [511:0]               drain_data_i,
  // Memories
  output logic                       parameter_read_o,
  output logic [15:0]                parameter_address_o,
  input  logic [127:0]               parameter_data_i,
  output logic                       residual_read_o,
  output logic [15:0]                residual_address_o,
  input  logic [127:0]               residual_data_i,
  output logic                       conv_write_o,
  output logic [15:0]                conv_write_address_o,
  output logic [127:0]               conv_write_data_o
);

  localparam int unsigned TilePixels = Pixels * TileGroups;
  localparam int unsigned CountBits = $clog2(TilePixels);
  localparam int unsigned WriteAfter = 16;
  localparam int unsigned AskAfter = 11;
  localparam int unsigned JoinedAfter = 32;

  // ---- the Conv that waits, the Conv at work

  logic                       waits_q, valid_q, parameters_begun_q, take, ends;
  /* verilator lint_off UNUSEDSIGNAL */
  ia_isa_pkg::conv_t          conv_q, next_conv_q;
  ia_isa_pkg::conv_window_t   window_q, next_window_q;
  ia_isa_pkg::conv_target_t   target_q, next_target_q;
  ia_isa_pkg::conv_residual_t residual_q, next_residual_q;
  ia_isa_pkg::conv_add_t      add_q, next_add_q;
  /* verilator lint_on UNUSEDSIGNAL */
  logic [5:0]                 flush_q;  // cycles until no residual is on its way
  logic                       parameters_started;
  logic                       joins;    // with a residual
  logic                       issue;    // a pixel begins

  assign room_o = !waits_q;
  assign take   = waits_q && (!valid_q || ends) && flush_q == '0 && !(issue && joins)
                  && (parameters_begun_q || !next_conv_q.finish);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      waits_q            <= 1'b0;
      valid_q            <= 1'b0;
      parameters_begun_q <= 1'b0;
    end else begin
      waits_q <= start_i || (waits_q && !take);
      valid_q <= take || (valid_q && !ends);
      if (take) parameters_begun_q <= 1'b0;
      else if (parameters_started) parameters_begun_q <= 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      next_conv_q     <= conv_i;
      next_window_q   <= window_i;
      next_target_q   <= target_i;
      next_residual_q <= residual_i;
      next_add_q      <= add_i;
    end
    if (take) begin
      conv_q     <= next_conv_q;
      window_q   <= next_window_q;
      target_q   <= next_target_q;
      residual_q <= next_residual_q;
      add_q      <= next_add_q;
    end
  end

  // ---- loops: output blocks, tiles, pixels; in depthwise mode strips of one or two rows, column by column

  logic [CountBits-1:0] pixel_q;          // of the tile
  logic [13:0]          columns_left_q, rows_left_q;
  logic                 last_column_q, last_row_q, one_column_q, one_row_q, last_block_q;
  logic [11:0]          blocks_left_q;
  logic                 below_q, two_rows_q, pairs_q, block_begins_q, pause_q, buffer_q;
  logic [1:0]           tiles_q;
  logic                 tile_begins, column_end, row_end, block_end, tile_end, parameters_ready;
  logic                 next_pairs;

  assign joins       = conv_q.residual && conv_q.finish;
  assign tile_begins = pixel_q == '0;
  assign issue       = valid_q && conv_q.finish && !pause_q
                       && (!tile_begins || (tiles_q != '0 && (!block_begins_q || parameters_ready)));
  assign column_end  = !two_rows_q || below_q;
  assign row_end     = column_end && last_column_q;
  assign block_end   = row_end && last_row_q;
  always_comb begin
    if (conv_q.depthwise) tile_end = row_end || pixel_q == CountBits'(TileGroups - 1);
    else tile_end = block_end || pixel_q == CountBits'(TilePixels - 1);
  end
  // Sums need 20 cycles from their issue to the memory, so a buffer may be given to the next tile that long before the
  // last pixel is read; and where the next tile has more than one step, those come four cycles later still.
  logic       near_end, released_q;
  localparam int unsigned Lead = 20;  // cycles, besides the one in which it is said
  always_comb begin
    if (conv_q.depthwise) begin
      near_end = 32'(pixel_q) + Lead >= TileGroups || columns_left_q <= (two_rows_q ? 14'(Lead / 2) : 14'(Lead));
    end else if (joins) begin
      near_end = 32'(pixel_q) + Lead / 2 >= TilePixels || (last_row_q && columns_left_q <= 14'(Lead / 2));
    end else begin
      near_end = 32'(pixel_q) + Lead >= TilePixels || (last_row_q && columns_left_q <= 14'(Lead));
    end
  end
  assign ends = (issue && block_end && last_block_q) || (valid_q && !conv_q.finish && tiles_q != '0);

  assign next_pairs = next_conv_q.depthwise && next_window_q.stride_y <= 4'd2 && next_window_q.dilation_y == 6'd1;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      tiles_q  <= '0;
      buffer_q <= 1'b0;
      flush_q  <= '0;
      pixel_q  <= '0;
      pause_q  <= 1'b0;
      released_q <= 1'b0;
    end else begin
      tiles_q <= tiles_q + 2'(tile_i) - 2'((issue && tile_begins) || (valid_q && !conv_q.finish && tiles_q != '0));
      if (issue && tile_end) buffer_q <= !buffer_q;
      if (issue) pixel_q <= tile_end ? '0 : pixel_q + 1'b1;
      if (issue) released_q <= !tile_end && (near_end || released_q);
      pause_q <= issue && joins;
      if (issue && joins) flush_q <= 6'(JoinedAfter);
      else if (flush_q != '0) flush_q <= flush_q - 6'd1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (take) begin
      pairs_q        <= next_pairs;
      two_rows_q     <= next_pairs && next_window_q.rows != 14'd1;
      below_q        <= 1'b0;
      columns_left_q <= next_window_q.columns;
      rows_left_q    <= next_window_q.rows;
      blocks_left_q  <= next_window_q.output_blocks;
      last_column_q  <= next_window_q.columns == 14'd1;
      one_column_q   <= next_window_q.columns == 14'd1;
      last_row_q     <= next_window_q.rows == 14'd1 || (next_pairs && next_window_q.rows == 14'd2);
      one_row_q      <= next_window_q.rows == 14'd1 || (next_pairs && next_window_q.rows == 14'd2);
      last_block_q   <= next_window_q.output_blocks == 12'd1;
      block_begins_q <= 1'b1;
    end else if (issue) begin
      block_begins_q <= block_end;
      below_q        <= two_rows_q && !below_q;
      if (row_end) begin
        columns_left_q <= window_q.columns;
        last_column_q  <= one_column_q;
      end else if (column_end) begin
        columns_left_q <= columns_left_q - 14'd1;
        last_column_q  <= columns_left_q == 14'd2;
      end
      if (block_end) begin
        rows_left_q   <= window_q.rows;
        two_rows_q    <= pairs_q && window_q.rows != 14'd1;
        last_row_q    <= one_row_q;
        blocks_left_q <= blocks_left_q - 12'd1;
        last_block_q  <= blocks_left_q == 12'd2;
      end else if (row_end) begin
        // Of pairs of rows only the last may be a single one.
        rows_left_q <= rows_left_q - (two_rows_q ? 14'd2 : 14'd1);
        two_rows_q  <= pairs_q && rows_left_q != 14'd3;
        last_row_q  <= pairs_q ? rows_left_q == 14'd3 || rows_left_q == 14'd4 : rows_left_q == 14'd2;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    drained_o        <= rst_ni && issue && (tile_end || near_end) && !released_q;
    drained_buffer_o <= buffer_q;
  end
  assign drain_buffer_o = buffer_q;
  assign drain_group_o  = conv_q.depthwise ? pixel_q[GroupBits-1:0] : pixel_q[CountBits-1:PixelBits];
  assign drain_even_o   = conv_q.depthwise ? '0 : pixel_q[PixelBits-1:0];
  assign drain_odd_o    = conv_q.depthwise ? PixelBits'(1) : pixel_q[PixelBits-1:0];

  // ---- addresses

  logic [15:0] target_address, residual_address;
  ia_conv_cursor u_target (
    .clk_i,
    .start_i(take),
    .base_i(take ? next_target_q.base : target_q.base),
    .row_pitch_i({2'd0, target_q.row_pitch}),
    .block_pitch_i(target_q.block_pitch),
    .column_i(issue && column_end),
    .row_i(issue && row_end),
    .two_rows_i(two_rows_q),
    .block_i(issue && block_end),
    .below_i(below_q),
    .address_o(target_address)
  );
  ia_conv_cursor u_residual (
    .clk_i,
    .start_i(take),
    .base_i(take ? next_residual_q.base : residual_q.base),
    .row_pitch_i({2'd0, residual_q.row_pitch}),
    .block_pitch_i(residual_q.block_pitch),
    .column_i(issue && column_end),
    .row_i(issue && row_end),
    .two_rows_i(two_rows_q),
    .block_i(issue && block_end),
    .below_i(below_q),
    .address_o(residual_address)
  );

  // What goes along with a pixel. Bit or entry i belongs to the pixel issued i + 1 cycles ago.
  logic [JoinedAfter-1:0]   plain_q, joined_q, ends_q;
  logic [16*(JoinedAfter-2)-1:0] addresses_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      plain_q  <= '0;
      joined_q <= '0;
      ends_q   <= '0;
    end else begin
      plain_q  <= {plain_q[JoinedAfter-2:0], issue && !joins};
      joined_q <= {joined_q[JoinedAfter-2:0], issue && joins};
      ends_q   <= {ends_q[JoinedAfter-2:0], ends};
    end
  end
  logic [JoinedAfter-1:0] late_q;  // whether it is one with a residual
  always_ff @(posedge clk_i) begin
    late_q      <= {late_q[JoinedAfter-2:0], joins};
    addresses_q <= {addresses_q[16*(JoinedAfter-3)-1:0], target_address};
  end

  logic [16*(AskAfter-1)-1:0] asked_addresses_q;
  always_ff @(posedge clk_i) begin
    asked_addresses_q <= {asked_addresses_q[16*(AskAfter-2)-1:0], residual_address};
  end
  assign residual_read_o    = joined_q[AskAfter-1];
  assign residual_address_o = asked_addresses_q[16*(AskAfter-2)+:16];

  // ---- parameters of the 16 channels

  logic [16*32-1:0] biases;
  logic [16*21-1:0] multipliers;
  logic [16*6-1:0]  shifts;
  logic             parameters_taken;
  assign parameters_taken = issue && tile_begins && block_begins_q;

  ia_conv_parameters u_parameters (
    .clk_i,
    .rst_ni,
    .start_i(waits_q && next_conv_q.finish && !parameters_begun_q),
    .started_o(parameters_started),
    .group_i(next_conv_q.parameter_group),
    .groups_i(next_window_q.output_blocks),
    .ready_o(parameters_ready),
    .taken_i(parameters_taken),
    .parameter_read_o,
    .parameter_address_o,
    .parameter_data_i,
    .biases_o(biases),
    .multipliers_o(multipliers),
    .shifts_o(shifts)
  );

  // ---- first step

  // Zero point (13 cycles after a pixel is issued) and clamps (14) of the Conv that the pixel belongs to.
  logic [13*8-1:0]    zero_points_q;
  logic [14*17-1:0]   clamps_q;
  always_ff @(posedge clk_i) begin
    zero_points_q <= {zero_points_q[12*8-1:0], target_q.zero_point};
    clamps_q      <= {clamps_q[13*17-1:0], $signed(target_q.clamp_min) > $signed(target_q.clamp_max),
                      target_q.clamp_min, target_q.clamp_max};
  end

  logic [127:0] first;
  ia_conv_first u_first (
    .clk_i,
    .rst_ni,
    .load_i(parameters_taken),
    .biases_i(biases),
    .multipliers_i(multipliers),
    .shifts_i(shifts),
    .sums_i(drain_data_i),
    .zero_point_i(zero_points_q[12*8+:8]),
    .clamp_min_i(clamps_q[13*17+8+:8]),
    .clamp_max_i(clamps_q[13*17+:8]),
    .clamp_turned_i(clamps_q[13*17+16]),
    .values_o(first)
  );

  // ---- second step, eight lanes a cycle: the lower ones come straight from the first step, the upper ones wait a cycle

  logic [63:0] first_upper_q, residual_upper_q, joined, joined_lower_q;
  logic        upper_q, joined_turned_q;
  logic [5:0]  joined_shift_q;
  always_ff @(posedge clk_i) begin
    first_upper_q    <= first[127:64];
    residual_upper_q <= residual_data_i[127:64];
    upper_q          <= joined_q[WriteAfter-2];
    joined_shift_q   <= add_q.shift - 6'd1;
    joined_turned_q  <= $signed(add_q.clamp_min) > $signed(add_q.clamp_max);
    joined_lower_q   <= joined;
  end

  logic [63:0] value, other;
  logic [71:0] values_q, others_q;
  assign value = upper_q ? first_upper_q : first[63:0];
  assign other = upper_q ? residual_upper_q : residual_data_i[63:0];
  always_ff @(posedge clk_i) begin
    for (int unsigned i = 0; i < 8; i++) begin
      values_q[9*i+:9] <= {value[8*i+7], value[8*i+:8]} - {add_q.zero_point[7], add_q.zero_point};
      others_q[9*i+:9] <= {other[8*i+7], other[8*i+:8]} - {add_q.residual_zero_point[7], add_q.residual_zero_point};
    end
  end

  ia_conv_second u_second (
    .clk_i,
    .values_i(values_q),
    .residuals_i(others_q),
    .multiplier_i(add_q.multiplier),
    .residual_multiplier_i(add_q.residual_multiplier),
    .shift_i(joined_shift_q),
    .zero_point_i(add_q.output_zero_point),
    .clamp_min_i(add_q.clamp_min),
    .clamp_max_i(add_q.clamp_max),
    .clamp_turned_i(joined_turned_q),
    .values_o(joined)
  );

  // ---- write

  logic write_q, ends_now_q, done_q;
  logic [127:0] data_q;
  logic [15:0]  address_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      write_q    <= 1'b0;
      ends_now_q <= 1'b0;
      done_q     <= 1'b0;
    end else begin
      write_q    <= plain_q[WriteAfter-2] || joined_q[JoinedAfter-2];
      ends_now_q <= (ends_q[WriteAfter-2] && !late_q[WriteAfter-2]) || (ends_q[JoinedAfter-2] && late_q[JoinedAfter-2]);
      done_q     <= ends_now_q;
    end
  end
  always_ff @(posedge clk_i) begin
    data_q    <= joined_q[JoinedAfter-2] ? {joined, joined_lower_q} : first;
    address_q <= joined_q[JoinedAfter-2] ? addresses_q[16*(JoinedAfter-3)+:16] : addresses_q[16*(WriteAfter-3)+:16];
  end
  assign conv_write_o         = write_q;
  assign conv_write_address_o = address_q;
  assign conv_write_data_o    = data_q;
  assign done_o               = done_q;

  `CHECK(TilesAreTaken, tile_i |-> tiles_q != 2'd3)
  `CHECK(OneWriter, !(plain_q[WriteAfter-2] && joined_q[JoinedAfter-2]))

endmodule
