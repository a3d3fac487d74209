"""TIR for `Nest`: maps and reductions over strided buffers.

Vectors come in two ways. Where every walk steps by 0 or 1 in the innermost loop, reductions are written with explicit
vectors: along the kept loop, or with partial sums along the reduced one. All else is plain loops with the window
unrolled, which LLVM vectorises where it can.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from intarsia_backends.lowering.access import Access
from intarsia_backends.lowering.expressions import Expression, Input, apply
from intarsia_backends.lowering.kernels import Nest
from intarsia_backends.tir.expressions import Term, over_lanes, term
from intarsia_backends.tir.functions import function, parameter
from intarsia_backends.tir.schedule import Schedule, ordered_loops
from intarsia_backends.tir.vectors import load, store, transposed

_UNROLL_TAPS = 32
_PARTS = 4
"""Vectors of partial results, so that one step need not wait for the one before."""


def span(access: Access, extents: Sequence[int]) -> int:
    """Elements from the start of a buffer to the end of a walk over it."""
    return 1 + access.offset + sum(max(0, stride * (extent - 1)) for stride, extent in zip(access.strides, extents))


def operands(accesses: Sequence[Access], extents: Sequence[int], letter: str) -> list[Any]:
    """Parameters of the function at hand, called `letter` and a number, for what a kernel reads over these extents."""
    return [
        parameter(f"{letter}{index}", span(access, extents), stored(access.dtype))
        for index, access in enumerate(accesses)
    ]


def emit_nest(kernel: Nest, schedule: Schedule) -> Any:
    """The PrimFunc of a nest; without vectors, plain loops."""
    extents = (*kernel.kept, *kernel.reduced)

    def body() -> None:
        buffers = operands(kernel.operands, extents, "x")
        output = parameter("y", span(kernel.output, kernel.kept), stored(kernel.output.dtype))
        _Loops(kernel, buffers, output, schedule).emit()

    return function(body)


def stored(dtype: str) -> str:
    """The element type in memory: a bool takes a byte; a float16 is moved as its bits, and computed with as float32."""
    return {"bool": "uint8", "float16": "uint16"}.get(dtype, dtype)


class _Loops:
    def __init__(self, kernel: Nest, buffers: list[Any], output: Any, schedule: Schedule) -> None:
        self.kernel, self.buffers, self.output, self.schedule = kernel, buffers, output, schedule
        self.lanes = schedule.lanes

    def emit(self) -> None:
        kernel = self.kernel
        turned = None if kernel.combine or self.lanes == 1 else self.turned()
        if turned is not None:
            self.emit_turned(turned)
        elif not kernel.combine:
            # Nested loops of few steps over a row would be unrolled by LLVM, all of them, and take seconds.
            with ExitStack() as stack:
                places = self.schedule.loops(stack, kernel.kept, kernel.work, max(0, len(kernel.kept) - 1))
                self.store(places, kernel.body, None)
        elif self.lanes == 1:
            self.emit_scalar()
        elif self.steps(len(kernel.kept) - 1) <= {0, 1} and kernel.kept[-1] >= self.lanes and self.writes_rows():
            self.emit_along_kept()
        elif kernel.reduced and self.steps(-1) <= {0, 1} and kernel.reduced[-1] >= 2 * self.lanes:
            self.emit_along_reduced()
        else:
            self.emit_scalar()

    def steps(self, position: int) -> set[int]:
        return {access.strides[position] for access in self.kernel.operands}

    def writes_rows(self) -> bool:
        return self.kernel.output.strides[-1] == 1

    # ---- the three forms of a reduction

    def emit_scalar(self) -> None:
        kernel = self.kernel
        with ExitStack() as stack:
            kept = self.schedule.loops(stack, kernel.kept, kernel.work)
            accumulator = self.accumulator(1)
            T.buffer_store(accumulator, self.expression(kernel.initial, kept), [0])
            for reduced in self.reduced_places():
                T.buffer_store(accumulator, self.grown(accumulator[0], kept, reduced), [0])
            self.store(kept, kernel.epilogue, accumulator[0])

    def emit_along_kept(self) -> None:
        """Vectors of neighbouring outputs, several at once; the last ones of a row overlap those before them."""
        kernel, lanes = self.kernel, self.lanes
        row = kernel.kept[-1]
        count = self.vectors_along(row)
        block = count * lanes
        with ExitStack() as stack:
            kept = self.schedule.loops(stack, (*kernel.kept[:-1], -(-row // block)), kernel.work)
            start = kept[-1] * block if row % block == 0 else tirx.min(kept[-1] * block, row - block)
            accumulators = [self.accumulator(lanes) for _ in range(count)]

            def over_vectors(element: Callable[[list[Term], Term], Term]) -> None:
                for index, accumulator in enumerate(accumulators):
                    with over_lanes(lanes) as lane:
                        place = [*kept[:-1], start + (index * lanes + lane)]
                        T.buffer_store(accumulator, element(place, accumulator[lane]), [lane])

            over_vectors(lambda place, _: self.expression(kernel.initial, place))
            for reduced in self.reduced_places():
                over_vectors(lambda place, total: self.grown(total, place, reduced))  # noqa: B023
            for index, accumulator in enumerate(accumulators):
                with over_lanes(lanes) as lane:
                    self.store([*kept[:-1], start + (index * lanes + lane)], kernel.epilogue, accumulator[lane])

    def vectors_along(self, row: int) -> int:
        """Vectors to go on with at once: those that make the fewest in all, and of these the most."""
        taps = math.prod(self.kernel.reduced)
        largest = 1 if _UNROLL_TAPS // 4 < taps <= _UNROLL_TAPS else _PARTS
        choices = range(1, min(largest, row // self.lanes) + 1)
        return max(choices, key=lambda count: (-count * -(-row // (count * self.lanes)), count))

    def emit_along_reduced(self) -> None:
        """Partial results in several vectors, joined at the end; what is left of a row goes one by one."""
        kernel, lanes = self.kernel, self.lanes
        row = kernel.reduced[-1]
        neutral = {"add": 0, "mul": 1}.get(kernel.combine)
        vectors = row // lanes
        count = min(_PARTS, vectors)
        with ExitStack() as stack:
            kept = self.schedule.loops(stack, kernel.kept, kernel.work)
            partials, accumulator = [self.accumulator(lanes) for _ in range(count)], self.accumulator(1)
            T.buffer_store(accumulator, self.expression(kernel.initial, kept), [0])
            for partial in partials:
                with over_lanes(lanes) as lane:
                    start = accumulator[0] if neutral is None else tirx.const(neutral, self.kernel.accumulator_dtype)
                    T.buffer_store(partial, start, [lane])
            with ExitStack() as inner:
                outer = ordered_loops(inner, kernel.reduced[:-1])

                def add(partial: Any, vector: Term | int) -> None:
                    with over_lanes(lanes) as lane:
                        place = [*outer, vector * lanes + lane]
                        T.buffer_store(partial, self.grown(partial[lane], kept, place), [lane])

                with T.serial(0, vectors // count) as chunk:
                    for index, partial in enumerate(partials):
                        add(partial, chunk * count + index)
                for index in range(vectors % count):
                    add(partials[index], vectors // count * count + index)
                if row % lanes:
                    with T.serial(vectors * lanes, row) as place:
                        T.buffer_store(accumulator, self.grown(accumulator[0], kept, [*outer, place]), [0])
            while len(partials) > 1:
                half = -(-len(partials) // 2)
                for one, other in zip(partials, partials[half:]):
                    with over_lanes(lanes) as lane:
                        T.buffer_store(one, self.joined(one[lane], other[lane]), [lane])
                partials = partials[:half]
            # A copy: a vector that is also read lane by lane would be kept as scalars throughout.
            last = self.accumulator(lanes)
            store(last, 0, load(partials[0], 0, lanes), lanes)
            with T.serial(0, lanes) as lane:
                T.buffer_store(accumulator, self.joined(accumulator[0], last[lane]), [0])
            self.store(kept, kernel.epilogue, accumulator[0])

    # ---- a map whose operands lie across the output

    def turned(self) -> int | None:
        """The loop along which the elements of operands lie that lie across the row of the output; None for none."""
        kernel, lanes = self.kernel, self.lanes
        if not kernel.kept or kernel.output.strides[-1] != 1 or kernel.kept[-1] < lanes or kernel.body.gathers:
            return None
        across = [access for access in kernel.operands if access.strides[-1] not in (0, 1)]
        loops_along = {access.strides[:-1].index(1) if 1 in access.strides[:-1] else None for access in across}
        if len(loops_along) != 1 or any(access.dtype == "bool" for access in across):
            return None
        loop = loops_along.pop()
        return loop if loop is not None and kernel.kept[loop] >= lanes else None

    def emit_turned(self, loop: int) -> None:
        """Square blocks: rows of an operand are loaded, turned in registers, and read as rows of the output."""
        kernel, lanes = self.kernel, self.lanes
        column, row = kernel.kept[loop], kernel.kept[-1]
        blocks = -(-column // lanes)
        others = [extent for index, extent in enumerate(kernel.kept[:-1]) if index != loop]
        together = min(2, blocks)
        with ExitStack() as stack:
            *outer, pair = self.schedule.loops(stack, (*others, -(-blocks // together)), kernel.work, len(others) + 1)
            with T.serial(0, -(-row // lanes)) as block:
                start = tirx.min(block * lanes, row - lanes)
                for index in range(together):
                    first = tirx.min(tirx.min(pair * together + index, blocks - 1) * lanes, column - lanes)
                    self.emit_block([*outer[:loop], first, *outer[loop:]], loop, start)

    def emit_block(self, places: Sequence[Term], loop: int, start: Term) -> None:
        kernel, lanes = self.kernel, self.lanes
        held: dict[int, list[Any]] = {}
        for number, access in enumerate(kernel.operands):
            if access.strides[-1] in (0, 1):
                continue
            rows = [
                load(self.buffers[number], address(access, [*places, start + lane]), lanes) for lane in range(lanes)
            ]
            turned = transposed(rows, lanes, str(self.buffers[number].dtype))
            held[number] = [T.alloc_buffer((lanes,), self.buffers[number].dtype) for _ in turned]
            for buffer, vector in zip(held[number], turned):
                store(buffer, 0, vector, lanes)
        for step in range(lanes):
            with over_lanes(lanes) as lane:
                place = [*places[:loop], places[loop] + step, *places[loop + 1 :], start + lane]

                def read(number: int, further: Term | None) -> Term:
                    if number in held:
                        return held[number][step][lane]  # noqa: B023
                    return loaded(self.buffers[number], kernel.operands[number], place, further)  # noqa: B023

                self.store_element(term(kernel.body, read), place)

    # ---- pieces

    def accumulator(self, count: int) -> Any:
        return T.alloc_buffer((count,), self.kernel.accumulator_dtype)

    def joined(self, total: Term, element: Term) -> Term:
        return term(apply(self.kernel.combine, Input(0), Input(1)), lambda index, further: (total, element)[index])

    def grown(self, total: Term, kept: Sequence[Term], reduced: Sequence[Term]) -> Term:
        """An accumulator after one more element."""
        return self.expression(self.kernel.step, kept, reduced, total)

    def reduced_places(self) -> Iterator[list[Term]]:
        """Every place of the reduced loops: one by one where they are few, else the indices of loops held open."""
        taps = math.prod(self.kernel.reduced)
        if taps <= _UNROLL_TAPS:
            yield from (self.unravel(tap) for tap in range(taps))
        else:
            with ExitStack() as stack:
                yield ordered_loops(stack, self.kernel.reduced)

    def unravel(self, tap: int) -> list[Term]:
        places = []
        for extent in reversed(self.kernel.reduced):
            tap, place = divmod(tap, extent)
            places.append(tirx.const(place, "int32"))
        return places[::-1]

    def expression(
        self, expression: Expression, kept: Sequence[Term], reduced: Sequence[Term] = (), total: Term = None
    ) -> Term:
        def load(index: int, further: Term | None) -> Term:
            return loaded(self.buffers[index], self.kernel.operands[index], [*kept, *reduced], further)

        return term(expression, load, total)

    def store(self, kept: Sequence[Term], expression: Expression, total: Term) -> None:
        self.store_element(self.expression(expression, kept, (), total), kept)

    def store_element(self, element: Term, kept: Sequence[Term]) -> None:
        if self.kernel.output.dtype == "bool":
            element = tirx.Cast("uint8", element)
        T.buffer_store(self.output, element, [address(self.kernel.output, kept)])


def address(access: Access, places: Sequence[Term]) -> Term:
    """The element that a walk reaches."""
    result: Term = tirx.const(access.offset, "int32")
    for stride, place in zip(access.strides, places):
        if stride:
            result = result + place * stride
    return result


def finished(expression: Expression, load: Callable[[int, Term | None], Term], total: Term, dtype: str) -> Term:
    """The end of a kernel as it is stored: a bool takes a byte."""
    element = term(expression, load, total)
    return tirx.Cast("uint8", element) if dtype == "bool" else element


def loaded(buffer: Any, access: Access, places: Sequence[Term], further: Term | None = None) -> Term:
    """The element that a walk reaches, or one some elements further."""
    place = address(access, places)
    element = buffer[place if further is None else place + further]
    return tirx.NE(element, tirx.const(0, "uint8")) if access.dtype == "bool" else element
