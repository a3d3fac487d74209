"""TIR for `Winograd`: tiles of x transformed, one product of matrices for each point, tiles of y transformed back.

A task takes blocks of tiles. It transforms those of x into its scratch, vectors along channels. Then, block of outputs
by block of outputs, it multiplies: a few tiles times a few vectors of outputs stay in registers while the sum over the
channels runs, as in `Contraction`. The sums of all points of one block of outputs fill a small scratch, from which the
tiles of y are made at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from operator import add, mul, sub
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from intarsia_backends.cpu.emit.dot_products import LINE_BYTES, dot2, prefetch, widened_products
from intarsia_backends.cpu.image_kernels import Winograd
from intarsia_backends.tir.expressions import Term, over_lanes
from intarsia_backends.tir.functions import function, parameter
from intarsia_backends.tir.nests import finished, loaded, operands, stored
from intarsia_backends.tir.schedule import Schedule
from intarsia_backends.tir.vectors import Register, broadcast, load, reinterpreted, store, wrapped

_UNROLL_STEPS = {"float32": 4, "dot2": 2, "int16": 2}
"""More of them, LLVM reorders sums of integers until the registers run out."""

_INVERSE_OF_9 = 954437177
"""Modulo 2**32."""


def emit_winograd(kernel: Winograd, schedule: Schedule) -> Any:
    """The PrimFunc of a convolution by Winograd's algorithm."""
    number, total = ("float32", "float32") if kernel.products == "float32" else ("int16", "int32")
    rows, columns = (count * kernel.size + 2 for count in kernel.grid)

    def size(steps: Sequence[int], height: int, width: int, channels: int) -> int:
        return (kernel.batch - 1) * steps[0] + (height - 1) * steps[1] + (width - 1) * steps[2] + channels

    def body() -> None:
        x = parameter("x", size(kernel.x_steps, rows, columns, kernel.channels), number)
        weights = parameter("w", kernel.points * kernel.channels * kernel.outputs, number)
        bias = parameter("b", kernel.outputs, total)
        extents = (kernel.batch, kernel.outputs, *kernel.positions)
        further = operands(kernel.further, extents, "f")
        (transform, count), (_, sums) = kernel.scratch
        scratches = parameter("v", count, transform), parameter("m", sums, total)
        y = parameter("y", size(kernel.y_steps, *kernel.positions, kernel.outputs), stored(kernel.y_dtype))
        _Blocks(kernel, x, weights, bias, further, *scratches, y).emit(schedule)

    return function(body)


