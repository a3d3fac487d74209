// Second step of the epilogue for one lane: value * multiplier + residual * residual_multiplier, exact.
//
// Both factors have five Booth digits; a stage adds one, of value and residual in turn, so that the sum is in product_o
// ten cycles later. The multipliers stand still while values are on their way.
module ia_conv_residual (
  input  logic        clk_i,
  input  logic [8:0]  value_i,      // signed
  input  logic [8:0]  residual_i,   // signed
  input  logic [20:0] multiplier_i,
  input  logic [20:0] residual_multiplier_i,
  output logic [32:0] product_o
);
  /* verilator no_inline_module */

  function automatic logic [22:0] part_of(input logic [20:0] value, input logic [2:0] digit);
    logic [22:0] size;
    size = (digit[1] ^ digit[0]) ? {2'b00, value} : (digit[2] ^ digit[1]) ? {1'b0, value, 1'b0} : 23'd0;
    part_of = size ^ {23{digit[2]}};
  endfunction

  logic [10:0] value, residual;  // with the bit below the lowest, and the sign once more
  assign value    = {value_i[8], value_i, 1'b0};
  assign residual = {residual_i[8], residual_i, 1'b0};

  // Stages 2 * j and 2 * j + 1 add digit j.
  logic signed [24:0] sum_q [10];
  logic [7:0]         low_q [10];

  for (genvar s = 0; s < 10; s++) begin : gen_stage
    localparam int unsigned J = s / 2;
    localparam int unsigned Delay = s;
    logic [2:0]  digit, first;
    logic [22:0] part;
    logic signed [25:0] sum;
    assign first = s % 2 == 0 ? value[2*J+:3] : residual[2*J+:3];
    if (Delay == 0) begin : gen_now
      assign digit = first;
    end else begin : gen_later
      logic [3*Delay-1:0] delay_q;
      if (Delay == 1) begin : gen_one
        always_ff @(posedge clk_i) delay_q <= first;
      end else begin : gen_more
        always_ff @(posedge clk_i) delay_q <= {delay_q[3*(Delay-1)-1:0], first};
      end
      assign digit = delay_q[3*Delay-1-:3];
    end
    assign part = part_of(s % 2 == 0 ? multiplier_i : residual_multiplier_i, digit);
    if (s == 0) begin : gen_first
      assign sum = $signed({25'd0, 1'b1}) + $signed({{2{part[22]}}, part, digit[2]});
      always_ff @(posedge clk_i) low_q[s] <= '0;
    end else if (s % 2 == 0) begin : gen_even
      assign sum = $signed({{2{sum_q[s-1][24]}}, sum_q[s-1][24:2], 1'b1}) + $signed({{2{part[22]}}, part, digit[2]});
      always_ff @(posedge clk_i) low_q[s] <= {sum_q[s-1][1:0], low_q[s-1][7:2]};
    end else begin : gen_odd
      assign sum = $signed({sum_q[s-1], 1'b1}) + $signed({{2{part[22]}}, part, digit[2]});
      always_ff @(posedge clk_i) low_q[s] <= low_q[s-1];
    end
    always_ff @(posedge clk_i) sum_q[s] <= sum[25:1];
    logic unused;
    assign unused = sum[0];
  end

  assign product_o = {sum_q[9], low_q[9]};

endmodule
