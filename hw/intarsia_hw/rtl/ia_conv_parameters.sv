// Loads the parameters of the next group of 16 output channels while the present one is used.
//
// The groups of a Conv follow one another; the first of the Conv that waits is loaded as soon as there is room. ready_o
// says that a whole group is there, taken_i that it has been used and may be replaced.
module ia_conv_parameters (
  input  logic           clk_i,
  input  logic           rst_ni,
  input  logic           start_i,      // a Conv waits for its groups; held until started_o
  output logic           started_o,
  input  logic [11:0]    group_i,
  input  logic [11:0]    groups_i,
  output logic           ready_o,
  input  logic           taken_i,
  output logic           parameter_read_o,
  output logic [15:0]    parameter_address_o,
  input  logic [127:0]   parameter_data_i,
  output logic [16*32-1:0] biases_o,
  output logic [16*21-1:0] multipliers_o,
  output logic [16*6-1:0]  shifts_o    // less 1
);

  localparam int unsigned Latency = 3;

  logic        active_q, reading_q, full_q;
  logic [11:0] group_q, left_q;
  logic [2:0]  entry_q;
  logic [Latency:0] valid_q;
  logic [3*(Latency+1)-1:0] entries_q;
  logic        begins, ends;

  assign started_o = start_i && !active_q;
  // A group is asked for when there is none, and none on its way.
  assign begins = active_q && !reading_q && !full_q && valid_q == '0;
  assign ends   = valid_q[Latency] && entries_q[3*Latency+:3] == 3'd7;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      active_q  <= 1'b0;
      reading_q <= 1'b0;
      full_q    <= 1'b0;
      valid_q   <= '0;
    end else begin
      if (started_o) active_q <= 1'b1;
      else if (ends && left_q == '0) active_q <= 1'b0;
      if (begins) reading_q <= 1'b1;
      else if (entry_q == 3'd7) reading_q <= 1'b0;
      if (ends) full_q <= 1'b1;
      else if (taken_i) full_q <= 1'b0;
      valid_q <= {valid_q[Latency-1:0], reading_q};
    end
  end

  always_ff @(posedge clk_i) begin
    if (started_o) begin
      group_q <= group_i;
      left_q  <= groups_i - 12'd1;
    end else if (ends) begin
      group_q <= group_q + 12'd1;
      left_q  <= left_q - 12'd1;
    end
    entry_q   <= reading_q ? entry_q + 3'd1 : 3'd0;
    entries_q <= {entries_q[3*Latency-1:0], entry_q};
    parameter_address_o <= {1'b0, group_q, entry_q};
  end
  assign parameter_read_o = valid_q[0];
  assign ready_o          = full_q;

  logic [16*32-1:0] biases_q;
  logic [16*21-1:0] multipliers_q;
  logic [16*6-1:0]  shifts_q;
  always_ff @(posedge clk_i) begin
    for (int unsigned e = 0; e < 8; e++) begin
      if (valid_q[Latency] && entries_q[3*Latency+:3] == 3'(e)) begin
        for (int unsigned h = 0; h < 2; h++) begin
          biases_q[32*(2*e+h)+:32]      <= parameter_data_i[64*h+:32];
          multipliers_q[21*(2*e+h)+:21] <= parameter_data_i[64*h+32+:21];
          shifts_q[6*(2*e+h)+:6]        <= parameter_data_i[64*h+53+:6] - 6'd1;
        end
      end
    end
  end
  assign biases_o      = biases_q;
  assign multipliers_o = multipliers_q;
  assign shifts_o      = shifts_q;

  logic unused;
  assign unused = ^{parameter_data_i[63:59], parameter_data_i[127:123]};

endmodule
