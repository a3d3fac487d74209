"""Resource counts: the command runs, counts what is known, and refuses what is over budget."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

import pytest

import intarsia_hw
from intarsia_backends.overlay.machine.config import CONFIGS, PYNQ_Z2

sys.path.insert(0, str(Path(__file__).parents[2] / "hw" / "synthesis"))

import count
from netlist import RESOURCES, Cell, Netlist, longest_paths, module_name, resources
from netlist import Path as LongestPath


def has_yosys() -> bool:
    try:
        return bool(count.find_yosys())
    except count.SynthesisError:
        return False


needs_yosys = pytest.mark.skipif(not has_yosys(), reason="no Yosys: pip install pyosys==0.70")


def cell(kind: str, **pins: list[int | str]) -> Cell:
    return Cell(kind, "ia_example", pins, {})


def test_paths_count_luts_and_chains() -> None:
    """register -> LUT -> chain of 8 bits -> LUT -> MUXF7 -> register"""
    cells = [
        cell("FDRE", D=[90], Q=[1], C=[0]),
        cell("LUT2", I0=[1], I1=["0"], O=[2]),
        cell(
            "CARRY4", S=[2, 3, 3, 3], DI=["0", 3, 3, 3], CI=["0"], CYINIT=["0"], O=[10, 11, 12, 13], CO=[20, 21, 22, 23]
        ),
        cell("CARRY4", S=[3, 3, 3, 3], DI=[3, 3, 3, 3], CI=[23], CYINIT=["0"], O=[14, 15, 16, 17], CO=[24, 25, 26, 27]),
        cell("LUT1", I0=[17], O=[30]),
        cell("MUXF7", I0=[30], I1=["0"], S=["1"], O=[31]),
        cell("FDRE", D=[31], Q=[40], C=[0]),
    ]
    assert longest_paths(cells) == {"ia_example": LongestPath(luts=2, chains=1)}


def test_hierarchy_is_counted_from_the_top() -> None:
    leaf: dict[str, Any] = {
        "attributes": {},
        "ports": {"x": {"bits": [2]}, "y": {"bits": [3]}},
        "cells": {"a": {"type": "LUT1", "connections": {"I0": [2], "O": [3]}, "parameters": {}}},
    }
    inner = {"type": "$paramod\\ia_leaf\\Width=8", "parameters": {}}
    top: dict[str, Any] = {
        "attributes": {},
        "ports": {"x": {"bits": [2]}},
        "cells": {
            "one": {**inner, "connections": {"x": [2], "y": [3]}},
            "two": {**inner, "connections": {"x": [3], "y": [4]}},
            "keep": {"type": "FDRE", "connections": {"D": [4], "Q": [5]}, "parameters": {}},
        },
    }
    netlist = Netlist({"modules": {"ia_top": top, "$paramod\\ia_leaf\\Width=8": leaf}}, "ia_top")
    assert resources(netlist.part.cells())["LUT"] == 2 and netlist.part.parts["ia_leaf"].instances == 2
    assert longest_paths(netlist.cells) == {"ia_top": LongestPath(luts=2)}
    assert module_name("$paramod$0123abcd\\ia_fifo") == "ia_fifo"


def test_memory_is_counted_in_luts_and_block_memories() -> None:
    found = resources({"RAM32M": 3, "SRL16E": 2, "RAMB36E1": 1, "RAMB18E1": 3, "LUT6": 5, "INV": 1})
    assert (found["LUT"], found["LUTRAM"], found["BRAM36"]) == (6, 14, 2.5)


def test_what_is_over_budget_is_named() -> None:
    row = {"depth": 0, "module": "ia_core", "instances": 1, **dict.fromkeys(RESOURCES, 300.0)}
    budget = {"configurations": {"pynq-z2": {"ia_core": {"DSP48E1": 208, "LUT": 40000}}}}
    found = {"configuration": "pynq-z2", "rows": [row]}
    assert count.exceeded(found, budget) == ["ia_core: 300 DSP48E1, the budget is 208"]


def test_every_row_of_the_budget_is_a_module_and_a_resource() -> None:
    budget = json.loads(count.BUDGET.read_text())
    for rows in budget["configurations"].values():
        for limits in rows.values():
            assert limits.keys() <= set(RESOURCES)


def test_parameters_come_from_the_configuration() -> None:
    source = "module ia_x #(\n  parameter int unsigned Tables = 2,\n  parameter logic [63:0] ConfigHash = 0\n) ("
    assert count.configurations().keys() == CONFIGS.keys()
    found = count.top_parameters(source, count.configurations()["pynq-z2"])
    assert found == {"Tables": "32'd4", "ConfigHash": f"64'd{int(PYNQ_Z2.hash, 16)}"}


def test_scripts_of_the_hardware_import_nothing_of_the_compiler() -> None:
    """The package is under a contract of the linter; scripts beside it are not."""
    for path in (Path(intarsia_hw.__file__).parents[1]).rglob("*.py"):
        for item in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in item.names] if isinstance(item, ast.Import) else []
            names += [item.module or ""] if isinstance(item, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"intarsia", "intarsia_backends"}, path


@pytest.mark.rtl
@needs_yosys
def test_a_small_module_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert count.main(["--top", "ia_fifo", "--json", "--check"]) == 0
    total = json.loads(capsys.readouterr().out)["total"]
    assert total["LUTRAM"] == 24 and total["FF"] == 10 and total["DSP48E1"] == 0 and 5 <= total["LUT"] <= 20


@pytest.mark.rtl
@pytest.mark.slow
@needs_yosys
@pytest.mark.parametrize("top", ["ia_core", "ia_vector"])
def test_budgets_hold(top: str, capsys: pytest.CaptureFixture[str]) -> None:
    if not (intarsia_hw.RTL / f"{top}.sv").is_file():
        pytest.skip(f"no {top} yet")
    status = count.main(["--top", top, "--check"])
    assert status == 0, capsys.readouterr()
