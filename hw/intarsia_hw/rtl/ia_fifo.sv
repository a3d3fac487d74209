// First in, first out, in LUT memory: a word that goes in comes out in the next cycle at the earliest.
// Takes and gives one word a cycle; in_ready_o depends on no input.
`include "checks.svh"

module ia_fifo #(
  parameter int unsigned Width = 32,  // bits of a word
  parameter int unsigned Depth = 16   // words, a power of two, at least 2
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             in_valid_i,
  output logic             in_ready_o,
  input  logic [Width-1:0] in_data_i,
  output logic             out_valid_o,
  input  logic             out_ready_i,
  output logic [Width-1:0] out_data_o
);

  localparam int unsigned PointerBits = $clog2(Depth);

  `CHECK_PARAM(DepthIsAPowerOfTwo, Depth >= 2 && Depth == 1 << PointerBits)

  // One bit more than an address, so that full and empty differ.
  logic [PointerBits:0] write_q, read_q;

  (* ram_style = "distributed" *) logic [Width-1:0] words_q [Depth];

  logic push, pop;
  assign push = in_valid_i && in_ready_o;
  assign pop  = out_valid_o && out_ready_i;

  assign in_ready_o  = write_q != {~read_q[PointerBits], read_q[PointerBits-1:0]};
  assign out_valid_o = write_q != read_q;
  assign out_data_o  = words_q[read_q[PointerBits-1:0]];

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      write_q <= '0;
      read_q  <= '0;
    end else begin
      write_q <= write_q + (PointerBits + 1)'(push);
      read_q  <= read_q + (PointerBits + 1)'(pop);
    end
  end

  always_ff @(posedge clk_i) begin
    if (push) words_q[write_q[PointerBits-1:0]] <= in_data_i;
  end

  logic [PointerBits:0] level;
  assign level = write_q - read_q;

  `INVARIANT(AtMostDepthWords, 32'(level) <= Depth)
  `CHECK(OfferHoldsUntilTaken, (out_valid_o && !out_ready_i) |=> out_valid_o && $stable(out_data_o))
  `CHECK(RoomStaysUntilUsed, (in_ready_o && !in_valid_i) |=> in_ready_o)

endmodule
