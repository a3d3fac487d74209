// One output channel of one pixel: sum over the four lanes that are multiplied in LUTs.
//
// Radix-4 Booth: a weight is four digits of -2 to 2, each given by three of its bits (the lowest by two). A stage adds one
// lane's digit times x to the sum of the stage before. Its partial product is a function of five bits, and one more for
// the sum makes a LUT of six with a carry: one LUT a bit. Digits 0 and 1 form one chain, 2 and 3 another; between two
// digits of a chain the two low bits are done. What negative digits are short by is the chain's first operand.
module ia_lut_column (
  input  logic               clk_i,
  input  logic [31:0]        x_early_i,  // [lane] lane k one cycle behind lane k - 1
  input  logic [31:0]        x_late_i,   // the same, four cycles later
  input  logic [19:0]        early_i,    // [lane]{w[5:3], w[1:0]}
  input  logic [23:0]        late_i,     // [lane]{w[7:5], w[3:1]}
  input  logic [9:0]         carries_i,  // {chain 1, chain 0}
  output logic [16:0]        sum_o
);

  function automatic logic [8:0] product(input logic [7:0] x, input logic [2:0] digit);
    logic [8:0] size;
    size = (digit[1] ^ digit[0]) ? {x[7], x} : (digit[2] ^ digit[1]) ? {x, 1'b0} : 9'd0;
    product = size ^ {9{digit[2]}};
  endfunction

  logic [13:0] chain_q [2];  // of weight 1 and 16

  (* use_dsp = "no" *)
  for (genvar h = 0; h < 2; h++) begin : gen_chain
    logic signed [8:0]  p [8];
    logic signed [9:0]  s0_q;
    logic signed [10:0] s1_q, s2_q, s4_q, s5_q;
    logic signed [11:0] s3_q, s6_q, s7_q;
    logic [1:0]         low4_q, low5_q, low6_q, low7_q;
    for (genvar k = 0; k < 4; k++) begin : gen_product
      logic [2:0] digit;
      if (h == 0) begin : gen_low
        assign digit = {early_i[5*k+:2], 1'b0};
      end else begin : gen_high
        assign digit = early_i[5*k+2+:3];
      end
      assign p[k]     = product(x_early_i[8*k+:8], digit);
      assign p[4 + k] = product(x_late_i[8*k+:8], late_i[6*k+3*h+:3]);
    end
    always_ff @(posedge clk_i) begin
      s0_q   <= $signed({5'd0, carries_i[5*h+:5]}) + 10'(p[0]);
      s1_q   <= 11'(s0_q) + 11'(p[1]);
      s2_q   <= s1_q + 11'(p[2]);
      s3_q   <= 12'(s2_q) + 12'(p[3]);
      s4_q   <= 11'(s3_q >>> 2) + 11'(p[4]);
      s5_q   <= s4_q + 11'(p[5]);
      s6_q   <= 12'(s5_q) + 12'(p[6]);
      s7_q   <= s6_q + 12'(p[7]);
      low4_q <= s3_q[1:0];
      low5_q <= low4_q;
      low6_q <= low5_q;
      low7_q <= low6_q;
    end
    assign chain_q[h] = {s7_q, low7_q};
  end

  logic signed [12:0] high;
  assign high = 13'($signed(chain_q[0]) >>> 4) + 13'($signed(chain_q[1]));

  always_ff @(posedge clk_i) sum_o <= {high, chain_q[0][3:0]};

endmodule
