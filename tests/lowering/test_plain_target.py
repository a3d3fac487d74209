"""Regions as plain loop nests, by the shared lowering alone, against `evaluate`: bytes where numbers are integers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_target import SERIAL, PlainRegion, lower_plain, supports
from tvm.script.ir_builder import tirx as T

from generated_graphs import ONE_INPUT, TWO_INPUTS, examples, graphs, layers, random_inputs
from intarsia.dtypes import Array
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph, Value
from intarsia.ir.infer import infer_node
from intarsia.ir.types import TensorType
from intarsia_backends.lowering.kernel import Kernel
from intarsia_backends.tir.emitters import EMITTERS
from intarsia_backends.tir.schedule import Schedule


def check(graph: Graph, inputs: dict[str, Array], schedule: Schedule = SERIAL) -> None:
    """Integers byte for byte, floats within rounding."""
    for node in graph.nodes:
        assert supports(node).ok, f"{node.where}: {supports(node)}"
    expected = evaluate(graph, inputs)
    actual = PlainRegion(graph, schedule).run([inputs[value.name] for value in graph.inputs])
    for value, wanted, found in zip(graph.outputs, expected, actual):
        assert found.dtype == wanted.dtype and found.shape == wanted.shape, value
        if wanted.dtype.kind == "f":
            size = float(np.abs(wanted[np.isfinite(wanted)]).max(initial=1e-3))
            assert np.allclose(found, wanted, rtol=0, atol=2e-5 * size, equal_nan=True), value
        else:
            assert np.array_equal(found, wanted), value


# ---- integers: generated layers and graphs


@given(layers(limit_elements=3000, ops=(*sorted({*ONE_INPUT}), *TWO_INPUTS)))
@settings(max_examples=examples(40))
def test_integer_layers_have_the_bytes_of_evaluate(graph: Graph) -> None:
    check(graph, random_inputs(graph, 0))


@given(graphs(limit_elements=3000, longest=4))
@settings(max_examples=examples(10))
def test_integer_graphs_have_the_bytes_of_evaluate(graph: Graph) -> None:
    check(graph, random_inputs(graph, 1))


# ---- float32: a few layers side by side in one graph


class Layers:
    """Layers of which each has inputs of its own, in random shapes."""

    def __init__(self, draw: Callable[[Any], Any]) -> None:
        self.draw, self.graph = draw, Graph("layers")
        self.random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        self.inputs: dict[str, Array] = {}

    def size(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))

    def input(self, *shape: int) -> Value:
        name = f"x{len(self.inputs)}"
        self.inputs[name] = self.random.standard_normal(shape).astype(np.float32)
        return self.graph.add_input(name, TensorType("float32", shape))

    def constant(self, data: Any) -> Value:
        array = np.asarray(data)
        return self.graph.add_constant(self.graph.fresh_name("c"), array)

    def numbers(self, *shape: int) -> Value:
        return self.constant(self.random.standard_normal(shape).astype(np.float32))

    def add(self, op: str, *inputs: Value | None, **attributes: Any) -> Value:
        node = self.graph.add_node(op, inputs, [TensorType("float32", None)], attributes, opset=18)
        types = infer_node(node)
        assert types is not None
        node.output.type = types[0]
        self.graph.outputs.append(node.output)
        return node.output

    def elementwise(self) -> None:
        shape = [self.size(1, 5) for _ in range(self.size(1, 4))]
        x, other = self.input(*shape), [1 if self.draw(st.booleans()) else size for size in shape]
        y = self.add(self.draw(st.sampled_from(("Add", "Sub", "Mul", "Max"))), x, self.input(*other))
        self.add(self.draw(st.sampled_from(("Relu", "Sigmoid", "Tanh", "Gelu", "HardSwish", "Sqrt"))), y)

    def reduction(self) -> None:
        shape = [self.size(1, 9) for _ in range(self.size(1, 4))]
        axes = self.constant(np.array([self.size(0, len(shape) - 1)], np.int64))
        op = self.draw(st.sampled_from(("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2")))
        self.add(op, self.input(*shape), axes, keepdims=self.size(0, 1))
        self.add("Softmax", self.input(*shape), axis=self.size(0, len(shape) - 1))

    def matmul(self) -> None:
        rows, depth, columns, batch = (self.size(1, 9) for _ in range(4))
        self.add("MatMul", self.input(batch, rows, depth), self.numbers(depth, columns))
        left, right = self.input(batch, rows, depth), self.input(1, depth, columns)
        self.add("Transpose", self.add("Relu", self.add("MatMul", left, right)), perm=(1, 0, 2))
        turned = self.size(0, 1)
        shape = (columns, depth) if turned else (depth, columns)
        self.add("Gemm", self.input(rows, depth), self.numbers(*shape), self.numbers(columns), transB=turned, alpha=0.5)

    def window(self, axes: int) -> dict[str, Any]:
        kernel = [self.size(1, 3) for _ in range(axes)]
        pads = tuple(self.size(0, extent - 1) for extent in (*kernel, *kernel))
        return {"kernel_shape": tuple(kernel), "strides": tuple(self.size(1, 2) for _ in kernel), "pads": pads}

    def pooling(self) -> None:
        axes = self.size(1, 2)
        shape = (self.size(1, 2), self.size(1, 5), *(self.size(3, 8) for _ in range(axes)))
        self.add("MaxPool", self.input(*shape), **self.window(axes))
        self.add("AveragePool", self.input(*shape), **self.window(axes), count_include_pad=self.size(0, 1))
        self.add("GlobalAveragePool", self.input(*shape))

    def convolution(self) -> None:
        axes, groups = self.size(1, 3), self.size(1, 3)
        channels, outputs = self.size(1, 4), self.size(1, 4)
        x = self.input(self.size(1, 2), groups * channels, *(self.size(4, 7) for _ in range(axes)))
        window = {**self.window(axes), "group": groups, "dilations": (1,) * axes}
        taps = window["kernel_shape"]
        bias = self.numbers(groups * outputs) if self.draw(st.booleans()) else None
        y = self.add("Conv", x, self.numbers(groups * outputs, channels, *taps), bias, **window)
        self.add("Relu", y)
        self.add("Conv", x, self.input(groups * outputs, channels, *taps), **window)
        self.add("ConvTranspose", x, self.numbers(groups * channels, outputs, *taps), **window)


KINDS = ("elementwise", "reduction", "matmul", "pooling", "convolution")


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=examples(8))
def test_float_layers_are_as_evaluate_says(kind: str, data: st.DataObject) -> None:
    made = Layers(data.draw)
    getattr(made, kind)()
    check(made.graph, made.inputs)


@given(data=st.data())
@settings(max_examples=examples(5))
def test_outer_loops_are_opened_as_a_target_says(data: st.DataObject) -> None:
    shared = []

    def share(steps: int) -> Any:
        shared.append(steps)
        return T.parallel(0, steps)

    made = Layers(data.draw)
    for kind in KINDS:
        getattr(made, kind)()
    check(made.graph, made.inputs, Schedule(share=share, share_work=0, share_steps=4))
    assert shared


@contextmanager
def grid(steps: int) -> Iterator[Any]:
    """A loop over blocks of 64 threads, as a GPU has it."""
    blocks = -(-steps // 64)
    with ExitStack() as stack:
        block = stack.enter_context(T.thread_binding(0, blocks, "blockIdx.x"))
        step = block * 64 + stack.enter_context(T.thread_binding(0, 64, "threadIdx.x"))
        stack.enter_context(T.If(step < steps))
        stack.enter_context(T.Then())
        yield step


def test_a_grid_takes_all_outer_loops() -> None:
    graph = Graph("sum")
    x = graph.add_input("x", TensorType("float32", (2, 4, 9, 9)))
    attributes = {"kernel_shape": (2, 2), "strides": (2, 1), "pads": (0,) * 4}
    graph.outputs = [graph.add_node("MaxPool", [x], [TensorType("float32", (2, 4, 4, 8))], attributes, opset=18).output]
    (call,) = lower_plain(graph).calls
    assert isinstance(call.kernel, Kernel)
    text = str(EMITTERS[type(call.kernel)](call.kernel, Schedule(share=grid, share_steps=1 << 31)))
    assert 'T.thread_binding(4, thread="blockIdx.x")' in text  # 256 elements
    assert "< 256" in text and "T.grid" not in text


# ---- what it stands on


def test_lowering_reads_no_environment() -> None:
    rooms = [Path(str(files("intarsia_backends"))) / room for room in ("lowering", "tir", "cpu/lower", "cpu/emit")]
    for file in (file for room in rooms for file in room.rglob("*.py")):
        assert "environ" not in file.read_text() and "getenv" not in file.read_text(), file


def test_nothing_of_a_backend_is_imported() -> None:
    code = """
import sys
sys.path.insert(0, sys.argv[1])
import plain_target
rooms = {name.split(".")[1] for name in sys.modules if name.startswith("intarsia_backends.")}
assert rooms == {"lowering", "tir"}, rooms
"""
    folder = str(Path(__file__).parent)
    ran = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_it_stays_small() -> None:
    assert len((Path(__file__).parent / "plain_target.py").read_text().splitlines()) < 150
