"""Constants of a graph that lie in a file of a region, in another order: they are stored once. NumPy alone.

A region's file holds its constants as its code reads them: in panels of columns, channels in fours, zeros between.
Where that order is one of strides, the graph says how to find its elements there, and has no bytes of its own:

    {"name", "dtype", "shape", ..., "elsewhere": {"file", "offset", "dtype", "pieces": [[starts, sizes, first, axes]]}}

    file     path in the artifact
    offset   byte at which the elements begin
    dtype    of the elements there; a wider type holds the same numbers
    starts, sizes
             the part of the array that a piece is
    first    element of the file that the piece begins with
    axes     for each axis of the array its digits, the slowest first: [count, step] each. An index along the axis is
             counted in these digits; its place is the sum of digit times step. The last counts may go past the size

Whoever compiles has read every array back, and found the bytes of the graph.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from intarsia.artifact.schema import Entry
from intarsia.dtypes import NATIVE, Array, numpy_dtype
from intarsia.errors import RunError

_PIECES = 64
"""More of them than this are no order that is worth to be written down."""

_DIGITS = 8
_RANK = 32
_ROOM = 4
"""Elements that are looked at for each of an array: those that fill digits up are left out again."""

_LIMIT = 1 << 48

Digits = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Piece:
    """See the module."""

    starts: tuple[int, ...]
    sizes: tuple[int, ...]
    first: int
    axes: tuple[Digits, ...]

    def to_data(self) -> list[Any]:
        """As JSON has it."""
        axes = [[list(digit) for digit in axis] for axis in self.axes]
        return [list(self.starts), list(self.sizes), self.first, axes]

    @property
    def end(self) -> int:
        """One past the last element of the file that is looked at."""
        return 1 + self.first + sum((count - 1) * step for axis in self.axes for count, step in axis)


@dataclass(frozen=True)
class Elsewhere:
    """Where the elements of a constant lie; see the module."""

    file: str
    offset: int
    dtype: str
    pieces: tuple[Piece, ...]

    def to_data(self) -> dict[str, Any]:
        """As JSON has it."""
        pieces = [piece.to_data() for piece in self.pieces]
        return {"file": self.file, "offset": self.offset, "dtype": self.dtype, "pieces": pieces}

    def array(self, content: bytes | memoryview, dtype: str, shape: Sequence[int]) -> Array:
        """The constant, out of the file's content; read-only. ValueError where it does not lie there."""
        stored = numpy_dtype(self.dtype).newbyteorder("<")
        count = max(0, len(content) - self.offset) // stored.itemsize
        if math.prod(shape) > count or any(piece.end > count for piece in self.pieces):
            raise ValueError(f"it leaves the {len(content)} bytes of '{self.file}'")
        elements = np.frombuffer(content, stored, count, self.offset)
        found = np.empty(tuple(shape), numpy_dtype(dtype))
        for piece in self.pieces:
            steps = [stored.itemsize * step for axis in piece.axes for _, step in axis]
            counts = [count for axis in piece.axes for count, _ in axis]
            view = as_strided(elements[piece.first :], counts, steps, writeable=False)
            whole = view.reshape([math.prod(count for count, _ in axis) for axis in piece.axes])
            target = tuple(slice(start, start + size) for start, size in zip(piece.starts, piece.sizes))
            found[target] = whole[tuple(slice(0, size) for size in piece.sizes)]
        found.setflags(write=False)
        return found


def row_by_row(file: str, offset: int, dtype: str, shape: Sequence[int]) -> Elsewhere:
    """The place of an array whose elements lie in the array's own order."""
    steps = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    axes = tuple(((size, step),) for size, step in zip(shape, steps))
    return Elsewhere(file, offset, dtype, (Piece((0,) * len(shape), tuple(shape), 0, axes),))


def fit_places(places: Array, count: int) -> tuple[Piece, ...] | None:
    """The pieces of an array whose elements lie at these places; None where too many would be needed.

    places  int, of the array's shape: for each element its place, in elements
    count   how many elements there are in the file
    """
    pieces: list[Piece] = []
    return tuple(pieces) if _fit(places, count, (0,) * places.ndim, pieces) else None


def _fit(places: Array, count: int, starts: tuple[int, ...], pieces: list[Piece]) -> bool:
    if places.size == 0 or len(pieces) >= _PIECES:
        return False
    piece = _as_piece(places, count, starts)
    if piece is not None:
        pieces.append(piece)
        return True
    # The largest part from the beginning that is one piece, along whichever axis; then the rest of that axis.
    best = max(
        ((_prefix(places, count, axis) / places.shape[axis], axis) for axis in range(places.ndim)), default=(0.0, 0)
    )
    share, axis = best
    cut = round(share * places.shape[axis])
    if not 0 < cut < places.shape[axis]:
        return False
    before, after = np.split(places, [cut], axis=axis)
    following = tuple(start + cut * (index == axis) for index, start in enumerate(starts))
    return _fit(before, count, starts, pieces) and _fit(after, count, following, pieces)


def _prefix(places: Array, count: int, axis: int) -> int:
    """How many indices of an axis, from the first, make one piece."""
    low, high = 0, places.shape[axis]
    while high - low > 1:
        middle = (low + high) // 2
        if _as_piece(np.take(places, range(middle), axis=axis), count, (0,) * places.ndim) is not None:
            low = middle
        else:
            high = middle
    return low


