// Weights of the array: the block that loads, and of the lanes that are multiplied in LUTs also the block at work.
//
// A row brings four input lanes of all 16 output channels. Lane k of a row is delayed k cycles, as are the data of lane
// k of each cascade, so that a block of four rows may follow the block before without a gap. Lanes in DSP blocks get two
// output channels packed into one factor: w1 * 2**17 + w0, of which the low 17 bits are w0 with its sign; bits 24 to 17
// are w1, less 1 where w0 is negative.
`include "checks.svh"

module ia_weight_shadow #(
  parameter int unsigned DspLanes = 12,  // a multiple of 4; the other lanes up to 16 are multiplied in LUTs
  localparam int unsigned LutLanes = 16 - DspLanes,
  localparam int unsigned LutBits = LutLanes == 0 ? 1 : LutLanes
) (
  input  logic                    clk_i,
  input  logic                    row_i,
  input  logic [1:0]              row_index_i,
  input  logic                    row_zero_i,
  input  logic [511:0]            row_data_i,
  input  logic [3:0]              switch_i,      // bit k: lane k takes the new block at the end of this cycle
  input  logic                    late_switch_i, // bit 0 of it, four cycles later
  output logic [128*DspLanes-1:0] packed_o,      // [lane][pair of channels]{w1, w0}, the block that loads
  // The block at work, for lanes in LUTs
  output logic [5*16*LutBits-1:0] early_o,       // [lane][channel] bits of Booth digits 0 and 2: {w[5:3], w[1:0]}
  output logic [6*16*LutBits-1:0] late_o,        // [lane][channel] of digits 1 and 3: {w[7:5], w[3:1]}
  output logic [16*10-1:0]        carries_o      // [channel] carries of negative digits: {digits 2 and 3, 0 and 1}
);

  localparam int unsigned DspRows = DspLanes / 4;

  `CHECK_PARAM(LanesAreCascades, DspLanes % 4 == 0 && (DspLanes == 12 || DspLanes == 16))

  // ---- a row, packed

  logic [511:0] row_q;
  logic [3:0]   row_is_q;  // one-hot: which row it is
  logic         lut_row;
  assign lut_row = 32'(row_index_i) >= DspRows;

  always_ff @(posedge clk_i) begin
    for (int unsigned i = 0; i < 4; i++) row_is_q[i] <= row_i && row_index_i == 2'(i);
    if (row_zero_i) begin
      row_q <= '0;
    end else begin
      row_q <= row_data_i;
      for (int unsigned i = 0; i < 32; i++) begin
        row_q[16*i+8+:8] <= row_data_i[16*i+8+:8] - 8'(row_data_i[16*i+7] && !lut_row);
      end
    end
  end

  // ---- skew

  logic [127:0] lane1_q, lane2_q, lane2_qq, lane3_q, lane3_qq, lane3_qqq;
  logic [3:0]   row_is1_q, row_is2_q, row_is3_q;
  always_ff @(posedge clk_i) begin
    lane1_q   <= row_q[255:128];
    lane2_q   <= row_q[383:256];
    lane2_qq  <= lane2_q;
    lane3_q   <= row_q[511:384];
    lane3_qq  <= lane3_q;
    lane3_qqq <= lane3_qq;
    row_is1_q <= row_is_q;
    row_is2_q <= row_is1_q;
    row_is3_q <= row_is2_q;
  end

  logic [511:0] skewed;
  logic [15:0]  write;  // [lane of the row][row]
  assign skewed = {lane3_qqq, lane2_qq, lane1_q, row_q[127:0]};
  assign write  = {row_is3_q, row_is2_q, row_is1_q, row_is_q};

  // ---- shadow registers

  logic [128*DspLanes-1:0] packed_q;
  always_ff @(posedge clk_i) begin
    for (int unsigned r = 0; r < DspRows; r++) begin
      for (int unsigned k = 0; k < 4; k++) begin
        if (write[4*k+r]) packed_q[128*(4*r+k)+:128] <= skewed[128*k+:128];
      end
    end
  end
  assign packed_o = packed_q;

  if (LutLanes == 0) begin : gen_no_lut
    assign early_o   = '0;
    assign late_o    = '0;
    assign carries_o = '0;
    logic unused;
    assign unused = ^{switch_i, late_switch_i, write};
  end else begin : gen_lut
    logic [511:0] shadow_q;
    logic [5*16*LutLanes-1:0] early_q;
    logic [6*16*LutLanes-1:0] middle_q, late_q;
    logic [3:0] late_switch_q;
    assign late_switch_q[0] = late_switch_i;

    always_ff @(posedge clk_i) begin
      late_switch_q[3:1] <= late_switch_q[2:0];
      for (int unsigned k = 0; k < LutLanes; k++) begin
        if (write[4*k+3]) shadow_q[128*k+:128] <= skewed[128*k+:128];
        for (int unsigned c = 0; c < 16; c++) begin
          if (switch_i[k]) begin
            early_q[5*(16*k+c)+:5]  <= {shadow_q[128*k+8*c+3+:3], shadow_q[128*k+8*c+:2]};
            middle_q[6*(16*k+c)+:6] <= {shadow_q[128*k+8*c+5+:3], shadow_q[128*k+8*c+1+:3]};
          end
        end
        if (late_switch_q[k]) late_q[6*16*k+:6*16] <= middle_q[6*16*k+:6*16];
      end
    end
    assign early_o = early_q;
    assign late_o  = late_q;

    // A digit below zero takes the complement of x, and is 1 short: what is short is known before any x comes.
    logic [159:0] carries, carries_shadow_q, carries_q;
    function automatic logic [2:0] count4(input logic [3:0] bits);
      count4 = 3'(bits[0]) + 3'(bits[1]) + 3'(bits[2]) + 3'(bits[3]);
    endfunction
    always_comb begin
      for (int unsigned c = 0; c < 16; c++) begin
        for (int unsigned h = 0; h < 2; h++) begin
          carries[10*c+5*h+:5] =
            5'(count4({row_q[384+8*c+4*h+1], row_q[256+8*c+4*h+1], row_q[128+8*c+4*h+1], row_q[8*c+4*h+1]}))
            + {count4({row_q[384+8*c+4*h+3], row_q[256+8*c+4*h+3], row_q[128+8*c+4*h+3], row_q[8*c+4*h+3]}), 2'b00};
        end
      end
    end
    always_ff @(posedge clk_i) begin
      if (row_is_q[3]) carries_shadow_q <= carries;
      if (switch_i[0]) carries_q <= carries_shadow_q;
    end
    assign carries_o = carries_q;
  end

endmodule
