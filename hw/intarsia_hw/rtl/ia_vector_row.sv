// One row of a multiplier in LUTs: sum_i + digit * y, where the digit in -2 to 2 is three bits of the other factor.
// (Booth's recoding, radix 4.) A LUT and a carry bit for each bit of the sum; the hierarchy is kept, for synthesis that
// flattens it finds other sums, which take twice as many LUTs.
(* keep_hierarchy = "yes" *)
module ia_vector_row #(
  parameter int unsigned YBits = 18
) (
  input  logic [YBits+1:0] sum_i,    // signed, as are the others
  input  logic [YBits-1:0] y_i,
  input  logic [2:0]       digit_i,  // -2 * [2] + [1] + [0]
  output logic [YBits+1:0] sum_o
);

  logic             one, two, carry;
  logic [YBits+1:0] y, part;

  assign one   = digit_i[1] != digit_i[0];
  assign two   = digit_i[2] != digit_i[1] && !one;
  assign y     = {{2{y_i[YBits-1]}}, y_i};
  assign part  = ({(YBits + 2){one}} & y | {(YBits + 2){two}} & y << 1) ^ {(YBits + 2){digit_i[2]}};
  assign {sum_o, carry} = {sum_i, digit_i[2]} + {part, digit_i[2]};

  logic unused;
  assign unused = &{1'b0, carry};

endmodule
