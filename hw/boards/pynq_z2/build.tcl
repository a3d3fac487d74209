# Builds the overlay for the PYNQ-Z2: pynq-z2.bit and pynq-z2.hwh.
#
#   vivado -mode batch -source hw/boards/pynq_z2/build.tcl -tclargs OUTPUT_FOLDER ?JOBS?
#
# NEVER RUN IN VIVADO: see overlay.tcl.

set here [file dirname [file normalize [info script]]]
source [file join $here .. overlay.tcl]
source [file join $hardware generated pynq-z2.tcl]

set ps processing_system7_0
set clock_pin FCLK_CLK0
set reset_pin FCLK_RESET0_N
set irq_pin IRQ_F2P
set general M_AXI_GP0
set space Data
set register_base 0x43C00000
set controller_base 0x41800000
# HP0 and HP1 share a port of the DRAM controller: what moves most, reads and writes, is kept apart.
set ports {m_axi_load S_AXI_HP0 m_axi_fetch S_AXI_HP1 m_axi_store S_AXI_HP2}
set port_clocks {M_AXI_GP0_ACLK S_AXI_HP0_ACLK S_AXI_HP1_ACLK S_AXI_HP2_ACLK}

proc make_ps {} {
  global ps clock_mhz
  create_bd_cell -type ip -vlnv [overlay_ip processing_system7] $ps
  # DRAM timing and pins are those of the board's own boot image: this design never boots the processor. What pynq sets
  # from here are the dividers of the clock, which hold for the board's crystal alone.
  set_property -dict [list \
    CONFIG.PCW_CRYSTAL_PERIPHERAL_FREQMHZ 50 \
    CONFIG.PCW_EN_CLK0_PORT 1 \
    CONFIG.PCW_EN_RST0_PORT 1 \
    CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ $clock_mhz \
    CONFIG.PCW_USE_M_AXI_GP0 1 \
    CONFIG.PCW_USE_S_AXI_HP0 1 \
    CONFIG.PCW_USE_S_AXI_HP1 1 \
    CONFIG.PCW_USE_S_AXI_HP2 1 \
    CONFIG.PCW_S_AXI_HP0_DATA_WIDTH 64 \
    CONFIG.PCW_S_AXI_HP1_DATA_WIDTH 64 \
    CONFIG.PCW_S_AXI_HP2_DATA_WIDTH 64 \
    CONFIG.PCW_USE_FABRIC_INTERRUPT 1 \
    CONFIG.PCW_IRQ_F2P_INTR 1 \
  ] [get_bd_cells $ps]
  apply_bd_automation -rule xilinx.com:bd_rule:processing_system7 \
    -config {make_external "FIXED_IO, DDR" apply_board_preset 0 Master Disable Slave Disable} [get_bd_cells $ps]
}

overlay_build {*}[overlay_arguments $argv] make_ps
