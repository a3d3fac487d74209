"""What evaluating a node takes, told before it is evaluated: by the sizes of its inputs, and of what its rule makes.

The count is not meant to be too low. It guards against models that nobody waits for, and tells nothing of their speed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from intarsia.dtypes import Array, dtype_name
from intarsia.errors import FOREIGN, CompileError
from intarsia.ir.budget import STEP, Budget
from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.op import Op
from intarsia.ir.ops import op_of
from intarsia.ir.ops.normalization import lrn_window
from intarsia.ir.types import TensorType

_EACH = 16
"""Multiply-adds of a matrix product that take about as long as NumPy takes for one element of any other op."""

_BY_ONNX = 5000
"""The same, for an element that onnx.reference touches, some of whose ops are loops in Python."""

_BY_LOOPS = 500_000
"""The same, for an element of the ops that are such loops for every element that they make."""

_LOOPS = frozenset({"Col2Im", "DeformConv", "GridSample", "MaxRoiPool", "MaxUnpool", "MelWeightMatrix", "RoiAlign"})


def held_elements(graph: Graph) -> int:
    """Elements of all constants of a graph."""
    return sum(value.data.size for value in graph.constants() if value.data is not None)


def allow(graph: Graph, work: int, size_bytes: int, owner: str) -> Budget:
    """A budget for evaluating nodes of a graph; one that brings many constants has more than the limits say.

    work, size_bytes, owner  as in `Budget`
    """
    held = held_elements(graph)
    return Budget(max(work, 1024 * held), max(size_bytes, 64 * held), owner, work_of)


def work_of(node: Node, inputs: Sequence[Any]) -> tuple[int, int]:
    """Multiply-adds, or what takes as long, and bytes that evaluating a node on these inputs takes at most, or so.

    inputs  arrays; lists of arrays for sequences; None for what is left out
    """
    op = op_of(node)
    arrays = [array for item in inputs for array in (item if isinstance(item, list) else [item]) if array is not None]
    held = sum(array.size for array in arrays)
    held_bytes = sum(array.nbytes for array in arrays)
    probe = _probe(node, op, inputs)
    for value in node.outputs if probe is None else probe.outputs:
        if value is not None and value.type.is_static and "(" not in value.dtype:
            held += value.type.elements
            held_bytes += 8 * value.type.elements if value.dtype == "string" else value.type.size_bytes
    each = _each(node, op)
    work = each * held + (0 if each == _EACH else 3 * STEP)
    if probe is not None and op is not None:
        work += op.macs(probe) * (_EACH if _is_slow(node, arrays) else 1)
    extra = _EXTRA.get(node.op) if not node.domain else None
    more, size_bytes = 0, 0
    if extra is not None:
        with suppress(*FOREIGN):  # inputs that do not go together: evaluating it says what is wrong
            more, size_bytes = extra(node, arrays, probe)
    return work + more, 3 * held_bytes + size_bytes


def _each(node: Node, op: Op | None) -> int:
    """What an element takes, by who evaluates the node."""
    if op is None or op.needs_onnx(node):
        return _BY_LOOPS if node.op in _LOOPS else _BY_ONNX
    return _EACH


def _is_slow(node: Node, arrays: Sequence[Array]) -> bool:
    """Products that are none of large float matrices: of integers, for which NumPy has no fast code, or by channels."""
    return node.attributes.get("group", 1) > 1 or (node.op in ("MatMul", "Gemm") and arrays[0].dtype.kind in "iu")


def _probe(node: Node, op: Op | None, inputs: Sequence[Any]) -> Node | None:
    """A node like it that knows the sizes of inputs and outputs; None where no rule tells them."""
    if op is None or op.infer is None or any(isinstance(item, list) for item in inputs):
        return None
    values = [None if item is None else _value(item) for item in inputs]
    probe = Node(node.op, node.name, values, node.attributes, node.opset, node.domain)
    try:
        types = op.infer(probe, [None if value is None else value.type for value in values], list(inputs))
    except (CompileError, *FOREIGN):
        return None  # evaluating it says what is wrong
    if not types or not all(type.is_static for type in types):
        return None
    probe.outputs = [Value(node.name, type) for type in types]
    return probe


def _value(data: Array) -> Value:
    value = Value("", TensorType(dtype_name(data.dtype), tuple(data.shape)))
    value.data = data
    return value


# ---- ops that take more than their sizes and their multiply-adds tell

Extra = Callable[[Node, Sequence[Array], Node | None], tuple[int, int]]


def _window(node: Node, arrays: Sequence[Array], probe: Node | None) -> tuple[int, int]:
    """Every tap goes over the output; the padded input, and in convolutions columns for a row, are held."""
    x, rank, pools = arrays[0], arrays[0].ndim - 2, node.op in _POOLS
    kernel = node.attributes["kernel_shape"] if pools else arrays[1].shape[2:]
    pads = node.attributes.get("pads") or (0,) * (2 * rank)
    sizes = [size + pads[axis] + pads[rank + axis] for axis, size in enumerate(x.shape[2:])]
    padded = math.prod((*x.shape[:2], *(max(size, 0) for size in sizes)))
    made = probe.output.type.dims if probe is not None else (*x.shape[:2], *sizes)
    taps, elements = math.prod(kernel), math.prod(made)
    columns = 0 if pools else x.shape[1] * taps * math.prod(made[3:])
    work = _EACH * padded + (_each(node, op_of(node)) * taps * elements if pools else 0) + taps * STEP // 30
    return work, (padded + columns) * 8 + 2 * elements * 8


def _recurrent(node: Node, arrays: Sequence[Array], probe: Node | None) -> tuple[int, int]:
    """Every step of every sequence multiplies by both matrices."""
    steps = math.prod(arrays[0].shape[:2])
    return steps * (arrays[1].size + arrays[2].size) + steps * STEP // 3, 0


def _einsum(node: Node, arrays: Sequence[Array], probe: Node | None) -> tuple[int, int]:
    """One product for every choice of all indices."""
    return _EACH * math.prod(_index_sizes(node, arrays)), 0


def _index_sizes(node: Node, arrays: Sequence[Array]) -> list[int]:
    equation = node.attributes.get("equation", "")
    equation = equation.decode() if isinstance(equation, bytes) else equation
    sizes: dict[str, int] = {}
    for term, array in zip(equation.split("->")[0].replace(" ", "").split(","), arrays):
        for label, size in zip(reversed(term), reversed(array.shape)):
            if label != ".":
                sizes[label] = max(sizes.get(label, 1), size)
        if "." in term:
            sizes[f"...{len(sizes)}"] = array.size
    return list(sizes.values())


def _pairs(node: Node, arrays: Sequence[Array], probe: Node | None) -> tuple[int, int]:
    """Every box that is picked with every other one, a dozen steps of NumPy each; the third input bounds the picks."""
    if len(arrays) < 2:
        return 0, 0
    boxes, classes = arrays[0].shape[1], math.prod(arrays[1].shape[:2])
    whole = len(arrays) > 2 and arrays[2].dtype.kind in "iu" and arrays[2].size == 1
    picks = min(max(int(arrays[2].reshape(-1)[0]), 0), boxes) if whole else boxes
    return _EACH * 12 * classes * (picks + 1) * boxes + classes * picks * STEP // 30, 0


def _attention(node: Node, arrays: Sequence[Array], probe: Node | None) -> tuple[int, int]:
    """Scores of every query with every key."""
    if len(arrays) < 2:
        return 0, 0
    rows, keys = arrays[0].shape[-2], arrays[1].shape[-2]
    scores = arrays[0].size * keys
    return 2 * scores, 8 * 4 * (rows * keys * max(math.prod(arrays[0].shape[:-2]), 1))


def _cube(node: Node, arrays: Sequence[Array], probe: Node | None) -> tuple[int, int]:
    """Elimination in a matrix."""
    return arrays[0].size * arrays[0].shape[-1], 0


def _neighbours(node: Node, arrays: Sequence[Array], probe: Node | None) -> tuple[int, int]:
    """Every element looks at as many channels as the window has."""
    before, after = lrn_window(int(node.attributes["size"]), arrays[0].shape[1])
    return _EACH * arrays[0].size * (before + 1 + after), 0


def _letters(node: Node, arrays: Sequence[Array], probe: Node | None) -> tuple[int, int]:
    """Strings as long as the longest of both inputs together, of 4 bytes a letter."""
    longest = sum(max((len(text) for text in array.reshape(-1)), default=0) for array in arrays)
    letters = longest * math.prod(np.broadcast_shapes(*(array.shape for array in arrays)))
    return _EACH * letters, 4 * letters


def _transform(node: Node, arrays: Sequence[Array], probe: Node | None) -> tuple[int, int]:
    """A transform as long as an input says."""
    length = max((int(item.reshape(-1)[0]) for item in arrays[1:2] if item.size and item.dtype.kind in "iu"), default=0)
    rows = arrays[0].size // max(min(arrays[0].shape, default=1), 1)
    return max(length, 0) * max(rows, 1) * 64, max(length, 0) * max(rows, 1) * 32


def _unbounded(node: Node, arrays: Sequence[Array], probe: Node | None) -> tuple[int, int]:
    """Patterns that go back take any time for a few letters."""
    return 1 << 62, 0


_POOLS = ("MaxPool", "AveragePool", "LpPool", "qaveragepool")
_WINDOWS = ("Conv", "ConvInteger", "ConvTranspose", "QLinearConv", "qconv", "DeformConv", *_POOLS)
_EXTRA: dict[str, Extra] = {
    **dict.fromkeys(_WINDOWS, _window),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent),
    "Attention": _attention,
    "DFT": _transform,
    "Det": _cube,
    "Einsum": _einsum,
    "LRN": _neighbours,
    "NonMaxSuppression": _pairs,
    "RegexFullMatch": _unbounded,
    "STFT": _transform,
    "StringConcat": _letters,
}
