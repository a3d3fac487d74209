// For tests of the harness: a stream, a copy engine on AXI, an AXI-Lite register, wide ports, a memory, a check.
module harness_probe #(
  parameter int unsigned Width = 24,
  parameter bit [63:0] Key = 64'h0
) (
  input  logic              clk_i,
  input  logic              rst_ni,
  input  logic              in_valid_i,
  output logic              in_ready_o,
  input  logic [Width-1:0]  in_data_i,
  output logic              out_valid_o,
  input  logic              out_ready_i,
  output logic [Width-1:0]  out_data_o,
  input  logic [511:0]      wide_i,
  output logic [511:0]      wide_o,
  output logic [63:0]       key_o,
  input  logic              fail_i,
  // Copies `beats_i` beats of 8 bytes, 16 a burst, from one address to another.
  input  logic              copy_i,
  input  logic [31:0]       from_i,
  input  logic [31:0]       to_i,
  input  logic [15:0]       beats_i,
  output logic              copied_o,
  output logic [1:0]        response_o,
  output logic              m_arvalid_o,
  input  logic              m_arready_i,
  output logic [31:0]       m_araddr_o,
  output logic [7:0]        m_arlen_o,
  input  logic              m_rvalid_i,
  output logic              m_rready_o,
  input  logic [63:0]       m_rdata_i,
  input  logic [1:0]        m_rresp_i,
  input  logic              m_rlast_i,
  output logic              m_awvalid_o,
  input  logic              m_awready_i,
  output logic [31:0]       m_awaddr_o,
  output logic [7:0]        m_awlen_o,
  output logic              m_wvalid_o,
  input  logic              m_wready_i,
  output logic [63:0]       m_wdata_o,
  output logic [7:0]        m_wstrb_o,
  output logic              m_wlast_o,
  input  logic              m_bvalid_i,
  output logic              m_bready_o,
  input  logic [1:0]        m_bresp_i,
  input  logic              s_axi_awvalid_i,
  output logic              s_axi_awready_o,
  input  logic [11:0]       s_axi_awaddr_i,
  input  logic              s_axi_wvalid_i,
  output logic              s_axi_wready_o,
  input  logic [31:0]       s_axi_wdata_i,
  input  logic [3:0]        s_axi_wstrb_i,
  output logic              s_axi_bvalid_o,
  input  logic              s_axi_bready_i,
  output logic [1:0]        s_axi_bresp_o,
  input  logic              s_axi_arvalid_i,
  output logic              s_axi_arready_o,
  input  logic [11:0]       s_axi_araddr_i,
  output logic              s_axi_rvalid_o,
  input  logic              s_axi_rready_i,
  output logic [31:0]       s_axi_rdata_o,
  output logic [1:0]        s_axi_rresp_o
);
  assign key_o = Key;

  // A stage of a stream, and what passed through it.
  logic             valid_q;
  logic [Width-1:0] data_q;
  logic [Width-1:0] history[16];
  logic [3:0]       at_q;
  assign in_ready_o = out_ready_i || !valid_q;
  assign out_valid_o = valid_q;
  assign out_data_o = data_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid_q <= 1'b0;
      at_q <= '0;
    end else if (in_ready_o) begin
      valid_q <= in_valid_i;
      if (in_valid_i) begin
        history[at_q] <= in_data_i;
        at_q <= at_q + 1'b1;
      end
    end
    if (in_ready_o) data_q <= in_data_i;
    wide_o <= ~wide_i;
  end
  NeverFails: assert property (@(posedge clk_i) disable iff (!rst_ni) !fail_i)
    else $error("%m: fail_i was set");

  // Registers.
  logic [31:0] scratch_q;
  assign s_axi_awready_o = s_axi_awvalid_i && s_axi_wvalid_i && !s_axi_bvalid_o;
  assign s_axi_wready_o = s_axi_awready_o;
  assign s_axi_arready_o = s_axi_arvalid_i && !s_axi_rvalid_o;
  assign s_axi_rresp_o = 2'b00;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      s_axi_bvalid_o <= 1'b0;
      s_axi_rvalid_o <= 1'b0;
    end else begin
      if (s_axi_awready_o) begin
        s_axi_bvalid_o <= 1'b1;
        s_axi_bresp_o <= s_axi_awaddr_i == 12'h10 ? 2'b00 : 2'b10;
        for (int i = 0; i < 4; i++) if (s_axi_wstrb_i[i]) scratch_q[8*i+:8] <= s_axi_wdata_i[8*i+:8];
      end else if (s_axi_bready_i) s_axi_bvalid_o <= 1'b0;
      if (s_axi_arready_o) begin
        s_axi_rvalid_o <= 1'b1;
        s_axi_rdata_o <= s_axi_araddr_i == 12'h10 ? scratch_q : 32'h0;
      end else if (s_axi_rready_i) s_axi_rvalid_o <= 1'b0;
    end
  end

  // The copy, a burst at a time.
  typedef enum logic [2:0] {Idle, AskRead, Read, AskWrite, Write, Answer} state_e;
  state_e      state_q;
  logic [31:0] from_q, to_q;
  logic [15:0] left_q;
  logic [63:0] burst[16];
  logic [4:0]  count;
  logic [3:0]  beat_q;
  assign count = left_q > 16 ? 5'd16 : left_q[4:0];
  assign m_arvalid_o = state_q == AskRead;
  assign m_araddr_o = from_q;
  assign m_arlen_o = {3'd0, count} - 8'd1;
  assign m_rready_o = state_q == Read;
  assign m_awvalid_o = state_q == AskWrite;
  assign m_awaddr_o = to_q;
  assign m_awlen_o = m_arlen_o;
  assign m_wvalid_o = state_q == Write;
  assign m_wdata_o = burst[beat_q];
  assign m_wstrb_o = 8'hFF;
  assign m_wlast_o = {1'b0, beat_q} == count - 5'd1;
  assign m_bready_o = state_q == Answer;
  always_ff @(posedge clk_i) begin
    copied_o <= 1'b0;
    if (!rst_ni) begin
      state_q <= Idle;
      response_o <= 2'b00;
    end else begin
      case (state_q)
        Idle: begin
          from_q <= from_i;
          to_q <= to_i;
          left_q <= beats_i;
          if (copy_i) state_q <= AskRead;
        end
        AskRead: begin
          beat_q <= '0;
          if (m_arready_i) state_q <= Read;
        end
        Read: if (m_rvalid_i) begin
          burst[beat_q] <= m_rdata_i;
          beat_q <= beat_q + 1'b1;
          if (m_rresp_i != 2'b00) response_o <= m_rresp_i;
          if (m_rlast_i) state_q <= AskWrite;
        end
        AskWrite: begin
          beat_q <= '0;
          if (m_awready_i) state_q <= Write;
        end
        Write: if (m_wready_i) begin
          beat_q <= beat_q + 1'b1;
          if (m_wlast_o) state_q <= Answer;
        end
        default: if (m_bvalid_i) begin
          if (m_bresp_i != 2'b00) response_o <= m_bresp_i;
          left_q <= left_q - {11'd0, count};
          from_q <= from_q + {24'd0, count, 3'd0};
          to_q <= to_q + {24'd0, count, 3'd0};
          if (left_q == {11'd0, count}) begin
            copied_o <= 1'b1;
            state_q <= Idle;
          end else state_q <= AskRead;
        end
      endcase
    end
  end
endmodule
