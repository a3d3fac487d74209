// Makes bursts of runs of words: runs that follow each other in memory become one, and a burst ends at every boundary of
// BurstBytes, or where nothing contiguous follows.
//
// A request is a run of 16-byte words. close_i with it says that the run's end is the end of a burst, whatever comes
// next; without it the end of the run waits for the next request. So the bursts depend on the requests alone, never on
// when they come.
`include "checks.svh"

module ia_axi_bursts #(
  parameter int unsigned AddressBits = 32,
  parameter int unsigned BurstBytes = 128,  // a power of two
  parameter int unsigned WordsBits = 20     // of the length of a run
) (
  input  logic                            clk_i,
  input  logic                            rst_ni,
  input  logic                            request_valid_i,
  output logic                            request_ready_o,
  input  logic [AddressBits-1:0]          request_address_i,  // bytes, a multiple of 16
  input  logic [WordsBits-1:0]            request_words_i,    // at least 1
  input  logic                            request_close_i,
  output logic                            burst_valid_o,
  input  logic                            burst_ready_i,
  output logic [AddressBits-1:0]          burst_address_o,
  output logic [$clog2(BurstBytes/16):0]  burst_words_o,      // 1 to BurstBytes / 16
  output logic                            burst_close_o       // its last word is that of a request with close
);

  localparam int unsigned BurstWords = BurstBytes / 16;
  localparam int unsigned BurstBits = $clog2(BurstWords);
  localparam int unsigned WordBits = AddressBits - 4;  // of an address in words

  `CHECK_PARAM(BurstsAreAPowerOfTwo, BurstWords == 1 << BurstBits && BurstWords >= 2)

  // The next run, and the run that bursts are cut from. Lengths have a bit more: a run may grow by another one.
  logic                 next_valid_q, next_close_q;
  logic [WordBits-1:0]  next_address_q;
  logic [WordsBits-1:0] next_words_q;
  logic                 run_valid_q, run_close_q;
  logic [WordBits-1:0]  run_address_q, run_end_q;
  logic [WordsBits:0]   run_words_q;

  logic [BurstBits:0] room;  // words up to the boundary
  logic               whole, follows, exhausted, burst_taken, joins, starts;

  assign room      = (BurstBits + 1)'(BurstWords) - {1'b0, run_address_q[BurstBits-1:0]};
  assign whole     = run_words_q >= (WordsBits + 1)'(room);
  assign follows   = next_address_q == run_end_q;
  assign exhausted = run_words_q == (WordsBits + 1)'(burst_words_o);

  assign burst_valid_o   = run_valid_q && (whole || run_close_q || (next_valid_q && !follows));
  assign burst_address_o = {run_address_q, 4'd0};
  assign burst_words_o   = whole ? room : run_words_q[BurstBits:0];
  assign burst_close_o   = run_close_q && exhausted;
  assign burst_taken     = burst_valid_o && burst_ready_i;

  // A run grows while it is too short for a whole burst, which bounds its length.
  assign joins  = next_valid_q && run_valid_q && !run_close_q && !whole && follows;
  assign starts = next_valid_q && (!run_valid_q || (burst_taken && exhausted));

  assign request_ready_o = !next_valid_q || joins || starts;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      next_valid_q <= 1'b0;
      run_valid_q  <= 1'b0;
    end else begin
      if (request_ready_o) next_valid_q <= request_valid_i;
      if (starts) run_valid_q <= 1'b1;
      else if (burst_taken && exhausted) run_valid_q <= 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (request_ready_o) begin
      next_address_q <= request_address_i[AddressBits-1:4];
      next_words_q   <= request_words_i;
      next_close_q   <= request_close_i;
    end
    if (starts) begin
      run_address_q <= next_address_q;
      run_end_q     <= next_address_q + WordBits'(next_words_q);
      run_words_q   <= {1'b0, next_words_q};
      run_close_q   <= next_close_q;
    end else if (joins) begin
      run_end_q   <= run_end_q + WordBits'(next_words_q);
      run_words_q <= run_words_q + {1'b0, next_words_q};
      run_close_q <= next_close_q;
    end else if (burst_taken) begin
      run_address_q <= run_address_q + WordBits'(burst_words_o);
      run_words_q   <= run_words_q - (WordsBits + 1)'(burst_words_o);
    end
  end

  logic unused;
  assign unused = &{1'b0, request_address_i[3:0]};

  `CHECK(RequestsAreAligned, request_valid_i |-> request_address_i[3:0] == 0 && request_words_i != 0)
  `CHECK(OfferHoldsUntilTaken, (burst_valid_o && !burst_ready_i) |=>
         burst_valid_o && $stable(burst_address_o) && $stable(burst_words_o) && $stable(burst_close_o))

endmodule
