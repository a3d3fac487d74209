// The sixteen counters that order the queues. Each queue may take a set of them and add to a set of them in every cycle.
//
// A take is granted when every semaphore of its mask is above 0; it takes 1 from each. Two queues must not wait for one
// semaphore: of two such requests the lower queue's comes first, so that no counter falls below 0 whatever a program does.
// A signal is ready when every semaphore of its mask is below SemaphoreMax. Signals of several queues in one cycle may
// take a counter past it, by 3 at most.
`include "checks.svh"

module ia_semaphores #(
  parameter int unsigned SemaphoreMax = 255
) (
  input  logic        clk_i,
  input  logic        rst_ni,
  input  logic [3:0]  take_valid_i,
  input  logic [63:0] take_mask_i,     // 16 bits a queue
  output logic [3:0]  take_grant_o,
  input  logic [3:0]  signal_valid_i,
  input  logic [63:0] signal_mask_i,   // 16 bits a queue
  output logic [3:0]  signal_ready_o
);

  localparam int unsigned Queues = ia_registers_pkg::Queues;
  localparam int unsigned Semaphores = ia_isa_pkg::Semaphores;
  localparam int unsigned CountBits = $clog2(SemaphoreMax + Queues);

  logic [CountBits-1:0]  count_q [Semaphores];
  logic [CountBits-1:0]  count_d [Semaphores];
  logic [Semaphores-1:0] some_q;  // count above 0
  logic [Semaphores-1:0] full_q;  // count at SemaphoreMax or above

  // ---- who gets what: from registers alone

  logic [Semaphores-1:0] claimed;  // asked for by a lower queue
  logic [Semaphores-1:0] taken;    // by a queue that is granted

  always_comb begin
    claimed = '0;
    taken   = '0;
    for (int q = 0; q < Queues; q++) begin
      take_grant_o[q] = take_valid_i[q]
          && (take_mask_i[Semaphores*q+:Semaphores] & (claimed | ~some_q)) == '0;
      if (take_valid_i[q]) claimed = claimed | take_mask_i[Semaphores*q+:Semaphores];
      if (take_grant_o[q]) taken = taken | take_mask_i[Semaphores*q+:Semaphores];
      signal_ready_o[q] = (signal_mask_i[Semaphores*q+:Semaphores] & full_q) == '0;
    end
  end

  // ---- counting

  logic [2:0] added [Semaphores];

  always_comb begin
    for (int s = 0; s < Semaphores; s++) begin
      added[s] = '0;
      for (int q = 0; q < Queues; q++) begin
        added[s] = added[s] + 3'(signal_valid_i[q] && signal_ready_o[q] && signal_mask_i[Semaphores*q+s]);
      end
      count_d[s] = count_q[s] + CountBits'(added[s]) - CountBits'(taken[s]);
    end
  end

  always_ff @(posedge clk_i) begin
    for (int s = 0; s < Semaphores; s++) begin
      if (!rst_ni) begin
        count_q[s] <= '0;
        some_q[s]  <= 1'b0;
        full_q[s]  <= 1'b0;
      end else begin
        count_q[s] <= count_d[s];
        // Not of count_d: the path from a grant stays short. A take ends full_q one cycle later than it could.
        some_q[s]  <= added[s] != '0 || (taken[s] ? count_q[s] > CountBits'(1) : some_q[s]);
        full_q[s]  <= count_q[s] + CountBits'(added[s]) >= CountBits'(SemaphoreMax);
      end
    end
  end

  for (genvar s = 0; s < Semaphores; s++) begin : g_check
    `INVARIANT(NoTakeFromZero, !taken[s] || count_q[s] != '0)
    `INVARIANT(AtMostThreePastTheMaximum, 32'(count_q[s]) < SemaphoreMax + Queues)
    `INVARIANT(SomeTellsCount, some_q[s] == (count_q[s] != '0))
    `INVARIANT(FullTellsCount, full_q[s] || 32'(count_q[s]) < SemaphoreMax)
  end

endmodule
