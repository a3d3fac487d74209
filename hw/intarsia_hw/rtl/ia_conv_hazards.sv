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
  logic [Most-1:0]     valid_q;          // the oldest in 0
  logic [ActBanks-1:0] held, reads, holds;
  logic                late_q, finishes_q, joins_q, known, update;

  always_comb begin
    held = '0;
    for (int unsigned i = 0; i < Most; i++) if (valid_q[i]) held |= holds_q[i];
  end
  assign reads   = source_banks_i | (joins_i ? residual_banks_i : '0);
  assign holds   = ((late_q ? finishes_q : finishes_i) ? target_banks_i : '0)
                   | ((late_q ? joins_q : joins_i) ? residual_banks_i : '0);
  assign busy_o  = valid_q != '0;
  assign clear_o = !valid_q[Most-1] && !late_q && (!busy_o || (reads_known_i && (reads & held) == '0));
  assign late_o  = late_q;
  assign known   = holds_known_i;
  assign update  = late_q && known && !done_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid_q <= '0;
      late_q  <= 1'b0;
    end else begin
      if (taken_i) late_q <= !known;
      else if (known) late_q <= late_q && done_i;
      for (int unsigned i = 0; i < Most; i++) begin
        if (done_i) valid_q[i] <= (i + 1 < Most ? valid_q[(i+1)%Most] : 1'b0);
      end
      // The first free place, which a Conv that is done moves down by one.
      if (taken_i) begin
        for (int unsigned i = 0; i < Most; i++) begin
          if (!valid_q[i] && (i == 0 || valid_q[(i+Most-1)%Most])) valid_q[done_i && i != 0 ? i - 1 : i] <= 1'b1;
        end
      end
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
    end
    if (taken_i) begin
      for (int unsigned i = 0; i < Most; i++) begin
        if (!valid_q[i] && (i == 0 || valid_q[(i+Most-1)%Most]))
          holds_q[done_i && i != 0 ? i - 1 : i] <= known ? holds : '1;
      end
    end
  end

endmodule
