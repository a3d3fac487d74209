// One bank of activation memory: true dual-port block memory with registered outputs.
// Port A reads; port B reads, or writes the lanes (bytes) it is told to. Addresses are taken at the clock edge; data of a
// read stands two edges later. Where a word is read in the cycle in which it is written, what comes is undefined.
module ia_memory_bank #(
  parameter int unsigned Words = 1024
) (
  input  logic                     clk_i,
  input  logic                     a_enable_i,
  input  logic [$clog2(Words)-1:0] a_address_i,
  output logic [127:0]             a_data_o,
  input  logic                     b_enable_i,   // a read or a write
  input  logic [$clog2(Words)-1:0] b_address_i,
  input  logic [15:0]              b_write_i,    // lanes to write; none for a read
  input  logic [127:0]             b_write_data_i,
  output logic [127:0]             b_data_o
);

  (* ram_style = "block" *) logic [127:0] words_q [Words];
  logic [127:0] a_latch_q, b_latch_q;

  always_ff @(posedge clk_i) begin
    if (a_enable_i) a_latch_q <= words_q[a_address_i];
    a_data_o <= a_latch_q;
  end

  always_ff @(posedge clk_i) begin
    if (b_enable_i) begin
      for (int unsigned lane = 0; lane < 16; lane++) begin
        if (b_write_i[lane]) words_q[b_address_i][8*lane+:8] <= b_write_data_i[8*lane+:8];
      end
      b_latch_q <= words_q[b_address_i];
    end
    b_data_o <= b_latch_q;
  end

endmodule
