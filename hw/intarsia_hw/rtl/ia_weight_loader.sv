// Reads weight blocks in the order in which the array takes them, one block ahead of it.
//
// When a step begins, the block of the next step is read: four rows, or the three rows of a depthwise sub-window and then
// a row of zeros. Its first row is asked for three cycles later, so that it comes to the shadow registers right after
// they have been taken over, and the next step may begin four cycles after this one. The first block of a Conv that
// waits is read as soon as the last block of the Conv before has been taken.
`include "checks.svh"

module ia_weight_loader (
  input  logic         clk_i,
  input  logic         rst_ni,
  // The Conv that waits
  input  logic         waits_i,
  input  logic [15:0]  waits_row_i,
  input  logic         waits_depthwise_i,
  input  logic         taken_i,
  output logic         primed_o,       // a step of it may be issued from the next cycle on
  // Steps as they are issued
  input  logic         step_i,
  input  logic         step_last_i,
  input  logic         tile_last_i,
  input  logic         block_last_i,
  output logic         settled_o,      // so may the step after the one that was issued last
  // Weight memory
  output logic         weight_read_o,
  output logic [15:0]  weight_row_o,
  // A row is in weight_data_i of the memory
  output logic         row_o,
  output logic [1:0]   row_index_o,
  output logic         row_zero_o      // but take zeros
);

  localparam int unsigned Latency = 3;

  // Steps and the Conv that waits, a cycle late
  logic        step_q, step_last_q, tile_last_q, block_last_q, waits_q, waits_depthwise_q;
  logic [15:0] waits_row_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      step_q  <= 1'b0;
      waits_q <= 1'b0;
    end else begin
      step_q  <= step_i;
      waits_q <= waits_i && !taken_i;
    end
  end
  always_ff @(posedge clk_i) begin
    step_last_q       <= step_last_i;
    tile_last_q       <= tile_last_i;
    block_last_q      <= block_last_i;
    waits_row_q       <= waits_row_i;
    waits_depthwise_q <= waits_depthwise_i;
  end

  logic        open_q, primed_q, depthwise_q, request, prime, ends;
  logic [15:0] next_q, block_q, row, stride;
  logic [2:0]  age_q;  // cycles since the last request, up to 4

  assign ends    = step_q && step_last_q && tile_last_q && block_last_q;
  assign prime   = waits_q && open_q && !primed_q;
  assign request = prime || (step_q && !ends);
  always_comb begin
    if (prime) row = waits_row_q;
    else if (step_last_q && !tile_last_q) row = block_q;
    else row = next_q;
  end
  assign stride = (prime ? waits_depthwise_q : depthwise_q) ? 16'd3 : 16'd4;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      open_q   <= 1'b1;
      primed_q <= 1'b0;
    end else begin
      if (ends) open_q <= 1'b1;
      else if (prime) open_q <= 1'b0;
      if (prime) primed_q <= 1'b1;
      else if (taken_i) primed_q <= 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (request) next_q <= row + stride;
    if (!rst_ni) age_q <= 3'd4;
    else if (request) age_q <= 3'd1;
    else if (age_q != 3'd4) age_q <= age_q + 3'd1;
    if (prime || (step_q && step_last_q && tile_last_q)) block_q <= row;
    if (prime) depthwise_q <= waits_depthwise_q;
  end

  // Two cycles after a request the next step may be taken, in the third it may be issued.
  assign primed_o  = primed_q && age_q >= 3'd2;
  assign settled_o = age_q >= 3'd3;

  // ---- four rows from the second cycle after the request on

  logic [1:0]  index_q;
  logic [15:0] at_q;
  logic        reading_q, zero_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) reading_q <= 1'b0;
    else if (request) reading_q <= 1'b1;
    else if (index_q == 2'd3) reading_q <= 1'b0;
  end

  always_ff @(posedge clk_i) begin
    if (request) begin
      at_q    <= row;
      zero_q  <= prime ? waits_depthwise_q : depthwise_q;
      index_q <= '0;
    end else begin
      at_q    <= at_q + 16'd1;
      index_q <= index_q + 2'd1;
    end
  end

  logic [Latency:0]       valid_q, zeroed_q;
  logic [2*Latency+1:0]   indices_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= '0;
    else valid_q <= {valid_q[Latency-1:0], reading_q};
  end
  always_ff @(posedge clk_i) begin
    weight_row_o <= at_q;
    zeroed_q     <= {zeroed_q[Latency-1:0], zero_q && index_q == 2'd3};
    indices_q    <= {indices_q[2*Latency-1:0], index_q};
  end

  assign weight_read_o = valid_q[0] && !zeroed_q[0];
  assign row_o         = valid_q[Latency];
  assign row_index_o   = indices_q[2*Latency+:2];
  assign row_zero_o    = zeroed_q[Latency];

  `CHECK(RequestsLeaveRoom, request |-> age_q == 3'd4)

endmodule
