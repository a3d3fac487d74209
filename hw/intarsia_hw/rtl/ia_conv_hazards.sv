// Whether the Conv that waits may begin while others are still at work: not where its source or residual lies in a bank
// in which a residual or target of theirs lies.
//
// A Conv may be taken before its own banks are known; until they are, setup words have to wait.
module ia_conv_hazards #(
  parameter int unsigned ActBanks = 8
) (
  input  logic                clk_i,
  input  logic                rst_ni,
  input  logic [ActBanks-1:0] source_banks_i,
  input  logic [ActBanks-1:0] residual_banks_i,
  input  logic [ActBanks-1:0] target_banks_i,
  input  logic                reads_known_i,   // the first two are right
  input  logic                holds_known_i,   // the last two are right
  input  logic                finishes_i,      // the Conv that waits writes its target,
  input  logic                joins_i,         // and reads a residual
  input  logic                taken_i,         // it is taken
  input  logic                done_i,          // the oldest is done
  output logic                clear_o,
  output logic                late_o,          // setup words have to wait
  output logic                busy_o
);

  localparam int unsigned Most = 4;  // at work at once

  logic [ActBanks-1:0] holds_q [Most];
  logic [Most-1:0]     valid_q, free;    // the oldest in 0
  logic [ActBanks-1:0] held, reads, holds;
  logic                late_q, finishes_q, joins_q, update, taken_q, clear_q;

  always_comb begin
    held = '0;
    for (int unsigned i = 0; i < Most; i++) if (valid_q[i]) held |= holds_q[i];
    // The first free place, of which a Conv that is done makes the one before.
    for (int unsigned i = 0; i < Most; i++) begin
      free[i] = !valid_q[i] && (i == 0 || valid_q[(i+Most-1)%Most]);
    end
    if (done_i && valid_q[0]) free = free >> 1;
  end
  assign reads  = source_banks_i | (joins_i ? residual_banks_i : '0);
  assign holds  = (finishes_q ? target_banks_i : '0) | (joins_q ? residual_banks_i : '0);
  assign update = late_q && holds_known_i && !done_i && !taken_q;

  // Between a Conv and the next there are the cycles of a step at least, so what is taken may be noted a cycle later.
  assign clear_o = clear_q;
  assign late_o  = late_q || taken_q;
  assign busy_o  = valid_q != '0 || taken_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid_q <= '0;
      late_q  <= 1'b0;
      taken_q <= 1'b0;
      clear_q <= 1'b0;
    end else begin
      taken_q <= taken_i;
      clear_q <= !valid_q[Most-1] && !late_o && (valid_q == '0 || (reads_known_i && (reads & held) == '0));
      if (taken_q) late_q <= !holds_known_i;
      else if (update) late_q <= 1'b0;
      if (done_i) valid_q <= valid_q >> 1;
      if (taken_q) valid_q <= (done_i ? valid_q >> 1 : valid_q) | free;
    end
  end

  always_ff @(posedge clk_i) begin
    if (taken_i) begin
      finishes_q <= finishes_i;
      joins_q    <= joins_i;
    end
    for (int unsigned i = 0; i < Most; i++) begin
      if (done_i && i + 1 < Most) holds_q[i] <= holds_q[(i+1)%Most];
      if (update && valid_q[i] && (i + 1 == Most || !valid_q[(i+1)%Most])) holds_q[i] <= holds;
      if (taken_q && free[i]) holds_q[i] <= holds_known_i ? holds : '1;
    end
  end

endmodule
