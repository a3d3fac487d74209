"""What a region needs and what its kernels do, by hand; and the figures that reports show of both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from cuda_regions import compiled
from gpu_kernels import Kinds

import intarsia
from intarsia.cli.commands import intarsia as command
from intarsia.errors import CompileError
from intarsia.ir.graph import Graph
from intarsia.targets import find_target
from intarsia_backends.cuda.estimate.cards import CARDS
from intarsia_backends.cuda.estimate.necessary import necessary
from intarsia_backends.cuda.estimate.roofline import bound_seconds, roofline
from intarsia_backends.cuda.estimate.work import Work, work_of
from intarsia_backends.cuda.figures import card_for, code_for
from intarsia_backends.cuda.target import ARCHITECTURES
from intarsia_backends.cuda.toolchain.find import find_compiler, tool
from intarsia_backends.cuda.toolchain.multiprocessors import MULTIPROCESSORS

DIGITS = Path(__file__).parent.parent / "models" / "digits_cnn.onnx"


def block() -> Graph:
    """Conv, Relu, Conv, Add of what the first Conv read, MaxPool, Reshape."""
    kinds = Kinds()
    x = kinds.numbers(1, 8, 16, 16)
    weights = kinds.numbers(8, 8, 3, 3)
    first = kinds.add("Conv", x, weights, constants=(1,), pads=(1, 1, 1, 1))
    rectified = kinds.add("Relu", first)
    second = kinds.add("Conv", rectified, kinds.numbers(8, 8, 3, 3), constants=(1,), pads=(1, 1, 1, 1))
    added = kinds.add("Add", second, first)
    pooled = kinds.add("MaxPool", added, kernel_shape=(2, 2), strides=(2, 2))
    flat = kinds.add("Flatten", pooled)
    kinds.graph.outputs = [flat]
    return kinds.graph


IMAGE, WEIGHTS = 8 * 16 * 16, 8 * 8 * 9


def test_groups_of_ops_read_and_write_once() -> None:
    groups = necessary(block())
    told = [([node.op for node in group.nodes], group.size_bytes // 4, group.operations) for group in groups]
    products = 2 * IMAGE * 8 * 9
    assert told == [
        (["Conv"], IMAGE + WEIGHTS + IMAGE, products),  # two read it, so that it goes to memory
        (["Relu"], 2 * IMAGE, 0),
        (["Conv", "Add"], 3 * IMAGE + WEIGHTS, products),
        (["MaxPool", "Flatten"], IMAGE + IMAGE // 4, 0),
    ]
    assert [group.dtype for group in groups] == ["float32"] * 4


def test_in_halves_what_stays_on_the_gpu_is_half_as_large() -> None:
    groups = necessary(block(), halves=True)
    assert groups[0].size_bytes == 4 * IMAGE + 2 * WEIGHTS + 2 * IMAGE, "callers give float32"
    assert groups[3].size_bytes == 2 * IMAGE + 4 * (IMAGE // 4)
    assert [group.dtype for group in groups] == ["float16", "float32", "float16", "float32"]


def works(graph: Graph) -> list[Work]:
    """Of the kernels of a region."""
    code = compiled(graph)
    return [work_of(kernel, source) for kernel, source in code.sources.items()]


def test_a_convolution_that_steps_over_pixels_touches_those_it_reads() -> None:
    kinds = Kinds()
    image, weights = kinds.numbers(1, 8, 16, 16), kinds.numbers(8, 8, 1, 1)
    kinds.graph.outputs = [kinds.add("Conv", image, weights, constants=(1,), strides=(2, 2))]
    (work,) = [work for work in works(kinds.graph) if work.operations]
    assert work.operations == 2 * 8 * 8 * 8 * 8 and work.dtype == "float32"
    assert work.size_bytes in (4 * (2 * 8 * 8 * 8 + 8 * 8), 4 * (2 * 8 * 8 * 8 + 8 * 8 + 8)), "perhaps a bias of zeros"


def test_what_is_gathered_is_touched_as_often_as_it_is_read_at_most() -> None:
    kinds = Kinds()
    kinds.graph.outputs = [kinds.add("Gather", kinds.numbers(1000, 4), np.array([3, 5]), axis=0)]
    (work,) = works(kinds.graph)
    assert work.operations == 0 and 2 * 4 * 8 <= work.size_bytes < 200


def test_steps_of_a_recurrent_layer_multiply() -> None:
    kinds = Kinds()
    operands = (kinds.numbers(3, 2, 4), kinds.numbers(1, 20, 4), kinds.numbers(1, 20, 5))
    kinds.graph.outputs = [kinds.add("LSTM", *operands, constants=(1, 2), hidden_size=5)]
    assert 2 * 3 * 2 * 5 * 20 in [work.operations for work in works(kinds.graph)]


def test_the_longer_of_bytes_and_operations_counts() -> None:
    card = CARDS["a100"]
    assert bound_seconds(Work(0, "float32", 1555), card) == pytest.approx(1e-9)
    assert bound_seconds(Work(624_000, "int8", 1), card) == pytest.approx(1e-9)
    launches = [Work(2 * IMAGE * 72 * 2, "float32", 3 * 4 * IMAGE), Work(0, "float32", 41 << 20)]
    found = roofline(block(), launches, card)
    assert found.issued_operations == launches[0].operations == 2 * IMAGE * 8 * 9 * 2 == found.necessary_operations
    assert found.operations_ratio == 1.0 and found.bytes_ratio > 100
    assert found.beyond_cache == 1
    assert found.issued_seconds == pytest.approx(sum(bound_seconds(work, card) for work in launches))


def test_cards_have_a_multiprocessor_and_code() -> None:
    for name, card in CARDS.items():
        assert card.capability in MULTIPROCESSORS and code_for(card, ARCHITECTURES) == f"sm_{card.capability}", name
        assert card.peaks["float32"] < card.peaks["float16"] < card.peaks["int8"], name
    assert code_for(CARDS["rtx4090"], ["sm_75", "sm_80", "sm_90"]) == "sm_80"
    assert code_for(CARDS["a100"], ["sm_86", "compute_80"]) is None
    assert [CARDS[card_for([name])].capability for name in ARCHITECTURES] == [75, 80, 86, 89, 90, 120]


def test_a_card_that_does_not_run_the_code() -> None:
    assert find_target("cuda{arch=sm_86}").settings["card"] == "auto"
    with pytest.raises(CompileError, match="GeForce RTX 4090 does not run code for sm_90") as caught:
        find_target("cuda{arch=sm_90, card=rtx4090}")
    assert "arch=sm_89" in (caught.value.help or "")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network in int8, for one architecture."""
    try:
        find_compiler(["sm_80"])
    except CompileError as error:
        pytest.skip(error.what)
    if tool("nvdisasm") is None:
        pytest.skip("needs nvdisasm")
    place = tmp_path_factory.mktemp("made") / "digits.intarsia"
    with np.load(DIGITS.parent / "digits_test_450.npz") as data:
        images = data["x"][:16]
    target = "cuda{arch=sm_80, card=rtx3060}"
    intarsia.compile_model(DIGITS, target=target, precision="int8", calibration=images).save(place)
    return place


