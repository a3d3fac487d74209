// Reads runs of 16-byte words through an AXI read channel, several bursts ahead.
//
// Runs are joined and cut into bursts by ia_axi_bursts. A burst is asked for once the FIFO has room for all of it, so
// the data channel never waits. Words come out in the order of the requests.
//
// stop_i: no new bursts, and what arrives is dropped; idle_o tells when nothing is in flight. Afterwards only a reset
// makes the module usable again. Data of a burst with an error is delivered like any other: whoever sees error_o stops.
`include "checks.svh"

module ia_axi_read #(
  parameter int unsigned AddressBits = 32,
  parameter int unsigned AxiBytes = 8,        // of a beat: 8 or 16
  parameter int unsigned BurstBytes = 128,    // longest burst, and the boundary that none crosses
  parameter int unsigned Outstanding = 8,     // bursts in flight, a power of two
  parameter int unsigned WordsBits = 20       // of the length of a run
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,
  // Requests: runs of words; close: nothing contiguous follows
  input  logic                   request_valid_i,
  output logic                   request_ready_o,
  input  logic [AddressBits-1:0] request_address_i,  // bytes, a multiple of 16
  input  logic [WordsBits-1:0]   request_words_i,    // at least 1
  input  logic                   request_close_i,
  // Words
  output logic                   data_valid_o,
  input  logic                   data_ready_i,
  output logic [127:0]           data_o,
  // Control
  input  logic                   stop_i,
  output logic                   idle_o,
  output logic                   error_o,            // pulse: a beat had an error response
  output logic [1:0]             error_response_o,
  output logic [AddressBits-1:0] error_address_o,    // of the burst
  // AXI; size, burst type and the other constants are set where the ports leave the chip
  output logic                   arvalid_o,
  input  logic                   arready_i,
  output logic [AddressBits-1:0] araddr_o,
  output logic [7:0]             arlen_o,
  input  logic                   rvalid_i,
  output logic                   rready_o,
  input  logic [8*AxiBytes-1:0]  rdata_i,
  input  logic [1:0]             rresp_i,
  input  logic                   rlast_i
);

  localparam int unsigned BurstWords = BurstBytes / 16;
  localparam int unsigned BurstBits = $clog2(BurstWords);
  localparam int unsigned BeatsInWord = 16 / AxiBytes;
  localparam int unsigned FifoWords = Outstanding * BurstWords;
  localparam int unsigned FifoBits = $clog2(FifoWords);
  localparam int unsigned CountBits = $clog2(Outstanding);

  `CHECK_PARAM(BeatsAreHalfOrWholeWords, AxiBytes == 8 || AxiBytes == 16)
  `CHECK_PARAM(BurstsHaveAtMost16Beats, BurstBytes <= 16 * AxiBytes)
  `CHECK_PARAM(OutstandingIsAPowerOfTwo, Outstanding == 1 << CountBits)

  // ---- requests

  logic                   burst_valid, burst_ready, burst_close;
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

  logic [FifoBits:0]      space_q;  // words of the FIFO that no burst has been asked for
  logic                   arvalid_q;
  logic [AddressBits-1:0] araddr_q;
  logic [7:0]             arlen_q;
  logic                   burst_taken, burst_done, word_out, names_ready;
  logic [CountBits:0]     bursts_q;  // in flight, the one that is offered included

  assign burst_ready = !stop_i && names_ready && (!arvalid_q || arready_i) && space_q >= (FifoBits + 1)'(BurstWords);
  assign burst_taken = burst_valid && burst_ready;

  assign arvalid_o = arvalid_q;
  assign araddr_o  = araddr_q;
  assign arlen_o   = arlen_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      arvalid_q <= 1'b0;
      bursts_q  <= '0;
      space_q   <= (FifoBits + 1)'(FifoWords);
    end else begin
      if (burst_taken) arvalid_q <= 1'b1;
      else if (arready_i) arvalid_q <= 1'b0;
      bursts_q <= bursts_q + (CountBits + 1)'(burst_taken) - (CountBits + 1)'(burst_done);
      space_q  <= space_q - (burst_taken ? (FifoBits + 1)'(burst_words) : '0) + (FifoBits + 1)'(word_out);
    end
  end

  always_ff @(posedge clk_i) begin
    if (burst_taken) begin
      araddr_q <= burst_address;
      arlen_q  <= 8'(burst_words) * 8'(BeatsInWord) - 8'd1;
    end
  end

  // Addresses of the bursts in flight: an error names its burst. Its depth bounds their number.
  logic [AddressBits-1:0] name;
  logic                   name_valid;

  ia_fifo #(.Width(AddressBits), .Depth(Outstanding)) u_names (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .in_valid_i(burst_taken),
    .in_ready_o(names_ready),
    .in_data_i(burst_address),
    .out_valid_o(name_valid),
    .out_ready_i(burst_done),
    .out_data_o(name)
  );

  // ---- data

  assign rready_o   = 1'b1;
  assign burst_done = rvalid_i && rlast_i;
  assign idle_o     = bursts_q == 0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) error_o <= 1'b0;
    else error_o <= rvalid_i && rresp_i[1];
  end

  always_ff @(posedge clk_i) begin
    error_response_o <= rresp_i;
    error_address_o  <= name;
  end

  logic         word_in;
  logic [127:0] word;

  if (AxiBytes == 8) begin : g_half
    logic        second_q;  // the beat brings the upper half
    logic [63:0] lower_q;

    always_ff @(posedge clk_i) begin
      if (!rst_ni) second_q <= 1'b0;
      else if (rvalid_i) second_q <= !second_q;
    end

    always_ff @(posedge clk_i) begin
      if (rvalid_i) lower_q <= rdata_i;
    end

    assign word_in = rvalid_i && second_q && !stop_i;
    assign word    = {rdata_i, lower_q};
  end else begin : g_whole
    assign word_in = rvalid_i && !stop_i;
    assign word    = rdata_i;
  end

  (* ram_style = "distributed" *) logic [127:0] words_q [FifoWords];
  logic [FifoBits:0] write_q, read_q;
  logic              data_valid_q;
  logic [127:0]      data_q;

  assign word_out     = write_q != read_q && (!data_valid_q || data_ready_i);
  assign data_valid_o = data_valid_q;
  assign data_o       = data_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      write_q      <= '0;
      read_q       <= '0;
      data_valid_q <= 1'b0;
    end else begin
      write_q <= write_q + (FifoBits + 1)'(word_in);
      read_q  <= read_q + (FifoBits + 1)'(word_out);
      if (word_out) data_valid_q <= 1'b1;
      else if (data_ready_i) data_valid_q <= 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (word_in) words_q[write_q[FifoBits-1:0]] <= word;
    if (word_out) data_q <= words_q[read_q[FifoBits-1:0]];
  end

  logic unused;
  assign unused = &{1'b0, burst_close, name_valid};

  `CHECK(AddressHoldsUntilTaken, (arvalid_o && !arready_i) |=>
         arvalid_o && $stable(araddr_o) && $stable(arlen_o))
  `CHECK(BurstStaysInItsBlock, arvalid_o |->
         (32'(araddr_o) & 32'(BurstBytes - 1)) + (32'(arlen_o) + 1) * 32'(AxiBytes) <= 32'(BurstBytes))
  `CHECK(DataHoldsUntilTaken, (data_valid_o && !data_ready_i) |=> data_valid_o && $stable(data_o))
  `CHECK(DataWasAskedFor, rvalid_i |-> name_valid)
  `CHECK(FifoHasRoom, word_in |-> write_q != {~read_q[FifoBits], read_q[FifoBits-1:0]})

endmodule
