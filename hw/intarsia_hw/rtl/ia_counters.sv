// Counters of 64 bits in LUT memory: each event has a narrow counter of its own, and once in 32 cycles one adder moves it
// into the sum. After the last event all sums are right within 34 cycles.
module ia_counters #(
  parameter int unsigned Counters = 20  // at most 32
) (
  input  logic                clk_i,
  input  logic                clear_i,    // sums are 0 from here on
  input  logic [Counters-1:0] event_i,
  input  logic [4:0]          number_i,
  output logic [63:0]         sum_o       // of counter number_i, in the same cycle
);

  localparam int unsigned Slots = 32;
  localparam int unsigned NarrowBits = $clog2(Slots + 1);

  logic [NarrowBits-1:0]        narrow_q [Counters];
  logic [NarrowBits*Slots-1:0]  narrow;
  (* ram_style = "distributed" *) logic [63:0] sums_q [Slots];

  // First stage: read a narrow counter and its sum. Second stage: write the sum back.
  logic [4:0]            slot_q, write_slot_q;
  logic                  first_round_q, write_first_q;
  logic [NarrowBits-1:0] amount_q;
  logic [63:0]           sum_q;

  always_comb begin
    narrow = '0;
    for (int c = 0; c < Counters; c++) narrow[NarrowBits*c+:NarrowBits] = narrow_q[c];
  end

  always_ff @(posedge clk_i) begin
    for (int c = 0; c < Counters; c++) begin
      if (clear_i) narrow_q[c] <= '0;
      else if (slot_q == 5'(c)) narrow_q[c] <= NarrowBits'(event_i[c]);
      else narrow_q[c] <= narrow_q[c] + NarrowBits'(event_i[c]);
    end
  end

  always_ff @(posedge clk_i) begin
    slot_q        <= clear_i ? '0 : slot_q + 5'd1;
    first_round_q <= clear_i || (first_round_q && slot_q != 5'(Slots - 1));
    write_slot_q  <= slot_q;
    write_first_q <= first_round_q;  // what the memory holds is of the run before
    amount_q      <= clear_i ? '0 : narrow[NarrowBits*slot_q+:NarrowBits];
    sum_q         <= sums_q[slot_q];
  end

  always_ff @(posedge clk_i) begin
    sums_q[write_slot_q] <= (write_first_q ? 64'd0 : sum_q) + 64'(amount_q);
  end

  assign sum_o = sums_q[number_i];

endmodule
