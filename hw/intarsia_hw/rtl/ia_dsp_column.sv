// Two output channels of one pixel: sums over the lanes that are multiplied in DSP blocks.
//
// One DSP block multiplies both channels' packed weights with one x. Four form a cascade, lane k of it one cycle behind
// lane k - 1. The low field of a cascade's sum is 17 bits wide and holds |sum| <= 4 * 127 * 128 < 2**16; it starts at
// 2**16, so that it never borrows from the high field and its top bit comes out inverted.
//
// In depthwise mode lane 4r + k, k < 3, takes tap (r, k) of a window in place of x: this pixel's channel of the pair is
// sum_odd_o or sum_even_o as WindowOdd says.
module ia_dsp_column #(
  parameter int unsigned DspLanes = 12,
  parameter bit Window = 1'b1,                   // takes windows
  localparam int unsigned Cascades = DspLanes / 4
) (
  input  logic                   clk_i,
  input  logic [16*DspLanes-1:0] packed_i,       // [lane]{w1, w0}
  input  logic [3:0]             switch_i,       // bit k: lane k takes packed_i
  input  logic [8*DspLanes-1:0]  x_i,            // lane 4r + k delayed k cycles
  input  logic [119:0]           window_i,       // [column][row of 5] bytes of this channel, column k delayed k cycles
  input  logic [5:0]             select_i,       // [k] 0: x; 1 + i: window rows from i on; delayed k cycles
  output logic [18:0]            sum_even_o,     // of w0
  output logic [18:0]            sum_odd_o       // of w1
);
  /* verilator no_inline_module */

  localparam int unsigned P = 36;  // bits of a cascade that matter

  logic signed [16:0] low_q [Cascades];
  logic signed [16:0] high_q [Cascades];

  for (genvar r = 0; r < Cascades; r++) begin : gen_cascade
    logic signed [P-1:0] p_q [4];
    for (genvar k = 0; k < 4; k++) begin : gen_lane
      logic signed [24:0] a_q;
      logic signed [7:0]  b, b_q;
      logic signed [32:0] m_q;
      logic [7:0] w0, w1;
      assign {w1, w0} = packed_i[16*(4*r+k)+:16];
      if (Window && k < 3 && r < 3) begin : gen_window
        always_comb begin
          unique case (select_i[2*k+:2])
            2'd0: b = x_i[8*(4*r+k)+:8];
            2'd1: b = window_i[8*(5*k+r)+:8];
            2'd2: b = window_i[8*(5*k+r+1)+:8];
            2'd3: b = window_i[8*(5*k+r+2)+:8];
          endcase
        end
      end else begin : gen_x
        assign b = x_i[8*(4*r+k)+:8];
      end
      always_ff @(posedge clk_i) begin
        if (switch_i[k]) a_q <= {w1, {9{w0[7]}}, w0};
        b_q <= b;
        m_q <= a_q * b_q;
      end
      if (k == 0) begin : gen_first
        always_ff @(posedge clk_i) p_q[0] <= P'(m_q) + P'(1 << 16);
      end else begin : gen_next
        always_ff @(posedge clk_i) p_q[k] <= p_q[k-1] + P'(m_q);
      end
    end
    always_ff @(posedge clk_i) begin
      low_q[r]  <= {~p_q[3][16], p_q[3][15:0]};
      high_q[r] <= p_q[3][33:17];
    end
    logic unused;
    assign unused = ^p_q[3][P-1:34];
  end

  // ---- sum of the cascades

  if (Cascades == 3) begin : gen_three
    logic signed [17:0] low01_q, high01_q;
    logic signed [16:0] low2_q, high2_q;
    logic signed [18:0] low_sum_q, high_sum_q;
    always_ff @(posedge clk_i) begin
      low01_q    <= 18'(low_q[0]) + 18'(low_q[1]);
      high01_q   <= 18'(high_q[0]) + 18'(high_q[1]);
      low2_q     <= low_q[2];
      high2_q    <= high_q[2];
      low_sum_q  <= 19'(low01_q) + 19'(low2_q);
      high_sum_q <= 19'(high01_q) + 19'(high2_q);
      sum_even_o <= low_sum_q;
      sum_odd_o  <= high_sum_q;
    end
  end else begin : gen_four
    logic signed [17:0] low01_q, high01_q, low23_q, high23_q;
    logic signed [18:0] low_sum_q, high_sum_q;
    always_ff @(posedge clk_i) begin
      low01_q    <= 18'(low_q[0]) + 18'(low_q[1]);
      high01_q   <= 18'(high_q[0]) + 18'(high_q[1]);
      low23_q    <= 18'(low_q[2]) + 18'(low_q[3]);
      high23_q   <= 18'(high_q[2]) + 18'(high_q[3]);
      low_sum_q  <= 19'(low01_q) + 19'(low23_q);
      high_sum_q <= 19'(high01_q) + 19'(high23_q);
      sum_even_o <= low_sum_q;
      sum_odd_o  <= high_sum_q;
    end
  end

  if (!Window) begin : gen_unused
    logic unused;
    assign unused = ^{window_i, select_i};
  end else begin : gen_unused_corner
    logic unused;
    assign unused = ^{select_i};
  end

endmodule
