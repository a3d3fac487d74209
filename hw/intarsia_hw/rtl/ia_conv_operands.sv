// Words of the source on their way to the array: `fill` where nothing was read; and for depthwise mode the window of
// three columns by five rows that slides over them.
//
// Even rows of a column come through port 0, odd rows through port 1. A column is gathered in `next_q` and then shifted
// into the window; column k of the window shifts k cycles after column 0, as lane k of the array is k cycles late.
module ia_conv_operands #(
  parameter int unsigned Pixels = 2
) (
  input  logic                  clk_i,
  input  logic [128*Pixels-1:0] source_data_i,
  input  logic [Pixels-1:0]     read_i,      // with the data: it was read
  input  logic [7:0]            fill_i,
  output logic [128*Pixels-1:0] x_o,         // one cycle later
  // In the cycle of x_o
  input  logic [4:0]            gather_i,    // row of the next column to take
  // For column 0; the next column was complete two cycles before
  input  logic                  shift_i,
  output logic [1919:0]         window_o     // [column][row]
);

  logic [128*Pixels-1:0] x_q;
  logic [639:0] next_q, column0_q, column1_q, column2_q;
  logic [1:0]   shift_q;

  always_ff @(posedge clk_i) begin
    for (int unsigned p = 0; p < Pixels; p++) begin
      x_q[128*p+:128] <= read_i[p] ? source_data_i[128*p+:128] : {16{fill_i}};
    end
  end

  always_ff @(posedge clk_i) begin
    shift_q <= {shift_q[0], shift_i};
    for (int unsigned r = 0; r < 5; r++) begin
      if (gather_i[r]) next_q[128*r+:128] <= x_q[128*(r%2)+:128];
    end
    if (shift_i) column0_q <= column1_q;
    if (shift_q[0]) column1_q <= column2_q;
    if (shift_q[1]) column2_q <= next_q;
  end

  assign x_o      = x_q;
  assign window_o = {column2_q, column1_q, column0_q};

endmodule
