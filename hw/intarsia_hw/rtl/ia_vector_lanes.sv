// Which lanes a word writes, and the bytes of a copy to other lanes.
//
// Lane l goes to lane l + distance, distance = 4 * fours + rest. The four target lanes of a group are bytes of two
// neighbouring groups of the source, at places that do not change.
module ia_vector_lanes (
  input  logic        clk_i,
  input  logic        begin_i,    // beside the fields of the word
  input  logic [3:0]  from_i,
  input  logic [3:0]  to_i,
  input  logic [4:0]  count_i,
  input  logic [31:0] bytes_i,    // a group of the source
  input  logic [31:0] before_i,   // the group before it
  output logic        late_o,     // lanes go down: a group's result needs the group after it, and comes a cycle later
  output logic [1:0]  to_group_o, // from the number of bytes_i's group (late_o: before_i's group) to that of the target
  output logic [15:0] lanes_o,    // good from the third cycle after begin_i on
  output logic [31:0] moved_o
);

  logic [4:0]  distance;
  logic [4:0]  bound_q, count_q;
  logic [1:0]  step_q;  // one-hot: the cycles after begin_i
  logic [15:0] below;
  logic [1:0]  rest_q;

  assign distance = {1'b0, to_i} - {1'b0, from_i};

  for (genvar lane = 0; lane < 16; lane++) begin : g_below
    assign below[lane] = 5'(lane) < bound_q;
  end

  always_ff @(posedge clk_i) begin
    step_q <= {step_q[0], begin_i};
    if (begin_i) begin
      bound_q    <= {1'b0, to_i};
      count_q    <= count_i;
      late_o     <= distance[4];
      to_group_o <= distance[3:2] + {1'b0, distance[4]};
      rest_q     <= distance[1:0];
    end else if (step_q[0]) begin
      bound_q <= bound_q + count_q;
    end
    if (begin_i) lanes_o <= '0;
    else if (step_q != '0) lanes_o <= lanes_o ^ below;
  end

  logic unused;
  assign unused = &{1'b0, before_i[7:0]};

  always_comb begin
    unique case (rest_q)
      2'd0: moved_o = bytes_i;
      2'd1: moved_o = {bytes_i[23:0], before_i[31:24]};
      2'd2: moved_o = {bytes_i[15:0], before_i[31:16]};
      2'd3: moved_o = {bytes_i[7:0], before_i[31:8]};
    endcase
  end

endmodule
