"""Access patterns: how loops walk over buffers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Access:
    """A strided access pattern: how a nest of loops walks over a buffer.

    dtype    element type
    strides  elements from one step of each loop to the next, kept loops first, then reduced ones
    offset   element at which the walk starts
    """

    dtype: str
    strides: tuple[int, ...]
    offset: int = 0


def joined_loops(
    extents: Sequence[int], strides: Sequence[tuple[int, ...]]
) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """Loops and, for each walk, its strides, after leaving out and joining."""
    loops: list[tuple[int, list[int]]] = []
    for position, extent in enumerate(extents):
        if extent == 1:
            continue
        steps = [walk[position] for walk in strides]
        if loops and all(before == step * extent for before, step in zip(loops[-1][1], steps)):
            loops[-1] = (loops[-1][0] * extent, steps)
        else:
            loops.append((extent, steps))
    if not loops and extents:
        loops.append((1, [0] * len(strides)))
    return tuple(extent for extent, _ in loops), [
        tuple(steps[index] for _, steps in loops) for index in range(len(strides))
    ]


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a C-contiguous array, in elements."""
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step)
        step *= extent
    return tuple(reversed(strides))


def broadcast(shape: Sequence[int], to: Sequence[int]) -> tuple[int, ...]:
    """Strides that walk a C-contiguous array of `shape` as NumPy broadcasts it to the shape `to`."""
    strides = [0] * (len(to) - len(shape)) + [
        0 if extent == 1 else stride for extent, stride in zip(shape, row_major(shape))
    ]
    return tuple(strides)
