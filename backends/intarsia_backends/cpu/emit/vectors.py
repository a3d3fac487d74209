"""Whole vectors in registers: loads and stores, halves and pairs of int16, sums of their products.

Numbers that are multiplied come in three kinds, named like a kernel's `products`:

    "float32"  one by one
    "pairs"    int16, two products summed to an int32 by one instruction (x86)
    "int16"    int16, each product widened to int32 (ARM)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import add
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from intarsia_backends.cpu.emit.expressions import Term

_MULTIPLY_ADD_PAIRS = {4: "llvm.x86.sse2.pmadd.wd", 8: "llvm.x86.avx2.pmadd.wd", 16: "llvm.x86.avx512.pmaddw.d.512"}
_SEGMENT = 4
"""int32 numbers in the 128 bits within which x86 interleaves."""


def index(place: Term | int) -> Term:
    """A place as TIR."""
    return tirx.const(place, "int32") if isinstance(place, int) else place


def load(buffer: Any, place: Term | int, lanes: int) -> Term:
    """`lanes` neighbouring elements."""
    return tirx.BufferLoad(buffer, [tirx.Ramp(index(place), 1, lanes)])


def store(buffer: Any, place: Term | int, value: Term, lanes: int) -> None:
    """Write `lanes` neighbouring elements."""
    T.buffer_store(buffer, value, [tirx.Ramp(index(place), 1, lanes)])


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


def pair_products(left: Term, right: Term, lanes: int) -> Term:
    """int16 [2 * lanes] each: left[2 i] * right[2 i] + left[2 i + 1] * right[2 i + 1], int32 [lanes]; x86 alone."""
    return tirx.call_llvm_pure_intrin(f"int32x{lanes}", _MULTIPLY_ADD_PAIRS[lanes], left, right)


def widened_products(left: Term, right: Term, lanes: int) -> Term:
    """int16 [lanes] each: products as int32 [lanes]."""
    return tirx.Cast(f"int32x{lanes}", left) * tirx.Cast(f"int32x{lanes}", right)


def interleaving_order(lanes: int) -> tuple[list[int], list[int]]:
    """Channels, of 2 * lanes, that stand in the lower and in the upper vector of `interleaved`."""
    lower = [
        segment * 2 * _SEGMENT + place for segment in range(max(1, lanes // _SEGMENT)) for place in range(_SEGMENT)
    ]
    return lower, [channel + _SEGMENT for channel in lower]


def interleaved(first: Term, second: Term, size: int, lanes: int) -> tuple[Term, ...]:
    """Pairs (first[c], second[c]) of int16 [size], as one int16 [2 * lanes] or, for twice as many channels, as two.

    One stands in the channels' order, two in `interleaving_order`.
    """
    orders: Sequence[Sequence[int]] = [range(lanes)] if size == lanes else interleaving_order(lanes)
    return tuple(
        tirx.Shuffle([first, second], [index(place) for channel in order for place in (channel, channel + size)])
        for order in orders
    )


def gathered(lower: Term, upper: Term, lanes: int) -> Term:
    """Two int32 [lanes] in `interleaving_order` as one int32 [2 * lanes] in the channels' own order."""
    orders = interleaving_order(lanes)
    place = {channel: position for position, channel in enumerate([*orders[0], *orders[1]])}
    return tirx.Shuffle([lower, upper], [index(place[channel]) for channel in range(2 * lanes)])


def joined(lower: Term, upper: Term, lanes: int) -> Term:
    """Two vectors [lanes] as one [2 * lanes]."""
    return tirx.Shuffle([lower, upper], [index(place) for place in range(2 * lanes)])


def broadcast(number: float | int, dtype: str, lanes: int) -> Term:
    """A constant in every lane."""
    return tirx.Broadcast(tirx.const(number, dtype), lanes)


def wrapped(operation: Callable[[Term, Term], Term], left: Term, right: Term) -> Term:
    """A sum, difference or product of int32 vectors modulo 2**32.

    TVM promises LLVM that int32 does not overflow. Written in int64, LLVM makes the same instructions without that.
    """
    lanes = int(left.ty.dtype.lanes)
    wide = operation(tirx.Cast(f"int64x{lanes}", left), tirx.Cast(f"int64x{lanes}", right))
    return tirx.Cast(f"int32x{lanes}", wide)
