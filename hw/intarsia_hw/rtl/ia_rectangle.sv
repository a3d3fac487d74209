// Addresses of a rectangle of words, in order: base + b * block_pitch + y * row_pitch + x * column_pitch for b, y, x in
// the counts. One address a cycle, by additions alone. It keeps what it was started with.
`include "checks.svh"

module ia_rectangle #(
  parameter int unsigned AddressBits = 16,
  parameter int unsigned BlocksBits = 10,
  parameter int unsigned RowsBits = 14,
  parameter int unsigned ColumnsBits = 14,
  parameter int unsigned RowPitchBits = 14,
  parameter int unsigned BlockPitchBits = 16
) (
  input  logic                      clk_i,
  input  logic                      rst_ni,
  input  logic                      start_i,         // while valid_o is low
  input  logic [AddressBits-1:0]    base_i,
  input  logic [BlocksBits-1:0]     blocks_i,        // counts are at least 1
  input  logic [RowsBits-1:0]       rows_i,
  input  logic [ColumnsBits-1:0]    columns_i,
  input  logic [1:0]                column_pitch_i,
  input  logic [RowPitchBits-1:0]   row_pitch_i,
  input  logic [BlockPitchBits-1:0] block_pitch_i,
  output logic                      valid_o,
  output logic [AddressBits-1:0]    address_o,
  output logic                      last_column_o,   // of its row
  output logic                      last_row_o,      // of its block
  output logic                      last_o,          // of all
  input  logic                      step_i           // to the next address, while valid_o is high
);

  logic                      valid_q;
  logic [AddressBits-1:0]    address_q, row_q, block_q;  // this word, its row, its block
  logic [BlocksBits-1:0]     blocks_q;                   // still to come, this one included
  logic [RowsBits-1:0]       rows_q, all_rows_q;
  logic [ColumnsBits-1:0]    columns_q, all_columns_q;
  logic [1:0]                column_pitch_q;
  logic [RowPitchBits-1:0]   row_pitch_q;
  logic [BlockPitchBits-1:0] block_pitch_q;
  logic [AddressBits-1:0]    next_row, next_block;

  assign valid_o       = valid_q;
  assign address_o     = address_q;
  assign last_column_o = columns_q == ColumnsBits'(1);
  assign last_row_o    = rows_q == RowsBits'(1);
  assign last_o        = last_column_o && last_row_o && blocks_q == BlocksBits'(1);
  assign next_row      = row_q + AddressBits'(row_pitch_q);
  assign next_block    = block_q + AddressBits'(block_pitch_q);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= 1'b0;
    else if (start_i) valid_q <= 1'b1;
    else if (step_i && last_o) valid_q <= 1'b0;
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      address_q      <= base_i;
      row_q          <= base_i;
      block_q        <= base_i;
      blocks_q       <= blocks_i;
      rows_q         <= rows_i;
      all_rows_q     <= rows_i;
      columns_q      <= columns_i;
      all_columns_q  <= columns_i;
      column_pitch_q <= column_pitch_i;
      row_pitch_q    <= row_pitch_i;
      block_pitch_q  <= block_pitch_i;
    end else if (step_i) begin
      if (!last_column_o) begin
        address_q <= address_q + AddressBits'(column_pitch_q);
        columns_q <= columns_q - ColumnsBits'(1);
      end else if (!last_row_o) begin
        address_q <= next_row;
        row_q     <= next_row;
        columns_q <= all_columns_q;
        rows_q    <= rows_q - RowsBits'(1);
      end else begin
        address_q <= next_block;
        row_q     <= next_block;
        block_q   <= next_block;
        columns_q <= all_columns_q;
        rows_q    <= all_rows_q;
        blocks_q  <= blocks_q - BlocksBits'(1);
      end
    end
  end

  `CHECK(StartsWhenFree, start_i |-> !valid_q)
  `CHECK(CountsArePositive, start_i |-> blocks_i != 0 && rows_i != 0 && columns_i != 0)
  `CHECK(StepsWhenValid, step_i |-> valid_q)

endmodule
