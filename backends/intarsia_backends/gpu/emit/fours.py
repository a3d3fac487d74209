"""TIR for nests whose neighbours in memory are made of neighbours: a thread makes four of them, which it reads and
writes at once. Depthwise convolutions, pools, and what is made element by element.

Where operands stay the same from one row to the next, as weights do, a thread makes some rows, and what its windows
have in common is read once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script.ir_builder import tirx as T

from intarsia_backends.gpu.emit import intrinsics
from intarsia_backends.gpu.emit.shared import held, placed
from intarsia_backends.lowering.access import Access
from intarsia_backends.lowering.expressions import Expression, Input
from intarsia_backends.lowering.kernels import Nest
from intarsia_backends.tir.expressions import Term, term
from intarsia_backends.tir.functions import function, parameter
from intarsia_backends.tir.nests import address, finished, loaded, operands, span, stored
from intarsia_backends.tir.schedule import Schedule, ordered_loops

FOUR = 4
_TAPS = 32
"""Steps of a reduction up to which all are written out."""

_FEW = 1 << 12
"""Threads below which long reductions are better shared by four times as many."""

_ROWS = (4, 7, 2)
_THREADS = 1 << 14
"""Threads from which on each may make several rows."""


def in_fours(access: Access, kept: Sequence[int], loop: int, alignment: int) -> bool:
    """Whether four steps of a kept loop lie side by side, and start at multiples of four.

    alignment  of the whole, in bytes
    """
    item_bytes = np.dtype(stored(access.dtype)).itemsize
    if access.dtype == "bool" or item_bytes > 4:
        return False
    steps = [stride for number, stride in enumerate(access.strides) if number != loop]
    steps += [access.offset, kept[loop], alignment // item_bytes]
    return access.strides[loop] == 1 and all(step % FOUR == 0 for step in steps)


def fetched(
    buffer: Any, access: Access, places: Sequence[Term], loop: int | None, width: int, four: bool
) -> list[Term]:
    """What neighbours along a loop read of an operand, in registers.

    places  of the first
    loop    None where there is no loop, and one element
    width   how many neighbours
    four    whether these are four that may be read at once
    """
    if four:
        registers = T.alloc_buffer((FOUR,), stored(access.dtype))
        intrinsics.fetch(registers, buffer, address(access, places))
        return [registers[element] for element in range(FOUR)]
    if loop is None or not access.strides[loop]:
        return [held(loaded(buffer, access, places))] * width
    return [
        held(loaded(buffer, access, [*places[:loop], places[loop] + element, *places[loop + 1 :]]))
        for element in range(width)
    ]


def inputs_of(*expressions: Expression) -> list[int]:
    """Operands that are read at the place of the loop."""
    return sorted({part.operand for each in expressions for part in each.walk() if isinstance(part, Input)})


@dataclass(frozen=True)
class Fours:
    """How threads make a nest.

    rows   steps of the loop before the last that a thread makes
    wide   by operand, whether four are read at once
    """

    rows: int
    wide: tuple[bool, ...]


def fours_of(kernel: Nest, alignments: Sequence[int]) -> Fours | None:
    """The nest for threads that make four neighbours each; None where they may not be written at once."""
    last = len(kernel.kept) - 1
    if not kernel.kept or 0 in kernel.kept or (kernel.combine and kernel.body.gathers):
        return None
    if math.prod(kernel.reduced) > _TAPS and math.prod(kernel.kept) // FOUR < _FEW:
        return None
    if not in_fours(kernel.output, kernel.kept, last, alignments[-1]):
        return None
    wide = tuple(
        in_fours(access, kernel.kept, last, alignment) for access, alignment in zip(kernel.operands, alignments)
    )
    return Fours(_rows(kernel), wide)


def _rows(kernel: Nest) -> int:
    if len(kernel.kept) < 2 or not 1 < math.prod(kernel.reduced) <= _TAPS:
        return 1
    if all(access.strides[len(kernel.kept) - 2] for access in kernel.operands):
        return 1
    threads = math.prod(kernel.kept) // FOUR
    return next((rows for rows in _ROWS if kernel.kept[-2] % rows == 0 and threads // rows >= _THREADS), 1)


def emit_fours(kernel: Nest, fours: Fours, schedule: Schedule) -> Any:
    """The PrimFunc of such a nest."""
    extents = (*kernel.kept, *kernel.reduced)

    def body() -> None:
        buffers = operands(kernel.operands, extents, "x")
        output = parameter("y", span(kernel.output, kernel.kept), stored(kernel.output.dtype))
        _Elements(kernel, fours, buffers, output).emit(schedule)

    return function(body)


class _Elements:
    """What a thread makes: some rows of four."""

    def __init__(self, kernel: Nest, fours: Fours, buffers: list[Any], output: Any) -> None:
        self.kernel, self.fours, self.buffers, self.output = kernel, fours, buffers, output
        self.last = len(kernel.kept) - 1

    def emit(self, schedule: Schedule) -> None:
        kernel, rows = self.kernel, self.fours.rows
        extents = [*kernel.kept[:-1], kernel.kept[-1] // FOUR]
        if rows > 1:
            extents[-2] //= rows
        with ExitStack() as stack:
            *outer, four = schedule.loops(stack, extents, kernel.work, len(extents))
            if rows > 1:
                outer[-1] = outer[-1] * rows
            places = [placed(place) for place in (*outer, four * FOUR)]
            if not kernel.combine:
                self.store(places, self.values(kernel.body, places))
                return
            dtype = kernel.accumulator_dtype
            totals = [T.alloc_buffer((FOUR,), dtype) for _ in range(rows)]
            for row in range(rows):
                for element, value in enumerate(self.values(kernel.initial, self.row(places, row))):
                    T.buffer_store(totals[row], value, [element])
            if math.prod(kernel.reduced) <= _TAPS:
                self.windows(places, totals)
            else:
                with ExitStack() as inner:
                    taps = ordered_loops(inner, kernel.reduced)
                    self.grow(totals[0], self.reads(kernel.body, places, taps))
            for row in range(rows):
                place = self.row(places, row)
                found = self.reads(kernel.epilogue, place, ())
                ends = [
                    finished(kernel.epilogue, self.reader(found, place, element), totals[row][element], self.dtype)
                    for element in range(FOUR)
                ]
                self.store(place, ends)

    @property
    def dtype(self) -> str:
        return self.kernel.output.dtype

    def row(self, places: Sequence[Term], row: int) -> list[Term]:
        return [*places[:-2], places[-2] + row, places[-1]] if row else list(places)

    # ---- reductions

    def windows(self, places: Sequence[Term], totals: Sequence[Any]) -> None:
        """All steps, one by one; what several rows or steps read is read once."""
        kernel, before = self.kernel, len(self.kernel.kept) - 2
        read: dict[tuple[int, int], list[Term]] = {}
        for taps in np.ndindex(*kernel.reduced):
            for row, total in enumerate(totals):
                found = {}
                for operand in inputs_of(kernel.body):
                    access = kernel.operands[operand]
                    steps = access.strides[len(kernel.kept) :]
                    offset = sum(stride * tap for stride, tap in zip(steps, taps))
                    offset += access.strides[before] * row if row else 0
                    if (operand, offset) not in read:
                        kept = Access(access.dtype, access.strides[: len(kernel.kept)], access.offset + offset)
                        read[operand, offset] = self.fetched(operand, kept, places)
                    found[operand] = read[operand, offset]
                self.grow(total, found)

    def grow(self, total: Any, found: dict[int, list[Term]]) -> None:
        for element in range(FOUR):
            grown = term(self.kernel.step, lambda index, further: found[index][element], total[element])  # noqa: B023
            T.buffer_store(total, grown, [element])

    # ---- reads

    def fetched(self, operand: int, access: Access, places: Sequence[Term]) -> list[Term]:
        return fetched(self.buffers[operand], access, places, self.last, FOUR, self.fours.wide[operand])

    def reads(self, expression: Expression, places: Sequence[Term], inner: Sequence[Term]) -> dict[int, list[Term]]:
        """By operand, what the four elements read."""
        kernel = self.kernel
        read = {}
        for operand in inputs_of(expression):
            access = kernel.operands[operand]
            kept = access if inner else Access(access.dtype, access.strides[: len(kernel.kept)], access.offset)
            read[operand] = self.fetched(operand, kept, [*places, *inner])
        return read

    def reader(self, found: dict[int, list[Term]], places: Sequence[Term], element: int) -> Any:
        own = [*places[:-1], places[-1] + element] if element else list(places)

        def load(index: int, further: Term | None) -> Term:
            if further is None:
                return found[index][element]
            return loaded(self.buffers[index], self.kernel.operands[index], own, further)

        return load

    def values(self, expression: Expression, places: Sequence[Term]) -> list[Term]:
        found = self.reads(expression, places, ())
        return [term(expression, self.reader(found, places, element)) for element in range(FOUR)]

    def store(self, places: Sequence[Term], elements: Sequence[Term]) -> None:
        four = T.alloc_buffer((FOUR,), stored(self.dtype))
        for number, element in enumerate(elements):
            T.buffer_store(four, element, [number])
        intrinsics.store(self.output, address(self.kernel.output, places), four)
