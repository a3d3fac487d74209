"""Three tools read all of the RTL: what one of them lets pass, another refuses."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness import needs_verilator, parameters

import intarsia_hw
from intarsia_backends.overlay.machine.config import CONFIGS
from intarsia_backends.rtl.tools import verilator

pytestmark = pytest.mark.rtl

TOP = "ia_core_wrapper"
PACKAGES = [f"generated/{path.name}" for path in sorted(intarsia_hw.GENERATED.glob("*_pkg.sv"))]
MODULES = [f"rtl/{path.name}" for path in sorted(intarsia_hw.RTL.glob("ia_*.*v"))]
SIMULATION = [f"simulation/{path.name}" for path in sorted(intarsia_hw.SIMULATION.glob("ia_*.sv"))]
YOSYS = "import sys; from pyosys import libyosys; libyosys.run_pass(sys.argv[1], libyosys.Design())"


def settings(config: str) -> list[tuple[str, str]]:
    found = parameters(CONFIGS[config]).items()
    return [(name, f"64'h{value[1]:x}" if isinstance(value, tuple) else str(value)) for name, value in found]


@needs_verilator
@pytest.mark.parametrize("simulation", [False, True], ids=["synthesised", "simulation"])
@pytest.mark.parametrize("config", sorted(CONFIGS))
def test_verilator_has_nothing_to_say(config: str, simulation: bool) -> None:
    tool = verilator()
    arguments = ["--lint-only", "-Wall", "--assert", "--quiet", "--top-module", TOP, "-y", "rtl", "+incdir+rtl"]
    arguments += [f"-G{name}={value}" for name, value in settings(config)]
    others = SIMULATION if simulation else []
    command = [*tool.command, *arguments, "+incdir+simulation", "rtl/waivers.vlt", *PACKAGES, *others, f"rtl/{TOP}.v"]
    environment = {**os.environ, "VERILATOR_ROOT": str(tool.root)}
    result = subprocess.run(command, cwd=intarsia_hw.ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0 and not result.stderr, result.stderr[-5000:]


def test_every_module_is_part_of_the_core() -> None:
    """A file that the core does not need is one that nothing above looks at."""
    texts = {Path(name).stem: (intarsia_hw.ROOT / name).read_text() for name in MODULES}
    used = {module for module in texts for other, text in texts.items() if other != module and f" {module} " in text}
    assert set(texts) - used == {TOP}


@pytest.mark.skipif(importlib.util.find_spec("pyslang") is None, reason="pyslang is not installed")
def test_slang_finds_no_fault() -> None:
    script = (
        "import sys; from pyslang import driver as slang; driver = slang.Driver(); driver.addStandardArgs();"
        "assert driver.parseCommandLine(sys.argv[1]) and driver.processOptions() and driver.parseAllSources();"
        "compilation = driver.createCompilation(); driver.reportCompilation(compilation, False);"
        "sys.exit(not driver.reportDiagnostics(False))"
    )
    line = " ".join(["slang -Werror -I rtl --top", TOP, *PACKAGES, *MODULES])
    result = subprocess.run(
        [sys.executable, "-c", script, line], cwd=intarsia_hw.ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, (result.stdout + result.stderr)[-5000:]


@pytest.mark.skipif(importlib.util.find_spec("pyosys") is None, reason="pyosys is not installed")
def test_yosys_reads_everything(tmp_path: Path) -> None:
    modules = tmp_path / "modules.txt"
    script = tmp_path / "read.ys"
    script.write_text(
        f"read_verilog -sv -Irtl {' '.join([*PACKAGES, *MODULES])}\n"
        f"hierarchy -check -top {TOP}\n"
        f"tee -q -o {modules} ls\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", YOSYS, f"script {script}"],
        cwd=intarsia_hw.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, (result.stdout + result.stderr)[-3000:]
    assert TOP in modules.read_text() and "ia_vector" in modules.read_text()
