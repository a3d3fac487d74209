// Walks over the output pixels of a Vec, and over the window of each: addresses of what is read and written.
//
// One token a cycle goes out at most, beside the address of its read: a pixel of the first operand, or (second_o) the
// word of the second one. How a pixel is paced:
//   fast_i   a token a cycle, nothing else
//   others   at least four cycles a pixel, since the scaling unit makes four lanes of it a cycle
//   pair_i   the second token follows the first
//   long_i   four idle cycles follow the last token, in which the sums are scaled a second time
//
// Nothing is multiplied. A line of windows begins stride_y rows below the one before: a row a cycle, the first of them
// in the cycle that ends the line. The address of a row moves only where the row is below the top of the operand, so
// padding needs no address of its own; where the window begins inside of the operand (a negative pad_top), those rows
// are stepped over at the start.
`include "checks.svh"

module ia_vector_walk (
  input  logic         clk_i,
  input  logic         rst_ni,
  // Setup words; they hold still in the cycle of load_i and the next one
  input  logic         load_i,
  input  logic [127:0] source_i,
  input  logic [127:0] second_i,
  input  logic [127:0] target_i,
  input  logic [127:0] window_i,
  input  logic         windowed_i,     // beside load_i: the window counts, else it is 1 x 1 with strides of 1
  input  logic         padded_i,       // beside load_i: the pads count, else they are 0
  // Of the word, from the cycle after load_i on
  input  logic         reads_i,        // the first operand is read
  input  logic         upsample_i,
  input  logic         fast_i,
  input  logic         pair_i,
  input  logic         second_used_i,  // the second token of a pair is VecSecond's, else the first operand's again
  input  logic         long_i,
  output logic         walking_o,      // pixel_o included
  // Tokens
  output logic         read_o,
  output logic [15:0]  address_o,
  output logic         valid_o,
  output logic         second_o,
  output logic         first_o,        // of its window
  output logic         last_o,
  output logic         outside_o,      // reads as fill
  // The first token of a pixel
  output logic         pixel_o,
  output logic [15:0]  target_o        // the word that it makes
);

  // Rows and columns that windows ask for: 14 bits of pixels times 8 of stride, and a sign.
  localparam int unsigned PositionBits = 23;

  ia_isa_pkg::vec_source_t source;
  ia_isa_pkg::vec_second_t second;
  ia_isa_pkg::vec_target_t target;
  ia_isa_pkg::vec_window_t window;
  assign source = source_i;
  assign second = second_i;
  assign target = target_i;
  assign window = window_i;

  // ---- the walk's own copy of what it needs to the end

  logic [13:0] height_q, width_q, row_pitch_q, second_row_pitch_q, target_row_pitch_q;
  logic [15:0] block_pitch_q, second_block_pitch_q, target_block_pitch_q;
  logic [11:0] pad_top_q, pad_left_q;
  logic [7:0]  stride_x_q;
  logic [8:0]  more_rows_q;  // 1 - stride_y
  logic        second_column_q;

  always_ff @(posedge clk_i) begin
    if (load_i) begin
      height_q             <= source.height;
      width_q              <= source.width;
      row_pitch_q          <= source.row_pitch;
      block_pitch_q        <= source.block_pitch;
      pad_top_q            <= padded_i ? source.pad_top : '0;
      pad_left_q           <= padded_i ? source.pad_left : '0;
      second_row_pitch_q   <= second.row_pitch;
      second_block_pitch_q <= second.block_pitch;
      second_column_q      <= second.column_pitch;
      target_row_pitch_q   <= target.row_pitch;
      target_block_pitch_q <= target.block_pitch;
      stride_x_q           <= windowed_i ? window.stride_x : 8'd1;
      more_rows_q          <= windowed_i ? 9'd1 - {1'b0, window.stride_y} : '0;
    end
  end

  // ---- what happens in this cycle

  logic       begin_q, walking_q, rest_q, kernel_first_q;
  logic       top_q;   // stepping over the rows above the operand's part, at the start
  logic [1:0] slot_q;  // cycles of this pixel, up to 3
  logic       kx_last, ky_last, x_last, y_last, block_last, x_odd, y_odd;
  logic       seeking, token, pair_token, kernel_last, row_step, pixel_end, line_end, block_end;
  logic [2:0] unused_odd;

  assign token       = walking_q && !seeking && !rest_q;
  assign pair_token  = pair_i && rest_q && slot_q == 2'd1;
  assign kernel_last = kx_last && ky_last;
  assign row_step    = token && kx_last && !ky_last;
  assign pixel_end   = (token && kernel_last && !long_i && (fast_i || slot_q == 2'd3)) || (rest_q && slot_q == 2'd3);
  assign line_end    = pixel_end && x_last;
  assign block_end   = line_end && y_last;
  assign walking_o   = begin_q || walking_q || pixel_o;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      begin_q   <= 1'b0;
      walking_q <= 1'b0;
    end else begin
      begin_q <= load_i;
      if (begin_q) walking_q <= 1'b1;
      else if (block_end && block_last) walking_q <= 1'b0;
    end
    if (begin_q || pixel_end) rest_q <= 1'b0;
    else if (token && kernel_last) rest_q <= 1'b1;
    if (begin_q || pixel_end || (token && kernel_last && long_i)) slot_q <= '0;
    else if (slot_q != 2'd3 && !seeking) slot_q <= slot_q + 2'd1;
    if (begin_q || pixel_end) kernel_first_q <= 1'b1;
    else if (token) kernel_first_q <= 1'b0;
  end

  ia_vector_counter #(.Bits(12)) u_kernel_x (
    .clk_i(clk_i), .load_i(load_i), .single_i(!windowed_i), .limit_i(window.kernel_width),
    .step_i(token), .last_o(kx_last), .odd_o(unused_odd[0]));
  ia_vector_counter #(.Bits(12)) u_kernel_y (
    .clk_i(clk_i), .load_i(load_i), .single_i(!windowed_i), .limit_i(window.kernel_height),
    .step_i(token && kx_last), .last_o(ky_last), .odd_o(unused_odd[1]));
  ia_vector_counter #(.Bits(14)) u_x (
    .clk_i(clk_i), .load_i(load_i), .single_i(1'b0), .limit_i(target.columns),
    .step_i(pixel_end), .last_o(x_last), .odd_o(x_odd));
  ia_vector_counter #(.Bits(14)) u_y (
    .clk_i(clk_i), .load_i(load_i), .single_i(1'b0), .limit_i(target.rows),
    .step_i(line_end), .last_o(y_last), .odd_o(y_odd));
  ia_vector_counter #(.Bits(12)) u_block (
    .clk_i(clk_i), .load_i(load_i), .single_i(1'b0), .limit_i(target.blocks),
    .step_i(block_end), .last_o(block_last), .odd_o(unused_odd[2]));

  // ---- rows still to be stepped over, as a negative number

  logic [12:0] seek_q;
  assign seeking = seek_q[12];

  always_ff @(posedge clk_i) begin
    if (!rst_ni) seek_q <= '0;
    else if (begin_q) seek_q <= {pad_top_q[11], pad_top_q};
    else if (line_end && !y_last) seek_q <= {{4{more_rows_q[8]}}, more_rows_q};
    else if (seeking) seek_q <= seek_q + 13'd1;
    if (begin_q) top_q <= 1'b1;
    else if (!seeking) top_q <= 1'b0;
  end

  // ---- position in the operand: of the line's windows (q), and of the token (token_q)

  logic [PositionBits-1:0] y_q, y_token_q, y_from, y_next, x_q, x_token_q, x_from, x_next, x_add;
  logic                    y_up, x_up;

  // The numbers of pads are negated here: ~pad + 1.
  always_comb begin
    if (begin_q || block_end) y_from = {{(PositionBits - 12){~pad_top_q[11]}}, ~pad_top_q};
    else if (row_step) y_from = y_token_q;
    else y_from = y_q;
    if (begin_q || line_end) x_from = {{(PositionBits - 12){~pad_left_q[11]}}, ~pad_left_q};
    else if (token && !kx_last) x_from = x_token_q;
    else x_from = x_q;
  end

  assign y_up   = begin_q || row_step || (line_end && (block_end || !upsample_i || y_odd)) || (seeking && !top_q);
  assign x_up   = begin_q || line_end || (token && !kx_last);
  assign y_next = PositionBits'(y_up) + y_from;
  assign x_add  = PositionBits'(stride_x_q & {8{pixel_end && !x_last && (!upsample_i || x_odd)}}) | PositionBits'(x_up);
  assign x_next = x_add + x_from;

  always_ff @(posedge clk_i) begin
    if (begin_q || row_step || pixel_end || seeking) y_token_q <= y_next;
    if (begin_q || line_end || seeking) y_q <= y_next;
    if (begin_q || (token && !kernel_last) || pixel_end) x_token_q <= x_next;
    if (begin_q || pixel_end) x_q <= x_next;
  end

  // ---- addresses: of the block's first row, of the line's first row, of the token's row

  logic [15:0] block_q, line_q, row_q, row_from, row_add, row_next;
  logic        row_down;

  assign row_down = (row_step && !y_token_q[PositionBits-1])
      || (((line_end && (!upsample_i || y_odd)) || seeking) && !y_q[PositionBits-1]);

  always_comb begin
    if (begin_q) row_from = '0;
    else if (block_end) row_from = block_q;
    else if (row_step) row_from = row_q;
    else row_from = line_q;
    if (begin_q) row_add = source.base;
    else if (block_end) row_add = block_pitch_q;
    else row_add = row_down ? {2'b0, row_pitch_q} : '0;
  end
  assign row_next = row_add + row_from;

  always_ff @(posedge clk_i) begin
    if (begin_q || row_step || pixel_end || seeking) row_q <= row_next;
    if (begin_q || line_end || seeking) line_q <= row_next;
    if (begin_q || block_end || (seeking && top_q)) block_q <= row_next;
  end

  logic [15:0] second_address, target_address;

  ia_vector_pointer u_second (
    .clk_i(clk_i), .begin_i(begin_q), .pixel_end_i(pixel_end), .line_end_i(line_end), .block_end_i(block_end),
    .base_i(second.base), .column_pitch_i(second_column_q), .row_pitch_i(second_row_pitch_q),
    .block_pitch_i(second_block_pitch_q), .address_o(second_address));
  ia_vector_pointer u_target (
    .clk_i(clk_i), .begin_i(begin_q), .pixel_end_i(pixel_end), .line_end_i(line_end), .block_end_i(block_end),
    .base_i(target.base), .column_pitch_i(1'b1), .row_pitch_i(target_row_pitch_q),
    .block_pitch_i(target_block_pitch_q), .address_o(target_address));

  // ---- the token

  logic exists;
  assign exists = reads_i && y_token_q[PositionBits-1:14] == '0 && y_token_q[13:0] < height_q
      && x_token_q[PositionBits-1:14] == '0 && x_token_q[13:0] < width_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      read_o  <= 1'b0;
      valid_o <= 1'b0;
      pixel_o <= 1'b0;
    end else begin
      read_o  <= (token && exists) || (pair_token && (second_used_i || exists));
      valid_o <= token || pair_token;
      pixel_o <= token && kernel_first_q;
    end
    address_o <= pair_token && second_used_i ? second_address : row_q + x_token_q[15:0];
    second_o  <= pair_token;
    first_o   <= kernel_first_q;
    last_o    <= token && kernel_last;
    outside_o <= !(exists || (pair_token && second_used_i));
    target_o  <= target_address;
  end

  logic unused;
  assign unused = &{1'b0, unused_odd, source, second, target, window};

  `CHECK(NoLoadWhileWalking, load_i |-> !walking_o)

endmodule
