// Reads the program, far ahead, and deals its words to the four queues: one word a cycle, in order, up to End.
//
// It begins when it comes out of reset. A malformed word is never dealt: malformed_o stays set, word_index_o is its place
// in the program. missing_end_o stays set when all words were dealt and none was End.
`include "checks.svh"

module ia_fetch #(
  parameter int unsigned AddressBits = 32,
  parameter int unsigned AxiBytes = 8,
  parameter int unsigned BurstBytes = 128,
  parameter int unsigned Outstanding = 8,
  localparam int unsigned WordsBits = ia_registers_pkg::ProgramWordsBits
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,
  // The program
  input  logic [AddressBits-1:0] base_i,            // bytes, a multiple of 16
  input  logic [WordsBits-1:0]   words_i,
  // Queues
  output logic [3:0]             word_valid_o,      // one queue at most
  input  logic [3:0]             word_ready_i,
  output logic [127:0]           word_o,
  // State
  input  logic                   stop_i,            // deal no more words, ask for no more bursts
  output logic                   idle_o,            // nothing in flight
  output logic                   moved_o,           // a word was dealt
  output logic                   malformed_o,
  output logic                   missing_end_o,
  output logic [WordsBits-1:0]   word_index_o,      // of the next word to deal
  output logic                   error_o,           // pulse: a read had an error response
  output logic [1:0]             error_response_o,
  output logic [AddressBits-1:0] error_address_o,
  // AXI
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

  logic ended_q;  // End was dealt
  logic dealt, dealt_end;

  // ---- the whole program is one run of words

  logic         asked_q, request_valid, request_ready;
  logic         data_valid, data_ready;
  logic [127:0] data;

  assign request_valid = !asked_q && words_i != '0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) asked_q <= 1'b0;
    else if (request_ready) asked_q <= 1'b1;
  end

  ia_axi_read #(
    .AddressBits(AddressBits),
    .AxiBytes(AxiBytes),
    .BurstBytes(BurstBytes),
    .Outstanding(Outstanding),
    .WordsBits(WordsBits)
  ) u_read (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .request_valid_i(request_valid),
    .request_ready_o(request_ready),
    .request_address_i(base_i),
    .request_words_i(words_i),
    .request_close_i(1'b1),
    .data_valid_o(data_valid),
    .data_ready_i(data_ready),
    .data_o(data),
    .stop_i(stop_i || ended_q),
    .idle_o(idle_o),
    .error_o(error_o),
    .error_response_o(error_response_o),
    .error_address_o(error_address_o),
    .arvalid_o(arvalid_o),
    .arready_i(arready_i),
    .araddr_o(araddr_o),
    .arlen_o(arlen_o),
    .rvalid_i(rvalid_i),
    .rready_o(rready_o),
    .rdata_i(rdata_i),
    .rresp_i(rresp_i),
    .rlast_i(rlast_i)
  );

  // ---- looking at each word

  // Setup words that hold the counts of run words: which of them have been seen.
  logic [ia_isa_pkg::CountedSetups-1:0] setups_q;
  logic                                 setup_missing;
  logic                                 word_valid_q, word_malformed_q;
  logic [127:0]                         word_q;

  assign setup_missing = |(ia_isa_pkg::needed_setups(data) & ~setups_q);

  assign data_ready = !word_valid_q || dealt;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      setups_q <= '0;
    end else if (data_valid && data_ready) begin
      setups_q <= setups_q | ia_isa_pkg::counted_setup(data[ia_isa_pkg::OpcodeBits-1:0]);
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) word_valid_q <= 1'b0;
    else if (data_ready) word_valid_q <= data_valid && !ended_q && !dealt_end;
  end

  always_ff @(posedge clk_i) begin
    if (data_ready) begin
      word_q           <= data;
      word_malformed_q <= ia_isa_pkg::is_malformed(data) || setup_missing;
    end
  end

  // ---- dealing

  ia_isa_pkg::end_t word;
  logic [1:0]       queue;

  assign word   = word_q;
  assign queue  = word.opcode[5:4];
  assign word_o = word_q;

  always_comb begin
    word_valid_o        = '0;
    word_valid_o[queue] = word_valid_q && !word_malformed_q && !stop_i;
  end

  assign dealt     = (word_valid_o & word_ready_i) != '0;
  assign dealt_end = dealt && word.opcode == ia_isa_pkg::OpEnd;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      ended_q      <= 1'b0;
      word_index_o <= '0;
    end else begin
      if (dealt_end) ended_q <= 1'b1;
      if (dealt) word_index_o <= word_index_o + WordsBits'(1);
    end
  end

  assign moved_o       = dealt;
  assign malformed_o   = word_valid_q && word_malformed_q;
  assign missing_end_o = word_index_o == words_i && !ended_q;

  logic unused;
  assign unused = &{1'b0, word};

  `CHECK(AtMostOneQueue, $onehot0(word_valid_o))

endmodule
