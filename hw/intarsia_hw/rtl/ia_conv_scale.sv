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
  input  logic [10:0] load_i,        // bit s: the next cycle has the first value of a group of channels in stage s
  input  logic [31:0] bias_i,        // held until load_i[1]
  input  logic [20:0] multiplier_i,
  input  logic [5:0]  shift_i,       // the shift less 1
  input  logic [31:0] sum_i,         // stage 0
  output logic [52:0] product_o,     // stage 9
  output logic [2:0]  bytes_o,       // stage 9: shift / 8
  output logic [2:0]  bits_o         // stage 10: shift % 8
);
  /* verilator no_inline_module */

  // ---- parameters; those of a group stay in stage 1 for ten cycles at least

  logic [31:0] bias0_q;
  logic [20:0] multiplier1_q, multiplier5_q, multiplier6_q, multiplier7_q, multiplier8_q;
  logic [2:0]  digit3_q, digit4_q;
  logic [5:0]  shift1_q;
  logic [2:0]  bytes9_q, bits10_q;

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
    if (load_i[9]) bytes9_q <= shift1_q[5:3];
    if (load_i[10]) bits10_q <= shift1_q[2:0];
  end
  assign bytes_o = bytes9_q;
  assign bits_o  = bits10_q;

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
    a3_q    <= a2_q;
    a4_q    <= a3_q;
    high2_q <= a1_q[31:24];
    high3_q <= high2_q;
    high4_q <= high3_q;
    high5_q <= high4_q;
    high6_q <= high5_q[7:2];
    high7_q <= high6_q[5:2];
    high8_q <= high7_q[3:2];
  end

  // ---- product in the DSP block

  logic signed [42:0] product2_q, product3_q;
  always_ff @(posedge clk_i) begin
    product2_q <= $signed(a1_q[24:0]) * $signed(multiplier1_q[17:0]);
    product3_q <= product2_q;
  end

  // ---- digits

  function automatic logic [25:0] digit_a(input logic [24:0] value, input logic [2:0] digit);
    logic [25:0] size;
    size = (digit[1] ^ digit[0]) ? {value[24], value} : (digit[2] ^ digit[1]) ? {value, 1'b0} : 26'd0;
    digit_a = size ^ {26{digit[2]}};
  endfunction
  function automatic logic [22:0] digit_m(input logic [20:0] value, input logic [2:0] digit);
    logic [22:0] size;
    size = (digit[1] ^ digit[0]) ? {2'b00, value} : (digit[2] ^ digit[1]) ? {1'b0, value, 1'b0} : 23'd0;
    digit_m = size ^ {23{digit[2]}};
  endfunction

  logic [25:0] part3, part4;
  logic [22:0] part5, part6, part7, part8;
  assign part3 = digit_a(a3_q, digit3_q);
  assign part4 = digit_a(a4_q, digit4_q);
  assign part5 = digit_m(multiplier5_q, high5_q[2:0]);
  assign part6 = digit_m(multiplier6_q, high6_q[2:0]);
  assign part7 = digit_m(multiplier7_q, high7_q[2:0]);
  assign part8 = digit_m(multiplier8_q, {high8_q[1], high8_q});

  // A digit below zero has been complemented, and is 1 short: a carry from below the last bit.
  logic signed [27:0] sum4, sum5;
  logic signed [24:0] sum6, sum7, sum8;
  logic signed [22:0] sum9;
  logic signed [26:0] sum4_q, sum5_q;
  logic signed [23:0] sum6_q, sum7_q, sum8_q;
  logic signed [21:0] sum9_q;
  assign sum4 = $signed({{2{product3_q[42]}}, product3_q[42:18], 1'b1}) + $signed({part3[25], part3, digit3_q[2]});
  assign sum5 = $signed({{2{sum4_q[26]}}, sum4_q[26:2], 1'b1}) + $signed({part4[25], part4, digit4_q[2]});
  assign sum6 = $signed({{2{sum5_q[26]}}, sum5_q[26:5], 1'b1}) + $signed({part5[22], part5, high5_q[2]});
  assign sum7 = $signed({{2{sum6_q[23]}}, sum6_q[23:2], 1'b1}) + $signed({part6[22], part6, high6_q[2]});
  assign sum8 = $signed({{2{sum7_q[23]}}, sum7_q[23:2], 1'b1}) + $signed({part7[22], part7, high7_q[2]});
  assign sum9 = $signed({sum8_q[23:2], 1'b1}) + $signed({part8[21:0], high8_q[1]});

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
    low4_q <= product3_q[17:0];
    low5_q <= {sum4_q[1:0], low4_q};
    low6_q <= {sum5_q[4:0], low5_q};
    low7_q <= {sum6_q[1:0], low6_q};
    low8_q <= {sum7_q[1:0], low7_q};
    low9_q <= {sum8_q[1:0], low8_q};
  end

  assign product_o = {sum9_q, low9_q};

  logic unused;
  assign unused = ^{sum4[0], sum5[0], sum6[0], sum7[0], sum8[0], sum9[0], part8[22]};

endmodule
