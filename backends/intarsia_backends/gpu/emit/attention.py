"""TIR for `Attention`: a block for some rows of q, which goes over k and v tile by tile.

Softmax is computed as it goes: the largest score so far is taken off all, and when a larger one comes, what was summed
up under the smaller one is scaled down. A row all of whose scores are -inf becomes NaN, as softmax has it, and so does
one with a NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from intarsia_backends.gpu.emit.products import unravelled, within
from intarsia_backends.gpu.emit.shared import held, only, placed, synchronize
from intarsia_backends.gpu.kernels import ATTENTION_THREADS, Attention
from intarsia_backends.lowering.expressions import Expression
from intarsia_backends.tir.expressions import Term, constant, decay, term
from intarsia_backends.tir.functions import function, parameter
from intarsia_backends.tir.half import float_of_half
from intarsia_backends.tir.nests import address, finished, loaded, span, stored
from intarsia_backends.tir.schedule import Schedule

_LOWEST = -math.inf


def emit_attention(kernel: Attention, schedule: Schedule) -> Any:
    """The PrimFunc of an attention; `schedule` has no say in it."""
    tile = kernel.tile
    extents = [
        (*kernel.batch, kernel.rows, kernel.depth),
        (*kernel.batch, kernel.depth, kernel.keys),
        (*kernel.batch, kernel.keys, kernel.columns),
    ]
    scores, ends = ((*kernel.batch, kernel.rows, last) for last in (kernel.keys, kernel.columns))
    extents += [scores] * kernel.read + [ends] * (len(kernel.operands) - 3 - kernel.read)

    def body() -> None:
        buffers = [
            parameter(f"x{index}", span(access, loops), stored(access.dtype))
            for index, (access, loops) in enumerate(zip(kernel.operands, extents))
        ]
        output = parameter("y", span(kernel.output, ends), stored(kernel.output.dtype))
        tall = -(-kernel.rows // tile.rows)
        with (
            T.thread_binding(0, math.prod(kernel.batch) * tall, "blockIdx.x") as block,
            T.thread_binding(0, ATTENTION_THREADS, "threadIdx.x") as thread,
        ):
            batch = unravelled(tirx.floordiv(block, tall), kernel.batch)
            _Block(kernel, buffers, output, batch, tirx.floormod(block, tall) * tile.rows, thread).emit()

    return function(body)


class _Block:
    """The rows of one block. A thread shares one of them with its neighbours: every `sharers`th key and column is its
    own."""

    def __init__(
        self,
        kernel: Attention,
        buffers: Sequence[Any],
        output: Any,
        batch: list[Term],
        first_row: Term,
        thread: Term,
    ) -> None:
        self.kernel, self.tile, self.buffers, self.output = kernel, kernel.tile, buffers, output
        self.batch, self.first_row, self.thread = batch, first_row, thread
        tile = kernel.tile
        self.row, self.sharer = tirx.floordiv(thread, tile.sharers), tirx.floormod(thread, tile.sharers)
        self.pitch = kernel.depth + 1
        self.q = self.shared(tile.rows * self.pitch)
        self.k_or_v = self.shared(tile.keys * max(self.pitch, kernel.columns))
        self.scores = self.shared(tile.rows * (tile.keys + 1))

    @staticmethod
    def shared(numbers: int) -> Any:
        return T.alloc_buffer((numbers,), "float32", scope="shared")

    @staticmethod
    def register(number: float) -> Any:
        made = T.alloc_buffer((1,), "float32")
        T.buffer_store(made, constant("float32", number), [0])
        return made

    def emit(self) -> None:
        kernel, tile = self.kernel, self.tile
        own_columns = range(-(-kernel.columns // tile.sharers))
        top, total = self.register(_LOWEST), self.register(0)
        sums = [self.register(0) for _ in own_columns]
        self.bring_q()
        with T.serial(0, -(-kernel.keys // tile.keys)) as number:
            first = placed(number * tile.keys)
            self.bring_k(first)
            synchronize()
            self.make_scores(first)
            synchronize()
            self.bring_v(first)
            grown = self.largest(top)
            # Taken off: 0 where all are -inf so far, since -inf less -inf is no number.
            lowest = constant("float32", _LOWEST)
            off = held(tirx.Select(grown > lowest, grown, constant("float32", 0)))
            faded = held(decay(top[0] - off))
            T.buffer_store(top, grown, [0])
            synchronize()  # all have seen the scores
            for key in self.own_keys():
                place = self.score_place(key)
                T.buffer_store(self.scores, decay(self.scores[place] - off), [place])
            synchronize()
            for each in (total, *sums):
                T.buffer_store(each, each[0] * faded, [0])
            with T.serial(0, tile.keys) as key:
                weight = held(self.scores[self.score_place(key)])
                T.buffer_store(total, total[0] + weight, [0])
                for column, each in zip(own_columns, sums):
                    place = key * kernel.columns + self.column(column, clamp=True)
                    T.buffer_store(each, each[0] + weight * self.k_or_v[place], [0])
            synchronize()  # all are done with v
        factor = held(constant("float32", 1) / total[0])
        for column, each in zip(own_columns, sums):
            self.store(column, each[0] * factor)

    # ---- places

    def own_keys(self) -> list[Term]:
        """The thread's keys of a tile."""
        return [self.sharer + index * self.tile.sharers for index in range(self.tile.keys // self.tile.sharers)]

    def column(self, index: int, clamp: bool = False) -> Term:
        """One of the thread's columns, or the last there is."""
        number = self.sharer + index * self.tile.sharers
        return within(number, self.kernel.columns, self.tile.sharers) if clamp else number

    def score_place(self, key: Term) -> Term:
        return self.row * (self.tile.keys + 1) + key

    def clamped_row(self, row: Term) -> Term:
        return within(self.first_row + row, self.kernel.rows, self.tile.rows)

    # ---- from memory

    def number(self, operand: int, places: Sequence[Term]) -> Term:
        """A float32 of q, k or v."""
        access = self.kernel.operands[operand]
        found = loaded(self.buffers[operand], access, [*self.batch, *places])
        return float_of_half(found) if access.dtype == "float16" else found

    def bring(
        self, memory: Any, lines: int, length: int, pitch: int, along: bool, number: Callable[[Term, Term], Term]
    ) -> None:
        """All threads bring numbers [lines, length].

        along   whether neighbours along a line lie side by side in memory, not those of neighbouring lines
        number  of a line and a place in it
        """
        count = lines * length
        with T.serial(0, -(-count // ATTENTION_THREADS)) as turn:
            place = placed(turn * ATTENTION_THREADS + self.thread)
            with only(place < count if count % ATTENTION_THREADS else None):
                size = length if along else lines
                outer, inner = placed(tirx.floordiv(place, size)), placed(tirx.floormod(place, size))
                line, step = (outer, inner) if along else (inner, outer)
                T.buffer_store(memory, number(line, step), [line * pitch + step])

    def bring_q(self) -> None:
        along = self.kernel.operands[0].strides[-1] == 1
        self.bring(
            self.q,
            self.tile.rows,
            self.kernel.depth,
            self.pitch,
            along,
            lambda row, step: self.number(0, [self.clamped_row(row), step]),
        )

    def bring_k(self, first: Term) -> None:
        along = self.kernel.operands[1].strides[-1] != 1
        self.bring(
            self.k_or_v,
            self.tile.keys,
            self.kernel.depth,
            self.pitch,
            along,
            lambda key, step: self.number(1, [step, self.clamped_key(first + key)]),
        )

    def bring_v(self, first: Term) -> None:
        """Keys behind the last have weight 0, and numbers of which that makes 0."""
        kernel = self.kernel

        def number(key: Term, column: Term) -> Term:
            found = self.number(2, [self.clamped_key(first + key), column])
            return self.there(first + key, found, 0)

        along = kernel.operands[2].strides[-1] == 1
        self.bring(self.k_or_v, self.tile.keys, kernel.columns, kernel.columns, along, number)

    def clamped_key(self, key: Term) -> Term:
        return within(key, self.kernel.keys, self.tile.keys)

    def there(self, key: Term, number: Term, otherwise: float) -> Term:
        """The number of a key that there is."""
        if self.kernel.keys % self.tile.keys == 0:
            return number
        return tirx.Select(key < self.kernel.keys, number, constant("float32", otherwise))

    # ---- scores

    def make_scores(self, first: Term) -> None:
        """The thread's scores of a tile of keys."""
        keys = self.own_keys()
        sums = [self.register(0) for _ in keys]
        with T.serial(0, self.kernel.depth) as step:
            left = held(self.q[self.row * self.pitch + step])
            for key, each in zip(keys, sums):
                T.buffer_store(each, each[0] + left * self.k_or_v[key * self.pitch + step], [0])
        for key, each in zip(keys, sums):
            place = [self.clamped_row(self.row), self.clamped_key(first + key)]
            score = held(self.ended(self.kernel.score, place, each[0]))
            T.buffer_store(self.scores, self.there(first + key, score, _LOWEST), [self.score_place(key)])

    def largest(self, top: Any) -> Term:
        """The largest score of the thread's row so far."""
        grown = T.alloc_buffer((1,), "float32")
        T.buffer_store(grown, top[0], [0])
        with T.serial(0, self.tile.keys) as key:
            T.buffer_store(grown, tirx.max(grown[0], self.scores[self.score_place(key)]), [0])
        return grown[0]

    def ended(self, expression: Expression, place: Sequence[Term], total: Term) -> Term:
        return term(expression, self.loader(place), total)

    def loader(self, place: Sequence[Term]) -> Callable[[int, Term | None], Term]:
        def load(index: int, further: Term | None) -> Term:
            return loaded(self.buffers[index], self.kernel.operands[index], [*self.batch, *place], further)

        return load

    # ---- the end

    def store(self, index: int, value: Term) -> None:
        kernel = self.kernel
        row, column = self.first_row + self.row, self.column(index)
        bounds = [row < kernel.rows] if kernel.rows % self.tile.rows else []
        if kernel.columns % self.tile.sharers:
            bounds.append(column < kernel.columns)
        with only(tirx.And(*bounds) if len(bounds) == 2 else bounds[0] if bounds else None):
            place = [row, column]
            element = finished(kernel.end, self.loader(place), value, kernel.output.dtype)
            T.buffer_store(self.output, element, [address(kernel.output, [*self.batch, *place])])
