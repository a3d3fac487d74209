// Address of an output pixel in a tensor in activation memory, pixel after pixel.
module ia_conv_cursor (
  input  logic        clk_i,
  input  logic        start_i,      // at the first pixel of base_i
  input  logic [15:0] base_i,
  input  logic [15:0] row_pitch_i,
  input  logic [15:0] block_pitch_i,
  // Which way to the next pixel, in the cycle of this one; the last that is set wins
  input  logic        column_i,     // to the next column
  input  logic        row_i,        // to the start of the next row, or of the next but one
  input  logic        two_rows_i,
  input  logic        block_i,      // to the next block
  input  logic        below_i,      // this pixel is a row below the cursor
  output logic [15:0] address_o     // one cycle later
);

  logic [15:0] column_q, row_q, block_q, row, block;
  assign row   = row_q + (two_rows_i ? {row_pitch_i[14:0], 1'b0} : row_pitch_i);
  assign block = block_q + block_pitch_i;

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      column_q <= base_i;
      row_q    <= base_i;
      block_q  <= base_i;
    end else if (block_i) begin
      column_q <= block;
      row_q    <= block;
      block_q  <= block;
    end else if (row_i) begin
      column_q <= row;
      row_q    <= row;
    end else if (column_i) begin
      column_q <= column_q + 16'd1;
    end
    address_o <= column_q + (below_i ? row_pitch_i : 16'd0);
  end

endmodule
