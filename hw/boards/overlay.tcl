# What both boards' scripts share: package the core, connect it in a block design, build the bitstream.
#
# NEVER RUN IN VIVADO. The test suite runs it in tclsh, where every command of Vivado is recorded instead of executed:
# Tcl errors, wrong paths and forgotten files are found, wrong names of commands and properties are not.
#
# A board's script sets these before it calls overlay_build:
#   name part clock_mhz vlnv register_bytes parameters    from intarsia_hw/generated/NAME.tcl
#   ps         name of the processing system's cell
#   clock_pin  its fabric clock, reset_pin its reset, irq_pin its interrupt input
#   general    its AXI master for registers
#   space      its address space
#   register_base, controller_base    where registers of the core and of the interrupt controller stand
#   ports      {core's master, AXI slave of the processing system} ...
#   port_clocks   clock inputs of the AXI ports in use

set hardware [file normalize [file join [file dirname [info script]] .. intarsia_hw]]

# Every file of the core: packages first, since others use them.
proc overlay_sources {} {
  global hardware
  set packages [lsort [glob $hardware/generated/*.sv]]
  set modules [lsort [glob $hardware/rtl/*.sv $hardware/rtl/*.svh $hardware/rtl/*.v]]
  return [concat $packages $modules]
}

# The newest IP of this name that this Vivado has.
proc overlay_ip {name} {
  set found [lsort -dictionary [get_ipdefs "xilinx.com:ip:$name:*"]]
  if {[llength $found] == 0} { error "this Vivado has no IP $name" }
  return [lindex $found end]
}

# Package the core as an IP into a folder.
proc overlay_package {folder} {
  global hardware part vlnv register_bytes
  lassign [split $vlnv :] vendor library core_name version
  create_project -force package $folder/package -part $part
  add_files -norecurse [overlay_sources]
  set_property file_type SystemVerilog [get_files *.sv]
  set_property file_type {Verilog Header} [get_files *.svh]
  set_property include_dirs $hardware/rtl [current_fileset]
  set_property top ia_core_wrapper [current_fileset]
  update_compile_order -fileset sources_1
  ipx::package_project -root_dir $folder/ip -vendor $vendor -library $library -taxonomy /UserIP -import_files \
    -set_current true
  set core [ipx::current_core]
  set_property name $core_name $core
  set_property version $version $core
  set_property display_name {intarsia overlay core} $core
  set_property description {Int8 tensor processor: runs programs of the intarsia compiler} $core
  set_property supported_families {zynq Production zynquplus Production} $core
  # The four AXI interfaces, clock and reset are inferred from the names of the wrapper's ports.
  foreach interface {s_axi m_axi_fetch m_axi_load m_axi_store} {
    if {[llength [ipx::get_bus_interfaces $interface -of_objects $core]] == 0} {
      error "Vivado inferred no interface $interface from the ports of ia_core_wrapper"
    }
    ipx::associate_bus_interfaces -busif $interface -clock aclk $core
  }
  set block [ipx::get_address_blocks -of_objects [ipx::get_memory_maps s_axi -of_objects $core]]
  set_property range $register_bytes $block
  ipx::infer_bus_interface interrupt xilinx.com:signal:interrupt_rtl:1.0 $core
  set line [ipx::get_bus_interfaces interrupt -of_objects $core]
  set_property value LEVEL_HIGH [ipx::add_bus_parameter SENSITIVITY $line]
  ipx::create_xgui_files $core
  ipx::update_checksums $core
  ipx::check_integrity $core
  ipx::save_core $core
  close_project
}

# Everything but the processing system, which the board's script has made.
proc overlay_connect {} {
  global vlnv parameters ps clock_pin reset_pin irq_pin general space register_base controller_base register_bytes
  global ports port_clocks

  create_bd_cell -type ip -vlnv $vlnv ia_core
  set settings {}
  foreach {parameter value} $parameters { lappend settings CONFIG.$parameter $value }
  set_property -dict $settings [get_bd_cells ia_core]

  create_bd_cell -type ip -vlnv [overlay_ip proc_sys_reset] reset
  # Registers of the core and of the interrupt controller behind one interconnect, each memory port with its own.
  create_bd_cell -type ip -vlnv [overlay_ip smartconnect] smc_registers
  set_property -dict {CONFIG.NUM_SI 1 CONFIG.NUM_MI 2} [get_bd_cells smc_registers]
  # pynq finds interrupts through an AXI interrupt controller alone, not where they reach the processor directly.
  create_bd_cell -type ip -vlnv [overlay_ip axi_intc] irq_controller
  set_property -dict {CONFIG.C_IRQ_CONNECTION 1} [get_bd_cells irq_controller]
  create_bd_cell -type ip -vlnv [overlay_ip xlconcat] irq_concat
  set_property -dict {CONFIG.NUM_PORTS 1} [get_bd_cells irq_concat]

  set clocked {ia_core/aclk reset/slowest_sync_clk smc_registers/aclk irq_controller/s_axi_aclk}
  set reset_too {ia_core/aresetn smc_registers/aresetn irq_controller/s_axi_aresetn}
  foreach {master slave} $ports {
    set smc smc_[string map {m_axi_ {}} $master]
    create_bd_cell -type ip -vlnv [overlay_ip smartconnect] $smc
    set_property -dict {CONFIG.NUM_SI 1 CONFIG.NUM_MI 1} [get_bd_cells $smc]
    connect_bd_intf_net [get_bd_intf_pins ia_core/$master] [get_bd_intf_pins $smc/S00_AXI]
    connect_bd_intf_net [get_bd_intf_pins $smc/M00_AXI] [get_bd_intf_pins $ps/$slave]
    lappend clocked $smc/aclk
    lappend reset_too $smc/aresetn
  }
  connect_bd_intf_net [get_bd_intf_pins $ps/$general] [get_bd_intf_pins smc_registers/S00_AXI]
  connect_bd_intf_net [get_bd_intf_pins smc_registers/M00_AXI] [get_bd_intf_pins ia_core/s_axi]
  connect_bd_intf_net [get_bd_intf_pins smc_registers/M01_AXI] [get_bd_intf_pins irq_controller/s_axi]

  foreach pin $port_clocks { lappend clocked $ps/$pin }
  foreach pin $clocked { connect_bd_net [get_bd_pins $ps/$clock_pin] [get_bd_pins $pin] }
  connect_bd_net [get_bd_pins $ps/$reset_pin] [get_bd_pins reset/ext_reset_in]
  foreach pin $reset_too { connect_bd_net [get_bd_pins reset/peripheral_aresetn] [get_bd_pins $pin] }

  connect_bd_net [get_bd_pins ia_core/interrupt] [get_bd_pins irq_controller/intr]
  connect_bd_net [get_bd_pins irq_controller/irq] [get_bd_pins irq_concat/In0]
  connect_bd_net [get_bd_pins irq_concat/dout] [get_bd_pins $ps/$irq_pin]

  assign_bd_address -offset $register_base -range $register_bytes \
    -target_address_space [get_bd_addr_spaces $ps/$space] [get_bd_addr_segs ia_core/s_axi/reg0]
  assign_bd_address -offset $controller_base -range 0x10000 \
    -target_address_space [get_bd_addr_spaces $ps/$space] [get_bd_addr_segs irq_controller/S_AXI/Reg]
  # The masters see all of the processor's DRAM, wherever the kernel has its contiguous memory.
  foreach {master slave} $ports {
    regexp {HP[0-9]} $slave port
    foreach segment [get_bd_addr_segs "$ps/*/${port}_DDR*"] {
      assign_bd_address -target_address_space [get_bd_addr_spaces ia_core/$master] $segment
    }
  }
}