def test_reports_have_the_figures(artifact: Path) -> None:
    report = intarsia.Artifact.read(artifact).report()
    (figures,) = report.figures.values()
    assert figures["estimate_for"] == "GeForce RTX 3060" and figures["spilled_bytes"] == 0
    assert 0.25 <= figures["least_occupancy_on_sm_80"] <= 1
    assert figures["least_us"] > 0 and figures["issued_bytes"] >= figures["necessary_bytes"] * 0.9
    (table,) = report.tables
    assert table.title.startswith("kernels as sm_80, by nv")
    rows = [dict(zip(table.columns, row)) for row in table.rows]
    assert len(rows) == figures["kernels"] and sum(row["launches"] for row in rows) == figures["launches"]
    assert sum(row["launches"] * row["operations"] for row in rows) == figures["issued_operations"]
    assert all(row["registers"] >= 8 and row["threads"] <= 1024 and row["hot loop"] for row in rows)
    assert figures["tensor_core_kernels"] == sum(row["tensor"] > 0 for row in rows) > 0


def test_the_table_is_shown_when_it_is_asked_for(artifact: Path) -> None:
    shown = [CliRunner().invoke(command, ["report", str(artifact), *more]).output for more in ((), ("--details",))]
    assert "operations ratio" in shown[0] and "hot loop" not in shown[0]
    assert shown[1].startswith(shown[0]) and "hot loop" in shown[1] and " IMMA" in shown[1]


def test_without_nvdisasm_all_else_is_told(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intarsia_backends.cuda.target.tool", lambda name: None)
    made = intarsia.compile_model(DIGITS, target="cuda{arch=sm_80}")
    (note,) = made.manifest["metadata"]["notes"]
    assert "there is no nvdisasm (pip install 'intarsia[cuda]')" in note[1]
    report = made.report()
    (figures,), (table,) = report.figures.values(), report.tables
    assert "tensor_core_kernels" not in figures and figures["most_registers"] > 8
    assert {row[table.columns.index("hot loop")] for row in table.rows} == {None}
