"""Writes a hardware handoff file (.hwh) of our block design: a TEST FIXTURE, never the output of Vivado.

It holds what pynq's parser reads: the processing system with its clocks, the core with its registers, masters and
interrupt, and what carries the interrupt between both. What Vivado writes besides is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import quoteattr

CORE_SPAN, CONTROLLER_SPAN = 0x1000, 0x1_0000
CORE, CONTROLLER, CONCAT = "ia_core", "irq_controller", "irq_concat"

LITE: tuple[str, ...] = (
    "AWADDR",
    "AWVALID",
    "AWREADY",
    "WDATA",
    "WSTRB",
    "WVALID",
    "WREADY",
    "BRESP",
    "BVALID",
    "BREADY",
)
LITE += ("ARADDR", "ARVALID", "ARREADY", "RDATA", "RRESP", "RVALID", "RREADY")
FROM_MASTER = {"AWADDR", "AWVALID", "WDATA", "WSTRB", "WVALID", "BREADY", "ARADDR", "ARVALID", "RREADY"}


@dataclass(frozen=True)
class Processor:
    """A processing system as far as the fixture shows it.

    general                     name of the general-purpose master
    memory                      by master of the core, the memory slave that it is connected with
    block                       name of the address block behind each memory slave
    core_base, controller_base  byte addresses of the registers of the core and of the interrupt controller
    """

    family: str
    device: str
    instance: str
    vlnv: str
    general: str
    memory: Mapping[str, str]
    block: str
    interrupt: str
    core_base: int
    controller_base: int
    parameters: Mapping[str, object] = field(default_factory=dict)


def _zynq_clocks() -> dict[str, object]:
    clocks: dict[str, object] = {}
    for index in range(4):
        clocks[f"PCW_FCLK{index}_PERIPHERAL_DIVISOR0"] = 5
        clocks[f"PCW_FCLK{index}_PERIPHERAL_DIVISOR1"] = 2
        clocks[f"PCW_FPGA_FCLK{index}_ENABLE"] = int(index == 0)
        clocks[f"PCW_FCLK{index}_PERIPHERAL_CLKSRC"] = "IO PLL"
    return clocks


def _ultrascale_clocks() -> dict[str, object]:
    clocks: dict[str, object] = {}
    for index in range(4):
        clocks[f"PSU__CRL_APB__PL{index}_REF_CTRL__DIVISOR0"] = 10
        clocks[f"PSU__CRL_APB__PL{index}_REF_CTRL__DIVISOR1"] = 1
        clocks[f"PSU__FPGA_PL{index}_ENABLE"] = int(index == 0)
        clocks[f"PSU__CRL_APB__PL{index}_REF_CTRL__SRCSEL"] = "IOPLL"
        clocks[f"PSU__CRL_APB__PL{index}_REF_CTRL__ACT_FREQMHZ"] = 100.0
    return clocks


PROCESSORS = {
    "pynq-z2": Processor(
        "zynq",
        "7z020",
        "processing_system7_0",
        "xilinx.com:ip:processing_system7:5.5",
        "M_AXI_GP0",
        {"m_axi_fetch": "S_AXI_HP1", "m_axi_load": "S_AXI_HP0", "m_axi_store": "S_AXI_HP2"},
        "DDR_LOWOCM",
        "IRQ_F2P",
        0x43C0_0000,
        0x4180_0000,
        _zynq_clocks(),
    ),
    "kv260": Processor(
        "zynquplus",
        "xck26",
        "zynq_ultra_ps_e_0",
        "xilinx.com:ip:zynq_ultra_ps_e:3.5",
        "M_AXI_HPM0_FPD",
        {"m_axi_fetch": "S_AXI_HP3_FPD", "m_axi_load": "S_AXI_HP0_FPD", "m_axi_store": "S_AXI_HP1_FPD"},
        "DDR_LOW",
        "pl_ps_irq0",
        0xA000_0000,
        0xA001_0000,
        _ultrascale_clocks(),
    ),
}


def write_hwh(board: str, vlnv: str, core: str = CORE) -> str:
    """The text of the file for "pynq-z2" or "kv260".

    vlnv  of the core
    core  name of the core's cell
    """
    processor = PROCESSORS[board]
    general, controller_base = processor.general, processor.controller_base
    ranges = [
        _range("reg0", processor.core_base, CORE_SPAN, core, general, "s_axi", "REGISTER"),
        _range("Reg", controller_base, CONTROLLER_SPAN, CONTROLLER, general, "s_axi", "REGISTER"),
    ]
    modules = [
        _module(
            processor.instance,
            processor.vlnv,
            [
                _interface(processor.general, "MASTER"),
                *(_interface(name, "SLAVE") for name in processor.memory.values()),
            ],
            [_pin(processor.interrupt, "I", "INTERRUPT", CONCAT, "dout"), _pin("CLK", "O", "clk", core, "aclk")],
            ranges,
            processor.parameters,
        ),
        _module(
            core,
            vlnv,
            [_interface("s_axi", "SLAVE"), *(_interface(name, "MASTER") for name in processor.memory)],
            [
                _pin("interrupt", "O", "INTERRUPT", CONTROLLER, "intr"),
                _pin("aclk", "I", "clk", processor.instance, "CLK"),
            ],
            [
                _range(processor.block, 0, 0x2000_0000, processor.instance, master, slave, "MEMORY")
                for master, slave in processor.memory.items()
            ],
        ),
        _module(
            CONTROLLER,
            "xilinx.com:ip:axi_intc:4.1",
            [_interface("s_axi", "SLAVE")],
            [
                _pin("intr", "I", "INTERRUPT", core, "interrupt"),
                _pin("irq", "O", "INTERRUPT", CONCAT, "In0"),
            ],
            [],
        ),
        _module(
            CONCAT,
            "xilinx.com:ip:xlconcat:2.1",
            [],
            [
                _pin("In0", "I", "undef", CONTROLLER, "irq"),
                _pin("dout", "O", "undef", processor.instance, processor.interrupt),
            ],
            [],
        ),
    ]
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8" standalone="no" ?>',
            "<!-- TEST FIXTURE of intarsia, written by tests/board/on_pynq. Not the output of Vivado. -->",
            '<EDKSYSTEM EDWVERSION="1.2" TIMESTAMP="test fixture" VIVADOVERSION="none">',
            f'<SYSTEMINFO ARCH="{processor.family}" DEVICE="{processor.device}" NAME="intarsia_fixture"/>',
            "<EXTERNALPORTS/>",
            "<EXTERNALINTERFACES/>",
            "<MODULES>",
            *modules,
            "</MODULES>",
            "</EDKSYSTEM>",
            "",
        ]
    )


def _module(
    instance: str,
    vlnv: str,
    interfaces: Sequence[str],
    pins: Sequence[str],
    ranges: Sequence[str],
    parameters: Mapping[str, object] | None = None,
) -> str:
    signals = [
        f'<PORT DIR="{direction}" NAME="{interface}_{signal.lower()}" SIGIS="undef"/>'
        for interface, kind in (text.split("|")[:2] for text in interfaces)
        for signal in LITE
        for direction in ["O" if (signal in FROM_MASTER) == (kind == "MASTER") else "I"]
    ]
    lines = [
        f'<MODULE FULLNAME="/{instance}" HWVERSION="{vlnv.split(":")[3]}" INSTANCE="{instance}" '
        f'MODTYPE="{vlnv.split(":")[2]}" VLNV="{vlnv}">',
        "<PARAMETERS>",
        *(
            f"<PARAMETER NAME={quoteattr(name)} VALUE={quoteattr(str(value))}/>"
            for name, value in (parameters or {}).items()
        ),
        "</PARAMETERS>",
        "<PORTS>",
        *pins,
        *signals,
        "</PORTS>",
        "<BUSINTERFACES>",
        *(text.split("|")[2] for text in interfaces),
        "</BUSINTERFACES>",
        "<MEMORYMAP>",
        *ranges,
        "</MEMORYMAP>",
        "</MODULE>",
    ]
    return "\n".join(lines)


def _interface(name: str, kind: str) -> str:
    """Name, kind and text of a bus interface, with bars between."""
    maps = "".join(f'<PORTMAP LOGICAL="{signal}" PHYSICAL="{name}_{signal.lower()}"/>' for signal in LITE)
    return (
        f'{name}|{kind}|<BUSINTERFACE NAME="{name}" TYPE="{kind}" VLNV="xilinx.com:interface:aximm:1.0">'
        f"<PORTMAPS>{maps}</PORTMAPS></BUSINTERFACE>"
    )


def _pin(name: str, direction: str, kind: str, other: str, other_pin: str) -> str:
    return (
        f'<PORT DIR="{direction}" NAME="{name}" SIGIS="{kind}"><CONNECTIONS>'
        f'<CONNECTION INSTANCE="{other}" PORT="{other_pin}"/></CONNECTIONS></PORT>'
    )


def _range(block: str, base: int, span: int, instance: str, master: str, slave: str, kind: str) -> str:
    return (
        f'<MEMRANGE ADDRESSBLOCK="{block}" BASEVALUE="{base:#010x}" HIGHVALUE="{base + span - 1:#010x}" '
        f'INSTANCE="{instance}" MASTERBUSINTERFACE="{master}" SLAVEBUSINTERFACE="{slave}" MEMTYPE="{kind}"/>'
    )
