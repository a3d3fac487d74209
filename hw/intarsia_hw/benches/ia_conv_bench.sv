// The convolution engine with memories of the latencies that the contract of ports says, open to the test.
`include "checks.svh"

module ia_conv_bench #(
  parameter int unsigned Pixels = 2,
  parameter int unsigned TileGroups = 8,
  parameter int unsigned ActBanks = 8,
  parameter int unsigned BankWords = 128,
  parameter int unsigned WeightRows = 256,
  parameter int unsigned ParameterGroups = 8,
  parameter int unsigned DspLanes = 12
) (
  input  logic         clk_i,
  input  logic         rst_ni,
  input  logic         word_valid_i,
  output logic         word_ready_o,
  input  logic [127:0] word_i,
  output logic         done_o,
  output logic         busy_o
);

  localparam int unsigned Words = ActBanks * BankWords;
  localparam int unsigned AddressBits = $clog2(Words);
  localparam int unsigned RowBits = $clog2(WeightRows);
  localparam int unsigned EntryBits = $clog2(8 * ParameterGroups);
  localparam int unsigned BankShift = $clog2(BankWords);

  logic [127:0] act_q [Words];
  logic [511:0] wgt_q [WeightRows];
  logic [127:0] par_q [8 * ParameterGroups];

  logic [Pixels-1:0]     source_read;
  logic [16*Pixels-1:0]  source_address;
  logic [128*Pixels-1:0] source_data;
  logic                  residual_read, conv_write, weight_read, parameter_read;
  logic [15:0]           residual_address, conv_write_address, weight_row, parameter_address;
  logic [127:0]          residual_data, conv_write_data, parameter_data;
  logic [511:0]          weight_data;

  ia_conv #(
    .Pixels(Pixels), .TileGroups(TileGroups), .ActBanks(ActBanks), .BankWords(BankWords), .DspLanes(DspLanes)
  ) u_conv (
    .clk_i,
    .rst_ni,
    .word_valid_i,
    .word_ready_o,
    .word_i,
    .done_o,
    .busy_o,
    .source_read_o(source_read),
    .source_address_o(source_address),
    .source_data_i(source_data),
    .residual_read_o(residual_read),
    .residual_address_o(residual_address),
    .residual_data_i(residual_data),
    .conv_write_o(conv_write),
    .conv_write_address_o(conv_write_address),
    .conv_write_data_o(conv_write_data),
    .weight_read_o(weight_read),
    .weight_row_o(weight_row),
    .weight_data_i(weight_data),
    .parameter_read_o(parameter_read),
    .parameter_address_o(parameter_address),
    .parameter_data_i(parameter_data)
  );

  // Registers of a memory: address, word, output (and bank). What was not read is made recognizable.
  logic [128*Pixels-1:0] source1_q, source2_q, source3_q, source4_q;
  logic [127:0]          residual1_q, residual2_q, residual3_q, residual4_q;
  logic [511:0]          weight1_q, weight2_q, weight3_q;
  logic [127:0]          parameter1_q, parameter2_q, parameter3_q;
  always_ff @(posedge clk_i) begin
    for (int unsigned p = 0; p < Pixels; p++) begin
      source1_q[128*p+:128] <= source_read[p] ? act_q[source_address[16*p+:AddressBits]] : {16{8'h5a}};
    end
    source2_q    <= source1_q;
    source3_q    <= source2_q;
    source4_q    <= source3_q;
    residual1_q  <= residual_read ? act_q[residual_address[AddressBits-1:0]] : {16{8'h5a}};
    residual2_q  <= residual1_q;
    residual3_q  <= residual2_q;
    residual4_q  <= residual3_q;
    weight1_q    <= weight_read ? wgt_q[weight_row[RowBits-1:0]] : {64{8'h5a}};
    weight2_q    <= weight1_q;
    weight3_q    <= weight2_q;
    parameter1_q <= parameter_read ? par_q[parameter_address[EntryBits-1:0]] : {16{8'h5a}};
    parameter2_q <= parameter1_q;
    parameter3_q <= parameter2_q;
    if (conv_write) act_q[conv_write_address[AddressBits-1:0]] <= conv_write_data;
  end
  assign source_data    = source4_q;
  assign residual_data  = residual4_q;
  assign weight_data    = weight3_q;
  assign parameter_data = parameter3_q;

  // A bank that the source is read from serves nobody else.
  for (genvar p = 0; p < Pixels; p++) begin : gen_checks
    logic [15:BankShift] bank;
    assign bank = source_address[16*p+BankShift+:16-BankShift];
    `CHECK(NoWriteToTheSource, (source_read[p] && conv_write) |-> bank != conv_write_address[15:BankShift])
    `CHECK(NoResidualInTheSource, (source_read[p] && residual_read) |-> bank != residual_address[15:BankShift])
    `CHECK(SourceExists, source_read[p] |-> 32'(source_address[16*p+:16]) < Words)
  end
  `CHECK(ResidualExists, residual_read |-> 32'(residual_address) < Words)
  `CHECK(TargetExists, conv_write |-> 32'(conv_write_address) < Words)
  `CHECK(RowExists, weight_read |-> 32'(weight_row) < WeightRows)
  `CHECK(EntryExists, parameter_read |-> 32'(parameter_address) < 8 * ParameterGroups)

endmodule
