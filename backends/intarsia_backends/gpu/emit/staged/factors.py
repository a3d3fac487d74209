"""A factor on its way from memory to the stages of shared memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from intarsia_backends.gpu.emit import intrinsics
from intarsia_backends.gpu.emit.products import unravelled, within
from intarsia_backends.gpu.emit.shared import only, placed
from intarsia_backends.gpu.emit.staged.choice import TURNS, UNIT_BYTES
from intarsia_backends.gpu.emit.staged.form import Factor
from intarsia_backends.lowering.access import Access
from intarsia_backends.lowering.kernels import Nest
from intarsia_backends.tir.expressions import Term
from intarsia_backends.tir.half import float_of_half
from intarsia_backends.tir.nests import address, loaded


def unit_place(line: Term, unit: Term, stage_bytes: int) -> Term:
    """Where a unit of a line stands: units of 8 neighbouring lines change places, so that these may be read together
    from all banks of shared memory."""
    units = stage_bytes // UNIT_BYTES
    turn = tirx.floormod(tirx.floordiv(line, TURNS // units), units)
    return line * stage_bytes + tirx.bitwise_xor(unit, turn) * UNIT_BYTES


class Bringer:
    """Brings what a block needs of one factor.

    lines    of the tile
    first    the tile's first line
    start    bytes of a stage where the factor's part begins
    """

    def __init__(
        self,
        kernel: Nest,
        factor: Factor,
        buffer: Any,
        memory: Any,
        *,
        lines: int,
        stage_bytes: int,
        start: int,
        thread: Term,
        threads: int,
        batch: Sequence[tuple[int, Term]],
        first: Term,
    ) -> None:
        self.kernel, self.factor, self.buffer, self.memory = kernel, factor, buffer, memory
        self.lines, self.stage_bytes, self.start = lines, stage_bytes, start
        self.thread, self.threads, self.batch, self.first = thread, threads, batch, first
        self.depth = math.prod(kernel.reduced)
        self.stage_steps = stage_bytes // factor.item_bytes
        self.walks: list[_Walk] = self.chunks() if factor.chunk else []

    def bring(self, stage: Term, step: Term) -> None:
        """What a step needs, to where a stage begins."""
        if self.factor.chunk:
            self.bring_chunks(stage, step)
        else:
            self.bring_numbers(stage, step)

    def place(self, line: Term) -> list[Term]:
        """Indices of the kept loops for a line, or the last one that there is."""
        indices: list[Term] = [tirx.const(0, "int32")] * len(self.kernel.kept)
        for loop, index in self.batch:
            indices[loop] = index
        extents = [self.kernel.kept[loop] for loop in self.factor.loops]
        number = within(self.first + line, self.factor.lines, self.lines)
        for loop, index in zip(self.factor.loops, unravelled(number, extents)):
            indices[loop] = index
        return indices

    @property
    def access(self) -> Access:
        return self.kernel.operands[self.factor.operand]

    # ---- several numbers at a time

    def chunks(self) -> list[_Walk]:
        """Where the thread's own chunks start, which no step changes."""
        factor, access = self.factor, self.access
        kept = Access(access.dtype, access.strides[: len(self.kernel.kept)], access.offset)
        beside = self.stage_bytes // factor.chunk
        total = self.lines * beside
        walks = []
        for turn in range(-(-total // self.threads)):
            number = self.thread + turn * self.threads
            line, chunk = tirx.floordiv(number, beside), tirx.floormod(number, beside)
            byte = chunk * factor.chunk
            place = unit_place(line, tirx.floordiv(byte, UNIT_BYTES), self.stage_bytes)
            place = place + tirx.floormod(byte, UNIT_BYTES) + self.start
            there = number < total if (turn + 1) * self.threads > total else None
            source, target = placed(address(kept, self.place(line))), placed(place)
            walks.append(_Walk(source, target, tirx.floordiv(byte, factor.item_bytes), there))
        return walks

    def bring_chunks(self, stage: Term, step: Term) -> None:
        for walk in self.walks:
            further, inside = self.along(step, walk.step)
            with only(walk.there):
                source = intrinsics.at(self.buffer, tirx.Select(inside, walk.source + further, walk.source))
                intrinsics.copy(self.factor.chunk, self.memory, stage + walk.target, source, inside)

    def along(self, step: Term, own: Term) -> tuple[Term, Term]:
        """Elements from a line's start to what a thread brings of it in a step, and whether the sum goes so far."""
        reduced, steps = self.kernel.reduced, self.stage_steps
        strides = self.access.strides[len(self.kernel.kept) :]
        if reduced[-1] % steps == 0:  # all threads of a block stand at the same places of the outer loops
            indices = unravelled(step, (*reduced[:-1], reduced[-1] // steps))
            places = [*indices[:-1], indices[-1] * steps + own]
        else:
            places = unravelled(step * steps + own, reduced)
        inside = step * steps + own < self.depth if self.depth % steps else tirx.const(True, "bool")
        return address(Access("", strides), places), inside

    # ---- one by one

    def bring_numbers(self, stage: Term, step: Term) -> None:
        item_bytes, steps = self.factor.item_bytes, self.stage_steps
        total = self.lines * steps
        along = abs(self.access.strides[-1]) == 1
        with T.serial(0, -(-total // self.threads)) as turn:
            number = turn * self.threads + self.thread
            with only(number < total if total % self.threads else None):
                # Neighbouring threads read neighbours in memory: along the sum, or across it.
                size = steps if along else self.lines
                outer, inner = tirx.floordiv(number, size), tirx.floormod(number, size)
                line, own = (outer, inner) if along else (inner, outer)
                depth = step * steps + own
                cut = self.depth % steps != 0
                reduced = unravelled(tirx.min(depth, self.depth - 1) if cut else depth, self.kernel.reduced)
                value = loaded(self.buffer, self.access, [*self.place(line), *reduced])
                if self.access.dtype == "float16" and item_bytes == 4:
                    value = float_of_half(value)
                if cut:
                    value = tirx.Select(depth < self.depth, value, tirx.const(0, str(value.ty.dtype)))
                byte = own * item_bytes
                place = unit_place(line, tirx.floordiv(byte, UNIT_BYTES), self.stage_bytes)
                place = place + tirx.floormod(byte, UNIT_BYTES) + self.start
                intrinsics.put(item_bytes, self.memory, stage + place, value)


class _Walk:
    """A chunk that a thread brings in every step: where it comes from and goes to, at which step of the sum it starts,
    and whether it is one at all."""

    def __init__(self, source: Term, target: Term, step: Term, there: Term | None) -> None:
        self.source, self.target, self.step, self.there = source, target, step, there
