// Setup registers of the convolution engine, and what follows from them before a Conv begins.
`include "checks.svh"

module ia_conv_setup #(
  parameter int unsigned Pixels = 2,
  parameter int unsigned ActBanks = 8,
  parameter int unsigned BankWords = 2048
) (
  input  logic                     clk_i,
  input  logic                     rst_ni,
  input  logic                     setup_i,   // word_i is a setup word, and is taken
  input  logic                     waits_i,   // word_i is a Conv that waits
  input  logic                     taken_i,   // that Conv is taken now
  input  logic [127:0]             word_i,
  output logic                     ready_o,
  output logic                     reads_known_o,
  output logic                     holds_known_o,
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
  output logic [17:0]              last_group_o,    // groups of pixels in rows * columns, less 1
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

  localparam int unsigned SettleCycles = Pixels + 3;  // through the registers behind the products
  localparam int unsigned GroupShift = $clog2(Pixels);

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

  // ---- products

  logic [15:0] pad_step, stride_step, span;
  logic [17:0] pixels, last_group_q;
  logic        products_ready, ready_q;
  logic [3:0]  settle_q;

  ia_conv_products #(.ActBanks(ActBanks), .BankWords(BankWords)) u_products (
    .clk_i,
    .rst_ni,
    .setup_i,
    .opcode_i(opcode),
    .waits_i,
    .depthwise_i(conv.depthwise),
    .taken_i,
    .source_i(source_q),
    .window_i(window_q),
    .target_i(target_q),
    .residual_i(residual_q),
    .ready_o(products_ready),
    .row_step_o,
    .stride_step_o(stride_step),
    .pad_step_o(pad_step),
    .span_o(span),
    .pixels_o(pixels),
    .reads_known_o,
    .holds_known_o,
    .source_banks_o,
    .residual_banks_o,
    .target_banks_o
  );

  always_ff @(posedge clk_i) begin
    if (!rst_ni || !products_ready || setup_i) settle_q <= 4'(SettleCycles);
    else if (settle_q != '0) settle_q <= settle_q - 4'd1;
  end
  always_ff @(posedge clk_i) begin
    if (!rst_ni) ready_q <= 1'b0;
    else ready_q <= settle_q == '0 && products_ready && !setup_i;
    last_group_q <= (pixels - 18'd1) >> GroupShift;
  end
  assign ready_o      = ready_q;
  assign last_group_o = last_group_q;

  // ---- positions of pixels

  logic [15:0] origin_q, back_x_q, back_address_q, columns_step;
  logic [1:0]  rows_each_q;  // whole rows of outputs in a group of pixels, as 1 + log2, 0 for none
  logic [15:0] rest_x_q, rows_y_q, rows_address_q;
  logic [16*Pixels-1:0] start_x_q, start_y_q, start_address_q;
  logic [15:0] next_x_q, next_y_q, next_address_q, wrap_x_q, wrap_y_q, wrap_address_q, wrap_at_q;
  assign columns_step = 16'(window_q.stride_x);

  always_ff @(posedge clk_i) begin
    origin_q       <= source_q.base - pad_step;
    back_x_q       <= columns_step - span;
    back_address_q <= back_x_q + stride_step;
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
    rows_address_q <= rows_each_q == 2'd0 ? '0 : stride_step << (rows_each_q - 2'd1);
    next_x_q       <= rest_x_q;
    next_y_q       <= rows_y_q;
    next_address_q <= rows_address_q + rest_x_q;
    wrap_x_q       <= next_x_q - span;
    wrap_y_q       <= next_y_q + 16'(window_q.stride_y);
    wrap_address_q <= next_address_q + stride_step - span;
    wrap_at_q      <= span - rest_x_q - {{4{source_q.pad_left[11]}}, source_q.pad_left};
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

  assign stride_step_o   = stride_step;
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

endmodule
