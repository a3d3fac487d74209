// The patch builder: cuts an image into one vector of kernel_height x kernel_width x channels bytes for each output pixel.
//
// Image rows lie one behind the other in a ring of PatchWords words, written as they arrive: the rows of the next windows,
// and those of the next job, come in while windows are cut, as far as there is room. A window is read row by row, up to
// 16 bytes a cycle, from two neighbouring words; these lie in two banks, for even and odd addresses.
`include "checks.svh"

module ia_load_patch #(
  parameter int unsigned PatchWords = 512  // a power of two
) (
  input  logic               clk_i,
  input  logic               rst_ni,
  // Jobs in order (see ia_patch_plan); the next one begins when start_i has told so
  input  logic               job_valid_i,
  input  logic [15:0]        job_row_bytes_i,
  input  logic [12:0]        job_row_words_i,
  input  logic [7:0]         job_segment_bytes_i,
  input  logic [5:0]         job_step_bytes_i,
  input  logic signed [18:0] job_left_byte_i,
  input  logic [13:0]        job_first_i,
  input  logic [13:0]        job_stop_i,
  input  logic signed [15:0] job_pad_top_i,
  input  logic [5:0]         job_kernel_height_i,
  input  logic [3:0]         job_stride_y_i,
  input  logic [7:0]         job_fill_i,
  input  logic [13:0]        job_rows_i,
  input  logic [13:0]        job_columns_i,
  input  logic [15:0]        job_base_i,
  input  logic [13:0]        job_row_pitch_i,
  input  logic [15:0]        job_block_pitch_i,
  output logic               ready_o,       // start_i may come
  input  logic               start_i,
  output logic               idle_o,        // no job is at work or waits, nothing is left to write
  output logic               works_o,       // it cuts
  output logic               done_o,        // pulse for each job
  // Image rows
  input  logic               fill_valid_i,
  output logic               fill_ready_o,
  input  logic [127:0]       fill_data_i,
  input  logic               fill_last_i,   // of its row
  // Words for activation memory
  output logic               write_o,
  output logic [15:0]        write_address_o,
  output logic [127:0]       write_data_o
);

  localparam int unsigned RingBits = $clog2(PatchWords);
  localparam int unsigned JobBits = 16 + (RingBits + 1) + 8 + 6 + 19 + 14 + 14 + 16 + 6 + 4 + 8 + 14 + 14 + 16 + 14 + 16;

  `CHECK_PARAM(RingIsAPowerOfTwo, PatchWords == 1 << RingBits && RingBits >= 2 && RingBits <= 12)

  // ---- jobs

  logic               next_valid, takes, unused_ready;
  logic [15:0]        row_bytes_q, next_row_bytes;
  logic [RingBits:0]  row_words_q, next_row_words;
  logic [7:0]         segment_bytes_q, next_segment_bytes, fill_q, next_fill;
  logic [5:0]         step_bytes_q, next_step_bytes, kernel_height_q, next_kernel_height;
  logic signed [18:0] left_byte_q, next_left_byte;
  logic [13:0]        next_first, stop_q, next_stop, next_rows, columns_q, next_columns, row_pitch_q, next_row_pitch;
  logic signed [15:0] next_pad_top;
  logic [3:0]         stride_y_q, next_stride_y;
  logic [15:0]        next_base, block_pitch_q, next_block_pitch;
  logic [2:0]         starts_q;  // jobs that may begin

  ia_fifo #(.Width(JobBits), .Depth(4)) u_jobs (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .in_valid_i(job_valid_i),
    .in_ready_o(unused_ready),
    .in_data_i({job_row_bytes_i, job_row_words_i[RingBits:0], job_segment_bytes_i, job_step_bytes_i, job_left_byte_i,
                job_first_i, job_stop_i, job_pad_top_i, job_kernel_height_i, job_stride_y_i, job_fill_i, job_rows_i,
                job_columns_i, job_base_i, job_row_pitch_i, job_block_pitch_i}),
    .out_valid_o(next_valid),
    .out_ready_i(takes),
    .out_data_o({next_row_bytes, next_row_words, next_segment_bytes, next_step_bytes, next_left_byte,
                 next_first, next_stop, next_pad_top, next_kernel_height, next_stride_y, next_fill, next_rows,
                 next_columns, next_base, next_row_pitch, next_block_pitch})
  );

  // Advance: rows that no window needs any more leave the ring. Wait: until the rows of the windows are there. Cut. Drain:
  // until all words have been written.
  typedef enum logic [2:0] {StateIdle, StateAdvance, StateWait, StateCut, StateNext, StateDrain} state_e;
  state_e state_q;
  logic   pack_empty, reads_empty, last_row_q;

  assign takes   = state_q == StateIdle && next_valid && starts_q != 0;
  assign ready_o = starts_q != 3'd4;
  assign idle_o  = state_q == StateIdle && starts_q == 0;
  assign works_o = state_q == StateCut || state_q == StateNext || state_q == StateDrain;

  always_ff @(posedge clk_i) begin
    if (takes) begin
      row_bytes_q     <= next_row_bytes;
      row_words_q     <= next_row_words;
      segment_bytes_q <= next_segment_bytes;
      step_bytes_q    <= next_step_bytes;
      left_byte_q     <= next_left_byte;
      stop_q          <= next_stop;
      kernel_height_q <= next_kernel_height;
      stride_y_q      <= next_stride_y;
      fill_q          <= next_fill;
      columns_q       <= next_columns;
      row_pitch_q     <= next_row_pitch;
      block_pitch_q   <= next_block_pitch;
    end
  end

  // ---- the ring: fill_address_q is where the next word goes, oldest_* the first row that it still holds

  logic [RingBits-1:0] fill_address_q, oldest_address_q;
  logic [RingBits:0]   used_q;       // words
  logic [13:0]         held_q;       // whole rows
  logic [13:0]         oldest_row_q; // of the image at work
  logic                fills, releases, passed;
  logic signed [19:0]  top_q;        // image row at which the windows begin

  // Rows behind the last window leave too: the next job's rows follow.
  assign fill_ready_o = !used_q[RingBits];
  assign fills        = fill_valid_i && fill_ready_o;
  assign passed       = oldest_row_q != stop_q && ($signed(20'(oldest_row_q)) < top_q || last_row_q);
  assign releases     = state_q == StateAdvance && passed && held_q != 0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      fill_address_q   <= '0;
      oldest_address_q <= '0;
      used_q           <= '0;
      held_q           <= '0;
    end else begin
      fill_address_q <= fill_address_q + RingBits'(fills);
      used_q         <= used_q + (RingBits + 1)'(fills) - (releases ? row_words_q : '0);
      held_q         <= held_q + 14'(fills && fill_last_i) - 14'(releases);
      if (releases) oldest_address_q <= oldest_address_q + row_words_q[RingBits-1:0];
    end
  end

  always_ff @(posedge clk_i) begin
    if (takes) oldest_row_q <= next_first;
    else if (releases) oldest_row_q <= oldest_row_q + 14'd1;
  end

  // ---- rows of windows

  logic [13:0]        rows_q;         // to come, this one included
  logic signed [19:0] bottom, above;
  logic signed [19:0] needed;
  logic [5:0]         above_q;        // rows of a window above the image
  logic [6:0]         inside_end_q;   // rows of a window above or inside of it
  logic               row_done, rows_there;

  // Rows of the image that a window needs: those from the oldest on.
  assign bottom     = top_q + $signed(20'(kernel_height_q));
  assign needed     = (bottom < $signed(20'(stop_q)) ? bottom : $signed(20'(stop_q))) - $signed(20'(oldest_row_q));
  assign above      = -top_q;
  assign rows_there = needed <= $signed(20'(held_q));

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q  <= StateIdle;
      starts_q <= '0;
      done_o   <= 1'b0;
    end else begin
      starts_q <= starts_q + 3'(start_i) - 3'(takes);
      done_o   <= 1'b0;
      case (state_q)
        StateIdle: if (takes) state_q <= StateWait;
        StateAdvance: if (!passed) state_q <= last_row_q ? StateDrain : StateWait;
        StateWait: if (rows_there) state_q <= StateCut;
        StateCut: if (row_done) state_q <= StateNext;
        StateNext: state_q <= StateAdvance;
        StateDrain: begin
          if (reads_empty && pack_empty) begin
            state_q <= StateIdle;
            done_o  <= 1'b1;
          end
        end
        default: state_q <= StateIdle;
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    if (takes) begin
      top_q      <= 20'sd0 - 20'(next_pad_top);
      rows_q     <= next_rows;
      last_row_q <= 1'b0;
    end else if (state_q == StateNext) begin
      top_q      <= top_q + $signed(20'(stride_y_q));
      rows_q     <= rows_q - 14'd1;
      last_row_q <= rows_q == 14'd1;
    end
    if (state_q == StateWait) begin
      above_q      <= above <= 0 ? 6'd0 : above > 20'sd63 ? 6'd63 : above[5:0];
      inside_end_q <= needed <= 0 ? 7'd0 : 7'(above <= 0 ? 6'd0 : above[5:0]) + 7'(needed[5:0]);
    end
  end

  // ---- 0: pieces of a row of windows

  logic [13:0]        columns_left_q;
  logic [5:0]         kernel_row_q;
  logic [7:0]         segment_left_q;    // bytes of this row of the window, those of this piece included
  logic signed [21:0] window_byte_q;     // in its image row
  logic signed [21:0] byte_q;            // of the piece
  logic [RingBits-1:0] line_q;           // ring address of the image row
  logic [3:0]         place_q;
  logic               cuts, bubble_q, row_exists, piece_ends_segment, piece_ends_window;
  logic [4:0]         count, place_end;

  assign cuts               = state_q == StateCut && !bubble_q;
  assign piece_ends_segment = segment_left_q <= 8'd16;
  assign piece_ends_window  = piece_ends_segment && kernel_row_q == kernel_height_q - 6'd1;
  assign count              = piece_ends_segment ? segment_left_q[4:0] : 5'd16;
  assign place_end          = 5'(place_q) + count;
  assign row_exists         = kernel_row_q >= above_q && 7'(kernel_row_q) < inside_end_q;
  assign row_done           = cuts && piece_ends_window && columns_left_q == 14'd1;

  always_ff @(posedge clk_i) begin
    if (state_q == StateWait) begin
      columns_left_q <= columns_q;
      kernel_row_q   <= '0;
      segment_left_q <= segment_bytes_q;
      window_byte_q  <= 22'(left_byte_q);
      byte_q         <= 22'(left_byte_q);
      line_q         <= oldest_address_q;
      place_q        <= '0;
      bubble_q       <= 1'b0;
    end else if (state_q == StateCut) begin
      // A rest that leaves after the last piece needs a cycle of its own where the next piece fills a word.
      bubble_q <= cuts && piece_ends_window && place_end > 5'd16 && segment_bytes_q >= 8'd16;
      if (cuts) begin
        place_q <= piece_ends_window ? 4'd0 : place_end[3:0];
        if (!piece_ends_segment) begin
          segment_left_q <= segment_left_q - 8'd16;
          byte_q         <= byte_q + 22'sd16;
        end else begin
          segment_left_q <= segment_bytes_q;
          if (piece_ends_window) begin
            columns_left_q <= columns_left_q - 14'd1;
            kernel_row_q   <= '0;
            window_byte_q  <= window_byte_q + $signed(22'(step_bytes_q));
            byte_q         <= window_byte_q + $signed(22'(step_bytes_q));
            line_q         <= oldest_address_q;
          end else begin
            kernel_row_q <= kernel_row_q + 6'd1;
            byte_q       <= window_byte_q;
            if (row_exists) line_q <= line_q + row_words_q[RingBits-1:0];
          end
        end
      end
    end
  end

  // ---- 1: addresses in the banks, and which bytes of the piece exist

  logic                valid_1_q, swap_1_q, last_1_q;
  logic [RingBits-2:0] even_address_1_q, odd_address_1_q;
  logic [3:0]          rotate_1_q, place_1_q;
  logic [4:0]          low_1_q, high_1_q, count_1_q;
  logic [RingBits-1:0] ring_address;
  logic signed [21:0]  behind;  // bytes from the piece's first to the end of the image row

  assign ring_address = line_q + RingBits'(byte_q >>> 4);
  assign behind       = $signed(22'(row_bytes_q)) - byte_q;

  always_ff @(posedge clk_i) begin
    even_address_1_q <= ring_address[RingBits-1:1] + (RingBits - 1)'(ring_address[0]);
    odd_address_1_q  <= ring_address[RingBits-1:1];
    swap_1_q         <= ring_address[0];
    rotate_1_q       <= byte_q[3:0];
    low_1_q          <= byte_q >= 0 ? 5'd0 : byte_q < -22'sd15 ? 5'd16 : 5'(-byte_q[4:0]);
    high_1_q         <= !row_exists || behind <= 0 ? 5'd0 : behind > 22'sd15 ? 5'd16 : behind[4:0];
    count_1_q        <= count;
    place_1_q        <= place_q;
    last_1_q         <= piece_ends_window;
  end

  // ---- 2, 3: the banks, and their output registers

  logic         fill_q_valid, fill_odd_q;
  logic [RingBits-2:0] fill_row_q;
  logic [127:0] fill_data_q;
  logic [127:0] even_2, odd_2, even_3_q, odd_3_q;
  logic         valid_2_q, swap_2_q, last_2_q, valid_3_q, swap_3_q, last_3_q;
  logic [3:0]   rotate_2_q, rotate_3_q, place_2_q, place_3_q;
  logic [4:0]   low_2_q, low_3_q, high_2_q, high_3_q, count_2_q, count_3_q;

  always_ff @(posedge clk_i) begin
    fill_odd_q  <= fill_address_q[0];
    fill_row_q  <= fill_address_q[RingBits-1:1];
    fill_data_q <= fill_data_i;
  end

  ia_memory_rows #(.Width(128), .Rows(PatchWords / 2)) u_even (
    .clk_i(clk_i),
    .write_i(fill_q_valid && !fill_odd_q),
    .write_row_i(fill_row_q),
    .write_data_i(fill_data_q),
    .read_i(valid_1_q),
    .read_row_i(even_address_1_q),
    .read_data_o(even_2)
  );

  ia_memory_rows #(.Width(128), .Rows(PatchWords / 2)) u_odd (
    .clk_i(clk_i),
    .write_i(fill_q_valid && fill_odd_q),
    .write_row_i(fill_row_q),
    .write_data_i(fill_data_q),
    .read_i(valid_1_q),
    .read_row_i(odd_address_1_q),
    .read_data_o(odd_2)
  );

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      fill_q_valid <= 1'b0;
      valid_1_q    <= 1'b0;
      valid_2_q    <= 1'b0;
      valid_3_q    <= 1'b0;
    end else begin
      fill_q_valid <= fills;
      valid_1_q    <= cuts;
      valid_2_q    <= valid_1_q;
      valid_3_q    <= valid_2_q;
    end
  end

  always_ff @(posedge clk_i) begin
    {swap_2_q, last_2_q, rotate_2_q, place_2_q, low_2_q, high_2_q, count_2_q} <=
        {swap_1_q, last_1_q, rotate_1_q, place_1_q, low_1_q, high_1_q, count_1_q};
    {swap_3_q, last_3_q, rotate_3_q, place_3_q, low_3_q, high_3_q, count_3_q} <=
        {swap_2_q, last_2_q, rotate_2_q, place_2_q, low_2_q, high_2_q, count_2_q};
    even_3_q <= even_2;
    odd_3_q  <= odd_2;
  end

  assign reads_empty = !valid_1_q && !valid_2_q;

  // ---- 4 to 7: words

  logic word_last;

  ia_patch_pack u_pack (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .valid_i(valid_3_q),
    .even_i(even_3_q),
    .odd_i(odd_3_q),
    .swap_i(swap_3_q),
    .rotate_i(rotate_3_q),
    .low_i(low_3_q),
    .high_i(high_3_q),
    .count_i(count_3_q),
    .place_i(place_3_q),
    .last_i(last_3_q),
    .fill_i(fill_q),
    .valid_o(write_o),
    .last_o(word_last),
    .data_o(write_data_o),
    .empty_o(pack_empty)
  );

  // Where the words go: blocks of a pixel, pixels of a row, rows.
  logic [15:0] word_address_q, pixel_address_q, row_address_q;
  logic [13:0] pixels_left_q;

  assign write_address_o = word_address_q;

  always_ff @(posedge clk_i) begin
    if (takes) begin
      word_address_q  <= next_base;
      pixel_address_q <= next_base;
      row_address_q   <= next_base;
      pixels_left_q   <= next_columns;
    end else if (write_o) begin
      if (!word_last) begin
        word_address_q <= word_address_q + block_pitch_q;
      end else if (pixels_left_q != 14'd1) begin
        word_address_q  <= pixel_address_q + 16'd1;
        pixel_address_q <= pixel_address_q + 16'd1;
        pixels_left_q   <= pixels_left_q - 14'd1;
      end else begin
        word_address_q  <= row_address_q + 16'(row_pitch_q);
        pixel_address_q <= row_address_q + 16'(row_pitch_q);
        row_address_q   <= row_address_q + 16'(row_pitch_q);
        pixels_left_q   <= columns_q;
      end
    end
  end

  logic unused;
  assign unused = &{1'b0, job_row_words_i, unused_ready};

  `CHECK(JobsHaveRoom, job_valid_i |-> unused_ready)
  `CHECK(WindowRowsFitTheRing, takes |-> 32'(next_row_words) * 32'(next_kernel_height) <= PatchWords)

endmodule
