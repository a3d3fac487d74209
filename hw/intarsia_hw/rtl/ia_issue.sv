// One queue: holds its words, and hands them to its engine in order.
//
// Setup words are offered at once. A run word is offered once it has taken its semaphores; the mask that it signals with
// is kept until the engine says that the word is done, and then until the semaphores have room. End never reaches an
// engine: it takes its semaphores when the words before it are done, signals, and sets ended_o.
//
// A word with semaphores to take is offered two cycles after the signal that it waited for.
`include "checks.svh"

module ia_issue #(
  parameter int unsigned QueueWords = 16,
  parameter int unsigned InFlight = 4      // run words taken and not yet done, a power of two
) (
  input  logic         clk_i,
  input  logic         rst_ni,
  input  logic         hold_i,          // take no more semaphores
  // From the fetcher
  input  logic         in_valid_i,
  output logic         in_ready_o,
  input  logic [127:0] in_word_i,
  // Semaphores
  output logic         take_valid_o,
  output logic [15:0]  take_mask_o,
  input  logic         take_grant_i,
  output logic         signal_valid_o,
  output logic [15:0]  signal_mask_o,
  input  logic         signal_ready_i,
  // Engine
  output logic         word_valid_o,
  input  logic         word_ready_i,
  output logic [127:0] word_o,
  input  logic         done_i,
  // State
  output logic         waiting_o,       // a run word waits for semaphores
  output logic         blocked_o,       // a word is done and cannot signal
  output logic         moved_o,         // a word was taken or handed on
  output logic         finished_o,      // pulse: a run word is done and has signalled
  output logic         empty_o,         // no word is held or in flight
  output logic         ended_o          // End is done
);

  localparam int unsigned InFlightBits = $clog2(InFlight);

  // ---- the word at the head

  logic         queue_valid, head_valid_q, head_run_q, head_end_q, taken_q;
  logic [127:0] queue_word, head_q;
  logic         head_ready, head_done;

  ia_fifo #(.Width(128), .Depth(QueueWords)) u_queue (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .in_valid_i(in_valid_i),
    .in_ready_o(in_ready_o),
    .in_data_i(in_word_i),
    .out_valid_o(queue_valid),
    .out_ready_i(head_ready),
    .out_data_o(queue_word)
  );

  assign head_ready = !head_valid_q || head_done;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) head_valid_q <= 1'b0;
    else if (head_ready) head_valid_q <= queue_valid;
  end

  always_ff @(posedge clk_i) begin
    if (head_ready) begin
      head_q     <= queue_word;
      head_run_q <= ia_isa_pkg::is_run(queue_word[ia_isa_pkg::OpcodeBits-1:0]);
      head_end_q <= queue_word[ia_isa_pkg::OpcodeBits-1:0] == ia_isa_pkg::OpEnd;
    end
  end

  // Every run word begins with the fields that End has.
  ia_isa_pkg::end_t head;
  assign head = head_q;

  // ---- taking semaphores, offering the word

  logic flight_ready, flight_valid, take;

  assign take_valid_o = head_valid_q && head_run_q && !taken_q && flight_ready && !hold_i
      && !(head_end_q && flight_valid);
  assign take_mask_o  = head.wait_;
  assign take         = take_valid_o && take_grant_i;

  assign word_valid_o = head_valid_q && (!head_run_q || (taken_q && !head_end_q));
  assign word_o       = head_q;
  assign head_done    = (word_valid_o && word_ready_i) || (taken_q && head_end_q);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) taken_q <= 1'b0;
    else if (head_done) taken_q <= 1'b0;
    else if (take) taken_q <= 1'b1;
  end

  // ---- signalling

  logic                  word_done, signalled;
  logic [InFlightBits:0] done_q;  // words that are done and have not signalled

  ia_fifo #(.Width(16), .Depth(InFlight)) u_signals (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .in_valid_i(take),
    .in_ready_o(flight_ready),
    .in_data_i(head.signal),
    .out_valid_o(flight_valid),
    .out_ready_i(signalled),
    .out_data_o(signal_mask_o)
  );

  assign word_done      = done_i || (taken_q && head_end_q);
  assign signal_valid_o = word_done || done_q != '0;
  assign signalled      = signal_valid_o && signal_ready_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      done_q  <= '0;
      ended_o <= 1'b0;
    end else begin
      done_q <= done_q + (InFlightBits + 1)'(word_done) - (InFlightBits + 1)'(signalled);
      if (taken_q && head_end_q) ended_o <= 1'b1;
    end
  end

  assign waiting_o  = head_valid_q && head_run_q && !taken_q && !take;
  assign blocked_o  = done_q != '0;
  assign moved_o    = take || head_done;
  assign finished_o = signalled;
  assign empty_o    = !queue_valid && !head_valid_q && !flight_valid;

  logic unused;
  assign unused = &{1'b0, head.unused, head.tag, head.opcode};

  `CHECK(OfferHoldsUntilTaken, (word_valid_o && !word_ready_i) |=> word_valid_o && $stable(word_o))
  `CHECK(DoneWordsWereInFlight, word_done |-> flight_valid)

endmodule
