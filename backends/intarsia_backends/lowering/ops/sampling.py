"""GridSample: per axis, a table of places and a table of weights for each tap; then one weighted sum over all taps."""

from __future__ import annotations

import itertools
import math
from functools import reduce
from operator import add, mul

from intarsia.ir.graph import Node
from intarsia.targets import YES, Support
from intarsia_backends.lowering.access import Access, row_major
from intarsia_backends.lowering.builder import Builder
from intarsia_backends.lowering.expressions import (
    Cast,
    Constant,
    Expression,
    Gather,
    Input,
    apply,
    equal,
    logical_and,
    logical_or,
    maximum,
    minimum,
    select,
)
from intarsia_backends.lowering.kernels import nest
from intarsia_backends.lowering.ops.table import Lowering, attribute, refused, text
from intarsia_backends.lowering.program import Buffer

_TAPS = {"nearest": (0,), "linear": (0, 1), "cubic": (-1, 0, 1, 2)}
_CUBIC = -0.75

Table = tuple[Buffer, Buffer]
"""Places int32 and weights float32, for each image and output position."""


def _float(number: float) -> Expression:
    return Constant("float32", number)


def _int(number: int) -> Expression:
    return Constant("int32", number)


def _border(size: int, corners: bool) -> tuple[float, float]:
    """Where an axis begins and ends: at the middle of its outer elements, or at their far sides."""
    return (0.0, size - 1.0) if corners else (-0.5, size - 0.5)


def _reflected(v: Expression, size: int, corners: bool) -> Expression:
    """A coordinate outside of the border, mirrored there as often as needed."""
    low, high = _border(size, corners)
    if high == low:
        return _float(low)
    beyond = select(v < _float(low), _float(low) - v, v - _float(high))
    count = Cast("int32", beyond / _float(high - low))
    rest = beyond - Cast("float32", count) * _float(high - low)
    from_low = equal(count & _int(1), _int(0))
    up, down = _float(low) + rest, _float(high) - rest
    below = select(from_low, up, down)
    above = select(from_low, down, up)
    inside = select(v > _float(high), above, v)
    return select(v < _float(low), below, inside)


class _Axis:
    """One spatial axis of a GridSample."""

    def __init__(self, node: Node, size: int) -> None:
        self.size = size
        self.corners = bool(attribute(node, "align_corners", 0))
        self.mode = text(node, "mode", "linear")
        self.padding = text(node, "padding_mode", "zeros")

    def coordinate(self) -> Expression:
        """Operand 0, from -1 to 1, as a coordinate of the axis, moved inside where the padding wants it."""
        v = apply("no_nan", Input(0)) + _float(1.0)
        if self.corners:
            v = v * _float(0.5) * _float(self.size - 1.0)
        else:
            v = (v * _float(float(self.size)) - _float(1.0)) * _float(0.5)
        if self.mode == "nearest":
            v = apply("rint", v)
        low, high = _border(self.size, self.corners)
        if self.padding == "reflection":
            return _reflected(v, self.size, self.corners)
        if self.padding == "border" and self.mode != "cubic":  # whose taps are brought inside one by one
            outside = logical_or(v < _float(low), v > _float(high))
            clamped = apply("ceil_at", apply("floor_at", v, _float(0.0)), _float(self.size - 1.0))
            return select(outside, clamped, v)
        # Far outside all places are alike, and the whole number of the place must exist.
        return apply("ceil_at", apply("floor_at", v, _float(-9.0)), _float(self.size + 9.0))

    def raw_place(self, tap: int) -> Expression:
        """The place of a tap, from the coordinate in operand 0; it may lie outside."""
        whole = Cast("int32", Input(0) if self.mode == "nearest" else apply("floor", Input(0)))
        return whole if tap == 0 else whole + _int(tap)

    def place(self, tap: int) -> Expression:
        found = self.raw_place(tap)
        if self.padding == "reflection":
            found = Cast("int32", _reflected(Cast("float32", found), self.size, self.corners))
        return minimum(maximum(found, _int(0)), _int(self.size - 1))

    def weight(self, tap: int) -> Expression:
        share = self.share(tap)
        if self.padding != "zeros":
            return share
        raw = self.raw_place(tap)
        inside = logical_and(raw >= _int(0), raw < _int(self.size))
        return select(inside, share, _float(0.0))

    def share(self, tap: int) -> Expression:
        x = Input(0) - apply("floor", Input(0))
        if self.mode == "nearest":
            return _float(1.0)
        if self.mode == "linear":
            return x if tap else _float(1.0) - x
        distance = apply("abs", x - _float(float(tap)))
        if tap in (0, 1):
            inner = _float(_CUBIC + 2) * distance - _float(_CUBIC + 3)
            return inner * distance * distance + _float(1.0)
        outer = _float(_CUBIC) * distance - _float(5 * _CUBIC)
        outer = outer * distance + _float(8 * _CUBIC)
        return outer * distance - _float(4 * _CUBIC)


