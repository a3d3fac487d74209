"""The end of integer kernels on x86, for two vectors of sums at once: a factor, perhaps an addition, as int16."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tvm import tirx

from intarsia_backends.cpu.emit.dot_products import dot2, interleaved
from intarsia_backends.cpu.tiling import interleaving_order
from intarsia_backends.lowering.access import Access
from intarsia_backends.lowering.expressions import Accumulator, Apply, Cast, Constant, Expression, Input
from intarsia_backends.tir.expressions import Term
from intarsia_backends.tir.requantize import half_up_shift, rounded_shift, scaled_rint
from intarsia_backends.tir.vectors import broadcast, index, reinterpreted

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
            total = dot2(pairs, _pairs(low, sum_low, lanes), lanes)
            if high or sum_high:
                more = dot2(pairs, _pairs(high, sum_high, lanes), lanes)
                total = tirx.shift_left(more, broadcast(_LOW_BITS, "int32", lanes)) + total
            totals.append(shift(total, places))
        return self.clamp(totals, lanes)


@dataclass(frozen=True)
class PackedEpilogue:
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


def packed_epilogue(epilogue: Expression, operands: Sequence[Access]) -> PackedEpilogue | None:
    """The epilogue as one that is done two vectors at once, where it is of that kind.

    operands  walks over (batch, channel, ...) of what the epilogue reads
    """
    end = _matched(epilogue)
    if end is None:
        return None
    read = [(end.factor, "float32"), *([(end.addition.operand, "int16")] if end.addition else [])]
    rows = all(operands[index].dtype == dtype and operands[index].strides[1] == 1 for index, dtype in read)
    return end if rows else None


def _matched(epilogue: Expression) -> PackedEpilogue | None:
    outer = _clamped(epilogue.value) if isinstance(epilogue, Cast) and epilogue.dtype == "int16" else None
    if outer is None:
        return None
    inner, clamp = outer
    match inner:
        case Apply("scaled_rint", (Accumulator(), Input(factor))):
            return PackedEpilogue(factor, clamp, None)
        case Apply(
            "rounded_shift" | "half_up_shift" as shift,
            (
                Apply("add", (Apply("mul", (first, Constant(_, one))), Apply("mul", (second, Constant(_, other))))),
                Constant(_, places),
            ),
        ):
            if not isinstance(first, Cast) or first.dtype != "int32":
                first, second, one, other = second, first, other, one
            end = _matched(Cast("int16", second))
            match first:
                case Cast("int32", Input(operand)) if end is not None and end.addition is None:
                    addition = Addition(
                        operand=operand,
                        multiplier=int(one),
                        sum_multiplier=int(other),
                        places=int(places),
                        tied=shift == "rounded_shift",
                        clamp=clamp,
                    )
                    return replace(end, addition=addition)
    return None


def _clamped(expression: Expression) -> tuple[Expression, _Clamp] | None:
    """What is clamped to numbers of 16 bits, and to which."""
    match expression:
        case Apply("min", (Apply("max", (inner, Constant(_, low))), Constant(_, high))):
            return (inner, _Clamp(int(low), int(high))) if -(1 << 15) <= low <= high < 1 << 15 else None
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
