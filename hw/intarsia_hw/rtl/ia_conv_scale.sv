// First step of the epilogue for one lane: (sum + bias) * multiplier, exact, and how it is to be shifted.
//
// The low 25 bits of sum + bias times the low 18 of the multiplier, both signed, go into a DSP block. What is left of
// either are Booth digits, two of the multiplier and four of the sum; a stage adds one. The bits that a stage leaves below
// the next digit are done.
//
// Parameters move along with the values: registers are named after the stage that reads them, and take a new group's
// parameters right before its first value comes to that stage.
module ia_conv_scale (
  input  logic        clk_i,
  input  logic        rst_ni,
  input  logic [10:0] load_i,        // bit s: the next cycle has the first value of a group of channels in stage s
  input  logic [31:0] bias_i,        // held until load_i[1]
  input  logic [20:0] multiplier_i,
  input  logic [5:0]  shift_i,       // the shift less 1
  input  logic [31:0] sum_i,         // stage 0
  output logic [52:0] product_o,     // stage 9
  output logic [1:0]  coarse_o,      // stage 9: shift / 16
  output logic [3:0]  fine_o         // stage 10: shift % 16
);
  /* verilator no_inline_module */

  // ---- parameters; those of a group stay in stage 1 for ten cycles at least

  logic [31:0] bias0_q;
  logic [20:0] multiplier1_q, multiplier5_q, multiplier6_q, multiplier7_q, multiplier8_q;
  logic [2:0]  digit3_q, digit4_q;
  logic [5:0]  shift1_q;
  logic [1:0]  coarse9_q;
  logic [3:0]  fine10_q;

  always_ff @(posedge clk_i) begin
    if (load_i[0]) bias0_q <= bias_i;
    if (load_i[1]) multiplier1_q <= multiplier_i;
    if (load_i[1]) shift1_q <= shift_i;
    if (load_i[3]) digit3_q <= multiplier1_q[19:17];
    if (load_i[4]) digit4_q <= {1'b0, multiplier1_q[20:19]};
    if (load_i[5]) multiplier5_q <= multiplier1_q;
    if (load_i[6]) multiplier6_q <= multiplier1_q;
    if (load_i[7]) multiplier7_q <= multiplier1_q;
    if (load_i[8]) multiplier8_q <= multiplier1_q;
    if (load_i[9]) coarse9_q <= shift1_q[5:4];
    if (load_i[10]) fine10_q <= shift1_q[3:0];
  end
  assign coarse_o = coarse9_q;
  assign fine_o   = fine10_q;

  // ---- sum + bias

  logic [31:0]        a1_q;
  logic signed [24:0] a2_q, a3_q, a4_q;
  logic [7:0]         high2_q, high3_q, high4_q, high5_q;  // bits 31 to 24
  logic [5:0]         high6_q;
  logic [3:0]         high7_q;
  logic [1:0]         high8_q;

  always_ff @(posedge clk_i) begin
    a1_q    <= bias0_q + sum_i;
    a2_q    <= a1_q[24:0];
    a4_q    <= a3_q;
    high2_q <= a1_q[31:24];
    high4_q <= high3_q;
    high6_q <= high5_q[7:2];
    high8_q <= high7_q[3:2];
    if (!rst_ni) begin
      a3_q    <= '0;
      high3_q <= '0;
      high5_q <= '0;
      high7_q <= '0;
    end else begin
      a3_q    <= a2_q;
      high3_q <= high2_q;
      high5_q <= high4_q;
      high7_q <= high6_q[5:2];
    end
  end

  // ---- product in the DSP block

  logic signed [42:0] product2_q, product3_q;
  always_ff @(posedge clk_i) begin
    product2_q <= $signed(a1_q[24:0]) * $signed(multiplier1_q[17:0]);
    product3_q <= product2_q;
  end

  // ---- digits

  // Digit times value, less 1 where the digit is below zero. As in ia_lut_column the sign is written in different ways, so
  // that synthesis makes the product in the LUTs of the addition.
  function automatic logic [26:0] digit_a(input logic [24:0] value, input logic [2:0] digit);
    logic one, two, sign;
    one  = digit[1] ^ digit[0];
    two  = (digit[2] ^ digit[1]) && !one;
    sign = (one || two) && value[24];
    digit_a[24:0] = ((one ? value : 25'd0) | (two ? {value[23:0], 1'b0} : 25'd0)) ^ {25{digit[2]}};
    digit_a[25]   = sign ^ digit[2];
    digit_a[26]   = sign ? !digit[2] : digit[2];
  endfunction
  function automatic logic [23:0] digit_m(input logic [20:0] value, input logic [2:0] digit);
    logic one, two;
    one = digit[1] ^ digit[0];
    two = (digit[2] ^ digit[1]) && !one;
    digit_m[21:0] = ((one ? {1'b0, value} : 22'd0) | (two ? {value, 1'b0} : 22'd0)) ^ {22{digit[2]}};
    digit_m[22]   = digit[2];
    digit_m[23]   = one ? digit[2] : (digit[2] && (digit[1] || two));
  endfunction

  logic [26:0] part3, part4;
  logic [23:0] part5, part6, part7, part8;
  assign part3 = digit_a(a3_q, digit3_q);
  assign part4 = digit_a(a4_q, digit4_q);
  assign part5 = digit_m(multiplier5_q, high5_q[2:0]);
  assign part6 = digit_m(multiplier6_q, high6_q[2:0]);
  assign part7 = digit_m(multiplier7_q, high7_q[2:0]);
  assign part8 = digit_m(multiplier8_q, {high8_q[1], high8_q});

  // A digit below zero has been complemented, and is 1 short: a carry from below the last bit.
  logic [27:0] sum4, sum5;
  logic [24:0] sum6, sum7, sum8;
  logic [22:0] sum9;
  logic [26:0] sum4_q, sum5_q;
  logic [23:0] sum6_q, sum7_q, sum8_q;
  logic [21:0] sum9_q;
  assign sum4 = {{2{product3_q[42]}}, product3_q[42:18], 1'b1} + {part3, digit3_q[2]};
  assign sum5 = {{2{sum4_q[26]}}, sum4_q[26:2], 1'b1} + {part4, digit4_q[2]};
  assign sum6 = {{2{sum5_q[26]}}, sum5_q[26:5], 1'b1} + {part5, high5_q[2]};
  assign sum7 = {{2{sum6_q[23]}}, sum6_q[23:2], 1'b1} + {part6, high6_q[2]};
  assign sum8 = {{2{sum7_q[23]}}, sum7_q[23:2], 1'b1} + {part7, high7_q[2]};
  assign sum9 = {sum8_q[23:2], 1'b1} + {part8[21:0], high8_q[1]};

  logic [17:0] low4_q;
  logic [19:0] low5_q;
  logic [24:0] low6_q;
  logic [26:0] low7_q;
  logic [28:0] low8_q;
  logic [30:0] low9_q;

  always_ff @(posedge clk_i) begin
    sum4_q <= sum4[27:1];
    sum5_q <= sum5[27:1];
    sum6_q <= sum6[24:1];
    sum7_q <= sum7[24:1];
    sum8_q <= sum8[24:1];
    sum9_q <= sum9[22:1];
    low5_q <= {sum4_q[1:0], low4_q};
    low7_q <= {sum6_q[1:0], low6_q};
    low9_q <= {sum8_q[1:0], low8_q};
    // Every other stage has a reset: shift registers in LUTs have none, and flip-flops are the cheaper ones here.
    if (!rst_ni) begin
      low4_q <= '0;
      low6_q <= '0;
      low8_q <= '0;
    end else begin
      low4_q <= product3_q[17:0];
      low6_q <= {sum5_q[4:0], low5_q};
      low8_q <= {sum7_q[1:0], low7_q};
    end
  end

  assign product_o = {sum9_q, low9_q};

  logic unused;
  assign unused = ^{load_i[2], sum4[0], sum5[0], sum6[0], sum7[0], sum8[0], sum9[0], part8[23:22]};

endmodule
