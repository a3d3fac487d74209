"""What an artifact takes of a board's memory: refused, warned of, or fine; the figures in the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx.parser
import pytest
from test_assemble import compilation

import intarsia
from intarsia.artifact.assemble import assemble
from intarsia.artifact.memory import Need, need
from intarsia.errors import CompileError

MIB = 1 << 20
BOARD = {"memory": {"bytes": 512 * MIB, "contiguous_bytes": 128 * MIB, "system_bytes": 160 * MIB}}


def test_needs_are_added_up() -> None:
    regions = [{"memory": {"bytes": 5}}, {}, {"memory": {"bytes": 7, "contiguous_bytes": 11}}]
    assert need(100, regions, {}) == Need(100, 12, 11)
    assert need(100, regions, BOARD) == Need(100, 12, 11, 512 * MIB, 128 * MIB, 160 * MIB)
    assert need(100, regions, {}).refusal() is None and need(100, regions, {}).warnings() == []


@pytest.mark.parametrize("strange", [None, [], "x", {"bytes": "many"}, {"bytes": True}, {"bytes": -1}, {"bytes": 0.5}])
def test_what_is_no_figure_counts_nothing(strange: object) -> None:
    assert need(3, [{"memory": strange}], {"memory": strange}) == Need(3, 0, 0)
    assert need(3, [], strange) == Need(3, 0, 0)


def test_words(golden: Callable[[str], None]) -> None:
    facts = BOARD
    needs = [
        need(4 * MIB, [{"memory": {"bytes": 3 * MIB, "contiguous_bytes": 20 * MIB}}], facts),
        need(30 * MIB, [{"memory": {"contiguous_bytes": 129 * MIB}}], facts),
        need(130 * MIB, [{"memory": {"bytes": 120 * MIB, "contiguous_bytes": 1 * MIB}}], facts),
        need(300 * MIB, [{"memory": {"bytes": 120 * MIB, "contiguous_bytes": 100 * MIB}}], facts),
    ]
    assert [item.refusal() is None for item in needs] == [True, True, True, False]
    assert [len(item.warnings()) for item in needs] == [0, 1, 1, 0]
    golden("".join(f"{item}\n  {item.refusal()}\n  {item.warnings()}\n" for item in needs))


def test_a_board_too_small_is_refused_with_the_figures(golden: Callable[[str], None]) -> None:
    made = compilation()
    needed = [replace(region, metadata={"memory": {"bytes": 600 * MIB}}) for region in made.regions]
    with pytest.raises(CompileError) as caught:
        assemble(replace(made, regions=needed, facts=BOARD))
    golden(f"{caught.value}\n".replace(f"{caught.value.what.split('(')[1].split(' for')[0]}", "<files>"))
    large = [replace(region, metadata={"memory": {"contiguous_bytes": 200 * MIB}}) for region in made.regions]
    warned = assemble(replace(made, regions=large, facts=BOARD))
    assert [note[0] for note in warned.contents.metadata["notes"]] == ["hidden", "memory"]
    assert "boot with a larger cma= area" in warned.contents.metadata["notes"][1][1]


def test_the_report_of_a_board_has_the_figures() -> None:
    text = '<ir_version: 9, opset_import: ["" : 18]> net (float[1,4,8,8] x) => (float[1,4,8,8] y) { y = Conv (x, w) }'
    model = onnx.parser.parse_model(text)
    weights = np.random.default_rng(0).standard_normal((4, 4, 1, 1)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    samples = np.random.default_rng(1).standard_normal((32, 4, 8, 8)).astype(np.float32)
    made = intarsia.compile_model(model, target="pynq-z2", calibration=samples)
    report = made.report()
    assert report.memory is not None and report.memory.board == 512 * MIB
    overlay = next(region for region in made.contents.regions if region.kind == "overlay")
    contiguous = sum(overlay.metadata["segments"].values()) + len(made.files[overlay.path("program.bin")])
    assert report.memory.contiguous == contiguous > 0
    assert report.memory.files == sum(map(len, made.files.values()))
    assert f"{report.memory}" in str(report) and "of 512 MiB" in str(report.memory)
    assert report.to_dict()["memory"]["contiguous"] == contiguous
