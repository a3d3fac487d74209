// The bank of rtl/ia_memory_bank.sv for simulation: the same ports, and the same bits in every cycle. Words are written
// whole, not lane by lane.
module ia_memory_bank #(
  parameter int unsigned Words = 1024
) (
  input  logic                     clk_i,
  input  logic                     a_enable_i,
  input  logic [$clog2(Words)-1:0] a_address_i,
  output logic [127:0]             a_data_o,
  input  logic                     b_enable_i,
  input  logic [$clog2(Words)-1:0] b_address_i,
  input  logic [15:0]              b_write_i,
  input  logic [127:0]             b_write_data_i,
  output logic [127:0]             b_data_o
);

  /* verilator lint_off BLKSEQ */

  logic [127:0] words_q [Words];
  logic [127:0] a_latch_q, b_latch_q, word;

  always_ff @(posedge clk_i) begin
    if (a_enable_i) a_latch_q <= words_q[a_address_i];
    if (b_enable_i) begin
      b_latch_q <= words_q[b_address_i];
      if (b_write_i == '1) begin
        words_q[b_address_i] <= b_write_data_i;
      end else if (b_write_i != '0) begin
        word = words_q[b_address_i];
        /* verilator unroll_disable */
        for (int unsigned lane = 0; lane < 16; lane++) begin
          if (b_write_i[lane]) word[8*lane+:8] = b_write_data_i[8*lane+:8];
        end
        words_q[b_address_i] <= word;
      end
    end
    a_data_o <= a_latch_q;
    b_data_o <= b_latch_q;
  end

endmodule
