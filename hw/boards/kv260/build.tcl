# Builds the overlay for the Kria KV260: kv260.bit and kv260.hwh.
#
#   vivado -mode batch -source hw/boards/kv260/build.tcl -tclargs OUTPUT_FOLDER ?JOBS?
#
# NEVER RUN IN VIVADO: see overlay.tcl.

set here [file dirname [file normalize [info script]]]
source [file join $here .. overlay.tcl]
source [file join $hardware generated kv260.tcl]

set ps zynq_ultra_ps_e_0
set clock_pin pl_clk0
set reset_pin pl_resetn0
set irq_pin pl_ps_irq0
set general M_AXI_HPM0_FPD
set space Data
set register_base 0xA0000000
set controller_base 0xA0010000
# HP1 and HP2 share a port of the DRAM controller, HP3 has its with the display: reads and writes are kept apart.
set ports {m_axi_load S_AXI_HP0_FPD m_axi_store S_AXI_HP1_FPD m_axi_fetch S_AXI_HP3_FPD}
set port_clocks {maxihpm0_fpd_aclk saxihp0_fpd_aclk saxihp1_fpd_aclk saxihp3_fpd_aclk}

proc make_ps {} {
  global ps clock_mhz
  # The preset says how large the DRAM is, and with it what the masters may address.
  set boards [lsort -dictionary [get_board_parts *:kv260_som:*]]
  if {[llength $boards] == 0} { error "install the board files of the KV260 in Vivado" }
  set_property board_part [lindex $boards end] [current_project]
  create_bd_cell -type ip -vlnv [overlay_ip zynq_ultra_ps_e] $ps
  apply_bd_automation -rule xilinx.com:bd_rule:zynq_ultra_ps_e -config {apply_board_preset 1} [get_bd_cells $ps]
  # The slaves GP2, GP3 and GP5 are called HP0, HP1 and HP3 outside of these settings.
  set_property -dict [list \
    CONFIG.PSU__FPGA_PL0_ENABLE 1 \
    CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ $clock_mhz \
    CONFIG.PSU__USE__M_AXI_GP0 1 \
    CONFIG.PSU__USE__M_AXI_GP1 0 \
    CONFIG.PSU__USE__M_AXI_GP2 0 \
    CONFIG.PSU__MAXIGP0__DATA_WIDTH 32 \
    CONFIG.PSU__USE__S_AXI_GP2 1 \
    CONFIG.PSU__USE__S_AXI_GP3 1 \
    CONFIG.PSU__USE__S_AXI_GP5 1 \
    CONFIG.PSU__SAXIGP2__DATA_WIDTH 128 \
    CONFIG.PSU__SAXIGP3__DATA_WIDTH 128 \
    CONFIG.PSU__SAXIGP5__DATA_WIDTH 128 \
    CONFIG.PSU__USE__IRQ0 1 \
  ] [get_bd_cells $ps]
}

overlay_build {*}[overlay_arguments $argv] make_ps