class _Blocks:
    def __init__(
        self,
        kernel: Winograd,
        x: Any,
        weights: Any,
        bias: Any,
        further: Sequence[Any],
        transforms: Any,
        sums: Any,
        y: Any,
    ) -> None:
        self.kernel, self.x, self.weights, self.bias, self.further = kernel, x, weights, bias, further
        self.transforms, self.sums, self.y = transforms, sums, y
        self.number, self.total = ("float32", "float32") if kernel.products == "float32" else ("int16", "int32")

    def emit(self, schedule: Schedule) -> None:
        kernel = self.kernel
        each, tasks = -(-kernel.blocks // kernel.tasks), kernel.tasks * kernel.parts
        with ExitStack() as stack:
            (task,) = schedule.loops(stack, (tasks,), kernel.work if tasks > 1 else 0, 1)
            step = stack.enter_context(T.serial(0, each))
            block = tirx.floordiv(task, kernel.parts) * each + step
            if each * kernel.tasks != kernel.blocks:
                stack.enter_context(T.If(block < kernel.blocks))
                stack.enter_context(T.Then())
            self.emit_block(task, block)

    def emit_block(self, task: Term, block: Term) -> None:
        kernel = self.kernel
        first = block * kernel.tiles
        every = kernel.batch * kernel.grid[0] * kernel.grid[1]
        count = kernel.tiles if every % kernel.tiles == 0 else tirx.min(kernel.tiles, every - first)
        transforms = task * (kernel.points * kernel.transform_step)
        sums = task * (kernel.points * kernel.sum_step)
        with T.serial(0, count) as tile:
            self.emit_transform(first + tile, transforms + tile * kernel.steps)
        whole, left = divmod(kernel.outputs // kernel.lanes, kernel.vectors)
        each, part = -(-whole // kernel.parts), tirx.floormod(task, kernel.parts)

        def outputs(channel: Term, vectors: int) -> None:
            self.emit_products(count, channel, vectors, transforms, sums)
            with T.serial(0, count) as tile, T.serial(0, vectors) as vector:
                lane = vector * kernel.lanes
                place = sums + tile * (vectors * kernel.lanes) + lane
                self.emit_result(first + tile, channel + lane, place)

        if whole:
            with T.serial(0, each if each * kernel.parts == whole else tirx.min(each, whole - part * each)) as output:
                outputs((part * each + output) * (kernel.vectors * kernel.lanes), kernel.vectors)
        if left:
            with ExitStack() as stack:
                if kernel.parts > 1:
                    stack.enter_context(T.If(tirx.EQ(part, kernel.parts - 1)))
                    stack.enter_context(T.Then())
                outputs(tirx.const(whole * kernel.vectors * kernel.lanes, "int32"), left)

    def place(self, tile: Term) -> tuple[Term, Term, Term]:
        """Image, and row and column among the tiles."""
        rows, columns = self.kernel.grid
        image, rest = tirx.floordiv(tile, rows * columns), tirx.floormod(tile, rows * columns)
        return image, tirx.floordiv(rest, columns), tirx.floormod(rest, columns)

    # ---- x

    def emit_transform(self, tile: Term, place: Term) -> None:
        """Transform a tile of x, all channels."""
        kernel, lanes = self.kernel, self.kernel.lanes
        image, row, column = self.place(tile)
        x = image * kernel.x_steps[0] + row * (kernel.size * kernel.x_steps[1])
        x = x + column * (kernel.size * kernel.x_steps[2])
        width = lanes if kernel.products == "float32" else 2 * lanes
        share = 2 if kernel.products == "dot2" else 1
        whole = kernel.channels // width
        if whole:
            with T.serial(0, whole) as unit:
                self.emit_transform_unit(x + unit * width, place + unit * (width // share), width)
        if kernel.channels % width:
            start = whole * width
            self.emit_transform_unit(x + start, place + start // share, kernel.channels % width)

    def emit_transform_unit(self, x: Term, place: Term, width: int) -> None:
        kernel, side = self.kernel, self.kernel.size + 2
        transform = _INPUT_TRANSFORMS[kernel.size]
        keep = self.keeper(width, self.number)
        half = [
            transform(
                [
                    keep(load(self.x, x + row * kernel.x_steps[1] + column * kernel.x_steps[2], width))
                    for row in range(side)
                ],
                keep,
            )
            for column in range(side)
        ]
        for row in range(side):
            for column, value in enumerate(transform([half[column][row] for column in range(side)], keep)):
                at = place + (row * side + column) * kernel.transform_step
                if kernel.products == "dot2":
                    store(self.transforms, at, reinterpreted(value(), f"int32x{width // 2}"), width // 2)
                else:
                    store(self.transforms, at, value(), width)

    def keeper(self, lanes: int, dtype: str) -> Callable[[Term], Callable[[], Term]]:
        """Makes registers: computes a value once, for any number of uses."""
        return lambda value: Register(lanes, dtype, value).get

    # ---- products

    def emit_products(self, count: Term, channel: Term, vectors: int, transforms: Term, sums: Term) -> None:
        """Sums of a block of outputs, for all points and tiles."""
        kernel = self.kernel
        width = vectors * kernel.lanes
        share = 2 if kernel.products == "dot2" else 1
        tiles = tirx.floordiv(count + (kernel.rows - 1), kernel.rows)
        with T.serial(0, kernel.points) as point, T.serial(0, tiles) as index:
            first = index * kernel.rows
            weights = channel * (kernel.points * kernel.channels) + point * (kernel.steps * width * share)
            inputs = transforms + point * kernel.transform_step + first * kernel.steps
            accumulators = [[Register(kernel.lanes, self.total) for _ in range(vectors)] for _ in range(kernel.rows)]
            for row in accumulators:
                for register in row:
                    register.set(broadcast(0, self.total, kernel.lanes))
            unroll = _UNROLL_STEPS[kernel.products]
            unroll = unroll if kernel.steps % unroll == 0 else 1
            # What the next point is multiplied by comes from far: it is asked for while this one is.
            panel = kernel.steps * width * share
            passes = -(-min(kernel.tiles, kernel.batch * kernel.grid[0] * kernel.grid[1]) // kernel.rows)
            line = LINE_BYTES // (4 if kernel.products == "float32" else 2)
            lines = -(-unroll * width * share // line // passes)
            with T.serial(0, kernel.steps // unroll) as chunk:
                for number in range(lines):
                    at = weights + panel + ((index * (kernel.steps // unroll) + chunk) * lines + number) * line
                    prefetch(self.weights, at)
                for step in range(unroll):
                    at = chunk * unroll + step
                    self.emit_step(inputs + at, weights + at * (width * share), accumulators)
            for tile, row in enumerate(accumulators):
                for vector, register in enumerate(row):
                    at = sums + point * kernel.sum_step + (first + tile) * width + vector * kernel.lanes
                    store(self.sums, at, register.get(), kernel.lanes)

    def emit_step(self, number: Term, weight: Term, accumulators: Sequence[Sequence[Register]]) -> None:
        kernel, lanes = self.kernel, self.kernel.lanes
        share = 2 if kernel.products == "dot2" else 1
        weights = [
            load(self.weights, weight + vector * (lanes * share), lanes * share)
            for vector in range(len(accumulators[0]))
        ]
        for tile, row in enumerate(accumulators):
            element = tirx.BufferLoad(self.transforms, [number + tile * kernel.steps])
            for register, values in zip(row, weights):
                if kernel.products == "float32":
                    register.add(tirx.Broadcast(element, lanes) * values)
                elif kernel.products == "dot2":
                    pairs = reinterpreted(tirx.Broadcast(element, lanes), f"int16x{2 * lanes}")
                    register.add(dot2(pairs, values, lanes), wraps=True)
                else:
                    register.add(widened_products(tirx.Broadcast(element, lanes), values, lanes), wraps=True)

    # ---- y

    def emit_result(self, tile: Term, channel: Term, place: Term) -> None:
        """Transform the sums of a tile back, and store what lies inside of y."""
        kernel, lanes, side, size = self.kernel, self.kernel.lanes, self.kernel.size + 2, self.kernel.size
        image, tile_row, tile_column = self.place(tile)
        transform = _OUTPUT_TRANSFORMS[size]
        keep, whole = self.keeper(lanes, self.total), kernel.products != "float32"
        half = [
            transform(
                [keep(load(self.sums, place + (row * side + column) * kernel.sum_step, lanes)) for row in range(side)],
                keep,
                whole,
            )
            for column in range(side)
        ]
        bias = keep(load(self.bias, channel, lanes))
        for row in range(size):
            values = transform([half[column][row] for column in range(side)], keep, whole)
            for column, value in enumerate(values):
                y_row, y_column = tile_row * size + row, tile_column * size + column
                with ExitStack() as stack:
                    inside = []
                    if 0 < kernel.positions[0] % size <= row:
                        inside.append(y_row < kernel.positions[0])
                    if 0 < kernel.positions[1] % size <= column:
                        inside.append(y_column < kernel.positions[1])
                    if inside:
                        stack.enter_context(T.If(inside[0] if len(inside) == 1 else tirx.And(*inside)))
                        stack.enter_context(T.Then())
                    self.finish(image, y_row, y_column, channel, self.unscaled(value()) + bias())

    def unscaled(self, value: Term) -> Term:
        """Takes off what whole numbers in the transforms multiplied a sum by."""
        kernel, lanes = self.kernel, self.kernel.lanes
        if kernel.products == "float32":
            return value
        if kernel.size == 2:
            return tirx.shift_right(value, broadcast(2, "int32", lanes))
        return tirx.shift_right(_wrapped_times(value, _INVERSE_OF_9), broadcast(6, "int32", lanes))

    def finish(self, image: Term, row: Term, column: Term, channel: Term, value: Term) -> None:
        kernel = self.kernel
        total = Register(kernel.lanes, self.total, value)
        place = image * kernel.y_steps[0] + row * kernel.y_steps[1] + column * kernel.y_steps[2] + channel
        with over_lanes(kernel.lanes) as lane:
            places = [image, channel + lane, row, column]

            def element(index: int, further: Term | None) -> Term:
                return loaded(self.further[index], kernel.further[index], places, further)

            T.buffer_store(
                self.y, finished(kernel.epilogue, element, total.buffer[lane], kernel.y_dtype), [place + lane]
            )


_Value = Callable[[], Term]
_Keeper = Callable[[Term], _Value]
_Scale = Callable[[Term, int], Term]


def _times(value: Term, number: int) -> Term:
    dtype = value.ty.dtype
    lanes = int(dtype.lanes)
    kind = str(dtype).split("x")[0]
    return value * broadcast(number, kind, lanes)


def _input_of_2(d: Sequence[_Value], keep: _Keeper) -> list[_Value]:
    """B^T d for tiles of 2: rows (1 0 -1 0), (0 1 1 0), (0 -1 1 0), (0 1 0 -1)."""
    return [keep(d[0]() - d[2]()), keep(d[1]() + d[2]()), keep(d[2]() - d[1]()), keep(d[1]() - d[3]())]


def _input_of_4(d: Sequence[_Value], keep: _Keeper) -> list[_Value]:
    """B^T d for tiles of 4, at most 10 times |d|.

    Rows (4 0 -5 0 1 0), (0 -4 -4 1 1 0), (0 4 -4 -1 1 0), (0 -2 -1 2 1 0), (0 2 -1 -2 1 0), (0 4 0 -5 0 1).
    """
    even, odd = keep(d[4]() - _times(d[2](), 4)), keep(d[3]() - _times(d[1](), 4))
    near, far = keep(d[4]() - d[2]()), keep(_times(d[3]() - d[1](), 2))
    return [
        keep(_times(d[0](), 4) + (d[4]() - _times(d[2](), 5))),
        keep(even() + odd()),
        keep(even() - odd()),
        keep(near() + far()),
        keep(near() - far()),
        keep(_times(d[1](), 4) + (d[5]() - _times(d[3](), 5))),
    ]


def _output_of_2(m: Sequence[_Value], keep: _Keeper, whole: bool) -> list[_Value]:
    """A^T m for tiles of 2: rows (1 1 1 0), (0 1 -1 -1)."""
    plus, minus, _ = _arithmetic(whole)
    return [keep(plus(plus(m[0](), m[1]()), m[2]())), keep(minus(minus(m[1](), m[2]()), m[3]()))]


def _output_of_4(m: Sequence[_Value], keep: _Keeper, whole: bool) -> list[_Value]:
    """A^T m for tiles of 4: rows (1 1 1 1 1 0), (0 1 -1 2 -2 0), (0 1 1 4 4 0), (0 1 -1 8 -8 1).

    whole  integers modulo 2**32, and the last point counts twice, as the transform of the weights has it
    """
    plus, minus, times = _arithmetic(whole)
    first, second = keep(plus(m[1](), m[2]())), keep(minus(m[1](), m[2]()))
    third, fourth = keep(plus(m[3](), m[4]())), keep(minus(m[3](), m[4]()))
    last = times(m[5](), 2) if whole else m[5]()
    return [
        keep(plus(plus(m[0](), first()), third())),
        keep(plus(second(), times(fourth(), 2))),
        keep(plus(first(), times(third(), 4))),
        keep(plus(plus(second(), times(fourth(), 8)), last)),
    ]


def _arithmetic(whole: bool) -> tuple[Callable[[Term, Term], Term], Callable[[Term, Term], Term], _Scale]:
    """Sum, difference, and product with a constant: of float32, or of int32 modulo 2**32."""
    if not whole:
        return add, sub, _times
    return partial(wrapped, add), partial(wrapped, sub), _wrapped_times


def _wrapped_times(value: Term, number: int) -> Term:
    return wrapped(mul, value, broadcast(number, "int32", int(value.ty.dtype.lanes)))


_INPUT_TRANSFORMS = {2: _input_of_2, 4: _input_of_4}
_OUTPUT_TRANSFORMS = {2: _output_of_2, 4: _output_of_4}