def _as_piece(places: Array, count: int, starts: tuple[int, ...]) -> Piece | None:
    first = int(places[(0,) * places.ndim])
    axes = []
    whole = np.asarray(first, places.dtype)
    for axis in range(places.ndim):
        along = places[tuple(slice(None) if index == axis else 0 for index in range(places.ndim))] - first
        digits = _digits(along)
        if digits is None or len(digits) > _DIGITS:
            return None
        axes.append(digits)
        whole = whole + along.reshape([-1 if index == axis else 1 for index in range(places.ndim)])
    if not np.array_equal(whole, places):
        return None
    piece = Piece(starts, tuple(map(int, places.shape)), first, tuple(axes))
    return piece if piece.end <= count else None


def _digits(along: Array) -> Digits | None:
    """Places along an axis, from 0, as digits; None where they are none."""
    size = len(along)
    if size == 1:
        return ((1, 0),)
    step = int(along[1])
    run = np.arange(size) * step
    differing = np.flatnonzero(run != along)
    count = int(differing[0]) if differing.size else size
    if step < 0:
        return None
    if count == size:
        return ((size, step),)
    outer = _digits(along[::count])
    if outer is None:
        return None
    inner = np.resize(run[:count], size)
    if not np.array_equal(np.repeat(along[::count], count)[:size] + inner, along):
        return None
    return (*outer, (count, step))


def from_data(data: Any, shape: Sequence[int], where: str) -> Elsewhere:
    """What `to_data` gave, for an array of a shape; every fact is checked. RunError for anything else."""
    entry = Entry(data, where)
    file, dtype, offset = entry.text("file"), entry.text("dtype"), entry.whole("offset", 0, _LIMIT)
    pieces = entry.take("pieces")
    if dtype not in NATIVE or dtype == "string":
        entry.refuse(f"'{dtype[:40]}' is no type of numbers")
    if not isinstance(pieces, list) or not 0 < len(pieces) <= _PIECES:
        entry.refuse(f"'pieces' is no list of 1 to {_PIECES} pieces")
    made = tuple(_piece(entry, item, shape) for item in pieces)
    if sum(math.prod(piece.sizes) for piece in made) != math.prod(shape) or _overlap(made):
        entry.refuse("the pieces do not make up the array")
    entry.done()
    return Elsewhere(file, offset, dtype, made)


def _piece(entry: Entry, data: Any, shape: Sequence[int]) -> Piece:
    if not isinstance(data, list) or len(data) != 4 or len(shape) > _RANK:
        entry.refuse("a piece is no list of starts, sizes, a place and axes")
    starts, sizes, first, axes = data
    if not all(isinstance(item, list) and len(item) == len(shape) for item in (starts, sizes, axes)):
        entry.refuse(f"a piece has not {len(shape)} starts, sizes and axes")
    numbers = [*starts, *sizes, first]
    for axis in axes:
        if not isinstance(axis, list) or not 0 < len(axis) <= _DIGITS:
            entry.refuse(f"an axis is no list of 1 to {_DIGITS} digits")
        if not all(isinstance(digit, list) and len(digit) == 2 for digit in axis):
            entry.refuse("a digit is no count and step")
        numbers += [number for digit in axis for number in digit]
    if not all(isinstance(number, int) and not isinstance(number, bool) and 0 <= number < _LIMIT for number in numbers):
        entry.refuse("a piece holds what is no whole number")
    for start, size, axis, extent in zip(starts, sizes, axes, shape):
        counts = [count for count, _ in axis]
        # The slowest digit is needed, so that no more is made than twice the array, axis by axis.
        least = (counts[0] - 1) * math.prod(counts[1:])
        if 0 in counts or start + size > extent or not least < size <= math.prod(counts):
            entry.refuse("an axis counts other indices than it has")
    if math.prod(count for axis in axes for count, _ in axis) > _ROOM * math.prod(sizes):
        entry.refuse("the digits of a piece count far more than it has")
    digits = tuple(tuple((count, step) for count, step in axis) for axis in axes)
    return Piece(tuple(starts), tuple(sizes), first, digits)


def _overlap(pieces: Sequence[Piece]) -> bool:
    return any(
        all(a < b + m and b < a + n for a, n, b, m in zip(one.starts, one.sizes, other.starts, other.sizes))
        for index, one in enumerate(pieces)
        for other in pieces[:index]
    )


def shared(
    constants: Mapping[str, Array], places: Mapping[str, Elsewhere], files: Mapping[str, bytes]
) -> dict[str, Elsewhere]:
    """Of places that are said to hold constants, those that do: read back, they give the same bytes."""
    found = {}
    for name, place in places.items():
        data = constants.get(name)
        if data is None or place.file not in files or data.dtype.name not in NATIVE or data.dtype.kind in "OUS":
            continue
        try:
            read = from_data(place.to_data(), data.shape, name)
            array = read.array(files[read.file], data.dtype.name, data.shape)
        except (RunError, ValueError):
            continue
        if array.tobytes() == data.tobytes():
            found[name] = place
    return found
