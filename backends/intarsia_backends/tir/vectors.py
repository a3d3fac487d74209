"""Whole vectors in registers: loads and stores, moves between lanes, and products of a row with a matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import add
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from intarsia_backends.tir.expressions import Term

_BLOCK_VECTORS = 8
"""Vectors of sums side by side: enough that none waits for the one before it."""


def index(place: Term | int) -> Term:
    """A place as TIR."""
    return tirx.const(place, "int32") if isinstance(place, int) else place


def load(buffer: Any, place: Term | int, lanes: int) -> Term:
    """Neighbouring elements as a vector."""
    if lanes == 1:
        return tirx.BufferLoad(buffer, [index(place)])
    return tirx.BufferLoad(buffer, [tirx.Ramp(index(place), 1, lanes)])


def store(buffer: Any, place: Term | int, value: Term, lanes: int) -> None:
    """A vector as neighbouring elements."""
    T.buffer_store(buffer, value, [index(place) if lanes == 1 else tirx.Ramp(index(place), 1, lanes)])


def spread(value: Term, lanes: int) -> Term:
    """The same number in every lane."""
    return value if lanes == 1 else tirx.Broadcast(value, lanes)


class Register:
    """A vector that LLVM keeps in a register: a small local buffer, always read and written whole."""

    def __init__(self, lanes: int, dtype: str, value: Term | None = None) -> None:
        self.lanes, self.dtype = lanes, dtype
        self.buffer = T.alloc_buffer((lanes,), dtype)
        if value is not None:
            self.set(value)

    def get(self) -> Term:
        return load(self.buffer, 0, self.lanes)

    def set(self, value: Term) -> None:
        store(self.buffer, 0, value, self.lanes)

    def add(self, value: Term, *, wraps: bool = False) -> None:
        """Add to what stands here; `wraps` for int32 modulo 2**32."""
        self.set(wrapped(add, self.get(), value) if wraps else self.get() + value)


def reinterpreted(value: Term, dtype: str) -> Term:
    """The same bits as other lanes, such as "int16x16" for an int32x8."""
    return tirx.call_intrin(dtype, "tirx.reinterpret", value)


def joined(lower: Term, upper: Term, lanes: int) -> Term:
    """Two vectors [lanes] as one [2 * lanes]."""
    return tirx.Shuffle([lower, upper], [index(place) for place in range(2 * lanes)])


def broadcast(number: float | int, dtype: str, lanes: int) -> Term:
    """A constant in every lane."""
    return tirx.Broadcast(tirx.const(number, dtype), lanes)


def add_products(
    total: Any,
    place: int,
    count: int,
    depth: int,
    number: Callable[[Term], Term],
    weights: Any,
    row: Callable[[Term], Term],
    lanes: int,
) -> None:
    """Add to `count` float32 numbers of `total`, from `place` on, a row of `depth` numbers times a matrix.

    number  gives a number of the row
    row     gives where its row of weights starts
    """
    vectors, rest = divmod(count, lanes)
    blocks, more = divmod(vectors, _BLOCK_VECTORS)

    def add_blocks(first: Term | int, widths: Sequence[int]) -> None:
        starts = [sum(widths[:index]) for index in range(len(widths))]
        sums = [T.alloc_buffer((width,), "float32") for width in widths]
        for start, width, part in zip(starts, widths, sums):
            store(part, 0, load(total, first + place + start, width), width)
        with T.serial(0, depth) as step:
            for start, width, part in zip(starts, widths, sums):
                product = spread(number(step), width) * load(weights, row(step) + first + start, width)
                store(part, 0, load(part, 0, width) + product, width)
        for start, width, part in zip(starts, widths, sums):
            store(total, first + place + start, load(part, 0, width), width)

    if blocks:
        with T.serial(0, blocks) as block:
            add_blocks(block * (_BLOCK_VECTORS * lanes), (lanes,) * _BLOCK_VECTORS)
    widths = (*(lanes,) * more, *((rest,) if rest else ()))
    if widths:
        add_blocks(blocks * _BLOCK_VECTORS * lanes, widths)


def folded(buffer: Any, lanes: int, join: Callable[[Term, Term], Term]) -> Term:
    """All lanes of a vector joined, halves first."""
    dtype = str(buffer.dtype)
    # A copy: a vector that is also read in parts would be kept in parts throughout.
    copied = T.alloc_buffer((lanes,), dtype)
    store(copied, 0, load(buffer, 0, lanes), lanes)
    buffer = copied
    while lanes > 1:
        lanes //= 2
        half = T.alloc_buffer((lanes,), dtype)
        store(half, 0, join(load(buffer, 0, lanes), load(buffer, lanes, lanes)), lanes)
        buffer = half
    return load(buffer, 0, 1)


def transposed(rows: Sequence[Term], lanes: int, dtype: str) -> list[Term]:
    """A square block of vectors with rows and columns exchanged; 4, 8 or 16 lanes.

    Neighbouring rows are interleaved in groups of four lanes, which is one instruction on x86; then ever larger blocks
    off the diagonal change places.
    """
    vectors = [_named(row, dtype, lanes) for row in rows]
    interleaved = [
        [(lane & ~3) + first + (lane % 4) // 2 + lanes * (lane % 2) for lane in range(lanes)] for first in (0, 2)
    ]
    step = 1
    while step < lanes:
        mixed: list[Term] = [None] * lanes
        for index in (index for index in range(lanes) if not index & step):
            moves = interleaved if step == 1 else _exchange(lanes, step)
            for target, move in zip((index, index + step), moves):
                pair = [vectors[index], vectors[index + step]]
                mixed[target] = _named(tirx.Shuffle(pair, move), dtype, lanes)
        vectors, step = mixed, step * 2
    order = [(index & ~3) + (0, 2, 1, 3)[index % 4] for index in range(lanes)]  # undoes what the interleaving mixed up
    return [vectors[index] for index in order]


def _exchange(lanes: int, step: int) -> tuple[list[int], list[int]]:
    """Where the lanes of two vectors, `step` rows apart, come from."""
    low = [lane if not lane & step else lanes + lane - step for lane in range(lanes)]
    high = [lane + step if not lane & step else lanes + lane for lane in range(lanes)]
    return low, high


def _named(value: Term, dtype: str, lanes: int) -> Term:
    """A value in a register of its own: expressions are trees, and would repeat it."""
    buffer = T.alloc_buffer((lanes,), dtype)
    store(buffer, 0, value, lanes)
    return load(buffer, 0, lanes)


def wrapped(operation: Callable[[Term, Term], Term], left: Term, right: Term) -> Term:
    """A sum, difference or product of int32 vectors modulo 2**32.

    TVM promises LLVM that int32 does not overflow. Written in int64, LLVM makes the same instructions without that.
    """
    lanes = int(left.ty.dtype.lanes)
    wide = operation(tirx.Cast(f"int64x{lanes}", left), tirx.Cast(f"int64x{lanes}", right))
    return tirx.Cast(f"int32x{lanes}", wide)
