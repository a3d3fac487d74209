"""Facts of ops stand on the rows of the op table, and nowhere a second time."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from intarsia.ir.facts import carries_activation, is_compute, is_random, keeps_scale, macs, needs_onnx
from intarsia.ir.graph import Graph, Node
from intarsia.ir.op_page import facts_of, op_page
from intarsia.ir.ops import FAMILIES, LONG_TAIL, OPS
from intarsia.ir.types import TensorType

ROOT = Path(__file__).parent.parent.parent
ROWS = {**OPS, **LONG_TAIL}
SMALL = 4
"""Sets of fewer ops are a rule's own business."""


def test_the_page_of_all_ops(golden: Callable[[str], None]) -> None:
    golden(op_page())


def test_an_op_is_of_one_family() -> None:
    assert sum(map(len, FAMILIES.values())) == len(OPS)
    assert not OPS.keys() & LONG_TAIL.keys()


def make(op: str, *shapes: tuple[int | None, ...], out: tuple[int | None, ...], **attributes: int) -> Node:
    graph = Graph("g")
    inputs = [graph.add_input(f"x{index}", TensorType("float32", shape)) for index, shape in enumerate(shapes)]
    return graph.add_node(op, inputs, [TensorType("float32", out)], attributes, name="y", opset=18)


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (make("Conv", (1, 4, 8, 8), (6, 2, 3, 3), out=(1, 6, 6, 6), group=2), 216 * 18),
        (make("ConvTranspose", (1, 4, 8, 8), (4, 3, 2, 2), out=(1, 6, 9, 9), group=2), 256 * 12),
        (make("QLinearConv", (1, 4, 8, 8), (), (), (6, 4, 3, 3), out=(1, 6, 6, 6)), 216 * 36),
        (make("MatMul", (5, 2, 3), (3, 7), out=(5, 2, 7)), 70 * 3),
        (make("Gemm", (3, 2), (3, 7), out=(2, 7), transA=1), 14 * 3),
        (make("Gemm", (2, 3), (3, 7), out=(2, 7)), 14 * 3),
        (make("dense", (2, 3), (3, 7), out=(2, 7)), 14 * 3),
        (make("MatMul", (None, 3), (3, 7), out=(None, 7)), 0),
        (make("Add", (2, 3), (2, 3), out=(2, 3)), 0),
        (make("TfIdfVectorizer", (3, 3), out=()), 0),
    ],
    ids=lambda item: item.op if isinstance(item, Node) else str(item),
)
def test_multiply_accumulates(node: Node, expected: int) -> None:
    assert macs(node) == expected


def test_facts_of_ops_without_a_row() -> None:
    node = make("TfIdfVectorizer", (3, 3), out=())
    assert is_compute(node) and needs_onnx(node)
    assert not (carries_activation(node) or keeps_scale(node) or is_random(node))


def test_ops_of_other_domains_have_no_row() -> None:
    graph = Graph("g")
    x = graph.add_input("x", TensorType("float32", (2,)))
    node = graph.add_node("Reshape", [x], [x.type], name="y", domain="example", opset=1)
    assert is_compute(node) and not keeps_scale(node)


def test_dropout_is_random_where_it_trains() -> None:
    graph = Graph("g")
    x, mode = graph.add_input("x", TensorType("float32", (2,))), graph.add_input("t", TensorType("bool", ()))
    kept = graph.add_node("Dropout", [x], [x.type], name="kept", opset=18)
    trained = graph.add_node("Dropout", [x, None, mode], [x.type], name="trained", opset=18)
    assert not is_random(kept) and is_random(trained)
    assert is_random(graph.add_node("RandomNormal", [], [x.type], {"shape": (2,)}, name="noise", opset=22))


# ---- nowhere a second time


def derived_sets() -> dict[str, set[str]]:
    sets: dict[str, set[str]] = {}
    for op in ROWS.values():
        for fact in (*facts_of(op), op.work):
            if fact != "compute":
                sets.setdefault(fact, set()).add(op.name)
    return {fact: names for fact, names in sets.items() if len(names) >= SMALL}


def sets_of_ops(source: str) -> Iterator[tuple[int, set[str]]]:
    """Line and op names of each set, list, tuple or test `op in (...)` of a source; tables by op name are not sets."""
    tree = ast.parse(source)
    inside = {id(entry) for node in ast.walk(tree) if isinstance(node, ast.Dict) for entry in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Set, ast.Tuple, ast.List)) and id(node) not in inside:
            texts = [entry.value for entry in ast.walk(node) if isinstance(entry, ast.Constant)]
            names = {text for text in texts if isinstance(text, str) and text in ROWS}
            if len(names) >= SMALL:
                yield node.lineno, names


def resembling(source: str) -> list[str]:
    """What in a source is more alike than not to the ops of which a fact holds."""
    return [
        f"line {line}: these are the ops with '{fact}', or nearly: ask the op's row (ir.facts)"
        for line, names in sets_of_ops(source)
        for fact, known in derived_sets().items()
        if len(names & known) / len(names | known) > 0.5
    ]


@pytest.mark.parametrize("room", ["compiler/intarsia", "backends/intarsia_backends"])
def test_no_set_of_ops_says_a_fact_again(room: str) -> None:
    found = {
        str(path.relative_to(ROOT)): said
        for path in sorted((ROOT / room).rglob("*.py"))
        if "ir/ops" not in path.as_posix() and (said := resembling(path.read_text()))
    }
    assert found == {}


def test_a_set_that_says_a_fact_again_is_found() -> None:
    said = resembling('CARRIERS = frozenset((*("Conv", "dense", "Gemm", "MatMul"), "Add", "Mul", "Sub", "MaxPool"))')
    assert said and "'carries_activation'" in said[0]
