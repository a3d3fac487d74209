"""The end of integer kernels: int32 sums times a factor, rounded half to even, in one instruction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm import tirx

from intarsia_backends.cpu.walks import Expression

_ROUND = 1.5 * 2.0**23
"""Where the last bit of a float32 counts ones; an even multiple of them, so that ties go to even numbers."""

_ROUND_BITS = 0x4B400000


def scaled_rint(total: Any, factor: Any) -> Any:
    """total * factor as an int32, rounded half to even; both exact in float32, and |total * factor| < 2**22.

    One fused multiply-add forms the exact product, adds `_ROUND` and rounds once, to a whole number, half to even: that
    number then stands in the low bits. `intarsia_backends.cpu.requantize` says when this serves for a layer.

    total    int32
    factor   float32
    """
    number = tirx.Cast("float32", total)
    rounded = tirx.call_llvm_pure_intrin("float32", "llvm.fma", number, factor, tirx.const(_ROUND, "float32"))
    return tirx.call_intrin("int32", "tirx.reinterpret", rounded) - tirx.const(_ROUND_BITS, "int32")


_PACK = {4: "llvm.x86.sse2.packssdw.128", 8: "llvm.x86.avx2.packssdw", 16: "llvm.x86.avx512.packssdw.512"}


@dataclass(frozen=True)
class PackedEnd:
    """A finish that x86 does with two vectors at once: a sum times a factor, clamped, as int16.

    factor     further operand that holds the factors, float32
    low, high  the clamp
    """

    factor: int
    low: int
    high: int

    def emit(self, totals: Sequence[Any], factors: Sequence[Any], lanes: int) -> Any:
        """Two int32 [lanes], each with its factors, as one int16 [2 * lanes].

        Every 128 bits of the result hold 4 numbers of the first and then 4 of the second.
        """
        width = 2 * lanes
        rounded = [_rounded(total, factor, lanes) for total, factor in zip(totals, factors)]
        packed = tirx.call_llvm_pure_intrin(f"int16x{width}", _PACK[lanes], *rounded)
        low = tirx.Broadcast(tirx.const(self.low, "int16"), width)
        return tirx.max(tirx.min(packed, tirx.Broadcast(tirx.const(self.high, "int16"), width)), low)


def packed_end(finish: Expression) -> PackedEnd | None:
    """The finish as one that is done two vectors at once, where it is of that kind."""
    match finish:
        case (
            "cast",
            "int16",
            ("min", ("max", ("scaled_rint", ("acc",), ("in", factor)), ("const", _, low)), ("const", _, high)),
        ):
            return PackedEnd(factor, low, high)
    return None


def _rounded(total: Any, factor: Any, lanes: int) -> Any:
    number = tirx.Cast(f"float32x{lanes}", total)
    start = tirx.Broadcast(tirx.const(_ROUND, "float32"), lanes)
    rounded = tirx.call_llvm_pure_intrin(f"float32x{lanes}", "llvm.fma", number, factor, start)
    bits = tirx.call_intrin(f"int32x{lanes}", "tirx.reinterpret", rounded)
    return bits - tirx.Broadcast(tirx.const(_ROUND_BITS, "int32"), lanes)


def rounded_shift(total: Any, places: Any) -> Any:
    """total / 2**places, rounded half to even; int32, with total + 2**places in 31 bits.

    Half of the last place less one is added, and one where what stays is odd.
    """
    one = tirx.const(1, "int32")
    odd = tirx.bitwise_and(tirx.shift_right(total, places), one)
    half = tirx.shift_left(one, places - one) - one
    return tirx.shift_right(total + half + odd, places)
