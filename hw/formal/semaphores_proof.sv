// Semaphores never fall below 0 nor run past their range, whatever queues ask for: the invariants of ia_semaphores.
// Besides, what is granted was asked for, and two queues never take the same semaphore at once.
module semaphores_proof (
  input logic        clk_i,
  input logic        rst_ni,
  input logic [3:0]  take_valid_i,
  input logic [63:0] take_mask_i,
  input logic [3:0]  signal_valid_i,
  input logic [63:0] signal_mask_i
);

  logic [3:0] take_grant, signal_ready;

  ia_semaphores #(.SemaphoreMax(3)) u_semaphores (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .take_valid_i(take_valid_i),
    .take_mask_i(take_mask_i),
    .take_grant_o(take_grant),
    .signal_valid_i(signal_valid_i),
    .signal_mask_i(signal_mask_i),
    .signal_ready_o(signal_ready)
  );

  initial assume (!rst_ni);

  (* anyconst *) logic [3:0] number;
  logic [3:0] takes;

  always_comb begin
    for (int q = 0; q < 4; q++) takes[q] = take_grant[q] && take_mask_i[16*q+number];
  end

  always @(posedge clk_i) begin
    if (rst_ni) begin
      granted_was_asked: assert ((take_grant & ~take_valid_i) == '0);
      one_taker: assert ((takes & (takes - 4'd1)) == '0);
    end
  end

endmodule
