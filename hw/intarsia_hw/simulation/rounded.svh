// What ia_conv_round makes of a value before the zero point: value / 2**(shift + 1) rounded half to even; beyond 9 bits
// it is the nearest number of 9 bits.
function automatic logic [15:0] rounded(input logic [63:0] value, input logic [5:0] shift);
  logic [63:0] halves;
  logic        below;
  halves = $signed(value) >>> shift;
  below  = (value & ((64'd1 << shift) - 64'd1)) != '0;
  if ($signed(halves) > 64'sd511 || $signed(halves) < -64'sd512) rounded = halves[63] ? -16'd256 : 16'd255;
  else rounded = {halves[15], halves[15:1]} + 16'(halves[0] && (below || halves[1]));
endfunction
