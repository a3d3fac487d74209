// The functions that tell what the fetcher makes of a word, as a module.
module malformed_probe (
  input  logic         clk_i,
  input  logic [127:0] word_i,
  output logic         malformed_o,
  output logic         run_o,
  output logic [ia_isa_pkg::CountedSetups-1:0] counted_o,
  output logic [ia_isa_pkg::CountedSetups-1:0] needed_o
);

  assign malformed_o = ia_isa_pkg::is_malformed(word_i);
  assign run_o       = ia_isa_pkg::is_run(word_i[5:0]);
  assign counted_o   = ia_isa_pkg::counted_setup(word_i[5:0]);
  assign needed_o    = ia_isa_pkg::needed_setups(word_i);

  logic unused;
  assign unused = clk_i;

endmodule
