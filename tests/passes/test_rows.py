"""Products of more than two axes become products of rows, with what is elementwise around them, for who wants rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generated_graphs import Maker, examples, random_inputs
from intarsia.errors import CompileError
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.types import Quantization, TensorType
from intarsia.ir.verify import verify
from intarsia.partition.advice import advised
from intarsia.passes.decompose import FlattenRows
from intarsia.targets import YES, Support, no
from intarsia_backends.overlay.compiler.target import pynq_z2


def taken(node: Node) -> Support:
    """An accelerator that knows rows alone."""
    if any(value is not None and not value.is_constant and len(value.shape) != 2 for value in node.inputs):
        return no("axes", "not rows", "none")
    return YES


def product(maker: Maker, x: Value, outputs: int) -> Value:
    attributes = {"input_zero_point": maker.zero_of(x), **maker.epilogue()}
    inputs = [x, *maker.weighted((x.shape[-1], outputs), x.shape[-1], outputs)]
    return maker.add("qmatmul", inputs, attributes, attributes["output_zero_point"])


@st.composite
def towers(draw: Callable[[Any], Any]) -> Graph:
    """Products of [..., K] with tables, rescaling, sums and products of elements between them, and other readers."""
    maker = Maker(draw, 20_000)
    leads = maker.pick(((1, 5), (3, 4), (1, 2, 3), (2, 1, 7)))
    live = [maker.input((*leads, int(maker.pick((1, 8, 17)))))]
    for _ in range(maker.integer(1, 7)):
        x = live[-1] if maker.chance(2) else maker.pick(live)
        kind = maker.pick(("product", "product", "lookup", "requantize", "qadd", "qmul", "constant", "transpose"))
        if kind == "product":
            live.append(product(maker, x, int(maker.pick((1, 8, 17)))))
        elif kind in ("qadd", "qmul"):
            result = getattr(maker, kind)(x, maker.pick([value for value in live if value.shape == x.shape]))
            live.append(result or x)
        elif kind == "constant":
            data = maker.rng.integers(-128, 128, x.shape[-1:]).astype(np.int8)
            constant = maker.constant(data)
            constant.quantization = x.quantization
            live.append(maker.qadd(x, constant) or x)
        elif kind == "transpose":
            order = (*range(len(leads) - 1), len(leads), len(leads) - 1)
            shape = tuple(x.shape[axis] for axis in order)
            moved = maker.add("Transpose", [x], {"perm": order}, maker.zero_of(x), TensorType("int8", shape))
            live.append(maker.add("Transpose", [moved], {"perm": order}, maker.zero_of(x), x.type))
        else:
            live.append(getattr(maker, kind)(x))
    return maker.finish()


@given(towers(), st.integers(0, 1000))
@settings(max_examples=examples(150), deadline=None)
def test_every_product_works_on_rows_and_means_the_same(graph: Graph, seed: int) -> None:
    if not graph.nodes:
        return
    twin = graph.copy()
    products = [node for node in graph.nodes if node.op == "qmatmul" and len(node.output.shape) > 2]
    changed = FlattenRows(("some",), taken).run(twin)
    assert changed >= len(products)
    verify(twin, "decomposed")
    assert all(len(node.output.shape) == 2 for node in twin.nodes if node.op == "qmatmul")
    names = {node.name for node in twin.nodes if node.op != "Reshape"}
    assert names == {node.name for node in graph.nodes}
    assert [(value.name, value.type) for value in twin.outputs] == [(v.name, v.type) for v in graph.outputs]
    inputs = random_inputs(graph, seed)
    for before, after in zip(evaluate(graph, inputs), evaluate(twin, inputs)):
        assert before.tobytes() == after.tobytes()
    assert FlattenRows(("some",), taken).run(twin) == 0


def fixed(*kinds: str) -> Graph:
    """A chain of ops of these kinds on [1, 6, 8]; "sum" adds the input."""
    graph = Graph("g")
    rng = np.random.default_rng(1)
    x = graph.add_input("x", TensorType("int8", (1, 6, 8)), Quantization(0.1, 3))
    value = x
    for index, kind in enumerate(kinds):
        inputs: list[Value | None] = [value]
        attributes: dict[str, int] = {}
        op = {"table": "lookup", "sum": "qadd", "product": "qmatmul"}[kind]
        if kind == "product":
            inputs.append(graph.add_constant(f"w{index}", rng.integers(-127, 128, (8, 8)).astype(np.int8)))
            for title, number in (("b", 0), ("m", 1 << 16), ("s", 24)):
                inputs.append(graph.add_constant(f"{title}{index}", np.full(8, number, np.int32)))
            attributes = {"input_zero_point": 3, "output_zero_point": 3}
        elif kind == "table":
            inputs.append(graph.add_constant(f"t{index}", rng.integers(-128, 128, 256).astype(np.int8)))
        else:
            inputs.append(x)
            attributes = {"a_zero_point": 3, "b_zero_point": 3, "output_zero_point": 3}
            attributes |= {"a_multiplier": 1 << 10, "b_multiplier": 1 << 10, "shift": 11}
        node = graph.add_node(op, inputs, [x.type], attributes, name=f"n{index}")
        node.output.quantization = Quantization(0.1, 3)
        value = node.output
    graph.outputs = [value]
    return graph


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (("product",), ["Reshape", "qmatmul", "Reshape"]),
        (("product", "table", "product"), ["Reshape", "qmatmul", "lookup", "qmatmul", "Reshape"]),
        (("table", "product"), ["Reshape", "lookup", "qmatmul", "Reshape"]),
        (("product", "sum"), ["Reshape", "qmatmul", "qadd", "Reshape"]),
        (("table", "sum"), ["lookup", "qadd"]),
    ],
    ids=lambda item: "-".join(item),
)
def test_a_chain_stays_on_rows(kinds: tuple[str, ...], expected: list[str]) -> None:
    graph = fixed(*kinds)
    FlattenRows(("some",), taken).run(graph)
    assert [node.op for node in graph.nodes] == expected


def test_who_takes_products_as_they_are_keeps_them() -> None:
    graph = fixed("product", "table")
    assert FlattenRows(("some",), lambda node: YES).run(graph) == 0
    assert FlattenRows(("some",), lambda node: no("op", "nothing", "none")).run(graph) == 0
    assert [node.op for node in graph.nodes] == ["qmatmul", "lookup"]


def test_the_overlay_wants_rows() -> None:
    graph = fixed("product", "table", "product", "sum")
    step = advised(FlattenRows(("pynq-z2",)), [pynq_z2()])
    assert step.run(graph) == 4 and str(step) == "flatten-rows{targets=('pynq-z2',)}"


def test_somebody_must_answer() -> None:
    with pytest.raises(CompileError, match="nobody is here to say what these targets take"):
        FlattenRows(("pynq-z2",)).run(fixed("product"))
