// Counts steps 1 to a limit, over and over. last_o is a register: the comparison is made one step ahead.
module ia_vector_counter #(
  parameter int unsigned Bits = 14
) (
  input  logic            clk_i,
  input  logic            load_i,    // begin, with the limit beside it
  input  logic            single_i,  // beside load_i: the limit is 1, whatever limit_i says
  input  logic [Bits-1:0] limit_i,   // at least 1
  input  logic            step_i,
  output logic            last_o,    // this step is the last one
  output logic            odd_o      // the steps before this one are odd in number
);

  localparam logic [Bits-1:0] First = Bits'(2);

  logic [Bits-1:0] limit_q, count_q;  // count_q is the number of the step after this one, from First on
  logic            single_q, last_q, single;

  assign single = single_i || limit_i == Bits'(1);
  assign last_o = last_q;
  assign odd_o  = count_q[0];

  always_ff @(posedge clk_i) begin
    if (load_i) begin
      limit_q  <= limit_i;
      single_q <= single;
    end
    if (load_i) last_q <= single;
    else if (step_i) last_q <= last_q ? single_q : count_q == limit_q;
    if (load_i || (step_i && last_q)) count_q <= First;
    else if (step_i) count_q <= count_q + Bits'(1);
  end

endmodule
