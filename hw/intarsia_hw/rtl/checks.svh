// Promises that simulation watches. Verilator runs them with --assert; other tools skip them.
//   `CHECK(Name, property)            holds at every clock edge out of reset; may use |-> and |=>
//   `INVARIANT(Name, condition)       the same without operators over time; proofs (hw/formal) rest on it too
//   `CHECK_PARAM(Name, condition)     stops elaboration where a parameter makes no sense
// They stand in the body of a module with the ports clk_i and rst_ni; CHECK_PARAM needs neither.
`ifndef INTARSIA_CHECKS_SVH
`define INTARSIA_CHECKS_SVH
`ifdef VERILATOR
  `define CHECK(name, property_expr) \
    name: assert property (@(posedge clk_i) disable iff (!rst_ni) (property_expr)) \
      else $error(`"%m: name does not hold`");
  `define INVARIANT(name, condition) `CHECK(name, condition)
  `define CHECK_PARAM(name, condition) \
    if (!(condition)) begin : name \
      $fatal(1, `"bad parameter: name`"); \
    end
`else
  `define CHECK(name, property_expr)
  `ifdef FORMAL
    `define INVARIANT(name, condition) always @(posedge clk_i) if (rst_ni) assert (condition);
  `else
    `define INVARIANT(name, condition)
  `endif
  `define CHECK_PARAM(name, condition)
`endif
`endif
