"""StableHLO as text, op by op: tensors have names and types, lines are collected, large constants become arguments.

Only spelling stands here; what an op of ours means in these ops is said in `ops/`. The specification of StableHLO is
what the names and attributes follow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from intarsia.dtypes import Array, dtype_name

KINDS = {
    "float32": "f32",
    "bfloat16": "bf16",
    "int8": "i8",
    "int16": "i16",
    "int32": "i32",
    "int64": "i64",
    "uint8": "ui8",
    "uint16": "ui16",
    "uint32": "ui32",
    "uint64": "ui64",
    "bool": "i1",
}
"""How StableHLO calls our element types; float64 is not among them: a TPU would make float32 of it."""

INLINE_BYTES = 2048
"""Constants up to here stand in the text; larger ones are arguments, held beside it as bytes."""


def type_text(dtype: str, shape: Sequence[int]) -> str:
    """`tensor<1x3xf32>`."""
    return f"tensor<{''.join(f'{size}x' for size in shape)}{KINDS[dtype]}>"


@dataclass(frozen=True)
class Tensor:
    """A value of the text.

    name  with its per cent sign
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def rank(self) -> int:
        return len(self.shape)

    def __str__(self) -> str:
        return type_text(self.dtype, self.shape)


@dataclass
class Writer:
    """Lines of one function.

    lines    the body so far
    weights  arrays that the function takes behind the caller's inputs, in order, as `%w0`, `%w1`, ...
    """

    lines: list[str] = field(default_factory=list)
    weights: list[Array] = field(default_factory=list)
    _constants: dict[tuple[str, tuple[int, ...], bytes], Tensor] = field(default_factory=dict)

    def op(self, text: str, dtype: str, shape: Sequence[int], operands: Sequence[Tensor] | None = None) -> Tensor:
        """A line; its type is `(operands) -> result`, or the result's alone where they are None."""
        made = Tensor(f"%{len(self.lines)}", dtype, tuple(shape))
        signature = str(made) if operands is None else f"({', '.join(map(str, operands))}) -> {made}"
        self.lines.append(f"{made.name} = {text} : {signature}")
        return made

    # ---- constants

    def constant(self, data: Any, dtype: str | None = None) -> Tensor:
        """An array, bit by bit; equal ones are written once.

        dtype  its element type, where it is not the array's own
        """
        array = np.ascontiguousarray(np.asarray(data, dtype)).reshape(np.shape(data))
        kind = dtype_name(array.dtype)
        key = (kind, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self._constant(array, kind)
        return self._constants[key]

    def _constant(self, array: Array, kind: str) -> Tensor:
        if array.dtype == np.bool_:
            return self.convert(self.constant(array.astype(np.uint8)), "bool")
        if array.nbytes > INLINE_BYTES:
            self.weights.append(array)
            return Tensor(f"%w{len(self.weights) - 1}", kind, array.shape)
        return self.op(f'stablehlo.constant dense<"0x{array.tobytes().hex().upper()}">', kind, array.shape)

    def fill(self, number: Any, dtype: str, shape: Sequence[int]) -> Tensor:
        """One number everywhere."""
        return self.broadcast(self.constant(np.asarray(number).astype(dtype)), shape, ())

    def like(self, number: Any, other: Tensor) -> Tensor:
        """One number, in the type and shape of a tensor."""
        return self.fill(number, other.dtype, other.shape)

    def along(self, data: Any, dtype: str, shape: Sequence[int], axis: int) -> Tensor:
        """One number, or one for each step of an axis, over a shape."""
        array = np.asarray(data).astype(dtype)
        return self.broadcast(self.constant(array), shape, () if array.ndim == 0 else (axis,))

    # ---- elementwise

    def unary(self, op: str, x: Tensor) -> Tensor:
        return self.op(f"stablehlo.{op} {x.name}", x.dtype, x.shape)

    def binary(self, op: str, a: Tensor, b: Tensor) -> Tensor:
        assert (a.dtype, a.shape) == (b.dtype, b.shape), f"{op} of {a} and {b}"
        return self.op(f"stablehlo.{op} {a.name}, {b.name}", a.dtype, a.shape)

    def with_number(self, op: str, x: Tensor, number: Any) -> Tensor:
        """x op number."""
        return self.binary(op, x, self.like(number, x))

    def compare(self, how: str, a: Tensor, b: Tensor) -> Tensor:
        """how  EQ, NE, LT, LE, GT, GE"""
        kind = "FLOAT" if a.dtype in ("float32", "bfloat16") else "SIGNED" if a.dtype.startswith("int") else "UNSIGNED"
        return self.op(f"stablehlo.compare {how}, {a.name}, {b.name}, {kind}", "bool", a.shape, (a, b))

    def select(self, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
        text = f"stablehlo.select {condition.name}, {a.name}, {b.name}"
        made = Tensor(f"%{len(self.lines)}", a.dtype, a.shape)
        self.lines.append(f"{made.name} = {text} : {condition}, {made}")
        return made

    def clamp(self, x: Tensor, low: Any, high: Any) -> Tensor:
        """min(max(x, low), high) for two numbers."""
        low, high = self.constant(low, x.dtype), self.constant(high, x.dtype)
        return self.op(f"stablehlo.clamp {low.name}, {x.name}, {high.name}", x.dtype, x.shape, (low, x, high))

    def convert(self, x: Tensor, dtype: str) -> Tensor:
        return x if x.dtype == dtype else self.op(f"stablehlo.convert {x.name}", dtype, x.shape, (x,))

    def bitcast(self, x: Tensor, dtype: str) -> Tensor:
        """The same bits as numbers of another type."""
        return self.op(f"stablehlo.bitcast_convert {x.name}", dtype, x.shape, (x,))

    # ---- movement

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        return x if x.shape == tuple(shape) else self.op(f"stablehlo.reshape {x.name}", x.dtype, shape, (x,))

    def transpose(self, x: Tensor, order: Sequence[int]) -> Tensor:
        if tuple(order) == tuple(range(x.rank)):
            return x
        shape = [x.shape[axis] for axis in order]
        return self.op(f"stablehlo.transpose {x.name}, dims = {list(order)}", x.dtype, shape, (x,))

    def broadcast(self, x: Tensor, shape: Sequence[int], axes: Sequence[int]) -> Tensor:
        """axes  for each of x's, where it stands in the shape"""
        if x.shape == tuple(shape):
            return x
        return self.op(f"stablehlo.broadcast_in_dim {x.name}, dims = {list(axes)}", x.dtype, shape, (x,))

    def spread(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """Broadcast as NumPy does: axes are counted from the last."""
        return self.broadcast(x, shape, range(len(shape) - x.rank, len(shape)))

    def pad(
        self, x: Tensor, fill: Any, before: Sequence[int], after: Sequence[int], inside: Sequence[int] = ()
    ) -> Tensor:
        """Pad each axis, or cut it where a width is negative; `inside` steps between two elements of an axis."""
        between = list(inside) or [0] * x.rank
        if not any((*before, *after, *between)):
            return x
        number = self.constant(np.asarray(fill).astype(x.dtype))
        shape = [
            size + low + high + max(size - 1, 0) * gap for size, low, high, gap in zip(x.shape, before, after, between)
        ]
        widths = f"low = {list(before)}, high = {list(after)}, interior = {between}"
        return self.op(f"stablehlo.pad {x.name}, {number.name}, {widths}", x.dtype, shape, (x, number))

    def cut(self, x: Tensor, starts: Sequence[int], ends: Sequence[int], steps: Sequence[int] = ()) -> Tensor:
        """x[starts:ends:steps]; the steps are positive."""
        steps = list(steps) or [1] * x.rank
        shape = [len(range(*cut)) for cut in zip(starts, ends, steps)]
        cuts = ", ".join(f"{start}:{end}:{step}" for start, end, step in zip(starts, ends, steps))
        return self.op(f"stablehlo.slice {x.name} [{cuts}]", x.dtype, shape, (x,))

    def concatenate(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        if len(parts) == 1:
            return parts[0]
        shape = list(parts[0].shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        names = ", ".join(part.name for part in parts)
        return self.op(f"stablehlo.concatenate {names}, dim = {axis}", parts[0].dtype, shape, parts)

    def reverse(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        return self.op(f"stablehlo.reverse {x.name}, dims = {list(axes)}", x.dtype, x.shape)

    def iota(self, dtype: str, shape: Sequence[int], axis: int) -> Tensor:
        """0, 1, 2, ... along an axis."""
        return self.op(f"stablehlo.iota dim = {axis}", dtype, shape)

    def take(self, x: Tensor, indices: Tensor, axis: int) -> Tensor:
        """x at places of an axis, as NumPy's take; the places are in range."""
        rank = indices.rank
        sizes = [1 if other == axis else size for other, size in enumerate(x.shape)]
        offsets = [other if other < axis else other + rank - 1 for other in range(x.rank) if other != axis]
        shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
        numbers = (
            f"offset_dims = {offsets}, collapsed_slice_dims = [{axis}], start_index_map = [{axis}], "
            f"index_vector_dim = {rank}"
        )
        return self.op(
            f'"stablehlo.gather"({x.name}, {indices.name}) <{{dimension_numbers = #stablehlo.gather<{numbers}>, '
            f"slice_sizes = array<i64: {', '.join(map(str, sizes))}>, indices_are_sorted = false}}>",
            x.dtype,
            shape,
            (x, indices),
        )

    # ---- sums

    def reduce(self, op: str, x: Tensor, start: Any, axes: Sequence[int]) -> Tensor:
        """Reduce axes, which go, by add, multiply, maximum, minimum, and, or."""
        if not axes:
            return x
        shape = [size for axis, size in enumerate(x.shape) if axis not in axes]
        initial = self.constant(np.asarray(start).astype(x.dtype))
        text = (
            f"stablehlo.reduce({x.name} init: {initial.name}) applies stablehlo.{op} across dimensions = {sorted(axes)}"
        )
        return self.op(text, x.dtype, shape, (x, initial))

    def reduce_window(
        self,
        op: str,
        x: Tensor,
        start: Any,
        window: Sequence[int],
        strides: Sequence[int],
        dilations: Sequence[int],
        pads: Sequence[tuple[int, int]],
    ) -> Tensor:
        """Reduce windows; every sequence has an entry for each axis of x, and padding has the value `start`."""
        shape = [
            (size + low + high - (extent - 1) * dilation - 1) // stride + 1
            for size, extent, stride, dilation, (low, high) in zip(x.shape, window, strides, dilations, pads)
        ]
        initial = self.constant(np.asarray(start).astype(x.dtype))
        element = type_text(x.dtype, ())
        arrays = ", ".join(
            f"{name} = array<i64: {', '.join(map(str, numbers))}>"
            for name, numbers in (
                ("window_dimensions", window),
                ("window_strides", strides),
                ("window_dilations", dilations),
            )
        )
        padding = f"padding = dense<{[list(pair) for pair in pads]}> : tensor<{x.rank}x2xi64>"
        text = (
            f'"stablehlo.reduce_window"({x.name}, {initial.name}) <{{{arrays}, {padding}}}> ({{'
            f"^bb0(%a: {element}, %b: {element}): %r = stablehlo.{op} %a, %b : {element} "
            f"stablehlo.return %r : {element} }})"
        )
        return self.op(text, x.dtype, shape, (x, initial))

    def dot(
        self,
        a: Tensor,
        b: Tensor,
        contract: tuple[int, int],
        batch: tuple[Sequence[int], Sequence[int]] = ((), ()),
        dtype: str = "",
    ) -> Tensor:
        """Sums over one axis of each; the result has the batch axes, then what is left of a, then of b.

        dtype  of the sums; a's by default
        """
        left = [axis for axis in range(a.rank) if axis not in (contract[0], *batch[0])]
        right = [axis for axis in range(b.rank) if axis not in (contract[1], *batch[1])]
        shape = (
            *(a.shape[axis] for axis in batch[0]),
            *(a.shape[axis] for axis in left),
            *(b.shape[axis] for axis in right),
        )
        batches = f"batching_dims = {list(batch[0])} x {list(batch[1])}, " if batch[0] else ""
        text = (
            f"stablehlo.dot_general {a.name}, {b.name}, {batches}"
            f"contracting_dims = [{contract[0]}] x [{contract[1]}]{_precision(a, ', precision = [{0}, {0}]')}"
        )
        return self.op(text, dtype or a.dtype, shape, (a, b))

    def convolution(
        self,
        x: Tensor,
        w: Tensor,
        *,
        strides: Sequence[int],
        pads: Sequence[tuple[int, int]],
        dilations: Sequence[int],
        spread: Sequence[int] = (),
        group: int = 1,
        dtype: str = "",
    ) -> Tensor:
        """Sums over windows of x [N, C, *spatial] with w [M, C / group, *kernel]; padding is zeros.

        spread  how far apart elements of x are set first (ConvTranspose)
        dtype   of the sums; x's by default
        """
        count = x.rank - 2
        apart = list(spread) or [1] * count
        positions = [
            (((size - 1) * gap + 1) + low + high - (kernel - 1) * dilation - 1) // stride + 1
            for size, gap, (low, high), kernel, dilation, stride in zip(
                x.shape[2:], apart, pads, w.shape[2:], dilations, strides
            )
        ]
        axes = ", ".join(map(str, range(count)))
        window = (
            f"stride = {list(strides)}, pad = {[list(pair) for pair in pads]}, "
            f"lhs_dilate = {apart}, rhs_dilate = {list(dilations)}"
        )
        precision = _precision(x, ", precision_config = [#stablehlo<precision {0}>, #stablehlo<precision {0}>]")
        text = (
            f"stablehlo.convolution({x.name}, {w.name}) "
            f"dim_numbers = [b, f, {axes}]x[o, i, {axes}]->[b, f, {axes}], window = {{{window}}} "
            f"{{batch_group_count = 1 : i64, feature_group_count = {group} : i64{precision}}}"
        )
        return self.op(text, dtype or x.dtype, (x.shape[0], w.shape[0], *positions), (x, w))

    # ---- the whole

    def module(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> str:
        """The text of a module whose `main` takes the inputs and the weights."""
        weights = [
            Tensor(f"%w{index}", dtype_name(array.dtype), array.shape) for index, array in enumerate(self.weights)
        ]
        arguments = ", ".join(f"{tensor.name}: {tensor}" for tensor in (*inputs, *weights))
        types = ", ".join(map(str, outputs))
        names = ", ".join(tensor.name for tensor in outputs)
        body = "\n    ".join((*self.lines, f"return {names} : {types}"))
        return f"module @region {{\n  func.func public @main({arguments}) -> ({types}) {{\n    {body}\n  }}\n}}\n"


def _precision(x: Tensor, text: str) -> str:
    """A TPU multiplies float32 as bfloat16 unless it is told to be exact."""
    return text.format("HIGHEST") if x.dtype == "float32" else ""


def elements(shape: Sequence[int]) -> int:
    """The number of elements of a shape."""
    return math.prod(shape)
