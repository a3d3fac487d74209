"""How the overlay sees the shape of a value: channels, height and width. Purely structural."""

from __future__ import annotations

from dataclasses import dataclass

from intarsia.ir.graph import Node, Value

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


def planes_of(value: Value) -> Planes | None:
    """How a value stands in a region that takes what the overlay can; None where the overlay cannot hold it."""
    if not value.type.is_static:
        return None
    node = value.producer
    if node is not None and value is node.outputs[0]:
        if node.op in RESHAPES:
            source = planes_of(node.input(0))
            free = None if source is None else reshaped(source, value.shape)
            # A reshape that moves bytes runs elsewhere, and its output comes in as an input does.
            return free or canonical(value.shape)
        if node.op in ELEMENTWISE and node.domain == "":
            return _elementwise(node)
    return canonical(value.shape)


def _elementwise(node: Node) -> Planes | None:
    for value in node.inputs:
        if value is not None and not value.is_constant and value.type.is_static and value.shape == node.output.shape:
            return planes_of(value)
    return canonical(node.output.shape)


def is_flat(value: Value) -> bool:
    """True for a row [1, K] that stands as planes of several pixels."""
    planes = planes_of(value)
    return planes is not None and planes.pixels > 1 and len(value.shape) == 2 and value.shape[0] == 1
