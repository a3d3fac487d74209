// Writes runs of 16-byte words through the AXI write channels, several bursts ahead.
//
// Runs are joined and cut into bursts by ia_axi_bursts. The address of a burst may go out before its data; the beats of a
// burst begin when all of its words are here, so none waits for its sender. closed_o tells that everything up to a request
// with close has been answered.
//
// stop_i: no new bursts; those that have begun are ended with beats that write nothing. idle_o tells when nothing is in
// flight. Afterwards only a reset makes the module usable again.
`include "checks.svh"

module ia_axi_write #(
  parameter int unsigned AddressBits = 32,
  parameter int unsigned AxiBytes = 8,      // of a beat: 8 or 16
  parameter int unsigned BurstBytes = 128,  // longest burst, and the boundary that none crosses
  parameter int unsigned Outstanding = 8,   // bursts in flight, a power of two
  parameter int unsigned WordsBits = 20,    // of the length of a run
  parameter int unsigned FifoWords = 32     // words of data held here, a power of two, more than a burst
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,
  // Requests: runs of words; close: nothing contiguous follows
  input  logic                   request_valid_i,
  output logic                   request_ready_o,
  input  logic [AddressBits-1:0] request_address_i,  // bytes, a multiple of 16
  input  logic [WordsBits-1:0]   request_words_i,    // at least 1
  input  logic                   request_close_i,
  // Words, in the order of the requests. The sender knows by data_left_o how many of the FifoWords are free.
  input  logic                   data_valid_i,
  input  logic [127:0]           data_i,
  output logic                   data_left_o,        // pulse: a word left the FIFO
  // Control
  output logic                   closed_o,           // pulse: all words up to a request with close are answered
  input  logic                   stop_i,
  output logic                   idle_o,
  output logic                   error_o,            // pulse: an error response
  output logic [1:0]             error_response_o,
  output logic [AddressBits-1:0] error_address_o,    // of the burst
  // AXI; size, burst type and the other constants are set where the ports leave the chip
  output logic                   awvalid_o,
  input  logic                   awready_i,
  output logic [AddressBits-1:0] awaddr_o,
  output logic [7:0]             awlen_o,
  output logic                   wvalid_o,
  input  logic                   wready_i,
  output logic [8*AxiBytes-1:0]  wdata_o,
  output logic [AxiBytes-1:0]    wstrb_o,
  output logic                   wlast_o,
  input  logic                   bvalid_i,
  output logic                   bready_o,
  input  logic [1:0]             bresp_i
);

  localparam int unsigned BurstWords = BurstBytes / 16;
  localparam int unsigned BurstBits = $clog2(BurstWords);
  localparam int unsigned BeatsInWord = 16 / AxiBytes;
  localparam int unsigned FifoBits = $clog2(FifoWords);

  `CHECK_PARAM(BeatsAreHalfOrWholeWords, AxiBytes == 8 || AxiBytes == 16)
  `CHECK_PARAM(BurstsHaveAtMost16Beats, BurstBytes <= 16 * AxiBytes)
  `CHECK_PARAM(FifoHoldsMoreThanABurst, FifoWords == 1 << FifoBits && FifoWords > BurstWords)

  // ---- addresses

  logic                   burst_valid, burst_ready, burst_close, burst_taken;
  logic [AddressBits-1:0] burst_address;
  logic [BurstBits:0]     burst_words;

  ia_axi_bursts #(.AddressBits(AddressBits), .BurstBytes(BurstBytes), .WordsBits(WordsBits)) u_bursts (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .request_valid_i(request_valid_i),
    .request_ready_o(request_ready_o),
    .request_address_i(request_address_i),
    .request_words_i(request_words_i),
    .request_close_i(request_close_i),
    .burst_valid_o(burst_valid),
    .burst_ready_i(burst_ready),
    .burst_address_o(burst_address),
    .burst_words_o(burst_words),
    .burst_close_o(burst_close)
  );

  logic                   awvalid_q, lengths_ready, names_ready;
  logic [AddressBits-1:0] awaddr_q;
  logic [7:0]             awlen_q;

  assign burst_ready = !stop_i && lengths_ready && names_ready && (!awvalid_q || awready_i);
  assign burst_taken = burst_valid && burst_ready;
  assign awvalid_o   = awvalid_q;
  assign awaddr_o    = awaddr_q;
  assign awlen_o     = awlen_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) awvalid_q <= 1'b0;
    else if (burst_taken) awvalid_q <= 1'b1;
    else if (awready_i) awvalid_q <= 1'b0;
  end

  always_ff @(posedge clk_i) begin
    if (burst_taken) begin
      awaddr_q <= burst_address;
      awlen_q  <= 8'(burst_words) * 8'(BeatsInWord) - 8'd1;
    end
  end

  // Lengths of the bursts whose data has not begun.
  logic               length_valid, begins;
  logic [BurstBits:0] length;

  ia_fifo #(.Width(BurstBits + 1), .Depth(Outstanding)) u_lengths (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .in_valid_i(burst_taken),
    .in_ready_o(lengths_ready),
    .in_data_i(burst_words),
    .out_valid_o(length_valid),
    .out_ready_i(begins),
    .out_data_o(length)
  );

  // Bursts that have not been answered.
  logic                   name_valid, name_close;
  logic [AddressBits-1:0] name;

  ia_fifo #(.Width(AddressBits + 1), .Depth(Outstanding)) u_names (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .in_valid_i(burst_taken),
    .in_ready_o(names_ready),
    .in_data_i({burst_close, burst_address}),
    .out_valid_o(name_valid),
    .out_ready_i(bvalid_i),
    .out_data_o({name_close, name})
  );

  // ---- data

  (* ram_style = "distributed" *) logic [127:0] words_q [FifoWords];
  logic [FifoBits-1:0] write_q, read_q;
  logic [FifoBits:0]   count_q;
  logic                active_q;  // a burst is being sent
  logic [BurstBits:0]  left_q;    // its words that are still to come, the one at work included
  logic                beat_free, beat_taken, word_ends, burst_ends, word_left;
  logic                wvalid_q, wlast_q, write_enable_q;
  logic [8*AxiBytes-1:0] wdata_q, beat;

  assign beat_free  = !wvalid_q || wready_i;
  assign beat_taken = active_q && beat_free;
  assign burst_ends = beat_taken && word_ends && left_q == (BurstBits + 1)'(1);
  assign word_left  = beat_taken && word_ends && !stop_i;
  // The word that leaves while the next burst begins is still counted.
  assign begins = length_valid && (!active_q || burst_ends) &&
                  (stop_i || count_q >= (FifoBits + 1)'(length) + (FifoBits + 1)'(active_q));

  logic [127:0] word;
  assign word = words_q[read_q];

  if (AxiBytes == 8) begin : g_half
    logic second_q;
    always_ff @(posedge clk_i) begin
      if (!rst_ni) second_q <= 1'b0;
      else if (beat_taken) second_q <= !second_q;
    end
    assign word_ends = second_q;
    assign beat      = second_q ? word[127:64] : word[63:0];
  end else begin : g_whole
    assign word_ends = 1'b1;
    assign beat      = word;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      write_q     <= '0;
      read_q      <= '0;
      count_q     <= '0;
      active_q    <= 1'b0;
      wvalid_q    <= 1'b0;
      data_left_o <= 1'b0;
    end else begin
      write_q     <= write_q + FifoBits'(data_valid_i);
      read_q      <= read_q + FifoBits'(word_left);
      count_q     <= count_q + (FifoBits + 1)'(data_valid_i) - (FifoBits + 1)'(word_left);
      data_left_o <= word_left;
      if (begins) active_q <= 1'b1;
      else if (burst_ends) active_q <= 1'b0;
      if (beat_free) wvalid_q <= active_q;
    end
  end

  always_ff @(posedge clk_i) begin
    if (data_valid_i) words_q[write_q] <= data_i;
    if (begins) left_q <= length;
    else if (beat_taken && word_ends) left_q <= left_q - (BurstBits + 1)'(1);
    if (beat_free) begin
      wdata_q        <= beat;
      wlast_q        <= burst_ends;
      write_enable_q <= !stop_i;
    end
  end

  assign wvalid_o = wvalid_q;
  assign wdata_o  = wdata_q;
  assign wlast_o  = wlast_q;
  assign wstrb_o  = {AxiBytes{write_enable_q}};

  // ---- responses

  assign bready_o = 1'b1;
  assign idle_o   = !name_valid;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      error_o  <= 1'b0;
      closed_o <= 1'b0;
    end else begin
      error_o  <= bvalid_i && bresp_i[1];
      closed_o <= bvalid_i && name_close;
    end
  end

  always_ff @(posedge clk_i) begin
    error_response_o <= bresp_i;
    error_address_o  <= name;
  end

  `CHECK(AddressHoldsUntilTaken, (awvalid_o && !awready_i) |=>
         awvalid_o && $stable(awaddr_o) && $stable(awlen_o))
  `CHECK(BurstStaysInItsBlock, awvalid_o |->
         (32'(awaddr_o) & 32'(BurstBytes - 1)) + (32'(awlen_o) + 1) * 32'(AxiBytes) <= 32'(BurstBytes))
  `CHECK(DataHoldsUntilTaken, (wvalid_o && !wready_i) |=>
         wvalid_o && $stable(wdata_o) && $stable(wstrb_o) && $stable(wlast_o))
  `CHECK(ABurstDoesNotPause, (wvalid_o && wready_i && !wlast_o) |=> wvalid_o)
  `CHECK(ResponseWasDue, bvalid_i |-> name_valid)
  `CHECK(FifoHasRoom, data_valid_i |-> count_q < (FifoBits + 1)'(FifoWords))

endmodule
