"""Normalizations that exporters write out in small ops, said as LayerNormalization, RMSNormalization or Instance-."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from intarsia.dtypes import Array, numpy_dtype
from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.types import TensorType
from intarsia.passes.base import CHANGED, Answer, Refused, Rewrite, Rewriter, refuse
from intarsia.passes.clips import bounds_of
from intarsia.passes.fuse.polynomials import affine
from intarsia.passes.fuse.reductions import mean, sum_of_squares
from intarsia.passes.matching import (
    constant,
    constant_operand,
    is_floating,
    permutation,
    plain_producer,
    plus_constant,
    scalar,
)

_OPSETS = {"LayerNormalization": 17, "RMSNormalization": 23, "InstanceNormalization": 6}


@dataclass(frozen=True)
class CanonicalizeNorm(Rewrite):
    """Say `(x - mean(x)) / sqrt(variance(x) + e)`, in all its spellings, as the normalization that it is.

    Means are ReduceMean, or ReduceSum times or over a number; the variance is that of `x - mean(x)`, or the mean of the
    squares less the square of the mean; the root divides, or its reciprocal or a power of -0.5 multiplies, alone or
    with a constant scale in it. TensorFlow's form, `x * k + (shift - mean(x) * k)`, is known too. Where other axes than
    the last ones are normalized, as those of channels in front of spatial ones, they are turned to the end and back.
    """

    name: ClassVar[str] = "canonicalize-norm"
    tolerance: ClassVar[float] = 1e-3
    ops: ClassVar[tuple[str, ...]] = ("Mul", "Div", "Add")

    def rewrite(self, node: Node, rewriter: Rewriter) -> Answer:
        if not is_floating(node.output) or "activation" in node.attributes or not node.output.type.is_static:
            return None
        found = _with_shift(node) if node.op == "Add" else _normalized(node)
        if found is None:
            return None
        if found.x.type != node.output.type:
            return refuse(f"it normalizes {found.x.type} and gives {node.output.type}")
        if not found.axes_are_last():
            return _turned(found, node, rewriter)
        op = found.op()
        inputs = found.inputs(op, node.output.name, rewriter.graph)
        if isinstance(inputs, Refused):
            return inputs
        node.op, node.opset, node.attributes = op, _OPSETS[op], {"epsilon": found.epsilon}
        if op != "InstanceNormalization":
            node.attributes["axis"] = found.axes[0] - found.x.type.rank
        rewriter.set_inputs(node, inputs)
        return CHANGED


def _turned(found: _Norm, node: Node, rewriter: Rewriter) -> Answer:
    """A normalization of axes that are not the last ones, between Transposes."""
    graph, x, wish = rewriter.graph, found.x, node.output.name
    rank, axes = x.type.rank, found.axes
    perm = (*(axis for axis in range(rank) if axis not in axes), *axes)
    types = TensorType(x.dtype, tuple(x.shape[axis] for axis in perm))
    op = "LayerNormalization" if found.centred else "RMSNormalization"
    last = tuple(range(rank - len(axes), rank))
    parts = [None if data is None else _in_order(data, rank, perm) for data in (found.scale, found.shift)]
    turned = graph.add_node(
        "Transpose", [x], [types], {"perm": perm}, name=f"{wish}_turned", output_names=[f"{wish}_turned"], opset=13
    )
    moved = replace(found, x=turned.output, axes=last, scale=parts[0], shift=parts[1])
    inputs = moved.inputs(op, wish, graph)
    if isinstance(inputs, Refused):
        graph.erase(turned)
        return inputs
    attributes = {"epsilon": found.epsilon, "axis": -len(axes)}
    name = f"{wish}_normalized"
    made = graph.add_node(op, inputs, [types], attributes, name=name, output_names=[name], opset=_OPSETS[op])
    node.op, node.opset, node.attributes = "Transpose", 13, {"perm": tuple(int(axis) for axis in np.argsort(perm))}
    rewriter.set_inputs(node, [made.output])
    return CHANGED


def _in_order(data: Array, rank: int, perm: tuple[int, ...]) -> Array:
    """A constant that broadcasts against a value, for the value transposed."""
    return data.reshape((1,) * (rank - data.ndim) + data.shape).transpose(perm)


@dataclass(frozen=True)
class FuseNormParameters(Rewrite):
    """`Add(Mul(LayerNormalization(x, a), b), c)` -> `LayerNormalization(x, a * b, c)`, and its kin alike."""

    name: ClassVar[str] = "fuse-norm-parameters"
    tolerance: ClassVar[float] = 1e-5
    ops: ClassVar[tuple[str, ...]] = ("Mul", "Add")

    def rewrite(self, node: Node, rewriter: Rewriter) -> Answer:
        pair = constant_operand(node) if "activation" not in node.attributes else None
        if pair is None or pair[0].type != node.output.type or not pair[0].type.is_static:
            return None
        (made, data), norm = pair, plain_producer(pair[0])
        if norm is not None and norm.op == "Transpose" and data.ndim <= made.type.rank:
            if made.only_user is not node or rewriter.graph.is_output(made):
                return None
            order = tuple(int(axis) for axis in np.argsort(permutation(norm)))
            data, norm = _in_order(data, len(order), order), plain_producer(norm.input(0))
        if norm is None or norm.op not in _OPSETS:
            return None
        x, scale, bias = norm.input(0), norm.input(1).data, norm.optional_input(2)
        shift = None if bias is None else bias.data
        if scale is None or (bias is not None and shift is None) or not x.type.is_static:
            return None
        if len([value for value in norm.outputs if value is not None]) > 1 or norm.output.user_count != 1:
            return None
        if (
            rewriter.graph.is_output(norm.output)
            or made.only_user is not node
            or (node.op == "Add" and norm.op == "RMSNormalization")
        ):
            return None
        axis = int(norm.attributes.get("axis", -1)) % x.type.rank
        fitting = _fit(data, norm.op, x, axis)
        bare = norm.op == "LayerNormalization" and axis == 2 and shift is None and bool((scale == 1.0).all())
        if fitting is None and bare and _fit(data, "InstanceNormalization", x, axis) is not None:
            return _as_instance_norm(norm, rewriter.graph)
        if fitting is None:
            return refuse(f"its constant {list(pair[1].shape)} is no parameter of {norm.where}")
        dtype = scale.dtype
        if node.op == "Mul":
            scale = scale * fitting
            shift = None if shift is None else shift * fitting
        else:
            shift = np.zeros_like(scale) + fitting if shift is None else shift + fitting
        wish = norm.output.name
        inputs: list[Value | None] = [x, constant(rewriter.graph, f"{wish}_scale", scale.astype(dtype))]
        if shift is not None:
            inputs.append(constant(rewriter.graph, f"{wish}_shift", shift.astype(dtype)))
        norm.set_inputs(inputs)
        rewriter.supersede(node.output, made)
        return CHANGED


def _as_instance_norm(norm: Node, graph: Graph) -> Answer:
    """A LayerNormalization over all spatial axes that has no parameters; those behind it are of channels."""
    x, wish = norm.input(0), norm.output.name
    parts = {name: np.full(x.shape[1], number, numpy_dtype(x.dtype)) for name, number in (("scale", 1), ("shift", 0))}
    norm.op, norm.opset = "InstanceNormalization", _OPSETS["InstanceNormalization"]
    norm.attributes = {"epsilon": norm.attributes.get("epsilon", 1e-5)}
    norm.set_inputs([x, *(constant(graph, f"{wish}_{name}", data) for name, data in parts.items())])
    return CHANGED


def _fit(data: Array, op: str, x: Value, axis: int) -> Array | None:
    """A constant as a parameter of a normalization: one number for each normalized place, or for each channel.

    axis     the first that is normalized
    returns  [*x.shape[axis:]], or [C] for InstanceNormalization; None where it does not broadcast to that
    """
    rank = x.type.rank
    if data.ndim > rank:
        return None
    full = data.reshape((1,) * (rank - data.ndim) + data.shape)
    if op == "InstanceNormalization":
        others = [size for index, size in enumerate(full.shape) if index != 1]
        return np.broadcast_to(full.reshape(-1), (x.shape[1],)) if math.prod(others) == 1 else None
    if math.prod(full.shape[:axis]) != 1:
        return None
    return np.broadcast_to(full.reshape(full.shape[axis:]), x.shape[axis:])


@dataclass(frozen=True)
class _Norm:
    """What is normalized.

    axes          sorted
    centred       the mean is taken off
    scale, shift  constants that multiply and are added; None where there are none
    """

    x: Value
    axes: tuple[int, ...]
    epsilon: float
    centred: bool
    scale: Array | None = None
    shift: Array | None = None

    def axes_are_last(self) -> bool:
        """Whether nothing stands behind the axes that are normalized."""
        return self.axes == tuple(range(self.axes[0], self.x.type.rank))

    def op(self) -> str:
        """The op that does it."""
        if not self.centred:
            return "RMSNormalization"
        return "InstanceNormalization" if self.axes[0] == 2 and self.x.type.rank >= 4 else "LayerNormalization"

    def inputs(self, op: str, wish: str, graph: Graph) -> list[Value | None] | Refused:
        """x, scale and, where it is wanted, shift."""
        parts: dict[str, Array | None] = {"scale": self.scale, "shift": self.shift}
        if parts["scale"] is None:
            parts["scale"] = np.ones((), np.float64)
        if parts["shift"] is None and op == "InstanceNormalization":
            parts["shift"] = np.zeros((), np.float64)
        values: list[Value | None] = [self.x]
        for part, data in parts.items():
            if data is None:
                continue
            fitting = _fit(data, op, self.x, self.axes[0])
            if fitting is None or (part == "shift" and op == "RMSNormalization"):
                return refuse(f"its constant {list(data.shape)} is no {part} of {op}")
            values.append(constant(graph, f"{wish}_{part}", fitting.astype(numpy_dtype(self.x.dtype))))
        return values


# ---- the spellings


def _square(value: Value) -> Value | None:
    """x of x * x or x ** 2."""
    node = plain_producer(value)
    if node is None:
        return None
    if node.op == "Mul" and node.input(0) is node.input(1):
        return node.input(0)
    return node.input(0) if node.op == "Pow" and scalar(node.input(1)) == 2.0 else None


def _mean_square(value: Value) -> tuple[Value, tuple[int, ...]] | None:
    """x and the axes of the mean of its squares."""
    found = mean(value)
    if found is None:
        return sum_of_squares(value)
    x = _square(found[0])
    return None if x is None else (x, found[1])


def _centred(value: Value) -> tuple[Value, tuple[int, ...]] | None:
    """x and the axes of x - mean(x)."""
    node = plain_producer(value)
    if node is None or node.op not in ("Add", "Sub"):
        return None
    if node.op == "Sub":
        found = mean(node.input(1))
        return found if found is not None and found[0] is node.input(0) else None
    for x, other in (node.inputs, node.inputs[::-1]):
        if other is not None:
            inner, slope, height, _ = affine(other)
            found = mean(inner) if (slope, height) == (-1.0, 0.0) else None
            if found is not None and found[0] is x:
                return found
    return None


def _variance(value: Value) -> tuple[Value, tuple[int, ...]] | None:
    """x and the axes of its variance: the mean of (x - mean(x))**2, or of x**2 less mean(x)**2, at least 0 or not."""
    node = plain_producer(value)
    bounded = None if node is None else bounds_of(node)
    if bounded is not None and bounded[1] == (0.0, math.inf):
        value = bounded[0]
        node = plain_producer(value)
    squares = _mean_square(value)
    if squares is not None:
        inner = _centred(squares[0])
        return inner if inner is not None and inner[1] == squares[1] else None
    if node is None or node.op != "Sub":
        return None
    squares, root = _mean_square(node.input(0)), _square(node.input(1))
    means = None if root is None else mean(root)
    return squares if squares is not None and squares == means else None


def _root(value: Value) -> Value | None:
    """v of sqrt(v)."""
    node = plain_producer(value)
    if node is None:
        return None
    if node.op == "Sqrt":
        return node.input(0)
    return node.input(0) if node.op == "Pow" and scalar(node.input(1)) == 0.5 else None


def _inverse_root(value: Value) -> Value | None:
    """v of 1 / sqrt(v)."""
    node = plain_producer(value)
    if node is None:
        return None
    if node.op == "Reciprocal":
        return _root(node.input(0))
    if node.op == "Div":
        return _root(node.input(1)) if scalar(node.input(0)) == 1.0 else None
    if node.op == "Sqrt":
        inner = plain_producer(node.input(0))
        return inner.input(0) if inner is not None and inner.op == "Reciprocal" else None
    return node.input(0) if node.op == "Pow" and scalar(node.input(1)) == -0.5 else None


def _gate(value: Value) -> tuple[Value, Array | None] | None:
    """v and the constant g of 1 / sqrt(v), or of g / sqrt(v) as a product."""
    inner = _inverse_root(value)
    if inner is not None:
        return inner, None
    node = plain_producer(value)
    if node is not None and node.op == "Div" and node.input(0).data is not None:
        inner = _root(node.input(1))
        return None if inner is None else (inner, node.input(0).data)
    pair = constant_operand(node) if node is not None and node.op == "Mul" else None
    inner = None if pair is None else _inverse_root(pair[0])
    return None if pair is None or inner is None else (inner, pair[1])


def _normalized(node: Node) -> _Norm | None:
    """(x - mean(x)) or x, over the root of a variance or of a mean of squares."""
    if node.op == "Div":
        inner = _root(node.input(1))
        return None if inner is None else _over(node.input(0), inner, None)
    for value, other in (node.inputs, node.inputs[::-1]):
        gate = None if other is None else _gate(other)
        if gate is not None and value is not None:
            return _over(value, *gate)
    return None


def _over(value: Value, radicand: Value, scale: Array | None) -> _Norm | None:
    """The normalization of a value over the root of `variance + epsilon`."""
    plus = plus_constant(radicand)
    if plus is None or plus[1] < 0.0:
        return None
    product = plain_producer(value)
    pair = constant_operand(product) if product is not None and product.op == "Mul" else None
    if pair is not None and scale is None and pair[0].type == value.type:
        inner = _over(pair[0], radicand, pair[1])
        if inner is not None:
            return inner
    centred = _centred(value)
    if centred is not None and centred == _variance(plus[0]):
        return _Norm(*centred, plus[1], True, scale)
    squares = _mean_square(plus[0])
    if squares is not None and squares[0] is value:
        return _Norm(*squares, plus[1], False, scale)
    return None


def _with_shift(node: Node) -> _Norm | None:
    """x * k + (shift - mean(x) * k), where k is g / sqrt(variance + epsilon)."""
    for product, rest in (node.inputs, node.inputs[::-1]):
        left = None if product is None else plain_producer(product)
        right = None if rest is None else plain_producer(rest)
        if left is None or right is None or left.op != "Mul" or right.op != "Sub" or right.input(0).data is None:
            continue
        moved = plain_producer(right.input(1))
        if moved is None or moved.op != "Mul":
            continue
        for x, k in (left.inputs, left.inputs[::-1]):
            gate = None if k is None else _gate(k)
            if x is None or gate is None or k not in moved.inputs:
                continue
            other = next((value for value in moved.inputs if value is not None and value is not k), None)
            found, plus = None if other is None else mean(other), plus_constant(gate[0])
            if found is not None and plus is not None and found[0] is x and found == _variance(plus[0]):
                return _Norm(*found, plus[1], True, gate[1], right.input(0).data)
    return None
