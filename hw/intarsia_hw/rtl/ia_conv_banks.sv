// The banks of activation memory between the first and the last address of a rectangle; all where the last is unclear.
// Two cycles from its inputs.
module ia_conv_banks #(
  parameter int unsigned ActBanks = 16,
  parameter int unsigned BankShift = 10  // log2 of the words in a bank
) (
  input  logic                clk_i,
  input  logic [15:0]         base_i,
  input  logic [15:0]         blocks_i,   // words from the first block to the last
  input  logic [15:0]         rows_i,     // words from the first row to the last
  input  logic [13:0]         columns_i,  // words of a row
  input  logic                large_i,    // blocks_i or rows_i did not fit
  output logic [ActBanks-1:0] banks_o
);

  logic [18:0]         last;
  logic [18-BankShift:0] last_q;
  logic [15-BankShift:0] first_q;
  logic                large_q;

  assign last = 19'(base_i) + 19'(blocks_i) + 19'(rows_i) + 19'(columns_i) - 19'd1;

  always_ff @(posedge clk_i) begin
    first_q <= base_i[15:BankShift];
    last_q  <= last[18:BankShift];
    large_q <= large_i;
    for (int unsigned i = 0; i < ActBanks; i++) begin
      banks_o[i] <= large_q || (i >= 32'(first_q) && i <= 32'(last_q));
    end
  end

  logic unused;
  assign unused = ^last[BankShift-1:0];

endmodule
