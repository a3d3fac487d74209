"""Products of integers that one instruction multiplies and adds, and how their vectors are laid out; cache lines.

Numbers that are multiplied come in these kinds, named like a kernel's `products`:

    "float32"  one by one
    "dot2"    int16, two products summed to an int32 by one instruction (x86)
    "dot4"    uint8 and int8, four products added to an int32 by one instruction (x86 with VNNI)
    "int16"    int16, each product widened to int32 (ARM)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from intarsia_backends.cpu.tiling import interleaving_order
from intarsia_backends.tir.expressions import Term
from intarsia_backends.tir.vectors import index, reinterpreted, spread

LINE_BYTES = 64
"""Of a cache: what one `prefetch` asks for."""

_ADD_DOT4 = {lanes: f"llvm.x86.avx512.vpdpbusd.{32 * lanes}" for lanes in (4, 8, 16)}
_DOT2 = {4: "llvm.x86.sse2.pmadd.wd", 8: "llvm.x86.avx2.pmadd.wd", 16: "llvm.x86.avx512.pmaddw.d.512"}


def dot2(left: Term, right: Term, lanes: int) -> Term:
    """int16 [2 * lanes] each: left[2 i] * right[2 i] + left[2 i + 1] * right[2 i + 1], int32 [lanes]; x86 alone."""
    return tirx.call_llvm_pure_intrin(f"int32x{lanes}", _DOT2[lanes], left, right)


def widened_products(left: Term, right: Term, lanes: int) -> Term:
    """int16 [lanes] each: products as int32 [lanes]."""
    return tirx.Cast(f"int32x{lanes}", left) * tirx.Cast(f"int32x{lanes}", right)


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


def broadcast_dot2(number: Term, weights: Term, lanes: int) -> Term:
    """int32 lanes: both halves of an int32 times a pair of int16 weights, added."""
    return dot2(reinterpreted(spread(number, lanes), f"int16x{2 * lanes}"), weights, lanes)


def add_dot4(total: Term, number: Term, weights: Term, lanes: int) -> Term:
    """total + the four uint8 of an int32 times four int8 weights; int32 lanes, modulo 2**32. VNNI alone."""
    numbers = reinterpreted(spread(number, lanes), f"uint8x{4 * lanes}")
    return tirx.call_llvm_pure_intrin(f"int32x{lanes}", _ADD_DOT4[lanes], total, numbers, weights)


def prefetch(buffer: Any, place: Term) -> None:
    """Ask for the memory that holds an element, which need not exist, before it is read."""
    address = tirx.address_of(tirx.BufferLoad(buffer, [place]))
    T.evaluate(tirx.call_intrin("void", "tirx.prefetch", address, 0, 3, 1))
