"""The Vivado scripts of hw/boards, run in tclsh with every command of Vivado recorded.

This finds Tcl errors, wrong paths, forgotten files and what disagrees with the Python constants. It cannot tell whether
Vivado has these commands, properties and pins: the scripts have never run there.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import intarsia_hw
from intarsia_backends.overlay.machine import registers
from intarsia_backends.overlay.machine.config import KV260, PYNQ_Z2, OverlayConfig
from intarsia_backends.overlay.machine.parameters import VLNV, core_parameters
from intarsia_backends.pynq.design import INTERRUPT

sys.path.append(str(Path(__file__).parent / "on_pynq"))
from fixture_hwh import PROCESSORS, write_hwh

BOARDS = Path(__file__).parents[2] / "hw" / "boards"

KNOWN = [
    "add_files",
    "apply_bd_automation",
    "assign_bd_address",
    "close_project",
    "connect_bd_intf_net",
    "connect_bd_net",
    "create_bd_cell",
    "create_bd_design",
    "create_project",
    "current_fileset",
    "current_project",
    "generate_target",
    "get_bd_addr_segs",
    "get_bd_addr_spaces",
    "get_bd_cells",
    "get_bd_intf_pins",
    "get_bd_pins",
    "get_board_parts",
    "get_files",
    "get_ipdefs",
    "get_property",
    "get_runs",
    "launch_runs",
    "make_wrapper",
    "open_run",
    "report_timing_summary",
    "report_utilization",
    "save_bd_design",
    "set_property",
    "update_compile_order",
    "update_ip_catalog",
    "validate_bd_design",
    "wait_on_run",
    "ipx::add_bus_parameter",
    "ipx::associate_bus_interfaces",
    "ipx::check_integrity",
    "ipx::create_xgui_files",
    "ipx::current_core",
    "ipx::get_address_blocks",
    "ipx::get_bus_interfaces",
    "ipx::get_memory_maps",
    "ipx::infer_bus_interface",
    "ipx::package_project",
    "ipx::save_core",
    "ipx::update_checksums",
]
"""Commands of Vivado as its manual (UG835) spells them: a name that is not here is a slip, or is to be looked up."""


@dataclass(frozen=True)
class Board:
    """What a script must come to.

    ports  (core's master, slave of the processing system)
    """

    folder: str
    config: OverlayConfig
    ps: str
    ports: frozenset[tuple[str, str]]
    clock: str
    interrupt: str
    registers_at: int


Z2 = Board(
    "pynq_z2",
    PYNQ_Z2,
    "processing_system7_0",
    frozenset({("m_axi_load", "S_AXI_HP0"), ("m_axi_fetch", "S_AXI_HP1"), ("m_axi_store", "S_AXI_HP2")}),
    "FCLK_CLK0",
    "IRQ_F2P",
    0x43C0_0000,
)
KRIA = Board(
    "kv260",
    KV260,
    "zynq_ultra_ps_e_0",
    frozenset({("m_axi_load", "S_AXI_HP0_FPD"), ("m_axi_fetch", "S_AXI_HP3_FPD"), ("m_axi_store", "S_AXI_HP1_FPD")}),
    "pl_clk0",
    "pl_ps_irq0",
    0xA000_0000,
)


def run_script(board: Board, folder: Path, *arguments: str, slack: str = "0.1") -> subprocess.CompletedProcess[str]:
    tclsh = shutil.which("tclsh")
    if tclsh is None:
        pytest.skip("needs tclsh: apt-get install tcl")
    script = BOARDS / board.folder / "build.tcl"
    command = [tclsh, str(Path(__file__).parent / "record.tcl"), str(script), str(folder), slack, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@cache
def _calls(board: Board, folder: Path) -> list[list[str]]:
    done = run_script(board, folder, str(folder), "2")
    assert done.returncode == 0, done.stderr
    return [line.split("\t") for line in done.stdout.splitlines() if "\t" in line or line in KNOWN]


@pytest.fixture(params=[Z2, KRIA], ids=lambda board: board.folder)
def board(request: pytest.FixtureRequest) -> Board:
    chosen: Board = request.param
    return chosen


@pytest.fixture
def calls(board: Board, tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """The commands of a whole build, each a list of words."""
    return _calls(board, tmp_path_factory.getbasetemp() / "build")


def settings(calls: list[list[str]], cell: str) -> dict[str, str]:
    """What CONFIG properties a cell gets."""
    found: dict[str, str] = {}
    for call in calls:
        if call[:2] == ["set_property", "-dict"] and call[3] == cell:
            words = call[2].split()
            found.update(zip(words[::2], words[1::2]))
    return {name.removeprefix("CONFIG."): value for name, value in found.items()}


def nets(calls: list[list[str]]) -> set[tuple[str, str]]:
    return {(call[1], call[2]) for call in calls if call[0] in ("connect_bd_net", "connect_bd_intf_net")}


def test_every_command_is_one_of_vivado(calls: list[list[str]]) -> None:
    assert {call[0] for call in calls} <= set(KNOWN)


def test_project_is_for_the_part(board: Board, calls: list[list[str]]) -> None:
    projects = [call for call in calls if call[0] == "create_project"]
    assert [call[2] for call in projects] == ["package", board.config.name]
    assert all(call[-2:] == ["-part", board.config.part] for call in projects)


def test_every_file_of_the_core_is_added_packages_first(calls: list[list[str]]) -> None:
    (added,) = [call[2].split() for call in calls if call[0] == "add_files" and "ia_isa_pkg.sv" in call[2]]
    rtl = [path for path in intarsia_hw.RTL.iterdir() if path.suffix in (".sv", ".svh", ".v")]
    packages = list(intarsia_hw.GENERATED.glob("*.sv"))
    assert sorted(Path(path).resolve() for path in added) == sorted(path.resolve() for path in rtl + packages)
    assert {Path(path).name for path in added[: len(packages)]} == {path.name for path in packages}
    assert "ia_core_wrapper.v" in {Path(path).name for path in added}
    assert ["set_property", "top", "ia_core_wrapper"] in [call[:3] for call in calls]


def test_interfaces_are_those_of_the_wrapper(board: Board, calls: list[list[str]]) -> None:
    text = (intarsia_hw.RTL / "ia_core_wrapper.v").read_text()
    pins = set(re.findall(r"^\s*(?:input|output)\b.*?(\w+),?\s*(?://.*)?$", text, re.MULTILINE))
    interfaces = {call[1] for call in calls if call[0] == "ipx::get_bus_interfaces"} - {INTERRUPT}
    assert interfaces == {"s_axi", *(master for master, _ in board.ports)}
    for interface in interfaces:
        assert any(pin.startswith(f"{interface}_") for pin in pins), interface
    assert {"aclk", "aresetn", INTERRUPT} <= pins
    parameters = set(re.findall(r"parameter[^=]*?(\w+)\s*=", text))
    assert set(core_parameters(board.config)) <= parameters


def test_core_is_packaged_under_the_name_that_pynq_binds(calls: list[list[str]]) -> None:
    vendor, library, name, version = VLNV.split(":")
    (package,) = [call for call in calls if call[0] == "ipx::package_project"]
    assert package[package.index("-vendor") + 1] == vendor and package[package.index("-library") + 1] == library
    assert {"name": name, "version": version}.items() <= {
        call[1]: call[2] for call in calls if call[0] == "set_property" and call[1] in ("name", "version")
    }.items()
    assert ["create_bd_cell", "-type", "ip", "-vlnv", VLNV, "ia_core"] in calls


def test_core_gets_the_parameters_of_its_configuration(board: Board, calls: list[list[str]]) -> None:
    found = {name: int(value, 0) for name, value in settings(calls, "ia_core").items()}
    wanted = {
        name: value if isinstance(value, int) else value[1] for name, value in core_parameters(board.config).items()
    }
    assert found == wanted
    assert f"{found['ConfigHash']:016x}" == board.config.hash


def test_registers_have_their_place(board: Board, calls: list[list[str]]) -> None:
    assert ["set_property", "range", str(registers.SPAN_BYTES)] in [call[:3] for call in calls]
    placed = {
        call[-1]: (int(call[call.index("-offset") + 1], 0), int(call[call.index("-range") + 1], 0))
        for call in calls
        if call[0] == "assign_bd_address" and "-offset" in call
    }
    assert placed["ia_core/s_axi/reg0"] == (board.registers_at, registers.SPAN_BYTES)
    (base, span), (other, other_span) = sorted(placed.values())
    assert base + span <= other and base % span == 0 and other % other_span == 0, "they do not overlap"


def test_masters_reach_all_of_dram(board: Board, calls: list[list[str]]) -> None:
    seen = {
        (call[2], call[3]) for call in calls if call[0] == "assign_bd_address" and call[1] == "-target_address_space"
    }
    for master, slave in board.ports:
        port = slave.removeprefix("S_AXI_").removesuffix("_FPD")
        assert (f"ia_core/{master}", f"{board.ps}/*/{port}_DDR*") in seen


def test_each_master_has_a_port_of_its_own(board: Board, calls: list[list[str]]) -> None:
    found = nets(calls)
    through = {
        (master, slave)
        for start, middle in found
        for again, end in found
        if start.startswith("ia_core/m_axi") and middle == again.replace("/M00_AXI", "/S00_AXI") and "smc_" in again
        for master, slave in [(start.split("/")[1], end.split("/")[1])]
    }
    assert through == board.ports
    axi_bytes = core_parameters(board.config)["AxiBytes"]
    assert isinstance(axi_bytes, int)
    width = str(8 * axi_bytes)
    ps = settings(calls, board.ps)
    widths = [value for name, value in ps.items() if re.search(r"(S_AXI_HP\d|SAXIGP\d_)_DATA_WIDTH", name)]
    assert widths == [width] * 3
    used = [name for name, value in ps.items() if re.fullmatch(r"(PCW_|PSU__)USE_+S_AXI_\w+", name) and value == "1"]
    assert len(used) == 3


def test_clock_reaches_every_clock_input(board: Board, calls: list[list[str]]) -> None:
    clocked = {end for start, end in nets(calls) if start == f"{board.ps}/{board.clock}"}
    cells = {call[-1] for call in calls if call[0] == "create_bd_cell"}
    without = {cell for cell in cells if not any(pin.startswith(f"{cell}/") for pin in clocked)}
    assert without == {"irq_concat"}, "which has no clock"
    ports = {slave for _, slave in board.ports}
    for slave in ports:
        assert any(pin.lower().replace("_", "").endswith(f"{slave.lower().replace('_', '')}aclk") for pin in clocked)
    asked = [float(value) for name, value in settings(calls, board.ps).items() if name.endswith("FREQMHZ")]
    assert board.config.clock_mhz_assumption in asked


def test_reset_reaches_what_has_a_clock(board: Board, calls: list[list[str]]) -> None:
    reset = {end.split("/")[0] for start, end in nets(calls) if start == "reset/peripheral_aresetn"}
    clocked = {end.split("/")[0] for start, end in nets(calls) if start == f"{board.ps}/{board.clock}"}
    assert reset == clocked - {board.ps, "reset"}


def test_interrupt_goes_where_pynq_looks_for_it(board: Board, calls: list[list[str]]) -> None:
    wanted = {
        (f"ia_core/{INTERRUPT}", "irq_controller/intr"),
        ("irq_controller/irq", "irq_concat/In0"),
        ("irq_concat/dout", f"{board.ps}/{board.interrupt}"),
    }
    assert wanted <= nets(calls)


def test_pins_are_of_cells_that_exist(calls: list[list[str]]) -> None:
    cells: set[str] = set()
    for call in calls:
        if call[0] == "create_bd_cell":
            cells.add(call[-1])
        if call[0] in ("get_bd_pins", "get_bd_intf_pins"):
            assert call[1].split("/")[0] in cells, call[1]


def test_design_is_validated_before_it_is_built(calls: list[list[str]]) -> None:
    order = [call[0] for call in calls]
    steps = ["ipx::save_core", "create_bd_design", "validate_bd_design", "make_wrapper", "launch_runs", "wait_on_run"]
    assert [order.index(step) for step in steps] == sorted(order.index(step) for step in steps)
    assert "STATS.WNS" in [call[1] for call in calls if call[0] == "get_property"]
    assert {"report_timing_summary", "report_utilization"} <= set(order)


def test_bitstream_and_handoff_get_one_stem(board: Board, tmp_path: Path) -> None:
    done = run_script(board, tmp_path, str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.glob("*.*")} >= {f"{board.config.name}.bit", f"{board.config.name}.hwh"}
    assert "-jobs\t4" in done.stdout


def test_timing_that_is_not_met_fails(board: Board, tmp_path: Path) -> None:
    done = run_script(board, tmp_path, str(tmp_path), slack="-0.001")
    assert done.returncode == 1 and "timing is not met: worst setup slack -0.001 ns" in done.stderr
    assert not list(tmp_path.glob("*.bit"))


def test_arguments_are_asked_for(board: Board, tmp_path: Path) -> None:
    done = run_script(board, tmp_path)
    assert done.returncode == 1 and "usage: vivado -mode batch" in done.stderr


def test_the_fixture_that_pynq_parses_is_this_design(board: Board, calls: list[list[str]]) -> None:
    processor = PROCESSORS[board.config.name]
    assert set(processor.memory.items()) == board.ports and processor.core_base == board.registers_at
    text = write_hwh(board.config.name, VLNV)
    for pin, end in nets(calls):
        names = [name.split("/") for name in (pin, end)]
        if any(cell.startswith("smc_") or cell == "reset" or "clk" in name.lower() for cell, name in names):
            continue  # what the fixture leaves out
        for cell, name in names:
            assert f'INSTANCE="{cell}"' in text and re.search(rf'(NAME|PORT)="{name}"', text), f"{cell}/{name}"
    for call in calls:
        if call[0] == "assign_bd_address" and "-offset" in call:
            assert f'BASEVALUE="{int(call[call.index("-offset") + 1], 0):#010x}"' in text


def test_scripts_say_that_they_never_ran() -> None:
    scripts = list(BOARDS.rglob("*.tcl"))
    assert len(scripts) == 3 and all("NEVER RUN IN VIVADO" in path.read_text() for path in scripts)
