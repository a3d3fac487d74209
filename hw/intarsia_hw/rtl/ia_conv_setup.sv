// Setup registers of the convolution engine, and what the sequencers need to know that follows from them: products of
// sizes and pitches, made by one small multiplier while the setup words come in, and the banks that a Conv touches.
//
// Each product knows which setup words it depends on; a new setup word makes it stale. The first five are needed to
// begin (ready_o); the rest tell the highest addresses that are touched, for the masks of banks (ranges_o).
`include "checks.svh"

module ia_conv_setup #(
  parameter int unsigned Pixels = 2,
  parameter int unsigned ActBanks = 16,
  parameter int unsigned BankWords = 1024
) (
  input  logic                     clk_i,
  input  logic                     rst_ni,
  input  logic                     setup_i,   // word_i is a setup word, and is taken
  input  logic                     waits_i,   // word_i is a Conv that waits
  input  logic                     taken_i,   // that Conv is taken now
  input  logic [127:0]             word_i,
  output logic                     ready_o,
  output logic                     ranges_o,
  output logic [ActBanks-1:0]      source_banks_o,
  output logic [ActBanks-1:0]      residual_banks_o,
  output logic [ActBanks-1:0]      target_banks_o,
  output ia_isa_pkg::conv_source_t   source_o,
  output ia_isa_pkg::conv_window_t   window_o,
  output ia_isa_pkg::conv_target_t   target_o,
  output ia_isa_pkg::conv_residual_t residual_o,
  output ia_isa_pkg::conv_add_t      add_o,
  output logic [15:0]              row_step_o,      // words from a row of taps to the next: dilation_y * row_pitch
  output logic [15:0]              stride_step_o,   // words from a row of outputs to the next: stride_y * row_pitch
  output logic [15:0]              origin_o,        // address of tap (0, 0) of output (0, 0)
  output logic [17:0]              pixels_o,        // rows * columns
  // Where the first group of pixels stands: column, row, address of the window's first tap, 16 bits a pixel
  output logic [16*Pixels-1:0]     start_x_o,
  output logic [16*Pixels-1:0]     start_y_o,
  output logic [16*Pixels-1:0]     start_address_o,
  // Steps from a group to the next, in the same row of outputs and into a later one
  output logic [15:0]              next_x_o,
  output logic [15:0]              next_y_o,
  output logic [15:0]              next_address_o,
  output logic [15:0]              wrap_x_o,
  output logic [15:0]              wrap_y_o,
  output logic [15:0]              wrap_address_o,
  output logic [15:0]              wrap_at_o        // columns from here on wrap
);

  localparam int unsigned Products = 11;
  localparam int unsigned RowStep = 0;
  localparam int unsigned StrideStep = 1;
  localparam int unsigned PadStep = 2;
  localparam int unsigned Span = 3;
  localparam int unsigned Count = 4;
  localparam int unsigned SourceBlocks = 5;
  localparam int unsigned SourceRows = 6;
  localparam int unsigned TargetBlocks = 7;
  localparam int unsigned TargetRows = 8;
  localparam int unsigned ResidualBlocks = 9;
  localparam int unsigned ResidualRows = 10;
  localparam int unsigned SettleCycles = Pixels + 4;  // through the registers behind the products
  localparam int unsigned BankShift = $clog2(BankWords);

  `CHECK_PARAM(AFewPixels, Pixels == 2 || Pixels == 4)

  ia_isa_pkg::conv_source_t   source_q;
  ia_isa_pkg::conv_window_t   window_q;
  ia_isa_pkg::conv_target_t   target_q;
  ia_isa_pkg::conv_residual_t residual_q;
  ia_isa_pkg::conv_add_t      add_q;

  assign source_o   = source_q;
  assign window_o   = window_q;
  assign target_o   = target_q;
  assign residual_o = residual_q;
  assign add_o      = add_q;

  ia_isa_pkg::opcode_e opcode;
  ia_isa_pkg::conv_t   conv;
  assign opcode = ia_isa_pkg::opcode_e'(word_i[5:0]);
  assign conv   = word_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      source_q   <= '0;
      window_q   <= '0;
      target_q   <= '0;
      residual_q <= '0;
      add_q      <= '0;
    end else if (setup_i) begin
      if (opcode == ia_isa_pkg::OpConvSource) source_q <= word_i;
      if (opcode == ia_isa_pkg::OpConvWindow) window_q <= word_i;
      if (opcode == ia_isa_pkg::OpConvTarget) target_q <= word_i;
      if (opcode == ia_isa_pkg::OpConvResidual) residual_q <= word_i;
      if (opcode == ia_isa_pkg::OpConvAdd) add_q <= word_i;
    end
  end

  // ---- products, one after the other, four bits of the multiplier a cycle

  logic [Products-1:0] stale_q, stale_d, begun;
  logic [3:0]          at, at_q;
  logic                busy_q, last, pick;
  logic [19:0]         multiplicand, multiplicand_q, sum_q, sum;
  logic [15:0]         multiplier, multiplier_q;
  logic                over_q, over;  // the product does not fit 16 bits
  logic [17:0]         product_q [Products];
  logic [Products-1:0] large_q;

  always_comb begin
    at = 4'd0;
    pick = 1'b0;
    for (int unsigned i = Products; i > 0; i--) begin
      // How many blocks of the source are read, the Conv itself says.
      if (stale_q[i-1] && (i - 1 != SourceBlocks || waits_i)) begin
        at = 4'(i - 1);
        pick = !busy_q || last;
      end
    end
    begun = '0;
    if (pick) begun[at] = 1'b1;
  end

  always_comb begin
    stale_d = stale_q & ~begun;
    if (setup_i) begin
      unique case (opcode)
        ia_isa_pkg::OpConvSource:   stale_d |= 11'b000_0110_0111;
        ia_isa_pkg::OpConvWindow:   stale_d |= 11'b111_1011_1011;
        ia_isa_pkg::OpConvTarget:   stale_d |= 11'b001_1000_0000;
        ia_isa_pkg::OpConvResidual: stale_d |= 11'b110_0000_0000;
        default: ;
      endcase
    end
    if (taken_i) stale_d[SourceBlocks] = 1'b1;
  end

  logic [11:0] blocks_in;
  assign blocks_in = conv.depthwise ? window_q.output_blocks : window_q.input_blocks;

  always_comb begin
    unique case (32'(at))
      RowStep: begin
        multiplicand = 20'(source_q.row_pitch);
        multiplier = 16'(window_q.dilation_y);
      end
      StrideStep: begin
        multiplicand = 20'(source_q.row_pitch);
        multiplier = 16'(window_q.stride_y);
      end
      PadStep: begin
        multiplicand = 20'(source_q.row_pitch);
        multiplier = {{4{source_q.pad_top[11]}}, source_q.pad_top};
      end
      Span: begin
        multiplicand = 20'(window_q.columns);
        multiplier = 16'(window_q.stride_x);
      end
      Count: begin
        multiplicand = 20'(window_q.columns);
        multiplier = 16'(window_q.rows);
      end
      SourceBlocks: begin
        multiplicand = 20'(source_q.block_pitch);
        multiplier = 16'(blocks_in) - 16'd1;
      end
      SourceRows: begin
        multiplicand = 20'(source_q.row_pitch);
        multiplier = 16'(source_q.height) - 16'd1;
      end
      TargetBlocks: begin
        multiplicand = 20'(target_q.block_pitch);
        multiplier = 16'(window_q.output_blocks) - 16'd1;
      end
      TargetRows: begin
        multiplicand = 20'(target_q.row_pitch);
        multiplier = 16'(window_q.rows) - 16'd1;
      end
      ResidualBlocks: begin
        multiplicand = 20'(residual_q.block_pitch);
        multiplier = 16'(window_q.output_blocks) - 16'd1;
      end
      default: begin
        multiplicand = 20'(residual_q.row_pitch);
        multiplier = 16'(window_q.rows) - 16'd1;
      end
    endcase
  end

  logic [19:0] low_part, high_part;
  assign low_part  = (multiplier_q[0] ? multiplicand_q : '0) + (multiplier_q[1] ? multiplicand_q << 1 : '0);
  assign high_part = (multiplier_q[2] ? multiplicand_q : '0) + (multiplier_q[3] ? multiplicand_q << 1 : '0);
  assign sum  = sum_q + low_part + (high_part << 2);
  assign last = multiplier_q[15:4] == '0;
  assign over = over_q || sum[19:16] != '0 || (!last && multiplicand_q[19:12] != '0);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      busy_q  <= 1'b0;
      stale_q <= '1;
    end else begin
      busy_q  <= pick || (busy_q && !last);
      stale_q <= stale_d;
    end
  end

  always_ff @(posedge clk_i) begin
    if (pick) begin
      at_q           <= at;
      multiplicand_q <= multiplicand;
      multiplier_q   <= multiplier;
      sum_q          <= '0;
      over_q         <= 1'b0;
    end else begin
      multiplicand_q <= multiplicand_q << 4;
      multiplier_q   <= multiplier_q >> 4;
      sum_q          <= sum;
      over_q         <= over;
    end
    if (busy_q && last) begin
      product_q[at_q] <= sum[17:0];
      large_q[at_q]   <= over;
    end
  end

  logic [3:0] settle_q, settle_ranges_q;
  logic       begin_unknown, ranges_unknown;
  assign begin_unknown  = stale_q[Count:0] != '0 || (busy_q && 32'(at_q) <= Count);
  assign ranges_unknown = stale_q != '0 || busy_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || begin_unknown || setup_i) settle_q <= 4'(SettleCycles);
    else if (settle_q != '0) settle_q <= settle_q - 4'd1;
    if (!rst_ni || ranges_unknown || setup_i || taken_i) settle_ranges_q <= 4'd3;
    else if (settle_ranges_q != '0) settle_ranges_q <= settle_ranges_q - 4'd1;
  end

  assign ready_o  = settle_q == '0 && !begin_unknown;
  assign ranges_o = settle_ranges_q == '0 && !ranges_unknown;

  // ---- positions of pixels

  localparam int unsigned GroupShift = $clog2(Pixels);

  logic [15:0] origin_q, back_x_q, back_address_q, columns_step;
  logic [1:0]  rows_each_q;  // whole rows of outputs in a group of pixels, as 1 + log2, 0 for none
  logic [15:0] rest_x_q, rows_y_q, rows_address_q;
  logic [16*Pixels-1:0] start_x_q, start_y_q, start_address_q;
  logic [15:0] next_x_q, next_y_q, next_address_q, wrap_x_q, wrap_y_q, wrap_address_q, wrap_at_q;
  assign columns_step = 16'(window_q.stride_x);

  always_ff @(posedge clk_i) begin
    origin_q       <= source_q.base - product_q[PadStep][15:0];
    back_x_q       <= columns_step - product_q[Span][15:0];
    back_address_q <= back_x_q + product_q[StrideStep][15:0];
    // Pixels = rows * columns + rest, the rest below columns.
    rows_each_q <= 2'd0;
    rest_x_q    <= columns_step << GroupShift;
    for (int unsigned i = 0; i <= GroupShift; i++) begin
      if (window_q.columns == 14'(Pixels >> i)) begin
        rows_each_q <= 2'(i + 1);
        rest_x_q    <= '0;
      end
    end
    if (Pixels == 4 && window_q.columns == 14'd3) begin
      rows_each_q <= 2'd1;
      rest_x_q    <= columns_step;
    end
    rows_y_q       <= rows_each_q == 2'd0 ? '0 : 16'(window_q.stride_y) << (rows_each_q - 2'd1);
    rows_address_q <= rows_each_q == 2'd0 ? '0 : product_q[StrideStep][15:0] << (rows_each_q - 2'd1);
    next_x_q       <= rest_x_q;
    next_y_q       <= rows_y_q;
    next_address_q <= rows_address_q + rest_x_q;
    wrap_x_q       <= next_x_q - product_q[Span][15:0];
    wrap_y_q       <= next_y_q + 16'(window_q.stride_y);
    wrap_address_q <= next_address_q + product_q[StrideStep][15:0] - product_q[Span][15:0];
    wrap_at_q      <= product_q[Span][15:0] - rest_x_q - {{4{source_q.pad_left[11]}}, source_q.pad_left};
  end

  always_ff @(posedge clk_i) begin
    start_x_q[15:0]       <= -{{4{source_q.pad_left[11]}}, source_q.pad_left};
    start_y_q[15:0]       <= -{{4{source_q.pad_top[11]}}, source_q.pad_top};
    start_address_q[15:0] <= origin_q - {{4{source_q.pad_left[11]}}, source_q.pad_left};
    for (int unsigned p = 1; p < Pixels; p++) begin
      if (window_q.columns == 14'd1 || (window_q.columns == 14'd2 && p % 2 == 0)
          || (window_q.columns == 14'd3 && p == 3)) begin
        start_x_q[16*p+:16]       <= start_x_q[16*(p-1)+:16] + back_x_q;
        start_y_q[16*p+:16]       <= start_y_q[16*(p-1)+:16] + 16'(window_q.stride_y);
        start_address_q[16*p+:16] <= start_address_q[16*(p-1)+:16] + back_address_q;
      end else begin
        start_x_q[16*p+:16]       <= start_x_q[16*(p-1)+:16] + columns_step;
        start_y_q[16*p+:16]       <= start_y_q[16*(p-1)+:16];
        start_address_q[16*p+:16] <= start_address_q[16*(p-1)+:16] + columns_step;
      end
    end
  end

  assign row_step_o      = product_q[RowStep][15:0];
  assign stride_step_o   = product_q[StrideStep][15:0];
  assign pixels_o        = product_q[Count];
  assign origin_o        = start_address_q[15:0];
  assign start_x_o       = start_x_q;
  assign start_y_o       = start_y_q;
  assign start_address_o = start_address_q;
  assign next_x_o        = next_x_q;
  assign next_y_o        = next_y_q;
  assign next_address_o  = next_address_q;
  assign wrap_x_o        = wrap_x_q;
  assign wrap_y_o        = wrap_y_q;
  assign wrap_address_o  = wrap_address_q;
  assign wrap_at_o       = wrap_at_q;

  // ---- banks: of the source all rows that exist, which may be more than are read

  ia_conv_banks #(.ActBanks(ActBanks), .BankShift(BankShift)) u_source_banks (
    .clk_i,
    .base_i(source_q.base),
    .blocks_i(product_q[SourceBlocks][15:0]),
    .rows_i(product_q[SourceRows][15:0]),
    .columns_i(source_q.width),
    .large_i(large_q[SourceBlocks] || large_q[SourceRows]),
    .banks_o(source_banks_o)
  );
  ia_conv_banks #(.ActBanks(ActBanks), .BankShift(BankShift)) u_target_banks (
    .clk_i,
    .base_i(target_q.base),
    .blocks_i(product_q[TargetBlocks][15:0]),
    .rows_i(product_q[TargetRows][15:0]),
    .columns_i(window_q.columns),
    .large_i(large_q[TargetBlocks] || large_q[TargetRows]),
    .banks_o(target_banks_o)
  );
  ia_conv_banks #(.ActBanks(ActBanks), .BankShift(BankShift)) u_residual_banks (
    .clk_i,
    .base_i(residual_q.base),
    .blocks_i(product_q[ResidualBlocks][15:0]),
    .rows_i(product_q[ResidualRows][15:0]),
    .columns_i(window_q.columns),
    .large_i(large_q[ResidualBlocks] || large_q[ResidualRows]),
    .banks_o(residual_banks_o)
  );

endmodule