def _tables(builder: Builder, node: Node, axis: int, count: int) -> list[Table]:
    """Places and weights of each tap along an axis, over `count` images and output positions."""
    x, spatial = node.input(0), node.input(0).type.rank - 2
    facts = _Axis(node, x.shape[2 + axis])
    grid = builder.read(node.input(1))
    # The last axis of the grid counts from the innermost axis of x outwards.
    walk = Access("float32", (spatial,), spatial - 1 - axis)
    flat = Access("float32", (1,))
    coordinates = builder.scratch(count, "float32")
    builder.call(nest((count,), [walk], flat, facts.coordinate()), [grid], coordinates)
    tables = []
    for tap in _TAPS[facts.mode]:
        places, weights = builder.scratch(count, "int32"), builder.scratch(count, "float32")
        builder.call(nest((count,), [flat], Access("int32", (1,)), facts.place(tap)), [coordinates], places)
        builder.call(nest((count,), [flat], flat, facts.weight(tap)), [coordinates], weights)
        tables.append((places, weights))
    return tables


def _lower(builder: Builder, node: Node) -> None:
    x, y = node.input(0), node.output
    batch, channels, *sizes = x.shape
    positions = math.prod(y.shape[2:])
    tables = [_tables(builder, node, axis, batch * positions) for axis in range(len(sizes))]
    kept = (batch, channels, positions)
    area, steps, walk = math.prod(sizes), row_major(sizes), (positions, 0, 1)
    accesses, operands = [Access(x.dtype, (channels * area, area, 0))], [builder.read(x)]
    known: dict[tuple[int, int], tuple[Expression, Expression]] = {}
    for axis, rows in enumerate(tables):
        for tap, (places, weights) in enumerate(rows):
            known[axis, tap] = (Input(len(operands)), Input(len(operands) + 1))
            accesses += [Access("int32", walk), Access("float32", walk)]
            operands += [places, weights]
    parts: list[Expression] = []
    for taps in itertools.product(*(range(len(rows)) for rows in tables)):
        places_of_taps, shares = zip(*(known[axis, tap] for axis, tap in enumerate(taps)))
        far = [place if step == 1 else place * _int(step) for place, step in zip(places_of_taps, steps)]
        parts.append(Gather(0, reduce(add, far)) * reduce(mul, shares))
    total = reduce(add, parts)
    builder.call(nest(kept, accesses, Access(x.dtype, row_major(kept)), total), operands, builder.result(y))


def _check(node: Node) -> Support:
    facts = _Axis(node, 1)
    if facts.mode not in _TAPS or facts.padding not in ("zeros", "border", "reflection"):
        return refused("mode", f"mode {facts.mode}, padding {facts.padding}")
    if node.input(0).type.rank > 4 and facts.mode == "cubic":
        return refused("mode", f"mode {facts.mode} on {node.input(0).type}")
    return YES


LOWERINGS = {"GridSample": Lowering(_lower, check=_check)}
