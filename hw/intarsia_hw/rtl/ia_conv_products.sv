// Products of sizes and pitches that a Conv needs, made by one small multiplier while setup words come in.
//
// Each result knows which setup words it depends on; a new setup word makes it stale. The first five are needed to begin
// (ready_o). The others are banks of activation memory: those between the first and the last address of a tensor, which
// is its base and width, and the distances from its first block and row to the last ones.
`include "checks.svh"

module ia_conv_products #(
  parameter int unsigned ActBanks = 8,
  parameter int unsigned BankWords = 2048
) (
  input  logic                       clk_i,
  input  logic                       rst_ni,
  input  logic                       setup_i,      // a setup word is taken
  input  ia_isa_pkg::opcode_e        opcode_i,     // its opcode
  input  logic                       waits_i,      // a Conv waits
  input  logic                       depthwise_i,  // in depthwise mode
  input  logic                       taken_i,      // it is taken now
  input  ia_isa_pkg::conv_source_t   source_i,
  input  ia_isa_pkg::conv_window_t   window_i,
  input  ia_isa_pkg::conv_target_t   target_i,
  input  ia_isa_pkg::conv_residual_t residual_i,
  output logic                       ready_o,
  output logic [15:0]                row_step_o,     // dilation_y * row_pitch
  output logic [15:0]                stride_step_o,  // stride_y * row_pitch
  output logic [15:0]                pad_step_o,     // pad_top * row_pitch
  output logic [15:0]                span_o,         // stride_x * columns
  output logic [17:0]                pixels_o,       // rows * columns
  output logic                       reads_known_o,  // banks of the source and the residual are right
  output logic                       holds_known_o,  // banks of the residual and the target are right
  output logic [ActBanks-1:0]        source_banks_o, // all rows that exist, which may be more than are read
  output logic [ActBanks-1:0]        residual_banks_o,
  output logic [ActBanks-1:0]        target_banks_o
);

  localparam int unsigned Results = 8;
  localparam int unsigned RowStep = 0;
  localparam int unsigned StrideStep = 1;
  localparam int unsigned PadStep = 2;
  localparam int unsigned Span = 3;
  localparam int unsigned Count = 4;
  localparam int unsigned Target = 5;
  localparam int unsigned Residual = 6;
  localparam int unsigned Source = 7;
  localparam int unsigned BankShift = $clog2(BankWords);

  // ---- which result comes next

  logic [Results-1:0] stale_q, stale_d, begun, choice;
  logic [2:0]         next_q, next, at_q;
  logic               busy_q, pick, load_q, last, second_q, more, next_valid_q, waits_q, depthwise_q;

  assign pick = next_valid_q && (!busy_q || (last && !more)) && (next_q != 3'(Source) || waits_q);
  always_comb begin
    begun = '0;
    if (pick) begun[next_q] = 1'b1;
    // How many blocks of the source are read, the Conv itself says.
    choice = stale_q & ~begun;
    if (!waits_q) choice[Source] = 1'b0;
    next = 3'd0;
    for (int unsigned i = Results; i > 0; i--) if (choice[i-1]) next = 3'(i - 1);
  end
  always_ff @(posedge clk_i) begin
    next_q       <= next;
    next_valid_q <= choice != '0;
    waits_q      <= waits_i && !taken_i;
    depthwise_q  <= depthwise_i;
  end

  always_comb begin
    stale_d = stale_q & ~begun;
    if (setup_i) begin
      unique case (opcode_i)
        ia_isa_pkg::OpConvSource:   stale_d |= 8'b1000_0111;
        ia_isa_pkg::OpConvWindow:   stale_d |= 8'b1111_1011;
        ia_isa_pkg::OpConvTarget:   stale_d |= 8'b0010_0000;
        ia_isa_pkg::OpConvResidual: stale_d |= 8'b0100_0000;
        default: ;
      endcase
    end
    if (taken_i) stale_d[Source] = 1'b1;
  end

  // ---- factors: banks take two products, of rows and then of blocks

  logic [15:0] multiplicand, multiplier, base;
  logic [13:0] columns;

  always_comb begin
    unique case (32'(at_q))
      RowStep: begin
        multiplicand = 16'(source_i.row_pitch);
        multiplier   = 16'(window_i.dilation_y);
      end
      StrideStep: begin
        multiplicand = 16'(source_i.row_pitch);
        multiplier   = 16'(window_i.stride_y);
      end
      PadStep: begin
        multiplicand = 16'(source_i.row_pitch);
        multiplier   = {{4{source_i.pad_top[11]}}, source_i.pad_top};
      end
      Span: begin
        multiplicand = 16'(window_i.columns);
        multiplier   = 16'(window_i.stride_x);
      end
      Count: begin
        multiplicand = 16'(window_i.columns);
        multiplier   = 16'(window_i.rows);
      end
      Target: begin
        multiplicand = second_q ? target_i.block_pitch : 16'(target_i.row_pitch);
        multiplier   = (second_q ? 16'(window_i.output_blocks) : 16'(window_i.rows)) - 16'd1;
      end
      Residual: begin
        multiplicand = second_q ? residual_i.block_pitch : 16'(residual_i.row_pitch);
        multiplier   = (second_q ? 16'(window_i.output_blocks) : 16'(window_i.rows)) - 16'd1;
      end
      default: begin
        multiplicand = second_q ? source_i.block_pitch : 16'(source_i.row_pitch);
        if (!second_q) multiplier = 16'(source_i.height) - 16'd1;
        else multiplier = 16'(depthwise_q ? window_i.output_blocks : window_i.input_blocks) - 16'd1;
      end
    endcase
    unique case (32'(at_q))
      Target: base = target_i.base;
      Residual: base = residual_i.base;
      Source: base = source_i.base;
      default: base = '0;
    endcase
    columns = 32'(at_q) == Source ? source_i.width : window_i.columns;
  end

  // ---- four bits of the multiplier a cycle

  logic [19:0] multiplicand_q, sum_q, sum, low_part, high_part;
  logic [15:0] multiplier_q;
  logic        over_q, over;  // the sum does not fit 16 bits
  assign low_part  = (multiplier_q[0] ? multiplicand_q : '0) + (multiplier_q[1] ? multiplicand_q << 1 : '0);
  assign high_part = (multiplier_q[2] ? multiplicand_q : '0) + (multiplier_q[3] ? multiplicand_q << 1 : '0);
  assign sum  = sum_q + low_part + (high_part << 2);
  assign last = busy_q && !load_q && multiplier_q[15:4] == '0;
  assign more = at_q >= 3'(Target) && !second_q;
  assign over = over_q || sum[19:16] != '0 || (!last && multiplicand_q[19:12] != '0);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      busy_q  <= 1'b0;
      load_q  <= 1'b0;
      stale_q <= '1;
    end else begin
      busy_q  <= pick || (busy_q && !(last && !more));
      load_q  <= pick || (last && more);
      stale_q <= stale_d;
    end
  end

  always_ff @(posedge clk_i) begin
    if (load_q) begin
      multiplicand_q <= 20'(multiplicand);
      multiplier_q   <= multiplier;
    end else begin
      multiplicand_q <= multiplicand_q << 4;
      multiplier_q   <= multiplier_q >> 4;
    end
    if (load_q && !second_q) begin
      sum_q  <= at_q >= 3'(Target) ? 20'(base) + 20'(columns) - 20'd1 : '0;
      over_q <= 1'b0;
    end else if (!load_q) begin
      sum_q  <= sum;
      over_q <= over;
    end
    if (pick) begin
      at_q     <= next_q;
      second_q <= 1'b0;
    end else if (last) begin
      second_q <= 1'b1;
    end
  end

  // ---- results

  logic                finished;
  logic [15:BankShift] base_q, first_q, last_q;
  logic                all_q, banks_q;
  logic [2:0]          banks_at_q;
  logic [ActBanks-1:0] banks;
  assign finished = last && !more;

  always_comb begin
    for (int unsigned i = 0; i < ActBanks; i++) begin
      banks[i] = all_q || (i >= 32'(first_q) && i <= 32'(last_q));
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) banks_q <= 1'b0;
    else banks_q <= finished && at_q >= 3'(Target);
  end

  always_ff @(posedge clk_i) begin
    if (finished) begin
      if (at_q == 3'(RowStep)) row_step_o <= sum[15:0];
      if (at_q == 3'(StrideStep)) stride_step_o <= sum[15:0];
      if (at_q == 3'(PadStep)) pad_step_o <= sum[15:0];
      if (at_q == 3'(Span)) span_o <= sum[15:0];
      if (at_q == 3'(Count)) pixels_o <= sum[17:0];
    end
    if (load_q) base_q <= base[15:BankShift];
    first_q    <= base_q;
    last_q     <= sum[15:BankShift];
    all_q      <= over;
    banks_at_q <= at_q;
    if (banks_q) begin
      if (banks_at_q == 3'(Target)) target_banks_o <= banks;
      if (banks_at_q == 3'(Residual)) residual_banks_o <= banks;
      if (banks_at_q == 3'(Source)) source_banks_o <= banks;
    end
  end

  // A result is at its place two cycles after it is no longer on its way.
  function automatic logic on_its_way(input logic [Results-1:0] which);
    on_its_way = (stale_q & which) != '0 || (busy_q && which[at_q]);
  endfunction
  logic [1:0] reads_q, holds_q;
  logic       reads_away, holds_away;
  assign reads_away = on_its_way(8'b1100_0000);
  assign holds_away = on_its_way(8'b0110_0000);
  always_ff @(posedge clk_i) begin
    reads_q <= {reads_q[0], !reads_away};
    holds_q <= {holds_q[0], !holds_away};
  end
  assign ready_o       = !on_its_way(8'b0001_1111);
  assign reads_known_o = reads_q == 2'b11 && !reads_away;
  assign holds_known_o = holds_q == 2'b11 && !holds_away;

  logic unused;
  assign unused = ^{base[BankShift-1:0]};

endmodule
