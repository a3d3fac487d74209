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

  // See ia_conv_scale.
  function automatic logic [24:0] part_of(input logic [20:0] value, input logic [2:0] digit);
    logic one, two;
    one = digit[1] ^ digit[0];
    two = (digit[2] ^ digit[1]) && !one;
    part_of[21:0] = ((one ? {1'b0, value} : 22'd0) | (two ? {value, 1'b0} : 22'd0)) ^ {22{digit[2]}};
    part_of[22]   = digit[2];
    part_of[23]   = one ? digit[2] : (digit[2] && (digit[1] || two));
    part_of[24]   = two ? digit[2] : (digit[2] && (digit[0] || one));
  endfunction

  logic [10:0] value, residual;  // with the bit below the lowest, and the sign once more
  assign value    = {value_i[8], value_i, 1'b0};
  assign residual = {residual_i[8], residual_i, 1'b0};

  // Stages 2 * j and 2 * j + 1 add digit j.
  logic [25*10-1:0] sum_q;
  logic [8*10-1:0]  low_q;

  for (genvar s = 0; s < 10; s++) begin : gen_stage
    localparam int unsigned J = s / 2;
    localparam int unsigned Delay = s;
    logic [2:0]  digit, first;
    logic [24:0] part, carried;
    logic [25:0] sum;
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
      assign carried = '0;
      always_ff @(posedge clk_i) low_q[7:0] <= '0;
    end else if (s % 2 == 0) begin : gen_even
      assign carried = {{2{sum_q[25*s-1]}}, sum_q[25*(s-1)+2+:23]};
      always_ff @(posedge clk_i) low_q[8*s+:8] <= {sum_q[25*(s-1)+:2], low_q[8*(s-1)+2+:6]};
    end else begin : gen_odd
      assign carried = sum_q[25*(s-1)+:25];
      always_ff @(posedge clk_i) low_q[8*s+:8] <= low_q[8*(s-1)+:8];
    end
    assign sum = {carried, 1'b1} + {part, digit[2]};
    always_ff @(posedge clk_i) sum_q[25*s+:25] <= sum[25:1];
    logic unused;
    assign unused = sum[0];
  end

  logic unused_low;
  assign unused_low = ^low_q;
  assign product_o = {sum_q[25*9+:25], low_q[8*9+:8]};

endmodule
