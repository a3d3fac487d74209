// Two buffers of accumulators: the sums of one tile grow in one while the other is drained.
//
// Adding takes two cycles from the sum to the memory, so a place may come again after two. The drain reads one output
// pixel a cycle: of a dense tile the 16 channels of one pixel of a group, of a depthwise tile the even channels of
// pixel 0 and the odd ones of pixel 1.
`include "checks.svh"

module ia_accumulators #(
  parameter int unsigned Pixels = 2,
  parameter int unsigned TileGroups = 32,
  localparam int unsigned GroupBits = $clog2(TileGroups),
  localparam int unsigned PixelBits = $clog2(Pixels)
) (
  input  logic                    clk_i,
  input  logic                    rst_ni,
  // One cycle before sum_i
  input  logic                    valid_i,
  input  logic                    buffer_i,
  input  logic                    first_i,
  input  logic [GroupBits-1:0]    group_i,
  input  logic [16*19*Pixels-1:0] sum_i,
  // Two cycles before drain_data_o
  input  logic                    drain_buffer_i,
  input  logic [GroupBits-1:0]    drain_group_i,
  input  logic [PixelBits-1:0]    drain_even_i,  // pixel that the even channels come from
  input  logic [PixelBits-1:0]    drain_odd_i,
  output logic [511:0]            drain_data_o
);

  logic                 valid_q, buffer_q, first_q, write_q, write_buffer_q, drain_buffer_q;
  logic [GroupBits-1:0] read0_q, read1_q, group_q, write_group_q;
  logic [PixelBits-1:0] drain_even_q, drain_odd_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid_q <= 1'b0;
      write_q <= 1'b0;
    end else begin
      valid_q <= valid_i;
      write_q <= valid_q;
    end
  end

  always_ff @(posedge clk_i) begin
    buffer_q       <= buffer_i;
    first_q        <= first_i;
    group_q        <= group_i;
    // The first sums of a tile are not added to anything, and may come while the last of the tile before are drained.
    read0_q        <= valid_i && !first_i && !buffer_i ? group_i : drain_group_i;
    read1_q        <= valid_i && !first_i && buffer_i ? group_i : drain_group_i;
    write_buffer_q <= buffer_q;
    write_group_q  <= group_q;
    drain_buffer_q <= drain_buffer_i;
    drain_even_q   <= drain_even_i;
    drain_odd_q    <= drain_odd_i;
  end

  logic [16*32*Pixels-1:0] drained;  // [pixel][channel]

  for (genvar i = 0; i < 16 * Pixels; i++) begin : gen_accumulator
    (* ram_style = "distributed" *) logic [31:0] sums0_q [TileGroups];
    (* ram_style = "distributed" *) logic [31:0] sums1_q [TileGroups];
    logic [31:0] data0, data1, total_q;
    logic [18:0] sum;
    assign sum   = sum_i[19*i+:19];
    assign data0 = sums0_q[read0_q];
    assign data1 = sums1_q[read1_q];
    always_ff @(posedge clk_i) begin
      total_q <= {{13{sum[18]}}, sum} + (first_q ? 32'd0 : buffer_q ? data1 : data0);
      if (write_q && !write_buffer_q) sums0_q[write_group_q] <= total_q;
      if (write_q && write_buffer_q) sums1_q[write_group_q] <= total_q;
    end
    assign drained[32*i+:32] = drain_buffer_q ? data1 : data0;
  end

  for (genvar c = 0; c < 16; c++) begin : gen_drain
    logic [PixelBits-1:0] pixel;
    assign pixel = c % 2 == 0 ? drain_even_q : drain_odd_q;
    always_ff @(posedge clk_i) drain_data_o[32*c+:32] <= drained[32*(16*32'(pixel)+c)+:32];
  end


endmodule
