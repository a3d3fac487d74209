// Vector unit: executes Vec (overlay/machine/isa defines what that is).
//
// ia_vector_walk sends a token a cycle through the stages below; the cycle n of a token is the one n cycles after its
// address stood at vector_address_o. A word that is read is there in cycle 4; in cycle 5 it is x_q, with `fill` in its
// place outside of the operand. From there
//   COPY, MAXIMUM, FILL   to word_q, which goes to memory in cycle 6
//   LOOKUP                through the tables, to memory in cycle 8
//   ADD, MULTIPLY, SUM    through ia_vector_sum (a single pixel is a sum too), ia_vector_product for MULTIPLY, and four of
//                         ia_vector_scale: four lanes to memory in each of cycles 16 to 19 (MULTIPLY: 18 to 21) of the
//                         last token of a window. The second operand waits in word_q.
//   COPY to other lanes   by fours from word_q, four bytes of two neighbouring fours at a time, to memory by fours
// Every path keeps the order, and the addresses of results wait in a FIFO. A run word begins when the one before has
// written everything; setup words are taken at any time.
`include "checks.svh"

module ia_vector (
  input  logic         clk_i,
  input  logic         rst_ni,
  // Words of the queue
  input  logic         word_valid_i,
  output logic         word_ready_o,
  input  logic [127:0] word_i,
  output logic         done_o,
  output logic         busy_o,
  // Activation memory, four cycles from address to data
  output logic         vector_read_o,
  output logic [15:0]  vector_address_o,
  input  logic [127:0] vector_data_i,
  output logic         vector_write_o,
  output logic [15:0]  vector_write_address_o,
  output logic [127:0] vector_write_data_o,
  output logic [15:0]  vector_write_lanes_o,
  // Lookup tables, three cycles from bytes to data
  output logic         table_read_o,
  output logic [3:0]   table_o,
  output logic [127:0] table_bytes_o,
  input  logic [127:0] table_data_i
);

  localparam int unsigned MultiplierBits = ia_isa_pkg::MultiplierBits;

  // ---- setup words

  ia_isa_pkg::vec_source_t source_q;
  ia_isa_pkg::vec_second_t second_q;
  ia_isa_pkg::vec_target_t target_q;
  ia_isa_pkg::vec_window_t window_q;
  ia_isa_pkg::vec_scale_t  scale_q;
  ia_isa_pkg::vec_t        run;

  logic is_run, take, begin_run, active_q, walking, pending, finished;

  assign run          = word_i;
  assign is_run       = run.opcode == ia_isa_pkg::OpVec;
  assign word_ready_o = !is_run || !active_q || finished;
  assign take         = word_valid_i && word_ready_o;
  assign begin_run    = take && is_run;
  assign finished     = active_q && !walking && !pending;
  assign done_o       = finished;
  assign busy_o       = active_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      source_q <= '0;
      second_q <= '0;
      target_q <= '0;
      window_q <= '0;
      scale_q  <= '0;
    end else if (take) begin
      unique case (run.opcode)
        ia_isa_pkg::OpVecSource: source_q <= word_i;
        ia_isa_pkg::OpVecSecond: second_q <= word_i;
        ia_isa_pkg::OpVecTarget: target_q <= word_i;
        ia_isa_pkg::OpVecWindow: window_q <= word_i;
        ia_isa_pkg::OpVecScale:  scale_q <= word_i;
        default: ;
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) active_q <= 1'b0;
    else if (begin_run) active_q <= 1'b1;
    else if (finished) active_q <= 1'b0;
  end

  // ---- the word at work, with its own copy of what it needs

  logic is_copy, is_add, is_multiply, is_maximum, is_sum, is_lookup, is_windowed;
  logic moves_lanes, is_long, wide_window, crossed;

  assign is_copy     = run.operation == ia_isa_pkg::VecCopy;
  assign is_add      = run.operation == ia_isa_pkg::VecAdd;
  assign is_multiply = run.operation == ia_isa_pkg::VecMultiply;
  assign is_maximum  = run.operation == ia_isa_pkg::VecMaximum;
  assign is_sum      = run.operation == ia_isa_pkg::VecSum;
  assign is_lookup   = run.operation == ia_isa_pkg::VecLookup;
  assign is_windowed = is_maximum || is_sum;
  assign moves_lanes = is_copy && run.lane_from != run.lane_to;
  // 16 * 16 pixels less their zero points have at most 17 bits, which the multipliers take in one pass.
  assign wide_window       = window_q.kernel_height > 12'd16 || window_q.kernel_width > 12'd16;
  assign is_long     = is_sum && (wide_window || run.start == 1'b0 || run.finish == 1'b0);
  assign crossed     = $signed(scale_q.clamp_min) > $signed(scale_q.clamp_max);

  logic        reads_q, upsample_q, start_q, finish_q, fast_q, pair_q, second_used_q, long_q;
  logic        add_q, multiply_q, maximum_q, sum_q, lookup_q, moves_q, scaled_q;
  logic [3:0]  table_q;
  logic [7:0]  fill_q, zero_point_q, second_zero_point_q, output_zero_point_q, clamp_min_q, clamp_max_q;
  logic [MultiplierBits-1:0] multiplier_q, second_multiplier_q;
  logic [2:0]  coarse_q, fine_q;

  always_ff @(posedge clk_i) begin
    if (begin_run) begin
      reads_q             <= run.operation != ia_isa_pkg::VecFill;
      upsample_q          <= run.upsample[0];
      start_q             <= run.start[0];
      finish_q            <= run.finish[0];
      fast_q              <= !(is_add || is_multiply || is_sum || moves_lanes);
      pair_q              <= is_add || is_multiply || moves_lanes;
      second_used_q       <= is_add || is_multiply;
      long_q              <= is_long;
      add_q               <= is_add;
      multiply_q          <= is_multiply;
      maximum_q           <= is_maximum;
      sum_q               <= is_sum;
      lookup_q            <= is_lookup;
      moves_q             <= moves_lanes;
      scaled_q            <= is_add || is_multiply || is_sum;
      table_q             <= run.table_;
      fill_q              <= source_q.fill;
      zero_point_q        <= scale_q.zero_point;
      second_zero_point_q <= moves_lanes ? '0 : scale_q.second_zero_point;
      output_zero_point_q <= scale_q.output_zero_point;
      multiplier_q        <= scale_q.multiplier;
      second_multiplier_q <= is_add ? scale_q.second_multiplier : scale_q.multiplier;
      clamp_min_q         <= crossed ? scale_q.clamp_max : scale_q.clamp_min;
      clamp_max_q         <= scale_q.clamp_max;
      fine_q              <= scale_q.shift[2:0];
      // Values have 16 bits below them but in long sums; a shift of 40 and more leaves nothing but the sign.
      if (is_long) coarse_q <= scale_q.shift[5:3];
      else if (scale_q.shift[5:3] > 3'd5) coarse_q <= 3'd7;
      else coarse_q <= scale_q.shift[5:3] + 3'd2;
    end
  end

  // ---- addresses

  logic        token_valid, token_second, token_first, token_last, token_outside, pixel;
  logic [15:0] target;

  ia_vector_walk u_walk (
    .clk_i(clk_i), .rst_ni(rst_ni),
    .load_i(begin_run), .source_i(source_q), .second_i(second_q), .target_i(target_q), .window_i(window_q),
    .windowed_i(is_windowed), .padded_i(is_copy || is_windowed),
    .reads_i(reads_q), .upsample_i(upsample_q), .fast_i(fast_q), .pair_i(pair_q), .second_used_i(second_used_q),
    .long_i(long_q), .walking_o(walking),
    .read_o(vector_read_o), .address_o(vector_address_o),
    .valid_o(token_valid), .second_o(token_second), .first_o(token_first), .last_o(token_last),
    .outside_o(token_outside), .pixel_o(pixel), .target_o(target));

  logic result_written, target_ready;

  ia_fifo #(.Width(16), .Depth(16)) u_targets (
    .clk_i(clk_i), .rst_ni(rst_ni),
    .in_valid_i(pixel), .in_ready_o(target_ready), .in_data_i(target),
    .out_valid_o(pending), .out_ready_i(result_written), .out_data_o(vector_write_address_o));

  // ---- cycles 1 to 5: the words that were read

  logic [5:1]   valid_q, second_token_q, last_q;
  logic [4:1]   outside_q;
  logic [5:1]   first_q;
  logic [127:0] x_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= '0;
    else valid_q <= {valid_q[4:1], token_valid};
    second_token_q <= {second_token_q[4:1], token_second};
    last_q         <= {last_q[4:1], token_last};
    first_q        <= {first_q[4:1], token_first};
    outside_q      <= {outside_q[3:1], token_outside};
    x_q            <= outside_q[4] ? {16{fill_q}} : vector_data_i;
  end

  // ---- tables

  logic [8:6] looked_up_q;  // a result in cycles 6 to 8

  assign table_read_o  = valid_q[5] && lookup_q;
  assign table_o       = table_q;
  assign table_bytes_o = x_q;

  // ---- whole words: copies, maxima, and the second operand for as long as it is needed

  logic [127:0] word_q;
  logic         copied_q;  // word_q is a result
  logic         word_here;

  assign word_here = valid_q[5] && second_token_q[5] == pair_q;

  for (genvar lane = 0; lane < 16; lane++) begin : g_word
    logic [7:0] x;
    logic       larger;
    assign x      = x_q[8*lane+:8];
    assign larger = $signed(x) > $signed(word_q[8*lane+:8]);
    always_ff @(posedge clk_i) begin
      if (word_here && (!maximum_q || first_q[5] || larger)) word_q[8*lane+:8] <= x;
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      copied_q    <= 1'b0;
      looked_up_q <= '0;
    end else begin
      copied_q    <= valid_q[5] && last_q[5] && fast_q && !lookup_q;
      looked_up_q <= {looked_up_q[7:6], table_read_o};
    end
  end

  // ---- sums, and the second operand beside them, by fours; in cycles 8 to 11 of the last token

  logic         sums_valid, sums_again;
  logic [1:0]   group_7;
  logic [127:0] sums;
  logic [35:0]  second_8_q, second_9_q;
  logic [31:0]  second_word;

  ia_vector_sum u_sum (
    .clk_i(clk_i), .rst_ni(rst_ni),
    .zero_point_i(zero_point_q), .keep_i(sum_q), .start_i(start_q), .long_i(long_q),
    .last_i(last_q[4:1]), .valid_4_i(valid_q[4] && !second_token_q[4] && !fast_q), .x_i(x_q),
    .group_7_o(group_7), .valid_o(sums_valid), .again_o(sums_again), .sums_o(sums));

  always_comb begin
    unique case (group_7)
      2'd0: second_word = word_q[31:0];
      2'd1: second_word = word_q[63:32];
      2'd2: second_word = word_q[95:64];
      2'd3: second_word = word_q[127:96];
    endcase
  end

  for (genvar lane = 0; lane < 4; lane++) begin : g_second
    always_ff @(posedge clk_i) begin
      second_8_q[9*lane+:9] <= {second_word[8*lane+7], second_word[8*lane+:8]}
          - {second_zero_point_q[7], second_zero_point_q};
    end
  end

  // ---- four lanes to be scaled

  logic [31:0] moved, scaled;

  for (genvar lane = 0; lane < 4; lane++) begin : g_lane
    logic [31:0] sum;
    logic [16:0] product;
    logic [8:0]  low_q, high_q;

    assign sum = sums[32*lane+:32];

    ia_vector_product u_product (
      .clk_i(clk_i), .x_i(sum[8:0]), .y_i(second_8_q[9*lane+:9]), .product_o(product));

    always_ff @(posedge clk_i) begin
      low_q <= {1'b0, sum[7:0]};
      if (multiply_q) begin
        low_q  <= {1'b0, product[7:0]};
        high_q <= product[16:8];
      end else if (add_q) begin
        low_q  <= sum[8:0];
        high_q <= second_8_q[9*lane+:9];
      end else if (sums_again) begin
        low_q  <= {1'b0, sum[23:16]};
        high_q <= {sum[31], sum[31:24]};
      end else begin
        high_q <= {!long_q && sum[16], sum[15:8]};
      end
    end

    ia_vector_scale #(.MultiplierBits(MultiplierBits)) u_scale (
      .clk_i(clk_i),
      .multiplier_i(multiplier_q), .second_multiplier_i(second_multiplier_q), .split_i(!add_q), .long_i(long_q),
      .coarse_i(coarse_q), .fine_i(fine_q), .zero_point_i(output_zero_point_q),
      .clamp_min_i(clamp_min_q), .clamp_max_i(clamp_max_q),
      .low_i(low_q), .high_i(high_q), .add_before_i(sums_again),
      .other_valid_i(moves_q), .other_i(moved[8*lane+:8]), .result_o(scaled[8*lane+:8]));
  end

  // ---- copies to other lanes

  logic        moves_late;
  logic [15:0] lanes;
  logic [1:0]  to_group;

  ia_vector_lanes u_lanes (
    .clk_i(clk_i),
    .begin_i(begin_run), .from_i(run.lane_from), .to_i(run.lane_to), .count_i(run.lane_count),
    .bytes_i({second_8_q[34:27], second_8_q[25:18], second_8_q[16:9], second_8_q[7:0]}),
    .before_i({second_9_q[34:27], second_9_q[25:18], second_9_q[16:9], second_9_q[7:0]}),
    .late_o(moves_late), .to_group_o(to_group), .lanes_o(lanes), .moved_o(moved));

  // ---- results of four lanes: valid and number of the four, beside `scaled`

  logic       part_8, part_q, moved_late_q;
  logic [8:0] part_later_q;
  logic [1:0] part_group_q;

  assign part_8 = sums_valid && (!long_q || sums_again);

  always_ff @(posedge clk_i) begin
    second_9_q <= second_8_q;
    if (!rst_ni) begin
      part_later_q <= '0;
      moved_late_q <= 1'b0;
      part_q       <= 1'b0;
      part_group_q <= '0;
    end else begin
      part_later_q <= {part_later_q[7:0], part_8 && !moves_q};
      moved_late_q <= part_8 && moves_late;
      if (moves_q) part_q <= moves_late ? moved_late_q : part_8;
      else part_q <= multiply_q ? part_later_q[8] : part_later_q[6];
      if (part_q) part_group_q <= part_group_q + 2'd1;  // they come four by four
    end
  end

  // ---- to memory

  logic       whole;
  logic [1:0] group;

  assign whole          = copied_q || looked_up_q[8];
  assign group          = part_group_q + (moves_q ? to_group : 2'd0);
  assign result_written = whole || (part_q && part_group_q == 2'd3);
  assign vector_write_o = (whole || part_q) && finish_q;

  for (genvar lane = 0; lane < 16; lane++) begin : g_write
    assign vector_write_lanes_o[lane] = lanes[lane] && (whole || group == 2'(lane / 4));
  end

  always_comb begin
    if (scaled_q || moves_q) vector_write_data_o = {4{scaled}};
    else if (lookup_q) vector_write_data_o = table_data_i;
    else vector_write_data_o = word_q;
  end

  logic unused;
  assign unused = &{1'b0, source_q, second_q, target_q, window_q, scale_q, run, second_9_q};

  `CHECK(TargetsFit, pixel |-> target_ready)
  `CHECK(ResultsHaveTargets, (whole || part_q) |-> pending)

endmodule
