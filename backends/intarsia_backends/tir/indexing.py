"""TIR for kernels that look for elements, or store where the data say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from intarsia_backends.lowering.kernels import ArgReduce, Scan, Scatter, TopK
from intarsia_backends.tir.expressions import FUNCTIONS, Term, constant, is_nan, term
from intarsia_backends.tir.functions import function, parameter
from intarsia_backends.tir.nests import address, span, stored
from intarsia_backends.tir.schedule import Schedule, ordered_loops


def emit_scatter(kernel: Scatter, schedule: Schedule) -> Any:
    """Loops in order, so that of several updates of one place the last one counts."""
    return scatter(kernel, lambda stack: ordered_loops(stack, kernel.kept))


def scatter(kernel: Scatter, loops: Callable[[ExitStack], Sequence[Term]]) -> Any:
    """The PrimFunc of updates at places. `loops` opens the loops and gives their indices."""

    def body() -> None:
        buffers = [
            parameter(f"x{index}", span(access, kernel.kept), stored(access.dtype))
            for index, access in enumerate(kernel.operands)
        ]
        y = parameter("y", kernel.elements, stored(kernel.output.dtype))
        with ExitStack() as stack:
            places = loops(stack)

            def load(index: int, further: Term | None) -> Term:
                access = kernel.operands[index]
                at = address(access, places)
                element = buffers[index][at if further is None else at + further]
                return tirx.NE(element, tirx.const(0, "uint8")) if access.dtype == "bool" else element

            target = address(kernel.output, places) + term(kernel.place, load)
            element = term(kernel.body, load)
            if kernel.output.dtype == "bool":
                element = tirx.Cast("uint8", element)
            if kernel.combine:
                element = FUNCTIONS[kernel.combine](y[target], element)
            T.buffer_store(y, element, [target])

    return function(body)


def emit_scan(kernel: Scan, schedule: Schedule) -> Any:
    """One pass along each row of the axis; the accumulator has the element type, as ONNX has it."""
    size = kernel.outer * kernel.axis * kernel.inner

    def body() -> None:
        x, y = (parameter(name, size, kernel.dtype) for name in "xy")
        with ExitStack() as stack:
            outer, inner = schedule.loops(stack, (kernel.outer, kernel.inner), kernel.work)
            start = outer * (kernel.axis * kernel.inner) + inner
            total = T.alloc_buffer((1,), kernel.dtype)
            T.buffer_store(total, constant(kernel.dtype, 0 if kernel.combine == "add" else 1), [0])
            with T.serial(0, kernel.axis) as step:
                along = kernel.axis - 1 - step if kernel.reverse else step
                place = start + along * kernel.inner
                if kernel.exclusive:
                    T.buffer_store(y, total[0], [place])
                T.buffer_store(total, FUNCTIONS[kernel.combine](total[0], x[place]), [0])
                if not kernel.exclusive:
                    T.buffer_store(y, total[0], [place])

    return function(body)


def _before(a: Term, b: Term, dtype: str, largest: bool) -> Term:
    """Whether a comes before b: larger (or smaller), NaN being the largest of all."""
    if "float" not in dtype:
        return a > b if largest else a < b
    if largest:
        return tirx.Or(a > b, tirx.And(is_nan(a), tirx.Not(is_nan(b))))
    return tirx.Or(a < b, tirx.And(is_nan(b), tirx.Not(is_nan(a))))


def _level(a: Term, b: Term, dtype: str) -> Term:
    """Whether neither comes before the other. Not by a negation: `not a > b` would be simplified to `a <= b`."""
    if "float" not in dtype:
        return tirx.EQ(a, b)
    return tirx.Or(tirx.EQ(a, b), tirx.And(is_nan(a), is_nan(b)))


def emit_arg_reduce(kernel: ArgReduce, schedule: Schedule) -> Any:
    """NumPy's argmax and argmin: a NaN is what is looked for, in both."""
    size = kernel.outer * kernel.axis * kernel.inner

    def better(element: Term, best: Term) -> Term:
        if kernel.largest:
            found = element >= best if kernel.last else element > best
        else:
            found = element <= best if kernel.last else element < best
        if "float" not in kernel.dtype:
            return found
        if kernel.last:
            return tirx.Or(found, is_nan(element))
        return tirx.Or(found, tirx.And(is_nan(element), tirx.Not(is_nan(best))))

    def body() -> None:
        x = parameter("x", size, kernel.dtype)
        y = parameter("y", kernel.outer * kernel.inner, "int64")
        with ExitStack() as stack:
            outer, inner = schedule.loops(stack, (kernel.outer, kernel.inner), kernel.work)
            start = outer * (kernel.axis * kernel.inner) + inner
            best, where = T.alloc_buffer((1,), kernel.dtype), T.alloc_buffer((1,), "int64")
            T.buffer_store(best, x[start], [0])
            T.buffer_store(where, tirx.const(0, "int64"), [0])
            with T.serial(1, kernel.axis) as place:
                element = x[start + place * kernel.inner]
                # A best that is NaN stays: nothing compares with it.
                T.buffer_store(where, tirx.Select(better(element, best[0]), tirx.Cast("int64", place), where[0]), [0])
                T.buffer_store(best, x[start + tirx.Cast("int32", where[0]) * kernel.inner], [0])
            T.buffer_store(y, where[0], [outer * kernel.inner + inner])

    return function(body)


def emit_top_k(kernel: TopK, schedule: Schedule) -> Any:
    """One round for each element wanted: the best of those that come after the one found before."""
    size, found = kernel.outer * kernel.axis * kernel.inner, kernel.outer * kernel.count * kernel.inner

    def body() -> None:
        x = parameter("x", size, kernel.dtype)
        values, places = parameter("v", found, kernel.dtype), parameter("p", found, "int64")
        with ExitStack() as stack:
            outer, inner = schedule.loops(stack, (kernel.outer, kernel.inner), kernel.work)
            start = outer * (kernel.axis * kernel.inner) + inner
            result = outer * (kernel.count * kernel.inner) + inner
            best, last = (T.alloc_buffer((1,), "int32") for _ in range(2))

            def element(place: Term) -> Term:
                return x[start + place * kernel.inner]

            def ahead(a: Term, b: Term) -> Term:
                return _before(element(a), element(b), kernel.dtype, kernel.largest)

            T.buffer_store(last, tirx.const(-1, "int32"), [0])
            with T.serial(0, kernel.count) as rank:
                T.buffer_store(best, tirx.const(-1, "int32"), [0])
                with T.serial(0, kernel.axis) as place:
                    # Index 0 stands for "none yet", so that nothing outside of x is read.
                    previous, leader = tirx.max(last[0], 0), tirx.max(best[0], 0)
                    equal = tirx.And(_level(element(place), element(previous), kernel.dtype), place > last[0])
                    left = tirx.Or(last[0] < 0, tirx.Or(ahead(previous, place), equal))
                    first = tirx.Or(best[0] < 0, ahead(place, leader))
                    T.buffer_store(best, tirx.Select(tirx.And(left, first), place, best[0]), [0])
                T.buffer_store(last, best[0], [0])
                T.buffer_store(values, element(best[0]), [result + rank * kernel.inner])
                T.buffer_store(places, tirx.Cast("int64", best[0]), [result + rank * kernel.inner])

    return function(body)
