// The function that tells malformed words, as a module.
module malformed_probe (
  input  logic         clk_i,
  input  logic [127:0] word_i,
  output logic         malformed_o,
  output logic         run_o
);

  assign malformed_o = ia_isa_pkg::is_malformed(word_i);
  assign run_o       = ia_isa_pkg::is_run(word_i[5:0]);

  logic unused;
  assign unused = clk_i;

endmodule