# Build NAME.bit and NAME.hwh into a folder. An error where timing is not met.
#   make_ps  procedure of the board's script that adds the processing system
proc overlay_build {folder jobs make_ps} {
  global name part
  file mkdir $folder
  set folder [file normalize $folder]
  overlay_package $folder

  create_project -force $name $folder/project -part $part
  set_property ip_repo_paths $folder/ip [current_project]
  update_ip_catalog
  create_bd_design overlay
  $make_ps
  overlay_connect
  validate_bd_design
  save_bd_design
  set design [get_files overlay.bd]
  generate_target all $design
  add_files -norecurse [make_wrapper -files $design -top]
  set_property top overlay_wrapper [current_fileset]
  update_compile_order -fileset sources_1

  launch_runs impl_1 -to_step write_bitstream -jobs $jobs
  wait_on_run impl_1
  if {[get_property PROGRESS [get_runs impl_1]] ne "100%"} { error "the implementation did not finish" }
  open_run impl_1
  report_timing_summary -file $folder/$name.timing.rpt
  report_utilization -hierarchical -file $folder/$name.utilisation.rpt
  foreach {figure meaning} {STATS.WNS setup STATS.WHS hold} {
    set slack [get_property $figure [get_runs impl_1]]
    puts "worst $meaning slack: $slack ns"
    if {$slack < 0} { error "timing is not met: worst $meaning slack $slack ns, see $folder/$name.timing.rpt" }
  }
  # pynq wants both files with one stem.
  set bits [glob $folder/project/$name.runs/impl_1/*.bit]
  set handoffs [glob $folder/project/$name.gen/sources_1/bd/overlay/hw_handoff/overlay.hwh]
  file copy -force [lindex $bits 0] $folder/$name.bit
  file copy -force [lindex $handoffs 0] $folder/$name.hwh
  puts "wrote $folder/$name.bit and $folder/$name.hwh"
}

# OUTPUT_FOLDER and JOBS of the command line.
proc overlay_arguments {arguments} {
  if {[llength $arguments] < 1 || [llength $arguments] > 2} {
    error "usage: vivado -mode batch -source build.tcl -tclargs OUTPUT_FOLDER ?JOBS?"
  }
  lassign $arguments folder jobs
  return [list $folder [expr {$jobs eq "" ? 4 : $jobs}]]
}
