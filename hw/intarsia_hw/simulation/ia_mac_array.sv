// The array of rtl/ia_mac_array.sv for simulation: the same ports, and the same bits in every cycle whatever comes in.
//
// All registers are variables of one process, which goes from the last stage to the first, so that each stage reads what
// the one before held. Channels, and pairs of channels, are the inner loops: compilers make vector instructions of them. A
// weight is a number here, not half of a DSP block's factor nor its Booth digits; sums are cut where a narrower one would
// have been.
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
  input  logic [1919:0]         window_i,
  output logic [16*19*Pixels-1:0] sum_o
);
  /* verilator no_inline_module */
  /* verilator lint_off BLKSEQ */

  localparam int unsigned DspRows = DspLanes / 4;
  localparam int unsigned Lanes = 16 * Pixels;   // [pixel][lane] or [pixel][channel]
  localparam int unsigned Pairs = 8 * Pixels;    // [pixel][pair of channels]
  localparam int unsigned Row = 4 * Pairs;       // [cascade][pixel][pair]; with three cascades the fourth counts for nothing
  localparam int unsigned History = 8;           // cycles for which x is kept
  localparam bit Luts = DspLanes == 12;

  // ---- rows on their way to the weights: lane k of a row k cycles late

  logic [511:0] row_q;
  logic [3:0]   row_is_q, row_is1_q, row_is2_q, row_is3_q;
  logic [127:0] lane1_q, lane2_q, lane2_qq, lane3_q, lane3_qq, lane3_qqq;
  logic [3:0]   switch_q;
  logic [2:0]   late_switch_q;
  logic [3:0]   select_q;
  always_ff @(posedge clk_i) begin
    for (int unsigned i = 0; i < 4; i++) row_is_q[i] <= row_i && row_index_i == 2'(i);
    row_q         <= row_zero_i ? '0 : row_data_i;
    lane1_q       <= row_q[255:128];
    lane2_q       <= row_q[383:256];
    lane2_qq      <= lane2_q;
    lane3_q       <= row_q[511:384];
    lane3_qq      <= lane3_q;
    lane3_qqq     <= lane3_qq;
    row_is1_q     <= row_is_q;
    row_is2_q     <= row_is1_q;
    row_is3_q     <= row_is2_q;
    switch_q      <= rst_ni ? {switch_q[2:0], switch_i} : '0;
    late_switch_q <= {late_switch_q[1:0], switch_q[3]};
    select_q      <= {select_q[1:0], select_i};
  end

  logic [511:0] skewed;
  logic [15:0]  write;  // [lane of the row][row]
  logic [3:0]   switches, late_switches;
  logic [5:0]   selects;
  assign skewed        = {lane3_qqq, lane2_qq, lane1_q, row_q[127:0]};
  assign write         = {row_is3_q, row_is2_q, row_is1_q, row_is_q};
  assign switches      = {switch_q[2:0], switch_i};
  assign late_switches = {late_switch_q, switch_q[3]};
  assign selects       = {select_q, select_i};

  // ---- what is carried from cycle to cycle

  // Sizes are powers of two, so that no index needs a check.

  logic [15:0] now [Lanes];            // x of this cycle; not carried
  logic [15:0] past [Lanes*History];   // [cycles ago, less 1] and of those before
  // Lanes in DSP blocks, [lane of a cascade][cascade][pixel][pair]: weights of the even and the odd channel of a pair
  logic [15:0] next_even [4*Row];      // the block that loads
  logic [15:0] next_odd [4*Row];
  logic [15:0] even [4*Row];           // the block at work
  logic [15:0] odd [4*Row];
  logic [15:0] factor [4*Row];         // what it is multiplied with
  logic [15:0] even_product [4*Row];
  logic [15:0] odd_product [4*Row];
  logic [31:0] even_partial [4*Row];   // sums along a cascade
  logic [31:0] odd_partial [4*Row];
  logic [31:0] even_cascade [Row];
  logic [31:0] odd_cascade [Row];
  logic [31:0] sum1 [Lanes];           // [even, odd][pixel][pair] of all cascades; twice more, later
  logic [31:0] sum2 [Lanes];
  logic [31:0] sum3 [Lanes];
  // Lanes in LUTs. Digits 0 and 2 of a weight are early, 1 and 3 late: stage k adds the early ones of lane k, stage 4 + k
  // the late ones. What is said of channels is said once for each pixel.
  logic [7:0]  next_lut [64];          // [lane][channel] the block that loads
  logic [7:0]  middle [64];            // whose late digits are not at work yet
  logic [15:0] digits [8*Lanes];       // [stage][pixel][channel] what they stand for
  logic [15:0] short [8*Lanes];        // what they are short by
  logic [15:0] lut_factor [8*Lanes];
  logic [15:0] lut_product [8*Lanes];  // of this cycle; not carried
  logic [15:0] next_carries [Lanes];
  logic [15:0] carries [Lanes];
  logic [31:0] chain [8*Lanes];        // [stage][pixel][channel] sums so far
  logic [31:0] lut_sum [Lanes];

  logic [16*19*Pixels-1:0] sums;
  logic [7:0]  w0, w1;
  logic [15:0] x;

  always_ff @(posedge clk_i) begin
    // ---- sums of all lanes
    /* verilator unroll_disable */
    for (int unsigned i = 0; i < Pairs; i++) begin
      sums[38*i+:19]    = 19'(sum3[i] + (Luts ? lut_sum[2*i] : 32'd0));
      sums[38*i+19+:19] = 19'(sum3[Pairs+i] + (Luts ? lut_sum[2*i+1] : 32'd0));
    end
    sum_o <= sums;

    // ---- DSP blocks
    sum3 = sum2;
    sum2 = sum1;
    /* verilator unroll_disable */
    for (int unsigned i = 0; i < Pairs; i++) begin
      sum1[i]       = even_cascade[i] + even_cascade[Pairs+i] + even_cascade[2*Pairs+i]
                      + (DspRows == 4 ? even_cascade[3*Pairs+i] : 32'd0);
      sum1[Pairs+i] = odd_cascade[i] + odd_cascade[Pairs+i] + odd_cascade[2*Pairs+i]
                      + (DspRows == 4 ? odd_cascade[3*Pairs+i] : 32'd0);
    end
    // Fields of a sum have 17 bits. Four products of -128 and -128 are one too many: the odd sum gets what they carry.
    /* verilator unroll_disable */
    for (int unsigned i = 0; i < Row; i++) begin
      odd_cascade[i] = odd_partial[3*Row+i] + 32'(even_partial[3*Row+i] == 32'h10000);
    end
    /* verilator unroll_disable */
    for (int unsigned i = 0; i < Row; i++) begin
      odd_cascade[i]  = {{15{odd_cascade[i][16]}}, odd_cascade[i][16:0]};
      even_cascade[i] = {{15{even_partial[3*Row+i][16]}}, even_partial[3*Row+i][16:0]};
    end
    /* verilator unroll_full */
    for (int unsigned k = 3; k > 0; k--) begin
      /* verilator unroll_disable */
      for (int unsigned i = 0; i < Row; i++) begin
        even_partial[Row*k+i] = even_partial[Row*(k-1)+i] + {{16{even_product[Row*k+i][15]}}, even_product[Row*k+i]};
        odd_partial[Row*k+i]  = odd_partial[Row*(k-1)+i] + {{16{odd_product[Row*k+i][15]}}, odd_product[Row*k+i]};
      end
    end
    /* verilator unroll_disable */
    for (int unsigned i = 0; i < Row; i++) begin
      even_partial[i] = {{16{even_product[i][15]}}, even_product[i]};
      odd_partial[i]  = {{16{odd_product[i][15]}}, odd_product[i]};
    end
    /* verilator unroll_disable */
    for (int unsigned i = 0; i < 4 * Row; i++) begin
      even_product[i] = even[i] * factor[i];
      odd_product[i]  = odd[i] * factor[i];
    end
    /* verilator unroll_full */
    for (int unsigned k = 0; k < 4; k++) begin
      if (switches[k]) begin
        /* verilator unroll_disable */
        for (int unsigned i = Row * k; i < Row * k + Row; i++) begin
          even[i] = next_even[i];
          odd[i]  = next_odd[i];
        end
      end
      for (int unsigned r = 0; r < DspRows; r++) begin
        if (write[4*k+r]) begin
          /* verilator unroll_disable */
          for (int unsigned i = 0; i < Pairs; i++) begin
            w0 = skewed[128*k+16*(i%8)+:8];
            w1 = skewed[128*k+16*(i%8)+8+:8];
            next_even[Row*k+Pairs*r+i] = 16'($signed(w0));
            // -128 beside a weight below zero does not fit its field, and is 128.
            next_odd[Row*k+Pairs*r+i] = w1 == 8'h80 && w0[7] ? 16'd128 : 16'($signed(w1));
          end
        end
      end
    end

    /* verilator unroll_disable */
    for (int unsigned i = 0; i < Lanes; i++) now[i] = 16'($signed(x_i[8*i+:8]));
    /* verilator unroll_full */
    for (int unsigned k = 0; k < 4; k++) begin
      /* verilator unroll_full */
      for (int unsigned i = 0; i < DspRows * Pixels; i++) begin
        x = k == 0 ? now[16*(i%Pixels)+4*(i/Pixels)] : past[Lanes*(k-1)+16*(i%Pixels)+4*(i/Pixels)+k];
        /* verilator unroll_disable */
        for (int unsigned j = 0; j < 8; j++) factor[Row*k+8*i+j] = x;
      end
    end
    /* verilator unroll_full */
    for (int unsigned k = 0; k < 3; k++) begin
      if (selects[2*k+:2] != 2'd0) begin
        /* verilator unroll_disable */
        for (int unsigned r = 0; r < 3; r++) begin
          /* verilator unroll_disable */
          for (int unsigned i = 0; i < 16; i++) begin
            factor[Row*k+Pairs*r+i] =
              16'($signed(window_i[128*(5*k+r+32'(selects[2*k+:2])-1)+16*(i%8)+8*(i/8)+:8]));
          end
        end
      end
    end

    // ---- LUTs
    if (Luts) begin
      /* verilator unroll_disable */
      for (int unsigned i = 0; i < Lanes; i++) begin
        lut_sum[i] = {{15{chain[7*Lanes+i][16]}}, chain[7*Lanes+i][16:0]};
      end
      /* verilator unroll_full */
      for (int unsigned k = 0; k < 8; k++) begin
        /* verilator unroll_full */
        for (int unsigned p = 0; p < Pixels; p++) begin
          x = past[Lanes*k+16*p+12+k%4];
          /* verilator unroll_disable */
          for (int unsigned c = 0; c < 16; c++) lut_factor[Lanes*k+16*p+c] = x;
        end
      end
      /* verilator unroll_disable */
      for (int unsigned i = 0; i < 8 * Lanes; i++) lut_product[i] = digits[i] * lut_factor[i] - short[i];
      /* verilator unroll_full */
      for (int unsigned k = 7; k > 0; k--) begin
        /* verilator unroll_disable */
        for (int unsigned i = 0; i < Lanes; i++) begin
          chain[Lanes*k+i] = chain[Lanes*(k-1)+i] + {{16{lut_product[Lanes*k+i][15]}}, lut_product[Lanes*k+i]};
        end
      end
      /* verilator unroll_disable */
      for (int unsigned i = 0; i < Lanes; i++) begin
        chain[i] = {{16{lut_product[i][15]}}, lut_product[i]} + {16'd0, carries[i]};
      end
      /* verilator unroll_full */
      for (int unsigned k = 0; k < 4; k++) begin
        if (late_switches[k]) begin
          /* verilator unroll_disable */
          for (int unsigned i = 0; i < Lanes; i++) begin
            w0                    = middle[16*k+i%16];
            digits[Lanes*(4+k)+i] = 16'({w0[1], 2'b00}) + 16'({w0[2], 2'b00}) - 16'({w0[3], 3'b000})
                                    + 16'({w0[5], 6'd0}) + 16'({w0[6], 6'd0}) - 16'({w0[7], 7'd0});
            short[Lanes*(4+k)+i]  = 16'({w0[7], 3'b000, w0[3], 2'b00});
          end
        end
        if (switches[k]) begin
          /* verilator unroll_disable */
          for (int unsigned i = 0; i < Lanes; i++) begin
            w0                = next_lut[16*k+i%16];
            middle[16*k+i%16] = w0;
            digits[Lanes*k+i] = 16'(w0[0]) - 16'({w0[1], 1'b0}) + 16'({w0[3], 4'd0}) + 16'({w0[4], 4'd0})
                                - 16'({w0[5], 5'd0});
            short[Lanes*k+i]  = 16'({w0[5], 3'b000, w0[1]});
          end
        end
        if (write[4*k+3]) begin
          /* verilator unroll_disable */
          for (int unsigned i = 0; i < 16; i++) next_lut[16*k+i] = skewed[128*k+8*i+:8];
        end
      end
      if (switches[0]) carries = next_carries;
      if (row_is_q[3]) begin
        /* verilator unroll_disable */
        for (int unsigned i = 0; i < Lanes; i++) begin
          next_carries[i] = '0;
          /* verilator unroll_full */
          for (int unsigned k = 0; k < 4; k++) begin
            w0              = row_q[128*k+8*(i%16)+:8];
            next_carries[i] = next_carries[i] + 16'({w0[7], 1'b0, w0[5], 1'b0, w0[3], 1'b0, w0[1]});
          end
        end
      end
    end

    // ---- x
    /* verilator unroll_full */
    for (int unsigned h = History - 1; h > 0; h--) begin
      /* verilator unroll_disable */
      for (int unsigned i = 0; i < Lanes; i++) past[Lanes*h+i] = past[Lanes*(h-1)+i];
    end
    /* verilator unroll_disable */
    for (int unsigned i = 0; i < Lanes; i++) past[i] = now[i];
  end

endmodule
