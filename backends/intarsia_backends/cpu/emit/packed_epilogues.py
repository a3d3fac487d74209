"""The end of integer kernels on x86, for two vectors of sums at once: a factor, perhaps an addition, as int16."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm import tirx

from intarsia_backends.cpu.tiling import interleaving_order
from intarsia_backends.lowering.access import Access, Expression
from intarsia_backends.tir.expressions import Term
from intarsia_backends.tir.requantize import half_up_shift, rounded_shift, scaled_rint
from intarsia_backends.tir.vectors import broadcast, index, interleaved, pair_products, reinterpreted

_PACK = {4: "llvm.x86.sse2.packssdw.128", 8: "llvm.x86.avx2.packssdw", 16: "llvm.x86.avx512.packssdw.512"}
_LOW_BITS = 15
"""Of a multiplier: what is left of 21 bits fits an int16 as well."""


@dataclass(frozen=True)
class _Clamp:
    low: int
    high: int

    def __call__(self, pair: Sequence[Term], lanes: int) -> Term:
        """Two int32 [lanes] in `interleaving_order` as one int16 [2 * lanes] in the channels' own order, clamped."""
        width = 2 * lanes
        packed = tirx.call_llvm_pure_intrin(f"int16x{width}", _PACK[lanes], *pair)  # saturates, which a clamp may
        return tirx.max(tirx.min(packed, broadcast(self.high, "int16", width)), broadcast(self.low, "int16", width))


@dataclass(frozen=True)
class Addition:
    """What is added: (operand * multiplier + sum * sum_multiplier) / 2**places, rounded and clamped.

    operand  further operand, int16, whose channels lie side by side
    tied     whether a total may lie half-way between two numbers, and must go to the even one
    """

    operand: int
    multiplier: int
    sum_multiplier: int
    places: int
    tied: bool
    clamp: _Clamp

    def emit(self, sums: Term, others: Term, lanes: int) -> Term:
        """int16 [2 * lanes] each, and so is the result."""
        shift = rounded_shift if self.tied else half_up_shift
        places = broadcast(self.places, "int32", lanes)
        (low, high), (sum_low, sum_high) = _halves(self.multiplier), _halves(self.sum_multiplier)
        totals = []
        for pairs in interleaved(others, sums, 2 * lanes, lanes):
            total = pair_products(pairs, _pairs(low, sum_low, lanes), lanes)
            if high or sum_high:
                more = pair_products(pairs, _pairs(high, sum_high, lanes), lanes)
                total = tirx.shift_left(more, broadcast(_LOW_BITS, "int32", lanes)) + total
            totals.append(shift(total, places))
        return self.clamp(totals, lanes)


@dataclass(frozen=True)
class PackedEnd:
    """A sum times a factor, rounded and clamped, and perhaps an addition after it.

    factor  further operand that holds the factors of the channels, float32
    """

    factor: int
    clamp: _Clamp
    addition: Addition | None

    def emit(self, totals: Sequence[Term], row: Callable[[int], Term], lanes: int) -> Term:
        """int16 [2 * lanes].

        totals  two int32 [lanes] in `interleaving_order`
        row     gives [2 * lanes] elements of a further operand, in the channels' own order
        """
        factors = row(self.factor)
        pair = [
            scaled_rint(total, tirx.Shuffle([factors], [index(place) for place in order]))
            for total, order in zip(totals, interleaving_order(lanes))
        ]
        sums = self.clamp(pair, lanes)
        return sums if self.addition is None else self.addition.emit(sums, row(self.addition.operand), lanes)


def packed_end(finish: Expression, operands: Sequence[Access]) -> PackedEnd | None:
    """The finish as one that is done two vectors at once, where it is of that kind.

    operands  walks over (batch, channel, ...) of what the finish reads
    """
    end = _matched(finish)
    if end is None:
        return None
    read = [(end.factor, "float32"), *([(end.addition.operand, "int16")] if end.addition else [])]
    rows = all(operands[index].dtype == dtype and operands[index].strides[1] == 1 for index, dtype in read)
    return end if rows else None


def _matched(finish: Expression) -> PackedEnd | None:
    if finish[:2] != ("cast", "int16"):
        return None
    outer = _clamped(finish[2])
    if outer is None:
        return None
    inner, clamp = outer
    match inner:
        case ("scaled_rint", ("acc",), ("in", factor)):
            return PackedEnd(factor, clamp, None)
        case (
            "rounded_shift" | "half_up_shift",
            ("add", ("mul", first, ("const", _, multiplier)), ("mul", second, ("const", _, other))),
            ("const", _, places),
        ):
            if first[:2] != ("cast", "int32"):
                first, second, multiplier, other = second, first, other, multiplier
            end = _matched(("cast", "int16", second))
            match first:
                case ("cast", "int32", ("in", operand)) if end is not None and end.addition is None:
                    tied = inner[0] == "rounded_shift"
                    return PackedEnd(end.factor, end.clamp, Addition(operand, multiplier, other, places, tied, clamp))
    return None


def _clamped(expression: Expression) -> tuple[Expression, _Clamp] | None:
    """What is clamped to numbers of 16 bits, and to which."""
    match expression:
        case ("min", ("max", inner, ("const", _, low)), ("const", _, high)) if -(1 << 15) <= low <= high < 1 << 15:
            return inner, _Clamp(low, high)
    return None


def _halves(multiplier: int) -> tuple[int, int]:
    """low + high * 2**15, both in 16 bits with a sign."""
    high = (multiplier + (1 << _LOW_BITS - 1)) >> _LOW_BITS
    return multiplier - (high << _LOW_BITS), high


def _pairs(first: int, second: int, lanes: int) -> Term:
    """int16 [2 * lanes]: two numbers in turn."""
    both = (first & 0xFFFF) | (second & 0xFFFF) << 16
    signed = both - (1 << 32) if both >> 31 else both
    return reinterpreted(broadcast(signed, "int32", lanes), f"int16x{2 * lanes}")
