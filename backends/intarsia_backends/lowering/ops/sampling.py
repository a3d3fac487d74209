"""GridSample: per axis, a table of places and a table of weights for each tap; then one weighted sum over all taps."""

from __future__ import annotations

import itertools
import math

from intarsia.ir.graph import Node
from intarsia.targets import YES, Support
from intarsia_backends.lowering.access import Access, Expression, row_major
from intarsia_backends.lowering.builder import Builder
from intarsia_backends.lowering.kernels import nest
from intarsia_backends.lowering.ops.movement import text
from intarsia_backends.lowering.ops.table import Lowering, attribute, refused
from intarsia_backends.lowering.program import Buffer

_TAPS = {"nearest": (0,), "linear": (0, 1), "cubic": (-1, 0, 1, 2)}
_CUBIC = -0.75

Table = tuple[Buffer, Buffer]
"""Places int32 and weights float32, for each image and output position."""


def _float(number: float) -> Expression:
    return ("const", "float32", number)


def _int(number: int) -> Expression:
    return ("const", "int32", number)


def _border(size: int, corners: bool) -> tuple[float, float]:
    """Where an axis begins and ends: at the middle of its outer elements, or at their far sides."""
    return (0.0, size - 1.0) if corners else (-0.5, size - 0.5)


def _reflected(v: Expression, size: int, corners: bool) -> Expression:
    """A coordinate outside of the border, mirrored there as often as needed."""
    low, high = _border(size, corners)
    if high == low:
        return _float(low)
    beyond: Expression = ("select", ("lt", v, _float(low)), ("sub", _float(low), v), ("sub", v, _float(high)))
    count: Expression = ("cast", "int32", ("div", beyond, _float(high - low)))
    rest: Expression = ("sub", beyond, ("mul", ("cast", "float32", count), _float(high - low)))
    from_low: Expression = ("eq", ("bit_and", count, _int(1)), _int(0))
    up, down = ("add", _float(low), rest), ("sub", _float(high), rest)
    below: Expression = ("select", from_low, up, down)
    above: Expression = ("select", from_low, down, up)
    inside: Expression = ("select", ("gt", v, _float(high)), above, v)
    return ("select", ("lt", v, _float(low)), below, inside)


class _Axis:
    """One spatial axis of a GridSample."""

    def __init__(self, node: Node, size: int) -> None:
        self.size = size
        self.corners = bool(attribute(node, "align_corners", 0))
        self.mode = text(node, "mode", "linear")
        self.padding = text(node, "padding_mode", "zeros")

    def coordinate(self) -> Expression:
        """Operand 0, from -1 to 1, as a coordinate of the axis, moved inside where the padding wants it."""
        v: Expression = ("add", ("no_nan", ("in", 0)), _float(1.0))
        if self.corners:
            v = ("mul", ("mul", v, _float(0.5)), _float(self.size - 1.0))
        else:
            v = ("mul", ("sub", ("mul", v, _float(float(self.size))), _float(1.0)), _float(0.5))
        if self.mode == "nearest":
            v = ("rint", v)
        low, high = _border(self.size, self.corners)
        if self.padding == "reflection":
            return _reflected(v, self.size, self.corners)
        if self.padding == "border":
            outside: Expression = ("or", ("lt", v, _float(low)), ("gt", v, _float(high)))
            clamped: Expression = ("ceil_at", ("floor_at", v, _float(0.0)), _float(self.size - 1.0))
            return ("select", outside, clamped, v)
        # Far outside all places are alike, and the whole number of the place must exist.
        return ("ceil_at", ("floor_at", v, _float(-9.0)), _float(self.size + 9.0))

    def raw_place(self, tap: int) -> Expression:
        """The place of a tap, from the coordinate in operand 0; it may lie outside."""
        whole: Expression = ("cast", "int32", ("in", 0) if self.mode == "nearest" else ("floor", ("in", 0)))
        return whole if tap == 0 else ("add", whole, _int(tap))

    def place(self, tap: int) -> Expression:
        found = self.raw_place(tap)
        if self.padding == "reflection":
            found = ("cast", "int32", _reflected(("cast", "float32", found), self.size, self.corners))
        return ("min", ("max", found, _int(0)), _int(self.size - 1))

    def weight(self, tap: int) -> Expression:
        share = self.share(tap)
        if self.padding != "zeros":
            return share
        raw = self.raw_place(tap)
        inside: Expression = ("and", ("ge", raw, _int(0)), ("lt", raw, _int(self.size)))
        return ("select", inside, share, _float(0.0))

    def share(self, tap: int) -> Expression:
        x: Expression = ("sub", ("in", 0), ("floor", ("in", 0)))
        if self.mode == "nearest":
            return _float(1.0)
        if self.mode == "linear":
            return x if tap else ("sub", _float(1.0), x)
        distance: Expression = ("abs", ("sub", x, _float(float(tap))))
        if tap in (0, 1):
            inner: Expression = ("sub", ("mul", _float(_CUBIC + 2), distance), _float(_CUBIC + 3))
            return ("add", ("mul", ("mul", inner, distance), distance), _float(1.0))
        outer: Expression = ("sub", ("mul", _float(_CUBIC), distance), _float(5 * _CUBIC))
        outer = ("add", ("mul", outer, distance), _float(8 * _CUBIC))
        return ("sub", ("mul", outer, distance), _float(4 * _CUBIC))


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
            known[axis, tap] = (("in", len(operands)), ("in", len(operands) + 1))
            accesses += [Access("int32", walk), Access("float32", walk)]
            operands += [places, weights]
    total: Expression | None = None
    for taps in itertools.product(*(range(len(rows)) for rows in tables)):
        place: Expression | None = None
        weight: Expression | None = None
        for axis, tap in enumerate(taps):
            row, share = known[axis, tap]
            far: Expression = row if steps[axis] == 1 else ("mul", row, _int(steps[axis]))
            place = far if place is None else ("add", place, far)
            weight = share if weight is None else ("mul", weight, share)
        part: Expression = ("mul", ("gather", 0, place), weight)
        total = part if total is None else ("add", total, part)
    assert total is not None
    builder.call(nest(kept, accesses, Access(x.dtype, row_major(kept)), total), operands, builder.result(y))


def _check(node: Node) -> Support:
    facts = _Axis(node, 1)
    if facts.mode not in _TAPS or facts.padding not in ("zeros", "border", "reflection"):
        return refused("mode", f"mode {facts.mode}, padding {facts.padding}")
    if node.input(0).type.rank > 4 and facts.mode == "cubic":
        return refused("mode", f"mode {facts.mode} on {node.input(0).type}")
    return YES


LOWERINGS = {"GridSample": Lowering(_lower, check=_check)}
