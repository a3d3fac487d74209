// The array: 16 input lanes x 16 output channels x Pixels pixels.
//
// In terms of the cycle in which x_i of a group stands: lane k of a row of lanes takes it k cycles later, the new weights
// (switch_i) likewise; the sum is in sum_o SumLatency cycles later. In depthwise mode pixel 0 makes the even channels,
// pixel 1 the odd ones, of one output pixel: select_i says where in the window its taps are.
`include "checks.svh"

module ia_mac_array #(
  parameter int unsigned Pixels = 2,
  parameter int unsigned DspLanes = 12
) (
  input  logic                  clk_i,
  input  logic                  rst_ni,
  input  logic                  row_i,
  input  logic [1:0]            row_index_i,
  input  logic                  row_zero_i,
  input  logic [511:0]          row_data_i,
  input  logic                  switch_i,
  input  logic [128*Pixels-1:0] x_i,
  input  logic [1:0]            select_i,
  input  logic [1919:0]         window_i,    // [column][row] words; column k stands k cycles later than column 0
  output logic [16*19*Pixels-1:0] sum_o      // [pixel][channel]
);

  localparam int unsigned LutLanes = 16 - DspLanes;
  localparam int unsigned LutBits = LutLanes == 0 ? 1 : LutLanes;
  localparam int unsigned DspRows = DspLanes / 4;

  `CHECK_PARAM(PairsOfPixels, Pixels >= 2)

  // ---- weights

  logic [128*DspLanes-1:0] packed_weights;
  logic [5*16*LutBits-1:0] early;
  logic [6*16*LutBits-1:0] late;
  logic [159:0]            carries;
  logic [4:0]              switch_q;
  logic [3:0]              switches;
  assign switches = {switch_q[2:0], switch_i};

  always_ff @(posedge clk_i) begin
    if (!rst_ni) switch_q <= '0;
    else switch_q <= {switch_q[3:0], switch_i};
  end

  ia_weight_shadow #(.DspLanes(DspLanes)) u_shadow (
    .clk_i,
    .row_i,
    .row_index_i,
    .row_zero_i,
    .row_data_i,
    .switch_i(switches),
    .late_switch_i(switch_q[3]),
    .packed_o(packed_weights),
    .early_o(early),
    .late_o(late),
    .carries_o(carries)
  );

  // ---- columns

  logic [3:0] select1_q;
  logic [5:0] selects;
  always_ff @(posedge clk_i) select1_q <= {select1_q[1:0], select_i};
  assign selects = {select1_q, select_i};

  for (genvar p = 0; p < Pixels; p++) begin : gen_pixel
    logic [127:0] x;
    assign x = x_i[128*p+:128];

    // Lane k of each row of lanes, k cycles late.
    logic [8*DspRows-1:0] x1_q, x2_q, x2_qq, x3_q, x3_qq, x3_qqq;
    logic [8*DspLanes-1:0] skewed;
    always_ff @(posedge clk_i) begin
      for (int unsigned r = 0; r < DspRows; r++) begin
        x1_q[8*r+:8]   <= x[32*r+8+:8];
        x2_q[8*r+:8]   <= x[32*r+16+:8];
        x3_q[8*r+:8]   <= x[32*r+24+:8];
      end
      x2_qq  <= x2_q;
      x3_qq  <= x3_q;
      x3_qqq <= x3_qq;
    end
    for (genvar r = 0; r < DspRows; r++) begin : gen_skew
      assign skewed[32*r+:32] = {x3_qqq[8*r+:8], x2_qq[8*r+:8], x1_q[8*r+:8], x[32*r+:8]};
    end

    // Lanes in LUTs: lane k after 1 + k cycles, and four more.
    logic [31:0] x_early, x_late;
    if (LutLanes != 0) begin : gen_lut_lanes
      for (genvar k = 0; k < 4; k++) begin : gen_lane
        logic [8*(k+5)-1:0] delay_q;
        always_ff @(posedge clk_i) delay_q <= {delay_q[8*(k+4)-1:0], x[96+8*k+:8]};
        assign x_early[8*k+:8] = delay_q[8*k+:8];
        assign x_late[8*k+:8]  = delay_q[8*(k+4)+:8];
      end
    end else begin : gen_no_lut_lanes
      assign x_early = '0;
      assign x_late  = '0;
      logic unused;
      assign unused = ^{x_early, x_late};
    end

    for (genvar j = 0; j < 8; j++) begin : gen_pair
      logic [16*DspLanes-1:0] pair_weights;
      logic [119:0] window;
      logic [18:0]  sum_even, sum_odd;
      for (genvar i = 0; i < DspLanes; i++) begin : gen_weight
        assign pair_weights[16*i+:16] = packed_weights[128*i+16*j+:16];
      end
      for (genvar i = 0; i < 15; i++) begin : gen_window
        assign window[8*i+:8] = window_i[128*i+8*(2*j+p%2)+:8];
      end
      ia_dsp_column #(.DspLanes(DspLanes), .Window(p < 2)) u_dsp (
        .clk_i,
        .packed_i(pair_weights),
        .switch_i(switches),
        .x_i(skewed),
        .window_i(window),
        .select_i(selects),
        .sum_even_o(sum_even),
        .sum_odd_o(sum_odd)
      );
      for (genvar h = 0; h < 2; h++) begin : gen_channel
        localparam int unsigned C = 2 * j + h;
        logic [18:0] sum;
        assign sum = h == 0 ? sum_even : sum_odd;
        if (LutLanes == 0) begin : gen_no_lut
          always_ff @(posedge clk_i) sum_o[19*(16*p+C)+:19] <= sum;
        end else begin : gen_lut
          logic [19:0] channel_early;
          logic [23:0] channel_late;
          logic [16:0] lut_sum;
          for (genvar k = 0; k < 4; k++) begin : gen_lane
            assign channel_early[5*k+:5] = early[5*(16*k+C)+:5];
            assign channel_late[6*k+:6]  = late[6*(16*k+C)+:6];
          end
          ia_lut_column u_lut (
            .clk_i,
            .x_early_i(x_early),
            .x_late_i(x_late),
            .early_i(channel_early),
            .late_i(channel_late),
            .carries_i(carries[10*C+:10]),
            .sum_o(lut_sum)
          );
          always_ff @(posedge clk_i) sum_o[19*(16*p+C)+:19] <= sum + {{2{lut_sum[16]}}, lut_sum};
        end
      end
    end
  end

  logic unused_switch;
  assign unused_switch = switch_q[4];

endmodule
