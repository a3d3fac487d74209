// The inner loops of a depthwise convolution: the columns of the source that a pass needs are read one after the other,
// two words a cycle, and shifted into the window; when the window stands at an output, the one or two outputs below each
// other that it holds are made while the next column is read.
//
// Columns of outputs that are one or two columns of the source apart share what they have in common; otherwise, and with
// a dilation, all three columns are read for each.
`include "checks.svh"

module ia_conv_depthwise #(
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
  input  logic                     buffer_free_i,
  input  logic                     settled_i,      // weights of the next pass come in time
  output logic                     busy_o,
  // Issue of an output pixel
  output logic                     valid_o,
  output logic [GroupBits-1:0]     group_o,
  output logic [1:0]               select_o,       // 1 + the row of the window that it begins in
  output logic                     first_o,
  output logic                     tile_end_o,
  // Begin of a pass, for the weights
  output logic                     step_o,
  output logic                     step_last_o,
  output logic                     tile_last_o,
  output logic                     block_last_o,
  // Reading: rows of the next column that come now, and in which cycle it is complete
  output logic [4:0]               gather_o,
  output logic                     shift_o,
  // Two cycles later
  output logic [1:0]               read_o,
  output logic [31:0]              address_o
);

  logic                 planned, pass, pass_taken;
  logic [15:0]          pass_x, pass_address;
  logic [4:0]           pass_rows;
  logic [1:0]           pass_first_pair, pass_pairs, pass_width;
  logic                 pass_partial, pass_two_rows, pass_follows, pass_first, pass_last, pass_tile_last, pass_block_last;
  logic [GroupBits:0]   pass_columns;

  ia_depthwise_planner #(.TileGroups(TileGroups)) u_planner (
    .clk_i,
    .rst_ni,
    .start_i,
    .source_i,
    .window_i,
    .row_step_i,
    .stride_step_i,
    .origin_i,
    .busy_o(planned),
    .pass_o(pass),
    .pass_taken_i(pass_taken),
    .x_o(pass_x),
    .address_o(pass_address),
    .rows_o(pass_rows),
    .first_pair_o(pass_first_pair),
    .pairs_o(pass_pairs),
    .partial_o(pass_partial),
    .columns_o(pass_columns),
    .two_rows_o(pass_two_rows),
    .width_o(pass_width),
    .follows_o(pass_follows),
    .first_o(pass_first),
    .last_o(pass_last),
    .tile_last_o(pass_tile_last),
    .block_last_o(pass_block_last)
  );

  // ---- what the Conv is

  logic [15:0] row_step_q, again_q;
  logic [13:0] width_q;
  logic [5:0]  dilation_q;
  logic [1:0]  stride_x_q, stride_y_q;
  logic        slides_q;

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      row_step_q <= row_step_i;
      width_q    <= source_i.width;
      slides_q   <= window_i.dilation_x == 6'd1 && window_i.stride_x <= 4'd2;
      dilation_q <= window_i.dilation_x;
      stride_x_q <= window_i.stride_x[1:0];
      stride_y_q <= window_i.stride_y[1:0];
      // From the third column of an output to the first of the next.
      again_q    <= 16'(window_i.stride_x) - {9'd0, window_i.dilation_x, 1'b0};
    end
  end

  // ---- the pass at work: columns

  logic                 active_q, partial_q, two_rows_q;
  logic [15:0]          x_q, address_q, offset_q;
  logic [4:0]           rows_q;
  logic [1:0]           first_pair_q, pairs_q, pair_q, width_q2, column_q, needed_q, cycle_q, pending_q;
  logic [GroupBits:0]   outputs_left_q;
  logic [GroupBits+1:0] reads_left_q;
  // Marks of the pass, and of the pass that the pending outputs belong to
  logic                 first_q, last_q, tile_last_q, block_last_q, begins_q;
  logic                 pending_begins_q, pending_first_q, pending_last_q, pending_ends_q;
  logic                 pending_tile_last_q, pending_block_last_q;

  logic       exists, fills, hold, go, op_end, complete, pass_end, load;
  logic [2:0] load_cycles, load_cycles_q;  // the second from the second cycle of a column on

  logic [16:0] below;
  assign below  = {1'b0, x_q} - 17'(width_q);
  assign exists = active_q && below[16] && pairs_q != 2'd0
                  && (slides_q ? reads_left_q != '0 : column_q < width_q2);
  // The first column of a pass with missing rows, and each column that does not exist, are filled first.
  assign fills  = active_q && cycle_q == 2'd0 && (!exists || partial_q);
  always_comb begin
    if (!active_q) load_cycles = 3'd0;
    else if (!exists) load_cycles = 3'd1;
    else load_cycles = 3'(pairs_q) + 3'(partial_q);
  end

  logic settled_q;
  always_ff @(posedge clk_i) begin
    settled_q     <= settled_i;
    load_cycles_q <= load_cycles;
  end

  assign hold     = cycle_q == 2'd0 && pending_q != 2'd0 && pending_begins_q
                    && (!settled_i || !settled_q || (pending_first_q && !buffer_free_i));
  assign go       = (active_q || pending_q != 2'd0) && !hold;
  // The columns of the window shift one cycle after the other, so a column takes two cycles at least.
  assign op_end   = go && (!active_q || (cycle_q != 2'd0 && 3'(cycle_q) + 3'd1 >= load_cycles_q))
                    && 3'(cycle_q) + 3'd1 >= 3'(pending_q);
  assign complete = op_end && active_q && needed_q == 2'd1;
  assign pass_end = complete && outputs_left_q == (GroupBits + 1)'(1);
  // Outputs that wait for their turn are not cut short by a new pass.
  assign pass_taken = pass && (pass_end || (!active_q && (pending_q == 2'd0 || op_end)));
  assign load       = go && exists && !fills && pair_q < pairs_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      active_q  <= 1'b0;
      pending_q <= 2'd0;
      cycle_q   <= 2'd0;
    end else begin
      if (pass_taken) active_q <= 1'b1;
      else if (pass_end) active_q <= 1'b0;
      if (op_end) pending_q <= complete ? (two_rows_q ? 2'd2 : 2'd1) : 2'd0;
      if (op_end) cycle_q <= 2'd0;
      else if (go) cycle_q <= cycle_q + 2'd1;
    end
  end

  logic [GroupBits+1:0] reads;
  assign reads = stride_x_q[1] ? {pass_columns, 1'b0} : {1'b0, pass_columns};

  always_ff @(posedge clk_i) begin
    if (pass_taken) begin
      partial_q      <= pass_partial && !pass_follows;
      two_rows_q     <= pass_two_rows;
      rows_q         <= pass_rows;
      first_pair_q   <= pass_first_pair;
      pairs_q        <= pass_pairs;
      width_q2       <= pass_width;
      outputs_left_q <= pass_columns;
      column_q       <= 2'd0;
      needed_q       <= pass_follows ? stride_x_q : 2'd3;
      reads_left_q   <= pass_follows ? reads : reads + (GroupBits + 2)'(pass_width) - (GroupBits + 2)'(stride_x_q);
      first_q        <= pass_first;
      last_q         <= pass_last;
      tile_last_q    <= pass_tile_last;
      block_last_q   <= pass_block_last;
      begins_q       <= 1'b1;
    end else if (op_end) begin
      partial_q <= 1'b0;
      column_q  <= column_q == 2'd2 ? 2'd0 : column_q + 2'd1;
      if (reads_left_q != '0) reads_left_q <= reads_left_q - 1'b1;
      needed_q  <= complete ? (slides_q ? stride_x_q : 2'd3) : needed_q - 2'd1;
      if (complete) begin
        outputs_left_q <= outputs_left_q - 1'b1;
        begins_q       <= 1'b0;
      end
    end

    if (pass_taken && !pass_follows) begin
      x_q       <= pass_x;
      address_q <= pass_address;
    end else if (op_end && active_q) begin
      if (slides_q) begin
        x_q       <= x_q + 16'd1;
        address_q <= address_q + 16'd1;
      end else begin
        x_q       <= x_q + (column_q == 2'd2 ? again_q : 16'(dilation_q));
        address_q <= address_q + (column_q == 2'd2 ? again_q : 16'(dilation_q));
      end
    end

    if (op_end) begin
      pending_begins_q     <= begins_q;
      pending_first_q      <= first_q;
      pending_last_q       <= last_q;
      pending_ends_q       <= pass_end;
      pending_tile_last_q  <= tile_last_q;
      pending_block_last_q <= block_last_q;
    end
    if (op_end || !go) begin
      offset_q <= '0;
      pair_q   <= 2'd0;
    end else if (load) begin
      offset_q <= offset_q + {row_step_q[14:0], 1'b0};
      pair_q   <= pair_q + 2'd1;
    end
  end

  // ---- outputs

  logic [GroupBits-1:0] group_q;
  logic                 valid, begins;
  assign valid  = go && cycle_q < pending_q;
  assign begins = valid && cycle_q == 2'd0 && pending_begins_q;

  always_ff @(posedge clk_i) begin
    if (valid) group_q <= (pending_ends_q && cycle_q + 2'd1 == pending_q) ? '0 : group_q + 1'b1;
    if (start_i) group_q <= '0;
  end

  assign valid_o      = valid;
  assign group_o      = group_q;
  assign select_o     = cycle_q == 2'd0 ? 2'd1 : 2'd1 + stride_y_q;
  assign first_o      = pending_first_q;
  assign tile_end_o   = valid && pending_ends_q && pending_last_q && cycle_q + 2'd1 == pending_q;
  assign step_o       = begins;
  assign step_last_o  = pending_last_q;
  assign tile_last_o  = pending_tile_last_q;
  assign block_last_o = pending_block_last_q;
  assign busy_o       = planned || active_q || pending_q != 2'd0;

  // ---- reads

  logic [1:0]  row_pair;
  logic [4:0]  pair_rows;
  assign row_pair = first_pair_q + pair_q;
  always_comb begin
    pair_rows = 5'd0;
    if (load) begin
      unique case (row_pair)
        2'd0: pair_rows = rows_q & 5'b00011;
        2'd1: pair_rows = rows_q & 5'b01100;
        default: pair_rows = rows_q & 5'b10000;
      endcase
    end
  end
  logic unused;
  assign unused   = ^below[15:0];
  assign gather_o = go && fills ? 5'b11111 : pair_rows;
  assign shift_o  = op_end && active_q;

  logic [1:0]  read_q;
  logic [15:0] even_q;
  always_ff @(posedge clk_i) begin
    read_q    <= {(pair_rows & 5'b01010) != 5'd0, (pair_rows & 5'b10101) != 5'd0};
    even_q    <= address_q + offset_q;
    read_o    <= read_q;
    address_o <= {even_q + row_step_q, even_q};
  end

endmodule
