// The register file of the host: an AXI4-Lite slave with one write and one read under way at a time.
//
// Which register stands where is said in overlay/machine/registers.py. Settings are locked while a program runs.
`include "checks.svh"

module ia_registers #(
  parameter int unsigned AddressBits = 32,
  parameter bit [63:0]   ConfigHash = 64'd0,
  localparam int unsigned WordsBits = ia_registers_pkg::ProgramWordsBits
) (
  input  logic                     clk_i,
  input  logic                     rst_ni,
  // AXI4-Lite
  input  logic                     s_axi_awvalid_i,
  output logic                     s_axi_awready_o,
  input  logic [11:0]              s_axi_awaddr_i,
  input  logic                     s_axi_wvalid_i,
  output logic                     s_axi_wready_o,
  input  logic [31:0]              s_axi_wdata_i,
  input  logic [3:0]               s_axi_wstrb_i,
  output logic                     s_axi_bvalid_o,
  input  logic                     s_axi_bready_i,
  output logic [1:0]               s_axi_bresp_o,
  input  logic                     s_axi_arvalid_i,
  output logic                     s_axi_arready_o,
  input  logic [11:0]              s_axi_araddr_i,
  output logic                     s_axi_rvalid_o,
  input  logic                     s_axi_rready_i,
  output logic [31:0]              s_axi_rdata_o,
  output logic [1:0]               s_axi_rresp_o,
  // Commands, pulses
  output logic                     start_o,
  output logic                     soft_reset_o,
  output logic                     interrupt_clear_o,
  // Settings
  output logic                     config_matches_o,
  output logic [AddressBits-1:0]   program_base_o,
  output logic [WordsBits-1:0]     program_words_o,
  output logic [4*AddressBits-1:0] segment_base_o,
  output logic                     irq_o,
  // What is read
  input  logic                     running_i,
  input  logic                     done_i,
  input  logic                     error_i,
  input  logic                     interrupt_i,
  input  logic [3:0]               error_cause_i,
  input  logic [2:0]               error_queue_i,
  input  logic [WordsBits-1:0]     error_word_i,
  input  logic [15:0]              error_state_i,
  input  logic [AddressBits-1:0]   error_address_i,
  output logic [4:0]               counter_number_o,
  input  logic [63:0]              counter_sum_i
);

  // Settings by the number of their word, the address divided by 4: the first, the one after the last, and some.
  localparam int unsigned First = 32'(ia_registers_pkg::RegExpectedHash[11:2]);
  localparam int unsigned Bound = 32'(ia_registers_pkg::RegSegmentOutputsHigh[11:2]) + 1;
  localparam int unsigned ProgramBase = 32'(ia_registers_pkg::RegProgramBase[11:2]);
  localparam int unsigned ProgramWords = 32'(ia_registers_pkg::RegProgramWords[11:2]);
  localparam int unsigned Segments = 32'(ia_registers_pkg::RegSegmentConstants[11:2]);

  // The bits of a setting that exist.
  function automatic logic [31:0] setting_mask(input int unsigned word);
    setting_mask = '1;
    if (word == ProgramWords) setting_mask = 32'((33'd1 << WordsBits) - 33'd1);
    else if (word > ProgramWords && word < Segments) setting_mask = '0;
    else if (word >= ProgramBase) begin
      if (word % 2 == 1) setting_mask = 32'((64'd1 << (AddressBits - 32)) - 64'd1);
      else setting_mask = ~32'd15;
    end
  endfunction

  logic [32*(Bound-First)-1:0] settings_q;
  logic                        interrupt_enable_q;

  // ---- writes

  logic        aw_valid_q, w_valid_q, b_valid_q, write;
  logic [11:0] aw_address_q;
  logic [31:0] w_data_q;
  logic [3:0]  w_strobe_q;
  logic        write_control;

  assign s_axi_awready_o = !aw_valid_q;
  assign s_axi_wready_o  = !w_valid_q;
  assign s_axi_bvalid_o  = b_valid_q;
  assign s_axi_bresp_o   = 2'b00;

  assign write         = aw_valid_q && w_valid_q && !b_valid_q;
  assign write_control = write && w_strobe_q[0] && {aw_address_q[11:2], 2'b00} == ia_registers_pkg::RegControl;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      aw_valid_q <= 1'b0;
      w_valid_q  <= 1'b0;
      b_valid_q  <= 1'b0;
    end else begin
      if (write) aw_valid_q <= 1'b0;
      else if (s_axi_awvalid_i) aw_valid_q <= 1'b1;
      if (write) w_valid_q <= 1'b0;
      else if (s_axi_wvalid_i) w_valid_q <= 1'b1;
      if (write) b_valid_q <= 1'b1;
      else if (s_axi_bready_i) b_valid_q <= 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (s_axi_awready_o) aw_address_q <= s_axi_awaddr_i;
    if (s_axi_wready_o) begin
      w_data_q   <= s_axi_wdata_i;
      w_strobe_q <= s_axi_wstrb_i;
    end
  end

  for (genvar word = First; word < Bound; word++) begin : g_setting
    localparam bit [31:0] Mask = setting_mask(word);
    logic write_setting;
    assign write_setting = write && !running_i && aw_address_q[11:2] == 10'(word);

    for (genvar b = 0; b < 4; b++) begin : g_byte
      always_ff @(posedge clk_i) begin
        if (!rst_ni) settings_q[32*(word-First)+8*b+:8] <= '0;
        else if (write_setting && w_strobe_q[b]) begin
          settings_q[32*(word-First)+8*b+:8] <= w_data_q[8*b+:8] & Mask[8*b+:8];
        end
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      start_o            <= 1'b0;
      soft_reset_o       <= 1'b0;
      interrupt_clear_o  <= 1'b0;
      interrupt_enable_q <= 1'b0;
      irq_o              <= 1'b0;
    end else begin
      // Where both are written the soft reset is meant.
      start_o <= write_control && w_data_q[ia_registers_pkg::ControlStart]
          && !w_data_q[ia_registers_pkg::ControlSoftReset];
      soft_reset_o      <= write_control && w_data_q[ia_registers_pkg::ControlSoftReset];
      interrupt_clear_o <= write_control && w_data_q[ia_registers_pkg::ControlInterruptClear];
      if (write_control) interrupt_enable_q <= w_data_q[ia_registers_pkg::ControlInterruptEnable];
      irq_o <= interrupt_enable_q && interrupt_i;
    end
  end

  // ---- settings

  always_ff @(posedge clk_i) config_matches_o <= settings_q[63:0] == ConfigHash;

  assign program_base_o  = settings_q[32*(ProgramBase-First)+:AddressBits];
  assign program_words_o = settings_q[32*(ProgramWords-First)+:WordsBits];

  for (genvar s = 0; s < 4; s++) begin : g_segment
    assign segment_base_o[AddressBits*s+:AddressBits] = settings_q[32*(Segments-First)+64*s+:AddressBits];
  end

  // ---- reads

  logic        ar_valid_q, r_valid_q;
  logic [11:0] ar_address_q;
  logic [31:0] status, value, r_data_q;
  logic [63:0] address;

  assign s_axi_arready_o = !ar_valid_q;
  assign s_axi_rvalid_o  = r_valid_q;
  assign s_axi_rdata_o   = r_data_q;
  assign s_axi_rresp_o   = 2'b00;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      ar_valid_q <= 1'b0;
      r_valid_q  <= 1'b0;
    end else begin
      if (s_axi_rready_i && r_valid_q) ar_valid_q <= 1'b0;
      else if (s_axi_arvalid_i) ar_valid_q <= 1'b1;
      if (s_axi_rready_i && r_valid_q) r_valid_q <= 1'b0;
      else r_valid_q <= ar_valid_q;
    end
  end

  always_ff @(posedge clk_i) begin
    if (s_axi_arready_o) ar_address_q <= s_axi_araddr_i;
    if (!r_valid_q) r_data_q <= value;
  end

  assign counter_number_o = ar_address_q[7:3];
  assign address          = 64'(error_address_i);

  always_comb begin
    status = '0;
    status[ia_registers_pkg::StatusIdle]      = !running_i;
    status[ia_registers_pkg::StatusRunning]   = running_i;
    status[ia_registers_pkg::StatusDone]      = done_i;
    status[ia_registers_pkg::StatusError]     = error_i;
    status[ia_registers_pkg::StatusInterrupt] = interrupt_i;
  end

  always_comb begin
    value = '0;
    if (ar_address_q[11:8] == ia_registers_pkg::RegCounters[11:8]) begin
      if (32'(counter_number_o) < ia_registers_pkg::Counters) begin
        value = ar_address_q[2] ? counter_sum_i[63:32] : counter_sum_i[31:0];
      end
    end else begin
      for (int unsigned word = First; word < Bound; word++) begin
        if (ar_address_q[11:2] == 10'(word)) value = settings_q[32*(word-First)+:32];
      end
      case ({ar_address_q[11:2], 2'b00})
        ia_registers_pkg::RegIdentification: value = ia_registers_pkg::Identification;
        ia_registers_pkg::RegVersion: value = ia_registers_pkg::Version;
        ia_registers_pkg::RegConfigHash: value = ConfigHash[31:0];
        ia_registers_pkg::RegConfigHashHigh: value = ConfigHash[63:32];
        ia_registers_pkg::RegControl: value = 32'(interrupt_enable_q) << ia_registers_pkg::ControlInterruptEnable;
        ia_registers_pkg::RegStatus: value = status;
        ia_registers_pkg::RegErrorCause: value = 32'(error_cause_i);
        ia_registers_pkg::RegErrorQueue: value = 32'(error_queue_i);
        ia_registers_pkg::RegErrorWord: value = 32'(error_word_i);
        ia_registers_pkg::RegErrorState: value = 32'(error_state_i);
        ia_registers_pkg::RegErrorAddress: value = address[31:0];
        ia_registers_pkg::RegErrorAddressHigh: value = address[63:32];
        default: ;
      endcase
    end
  end

  logic unused;
  assign unused = &{1'b0, aw_address_q[1:0], ar_address_q[1:0]};

  `CHECK(WriteResponseHolds, (s_axi_bvalid_o && !s_axi_bready_i) |=> s_axi_bvalid_o)
  `CHECK(ReadDataHolds, (s_axi_rvalid_o && !s_axi_rready_i) |=> s_axi_rvalid_o && $stable(s_axi_rdata_o))

endmodule
