"""Kernels of every kind, as one graph, and functions of expressions, as kernels of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Graph, Value
from intarsia.ir.infer import infer_node
from intarsia.ir.types import TensorType
from intarsia_backends.lowering.access import Access
from intarsia_backends.lowering.expression_types import FUNCTIONS
from intarsia_backends.lowering.expressions import Apply, Input
from intarsia_backends.lowering.kernels import Nest, nest


def functions() -> Iterator[Nest]:
    """Each function of expressions, of each type, over a few elements."""
    for name, signature in FUNCTIONS.items():
        for dtype in signature.types or ("",):
            arguments = [dtype if each == "T" else each for each in signature.arguments]
            result = dtype if signature.result == "T" else signature.result
            body = Apply(name, tuple(Input(index) for index in range(len(arguments))))
            yield nest((5,), [Access(each, (1,)) for each in arguments], Access(result, (1,)), body)


class Kinds:
    """Ops side by side in one graph, so that it has kernels of every kind, with inputs for a run."""

    def __init__(self) -> None:
        self.graph = Graph("kinds")
        self.random = np.random.default_rng(0)
        self.inputs: dict[str, Array] = {}

    def numbers(self, *shape: int) -> Array:
        return self.random.standard_normal(shape).astype(np.float32)

    def add(
        self, op: str, *arguments: Any, constants: Sequence[int] = (), outputs: int = 1, **attributes: Any
    ) -> Value:
        """A node of arrays, which are inputs save those whose index is in `constants`."""
        values: list[Value | None] = []
        for index, data in enumerate(arguments):
            if data is None or isinstance(data, Value):
                values.append(data)
            elif index in constants:
                values.append(self.graph.add_constant(self.graph.fresh_name("c"), data))
            else:
                name = f"x{len(self.inputs)}"
                self.inputs[name] = data
                values.append(self.graph.add_input(name, TensorType(str(data.dtype), data.shape)))
        unknown = [TensorType("float32", None)] * outputs
        node = self.graph.add_node(op, values, unknown, attributes, opset=18 if op[0].isupper() else 0)
        types = infer_node(node)
        assert types is not None
        for value, type in zip(node.outputs, types):
            assert value is not None
            value.type = type
            self.graph.outputs.append(value)
        return node.output


def window(kernel: Sequence[int], pads: int = 0, stride: int = 1, group: int = 1) -> Mapping[str, Any]:
    """Attributes of a convolution over two axes."""
    return {
        "kernel_shape": tuple(kernel),
        "strides": (stride,) * 2,
        "pads": (pads,) * 4,
        "dilations": (1, 1),
        "group": group,
    }


def attention(
    kinds: Kinds,
    batch: Sequence[int] = (2, 3),
    rows: int = 37,
    keys: int = 45,
    depth: int = 20,
    columns: int = 24,
    mask: Sequence[int] | None = None,
    x: Value | None = None,
) -> Value:
    """softmax(q k / 3 + mask) v of as many heads as the last of `batch` says, which lie side by side in rows.

    x  what q, k and v are, [batch.., rows, heads, depth]; three inputs where it is None
    """
    before = list(kinds.graph.outputs)
    *outer, heads = batch
    turn = (*range(len(outer)), len(outer) + 1, len(outer), len(outer) + 2)
    sizes = (rows, depth), (keys, depth), (keys, columns)
    q, k, v = (
        kinds.add("Transpose", x or kinds.numbers(*outer, count, heads, size), perm=order)
        for (count, size), order in zip(sizes, (turn, (*turn[:-2], turn[-1], turn[-2]), turn))
    )
    scores = kinds.add("Div", kinds.add("MatMul", q, k), np.array(3, np.float32), constants=(1,))
    if mask is not None:
        hidden = kinds.random.random(mask) < 0.3
        hidden[..., 0] = False
        scores = kinds.add("Add", scores, np.where(hidden, -np.inf, 0).astype(np.float32))
    weighted = kinds.add("MatMul", kinds.add("Softmax", scores, axis=-1), v)
    result = kinds.add("Transpose", weighted, perm=turn)
    kinds.graph.outputs = [*before, result]
    return result


def every_kind() -> Kinds:
    """Kernels of every kind that shared lowering makes, and each form that a GPU has for them."""
    kinds = Kinds()
    f = kinds.numbers
    lengths = np.array([3, 2], np.int32)
    # Products and convolutions in tiles, with edges in all directions; a long one of few rows; depthwise.
    kinds.add("Relu", kinds.add("MatMul", f(2, 37, 21), f(21, 69), constants=(1,)))
    kinds.add("MatMul", f(2, 9, 40), f(2, 40, 18))
    kinds.add("MatMul", f(1, 150), f(150, 35), constants=(1,))
    kinds.add("Conv", f(2, 5, 9, 10), f(11, 5, 3, 3), f(11), constants=(1, 2), **window((3, 3), 1))
    kinds.add("Conv", f(1, 8, 9, 9), f(16, 4, 3, 3), None, constants=(1,), **window((3, 3), 1, 2, 2))
    kinds.add("Conv", f(1, 12, 7, 7), f(12, 1, 3, 3), None, constants=(1,), **window((3, 3), 1, 1, 12))
    # Long reductions, along and across.
    for axis in (0, 1):
        kinds.add("ReduceMean", f(70, 90), np.array([axis]), constants=(1,), keepdims=0)
        kinds.add("ReduceMax", f(70, 90), np.array([axis]), constants=(1,), keepdims=0)
        kinds.add("Softmax", f(70, 90), axis=axis)
    kinds.add("LogSoftmax", f(5, 140), axis=-1)
    attention(kinds)
    attention(kinds, rows=3, keys=70, columns=40, mask=(2, 1, 1, 70))
    for length in (20, 100, 300):
        ends = f(length), f(length)
        kinds.add("LayerNormalization", f(9, length), *ends, constants=(1, 2), axis=-1, epsilon=1e-5)
    kinds.add("InstanceNormalization", f(2, 3, 100), f(3), f(3), constants=(1, 2), epsilon=1e-5)
    kinds.add("MaxPool", f(1, 3, 9, 9), kernel_shape=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1))
    # Indices, order, places.
    kinds.add("ArgMax", f(5, 30), axis=1, keepdims=0)
    kinds.add("TopK", f(5, 30), np.array([4]), constants=(1,), outputs=2, axis=1)
    kinds.add("CumSum", f(5, 30), np.array(1), constants=(1,))
    kinds.add("Gather", f(7, 6), np.array([0, 6, 3]), axis=0)
    weights = np.rint(np.exp(-0.1 * np.arange(256)) * (1 << 20)).astype(np.int32)
    for length in (20, 200):
        rows = kinds.random.integers(-128, 128, (6, length)).astype(np.int8)
        kinds.add("qsoftmax", rows, weights, constants=(1,), axis=-1)
    places = np.array([[0], [6], [3]])
    kinds.add("ScatterND", f(7, 6), places, f(3, 6), constants=(1,))
    kinds.add("Transpose", f(3, 4, 5), perm=(2, 0, 1))
    kinds.add(
        "LSTM", f(3, 2, 4), f(1, 20, 4), f(1, 20, 5), f(1, 40), lengths, outputs=3, constants=(1, 2, 3), hidden_size=5
    )
    weights_at_run_time = f(3, 2, 4), f(1, 15, 4), f(1, 15, 5), f(1, 30), lengths
    kinds.add("GRU", *weights_at_run_time, outputs=2, hidden_size=5, linear_before_reset=1)
    return kinds


def chain() -> Kinds:
    """Kernels that read what others wrote, of every kind whose floats may lie in memory as float16."""
    kinds = Kinds()
    f = kinds.numbers
    x = kinds.add("MatMul", f(3, 40, 24), f(24, 96), constants=(1,))
    x = kinds.add("LayerNormalization", x, f(96), f(96), constants=(1, 2), axis=-1, epsilon=1e-5)
    heads = kinds.add("Reshape", x, np.array([3, 40, 4, 24]), constants=(1,))
    heads = attention(kinds, (3, 4), 40, 40, 24, 24, mask=(40, 40), x=heads)
    x = kinds.add("Add", x, kinds.add("Reshape", heads, np.array([3, 40, 96]), constants=(1,)))
    y = kinds.add("MatMul", x, f(96, 80), constants=(1,))
    y = kinds.add("Softmax", kinds.add("Transpose", y, perm=(0, 2, 1)), axis=-1)
    x = kinds.add("MatMul", y, x)
    images = kinds.add("Reshape", x, np.array([3, 5, 16, 96]), constants=(1,))
    images = kinds.add("Conv", images, f(7, 5, 3, 3), f(7), constants=(1, 2), **window((3, 3), 1))
    images = kinds.add("MaxPool", images, kernel_shape=(2, 2), strides=(2, 2))
    kinds.graph.outputs = [kinds.add("ReduceMean", images, np.array([2]), constants=(1,), keepdims=0)]
    return kinds
