// One output channel of one pixel: sum over the four lanes that are multiplied in LUTs.
//
// Radix-4 Booth: a weight is four digits of -2 to 2, each given by three of its bits (the lowest by two). A stage adds one
// lane's digit times x to the sum of the stage before. Its partial product is a function of five bits, and one more for
// the sum makes a LUT of six with a carry: one LUT a bit. Digits 0 and 1 form one chain, 2 and 3 another; between two
// digits of a chain the two low bits are done. What negative digits are short by is the chain's first operand.
(* use_dsp = "no" *)
module ia_lut_column (
  input  logic               clk_i,
  input  logic [31:0]        x_early_i,  // [lane] lane k one cycle behind lane k - 1
  input  logic [31:0]        x_late_i,   // the same, four cycles later
  input  logic [19:0]        early_i,    // [lane]{w[5:3], w[1:0]}
  input  logic [23:0]        late_i,     // [lane]{w[7:5], w[3:1]}
  input  logic [9:0]         carries_i,  // {chain 1, chain 0}
  output logic [16:0]        sum_o
);
  /* verilator no_inline_module */

  // Digit times x, less 1 where the digit is below zero. The bits above bit 7 are all the sign. They are written in
  // different ways: where synthesis sees that it adds a short signed number, it gives it the way past the LUTs.
  function automatic logic [11:0] product(input logic [7:0] x, input logic [2:0] digit);
    logic       one, two, negative, sign;
    one      = digit[1] ^ digit[0];
    two      = (digit[2] ^ digit[1]) && !one;
    negative = digit[2];
    sign     = (one || two) && x[7];
    product[7:0] = ((one ? x : 8'd0) | (two ? {x[6:0], 1'b0} : 8'd0)) ^ {8{negative}};
    product[8]   = sign ^ negative;
    product[9]   = sign ? !negative : negative;
    product[10]  = (sign && !negative) || (!sign && negative);
    product[11]  = negative ? !sign : sign;
  endfunction

  logic [27:0] chain_q;  // {weight 16, weight 1}

  for (genvar h = 0; h < 2; h++) begin : gen_chain
    logic [9:0]  s0_q;
    logic [10:0] s1_q, s2_q, s4_q, s5_q;
    logic [11:0] s3_q, s6_q, s7_q;
    logic [1:0]  low4_q, low5_q, low6_q, low7_q;
    logic [11:0] p0, p1, p2, p3, p4, p5, p6, p7;
    if (h == 0) begin : gen_low
      assign p0 = product(x_early_i[7:0], {early_i[1:0], 1'b0});
      assign p1 = product(x_early_i[15:8], {early_i[6:5], 1'b0});
      assign p2 = product(x_early_i[23:16], {early_i[11:10], 1'b0});
      assign p3 = product(x_early_i[31:24], {early_i[16:15], 1'b0});
    end else begin : gen_high
      assign p0 = product(x_early_i[7:0], early_i[4:2]);
      assign p1 = product(x_early_i[15:8], early_i[9:7]);
      assign p2 = product(x_early_i[23:16], early_i[14:12]);
      assign p3 = product(x_early_i[31:24], early_i[19:17]);
    end
    assign p4 = product(x_late_i[7:0], late_i[3*h+:3]);
    assign p5 = product(x_late_i[15:8], late_i[3*h+6+:3]);
    assign p6 = product(x_late_i[23:16], late_i[3*h+12+:3]);
    assign p7 = product(x_late_i[31:24], late_i[3*h+18+:3]);
    always_ff @(posedge clk_i) begin
      s0_q   <= {5'd0, carries_i[5*h+:5]} + p0[9:0];
      s1_q   <= {s0_q[9], s0_q} + p1[10:0];
      s2_q   <= s1_q + p2[10:0];
      s3_q   <= {s2_q[10], s2_q} + p3;
      s4_q   <= {s3_q[11], s3_q[11:2]} + p4[10:0];
      s5_q   <= s4_q + p5[10:0];
      s6_q   <= {s5_q[10], s5_q} + p6;
      s7_q   <= s6_q + p7;
      low4_q <= s3_q[1:0];
      low5_q <= low4_q;
      low6_q <= low5_q;
      low7_q <= low6_q;
    end
    assign chain_q[14*h+:14] = {s7_q, low7_q};
  end

  logic signed [12:0] high;
  assign high = 13'($signed(chain_q[13:4])) + 13'($signed(chain_q[27:14]));

  always_ff @(posedge clk_i) sum_o <= {high, chain_q[3:0]};

endmodule
