"""How the overlay sees the shape of a value: channels, height and width. Purely structural."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from intarsia.ir.graph import Value

RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity")
ELEMENTWISE = ("lookup", "requantize", "qadd", "qmul")


@dataclass(frozen=True)
class Planes:
    """A tensor as C, H, W.

    channels_last  True for a matrix [rows, C] with several rows: H = 1, W = rows
    """

    channels: int
    height: int
    width: int
    channels_last: bool = False

    @property
    def pixels(self) -> int:
        """Pixels of one channel."""
        return self.height * self.width

    def holds_as(self, other: Planes) -> bool:
        """Whether the other planes are the same bytes."""
        same = (self.channels, self.pixels) == (other.channels, other.pixels)
        return same and (self.channels_last == other.channels_last or self.pixels == 1)


def canonical(shape: tuple[int, ...]) -> Planes | None:
    """[N,C], [1,C,W] and [1,C,H,W] as planes; None for any other shape."""
    if not shape or 0 in shape:
        return None
    if len(shape) == 2:
        return Planes(shape[1], 1, shape[0], shape[0] > 1)
    if len(shape) == 3 and shape[0] == 1:
        return Planes(shape[1], 1, shape[2])
    if len(shape) == 4 and shape[0] == 1:
        return Planes(shape[1], shape[2], shape[3])
    return None


def reshaped(source: Planes, shape: tuple[int, ...]) -> Planes | None:
    """The planes of a reshape's output where no byte moves, else None.

    A row [1, K] may stay as the planes C, H, W that it was made from: a matrix product reads it there as a kernel of
    H x W.
    """
    target = canonical(shape)
    if target is None:
        return None
    if source.holds_as(target):
        return target
    if len(shape) == 2 and shape[0] == 1 and not source.channels_last:
        return source
    return None


_FOUND: ContextVar[dict[Value, Planes | None] | None] = ContextVar("found", default=None)


@contextmanager
def remembered() -> Iterator[None]:
    """While it is open, planes are found once for each value: nobody may change the graph meanwhile.

    Without it every question looks back to where a chain of elementwise ops begins, which makes many of them slow.
    """
    token = _FOUND.set({})
    try:
        yield
    finally:
        _FOUND.reset(token)


def planes_of(value: Value) -> Planes | None:
    """How a value stands in a region that takes what the overlay can; None where the overlay cannot hold it."""
    found = _FOUND.get()
    way: list[Value] = []  # from the value back to the first one whose planes are known, each made of the next
    if found is None:
        found = {}
    while value not in found:
        source = _stands_as(value)
        way.append(value)
        if source is None:
            found[value] = canonical(value.shape) if value.type.is_static else None
            break
        value = source
    planes = found[value]
    for made in reversed(way):
        if made is not value:
            planes = found[made] = _behind(made, planes)
    return planes


def _stands_as(value: Value) -> Value | None:
    """The value whose planes decide about those of a value; None where its shape alone does."""
    node = value.producer
    if node is None or value is not node.outputs[0] or not value.type.is_static:
        return None
    if node.op in RESHAPES:
        return node.input(0)
    if node.op in ELEMENTWISE and node.domain == "":
        shape = node.output.shape
        for operand in node.inputs:
            if operand is not None and not operand.is_constant and operand.type.is_static and operand.shape == shape:
                return operand
    return None


def _behind(value: Value, source: Planes | None) -> Planes | None:
    """The planes of a value that is made of one that stands as `source`."""
    node = value.producer
    if node is None or node.op not in RESHAPES:
        return source
    free = None if source is None else reshaped(source, value.shape)
    # A reshape that moves bytes runs elsewhere, and its output comes in as an input does.
    return free or canonical(value.shape)


def is_flat(value: Value) -> bool:
    """True for a row [1, K] that stands as planes of several pixels."""
    planes = planes_of(value)
    return planes is not None and planes.pixels > 1 and len(value.shape) == 2 and value.shape[0] == 1
