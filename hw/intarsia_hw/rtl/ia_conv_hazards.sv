// Whether the Conv that waits may begin while others are still at work: not where its source or residual lies in a bank
// in which a residual or target of theirs lies.
module ia_conv_hazards #(
  parameter int unsigned ActBanks = 16
) (
  input  logic                clk_i,
  input  logic                rst_ni,
  input  logic                known_i,     // the banks of the Conv that waits are known
  input  logic [ActBanks-1:0] reads_i,     // banks of its source and residual
  input  logic [ActBanks-1:0] holds_i,     // banks of its residual and target
  input  logic                taken_i,     // it is taken
  input  logic                done_i,      // the oldest is done
  output logic                clear_o,
  output logic                busy_o
);

  localparam int unsigned Most = 4;  // at work at once

  logic [ActBanks-1:0] holds_q [Most];
  logic [Most-1:0]     valid_q;          // the oldest in 0
  logic [ActBanks-1:0] held;

  always_comb begin
    held = '0;
    for (int unsigned i = 0; i < Most; i++) if (valid_q[i]) held |= holds_q[i];
  end
  assign busy_o  = valid_q != '0;
  assign clear_o = !valid_q[Most-1] && (!busy_o || (known_i && (reads_i & held) == '0));

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid_q <= '0;
    end else begin
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
    for (int unsigned i = 0; i < Most; i++) begin
      if (done_i && i + 1 < Most) holds_q[i] <= holds_q[(i+1)%Most];
    end
    if (taken_i) begin
      for (int unsigned i = 0; i < Most; i++) begin
        if (!valid_q[i] && (i == 0 || valid_q[(i+Most-1)%Most]))
          holds_q[done_i && i != 0 ? i - 1 : i] <= known_i ? holds_i : '1;
      end
    end
  end

endmodule
