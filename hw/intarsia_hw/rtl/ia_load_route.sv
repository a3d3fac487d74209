// Delivers the words that arrive from DRAM: job by job, to activation memory, a constant memory or the patch builder.
//
// A job is a rectangle of words in the memory written. With upsample each word is written up to four times, in a square of
// 2 x 2; the rectangle then walks the squares. Jobs of the patch builder only pass words on; it writes through here, and
// jobs of other kinds wait until it is idle.
`include "checks.svh"

module ia_load_route (
  input  logic         clk_i,
  input  logic         rst_ni,
  // Jobs
  input  logic         job_valid_i,
  output logic         job_ready_o,
  input  logic         job_patch_i,
  input  logic         job_constants_i,
  input  logic [1:0]   job_memory_i,       // of constants
  input  logic         job_upsample_i,
  input  logic         job_odd_rows_i,     // upsample: the last row of squares has one row
  input  logic         job_odd_columns_i,
  input  logic [9:0]   job_blocks_i,
  input  logic [15:0]  job_rows_i,         // of data; 0 for a patch without data
  input  logic [13:0]  job_columns_i,
  input  logic [15:0]  job_target_i,
  input  logic [15:0]  job_row_pitch_i,    // upsample: of two rows
  input  logic [15:0]  job_block_pitch_i,
  // Words from DRAM
  input  logic         data_valid_i,
  output logic         data_ready_o,
  input  logic [127:0] data_i,
  output logic         waits_o,            // a job is at work, and no word is here
  output logic         done_o,             // pulse for each job that is not the patch builder's
  // Patch builder: its next job may begin; it is idle; words for it; its writes
  input  logic         patch_ready_i,
  output logic         patch_start_o,
  input  logic         patch_idle_i,
  output logic         fill_valid_o,
  input  logic         fill_ready_i,
  output logic         fill_last_o,        // of its row
  input  logic         patch_write_i,
  input  logic [15:0]  patch_address_i,
  input  logic [127:0] patch_data_i,
  // Memories: one address and one word for all of them
  output logic         load_write_o,
  output logic         weight_write_o,
  output logic         parameter_write_o,
  output logic         table_write_o,
  input  logic         table_write_ready_i,
  output logic [15:0]  write_address_o,
  output logic [127:0] write_data_o
);

  localparam int unsigned JobBits = 7 + 10 + 16 + 14 + 16 + 16 + 16;

  // ---- jobs

  logic        next_valid, next_patch, next_constants, next_upsample, next_odd_rows, next_odd_columns;
  logic [1:0]  next_memory;
  logic [9:0]  next_blocks;
  logic [15:0] next_rows, next_target, next_row_pitch, next_block_pitch;
  logic [13:0] next_columns;
  logic        takes, walks;

  ia_fifo #(.Width(JobBits), .Depth(4)) u_jobs (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .in_valid_i(job_valid_i),
    .in_ready_o(job_ready_o),
    .in_data_i({job_patch_i, job_constants_i, job_memory_i, job_upsample_i, job_odd_rows_i, job_odd_columns_i,
                job_blocks_i, job_rows_i, job_columns_i, job_target_i, job_row_pitch_i, job_block_pitch_i}),
    .out_valid_o(next_valid),
    .out_ready_i(takes),
    .out_data_o({next_patch, next_constants, next_memory, next_upsample, next_odd_rows, next_odd_columns,
                 next_blocks, next_rows, next_columns, next_target, next_row_pitch, next_block_pitch})
  );

  logic        patch_q, to_act_q, to_weights_q, to_parameters_q, to_tables_q, upsample_q, odd_rows_q, odd_columns_q;
  logic [14:0] single_pitch_q;  // of one row where a square has two
  logic        table_lands_q;   // the last entry of a table is still on its way

  // A job is taken when the one before has been delivered, and nothing else is left to write.
  assign takes         = next_valid && !walks && !table_lands_q && (next_patch ? patch_ready_i : patch_idle_i);
  assign patch_start_o = takes && next_patch;

  always_ff @(posedge clk_i) begin
    if (takes) begin
      patch_q         <= next_patch;
      to_act_q        <= !next_patch && !next_constants;
      to_weights_q    <= next_constants && next_memory == ia_isa_pkg::MemoryWeights;
      to_parameters_q <= next_constants && next_memory == ia_isa_pkg::MemoryParameters;
      to_tables_q     <= next_constants && next_memory == ia_isa_pkg::MemoryTables;
      upsample_q      <= next_upsample;
      odd_rows_q      <= next_odd_rows;
      odd_columns_q   <= next_odd_columns;
      single_pitch_q  <= next_row_pitch[15:1];
    end
  end

  // ---- the walk

  logic        step, last_column, last_row, last;
  logic [15:0] address;

  ia_rectangle #(.RowsBits(16), .RowPitchBits(16)) u_walk (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .start_i(takes && next_rows != 0),
    .base_i(next_target),
    .blocks_i(next_blocks),
    .rows_i(next_rows),
    .columns_i(next_columns),
    .column_pitch_i(next_upsample ? 2'd2 : 2'd1),
    .row_pitch_i(next_row_pitch),
    .block_pitch_i(next_block_pitch),
    .valid_o(walks),
    .address_o(address),
    .last_column_o(last_column),
    .last_row_o(last_row),
    .last_o(last),
    .step_i(step)
  );

  // Place in the square of an enlarged word.
  logic right_q, below_q, ends_row, ends_square, writes, stalls;

  assign ends_row     = !upsample_q || right_q || (last_column && odd_columns_q);
  assign ends_square  = ends_row && (!upsample_q || below_q || (last_row && odd_rows_q));
  assign writes       = walks && !patch_q && data_valid_i && !stalls;
  assign step         = patch_q ? walks && data_valid_i && fill_ready_i : writes && ends_square;
  assign data_ready_o = step;
  assign fill_valid_o = walks && patch_q && data_valid_i;
  assign fill_last_o  = last_column;
  assign waits_o      = walks && !data_valid_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      right_q <= 1'b0;
      below_q <= 1'b0;
    end else if (writes) begin
      right_q <= !ends_row;
      below_q <= !ends_square && (below_q || ends_row);
    end
  end

  // ---- writes

  logic         last_q;
  logic         load_write_q, weight_write_q, parameter_write_q, table_write_q;
  logic [15:0]  write_address_q;
  logic [127:0] write_data_q;

  assign stalls = table_write_q && !table_write_ready_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      load_write_q      <= 1'b0;
      weight_write_q    <= 1'b0;
      parameter_write_q <= 1'b0;
      table_write_q     <= 1'b0;
      last_q            <= 1'b0;
      table_lands_q     <= 1'b0;
      done_o            <= 1'b0;
    end else begin
      load_write_q      <= patch_write_i || (writes && to_act_q);
      weight_write_q    <= writes && to_weights_q;
      parameter_write_q <= writes && to_parameters_q;
      table_write_q     <= (writes && to_tables_q) || stalls;
      last_q            <= writes && last && ends_square && !to_tables_q;
      if (writes && last && to_tables_q) table_lands_q <= 1'b1;
      else if (table_write_ready_i && !table_write_q) table_lands_q <= 1'b0;
      done_o <= last_q || (table_lands_q && table_write_ready_i && !table_write_q);
    end
  end

  always_ff @(posedge clk_i) begin
    if (!stalls) begin
      if (patch_write_i) begin
        write_address_q <= patch_address_i;
        write_data_q    <= patch_data_i;
      end else begin
        write_address_q <= address + 16'(right_q) + (below_q ? {1'b0, single_pitch_q} : 16'd0);
        write_data_q    <= data_i;
      end
    end
  end

  assign load_write_o      = load_write_q;
  assign weight_write_o    = weight_write_q;
  assign parameter_write_o = parameter_write_q;
  assign table_write_o     = table_write_q;
  assign write_address_o   = write_address_q;
  assign write_data_o      = write_data_q;

  `CHECK(PatchesWriteAlone, patch_write_i |-> !writes && !stalls)

endmodule
