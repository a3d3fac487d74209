// ia_core in plain Verilog, with the port names from which Vivado infers interfaces: what a block design takes.
//
// Here stand the AXI signals that never change: all bursts increment, beats are as wide as the bus, accesses are normal
// memory that may be buffered (cache 0011), and data, secure, unprivileged (prot 000).
module ia_core_wrapper #(
  parameter integer Pixels = 2,
  parameter integer TileGroups = 32,
  parameter integer ActBanks = 16,
  parameter integer BankWords = 1024,
  parameter integer WeightRows = 3072,
  parameter integer ParameterGroups = 128,
  parameter integer Tables = 4,
  parameter integer PatchWords = 512,
  parameter integer QueueWords = 16,
  parameter integer SemaphoreMax = 255,
  parameter integer AxiBytes = 8,
  parameter integer AddressBits = 32,
  parameter integer BurstBytes = 128,
  parameter integer Outstanding = 8,
  parameter [63:0] ConfigHash = 64'd0
) (
  (* X_INTERFACE_INFO = "xilinx.com:signal:clock:1.0 aclk CLK" *)
  (* X_INTERFACE_PARAMETER = "ASSOCIATED_BUSIF s_axi:m_axi_fetch:m_axi_load:m_axi_store, ASSOCIATED_RESET aresetn" *)
  input  wire                    aclk,
  (* X_INTERFACE_INFO = "xilinx.com:signal:reset:1.0 aresetn RST" *)
  (* X_INTERFACE_PARAMETER = "POLARITY ACTIVE_LOW" *)
  input  wire                    aresetn,
  (* X_INTERFACE_INFO = "xilinx.com:signal:interrupt:1.0 interrupt INTERRUPT" *)
  (* X_INTERFACE_PARAMETER = "SENSITIVITY LEVEL_HIGH" *)
  // verilator lint_off SYMRSVDWORD
  output wire                    interrupt,  // the name that Vivado knows
  // verilator lint_on SYMRSVDWORD
  input  wire [11:0]             s_axi_awaddr,
  input  wire [2:0]              s_axi_awprot,
  input  wire                    s_axi_awvalid,
  output wire                    s_axi_awready,
  input  wire [31:0]             s_axi_wdata,
  input  wire [3:0]              s_axi_wstrb,
  input  wire                    s_axi_wvalid,
  output wire                    s_axi_wready,
  output wire [1:0]              s_axi_bresp,
  output wire                    s_axi_bvalid,
  input  wire                    s_axi_bready,
  input  wire [11:0]             s_axi_araddr,
  input  wire [2:0]              s_axi_arprot,
  input  wire                    s_axi_arvalid,
  output wire                    s_axi_arready,
  output wire [31:0]             s_axi_rdata,
  output wire [1:0]              s_axi_rresp,
  output wire                    s_axi_rvalid,
  input  wire                    s_axi_rready,
  output wire [AddressBits-1:0]  m_axi_fetch_araddr,
  output wire [7:0]              m_axi_fetch_arlen,
  output wire [2:0]              m_axi_fetch_arsize,
  output wire [1:0]              m_axi_fetch_arburst,
  output wire [3:0]              m_axi_fetch_arcache,
  output wire [2:0]              m_axi_fetch_arprot,
  output wire                    m_axi_fetch_arvalid,
  input  wire                    m_axi_fetch_arready,
  input  wire [8*AxiBytes-1:0]   m_axi_fetch_rdata,
  input  wire [1:0]              m_axi_fetch_rresp,
  input  wire                    m_axi_fetch_rlast,
  input  wire                    m_axi_fetch_rvalid,
  output wire                    m_axi_fetch_rready,
  output wire [AddressBits-1:0]  m_axi_load_araddr,
  output wire [7:0]              m_axi_load_arlen,
  output wire [2:0]              m_axi_load_arsize,
  output wire [1:0]              m_axi_load_arburst,
  output wire [3:0]              m_axi_load_arcache,
  output wire [2:0]              m_axi_load_arprot,
  output wire                    m_axi_load_arvalid,
  input  wire                    m_axi_load_arready,
  input  wire [8*AxiBytes-1:0]   m_axi_load_rdata,
  input  wire [1:0]              m_axi_load_rresp,
  input  wire                    m_axi_load_rlast,
  input  wire                    m_axi_load_rvalid,
  output wire                    m_axi_load_rready,
  output wire [AddressBits-1:0]  m_axi_store_awaddr,
  output wire [7:0]              m_axi_store_awlen,
  output wire [2:0]              m_axi_store_awsize,
  output wire [1:0]              m_axi_store_awburst,
  output wire [3:0]              m_axi_store_awcache,
  output wire [2:0]              m_axi_store_awprot,
  output wire                    m_axi_store_awvalid,
  input  wire                    m_axi_store_awready,
  output wire [8*AxiBytes-1:0]   m_axi_store_wdata,
  output wire [AxiBytes-1:0]     m_axi_store_wstrb,
  output wire                    m_axi_store_wlast,
  output wire                    m_axi_store_wvalid,
  input  wire                    m_axi_store_wready,
  input  wire [1:0]              m_axi_store_bresp,
  input  wire                    m_axi_store_bvalid,
  output wire                    m_axi_store_bready
);

  localparam [2:0] BeatSize = AxiBytes == 16 ? 3'd4 : 3'd3;  // log2 of the bytes of a beat

  assign m_axi_fetch_arsize  = BeatSize;
  assign m_axi_fetch_arburst = 2'b01;
  assign m_axi_fetch_arcache = 4'b0011;
  assign m_axi_fetch_arprot  = 3'b000;
  assign m_axi_load_arsize  = BeatSize;
  assign m_axi_load_arburst = 2'b01;
  assign m_axi_load_arcache = 4'b0011;
  assign m_axi_load_arprot  = 3'b000;
  assign m_axi_store_awsize  = BeatSize;
  assign m_axi_store_awburst = 2'b01;
  assign m_axi_store_awcache = 4'b0011;
  assign m_axi_store_awprot  = 3'b000;

  ia_core #(
    .Pixels(Pixels),
    .TileGroups(TileGroups),
    .ActBanks(ActBanks),
    .BankWords(BankWords),
    .WeightRows(WeightRows),
    .ParameterGroups(ParameterGroups),
    .Tables(Tables),
    .PatchWords(PatchWords),
    .QueueWords(QueueWords),
    .SemaphoreMax(SemaphoreMax),
    .AxiBytes(AxiBytes),
    .AddressBits(AddressBits),
    .BurstBytes(BurstBytes),
    .Outstanding(Outstanding),
    .ConfigHash(ConfigHash)
  ) u_core (
    .clk_i(aclk),
    .rst_ni(aresetn),
    .irq_o(interrupt),
    .s_axi_awaddr_i(s_axi_awaddr),
    .s_axi_awvalid_i(s_axi_awvalid),
    .s_axi_awready_o(s_axi_awready),
    .s_axi_wdata_i(s_axi_wdata),
    .s_axi_wstrb_i(s_axi_wstrb),
    .s_axi_wvalid_i(s_axi_wvalid),
    .s_axi_wready_o(s_axi_wready),
    .s_axi_bresp_o(s_axi_bresp),
    .s_axi_bvalid_o(s_axi_bvalid),
    .s_axi_bready_i(s_axi_bready),
    .s_axi_araddr_i(s_axi_araddr),
    .s_axi_arvalid_i(s_axi_arvalid),
    .s_axi_arready_o(s_axi_arready),
    .s_axi_rdata_o(s_axi_rdata),
    .s_axi_rresp_o(s_axi_rresp),
    .s_axi_rvalid_o(s_axi_rvalid),
    .s_axi_rready_i(s_axi_rready),
    .m_fetch_arvalid_o(m_axi_fetch_arvalid),
    .m_fetch_arready_i(m_axi_fetch_arready),
    .m_fetch_araddr_o(m_axi_fetch_araddr),
    .m_fetch_arlen_o(m_axi_fetch_arlen),
    .m_fetch_rvalid_i(m_axi_fetch_rvalid),
    .m_fetch_rready_o(m_axi_fetch_rready),
    .m_fetch_rdata_i(m_axi_fetch_rdata),
    .m_fetch_rresp_i(m_axi_fetch_rresp),
    .m_fetch_rlast_i(m_axi_fetch_rlast),
    .m_load_arvalid_o(m_axi_load_arvalid),
    .m_load_arready_i(m_axi_load_arready),
    .m_load_araddr_o(m_axi_load_araddr),
    .m_load_arlen_o(m_axi_load_arlen),
    .m_load_rvalid_i(m_axi_load_rvalid),
    .m_load_rready_o(m_axi_load_rready),
    .m_load_rdata_i(m_axi_load_rdata),
    .m_load_rresp_i(m_axi_load_rresp),
    .m_load_rlast_i(m_axi_load_rlast),
    .m_store_awaddr_o(m_axi_store_awaddr),
    .m_store_awlen_o(m_axi_store_awlen),
    .m_store_awvalid_o(m_axi_store_awvalid),
    .m_store_awready_i(m_axi_store_awready),
    .m_store_wdata_o(m_axi_store_wdata),
    .m_store_wstrb_o(m_axi_store_wstrb),
    .m_store_wlast_o(m_axi_store_wlast),
    .m_store_wvalid_o(m_axi_store_wvalid),
    .m_store_wready_i(m_axi_store_wready),
    .m_store_bresp_i(m_axi_store_bresp),
    .m_store_bvalid_i(m_axi_store_bvalid),
    .m_store_bready_o(m_axi_store_bready)
  );

  wire unused = &{1'b0, s_axi_awprot, s_axi_arprot};

endmodule
