"""TIR for kernels that go over a row more than once: softmax and normalization."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from intarsia_backends.cpu.emit.expressions import FUNCTIONS, Term, constant, exponential
from intarsia_backends.cpu.emit.functions import function, parameter
from intarsia_backends.cpu.emit.nests import loops
from intarsia_backends.cpu.kernels import IntegerSoftmax, Normalize, Softmax


def emit_softmax(kernel: Softmax) -> Any:
    """exp(x - max) over its sum; NaN anywhere in a row makes the row NaN."""
    size = kernel.outer * kernel.axis * kernel.inner

    def body() -> None:
        x, y = (parameter(name, size, "float32") for name in "xy")
        with ExitStack() as stack:
            outer, inner = loops(stack, (kernel.outer, kernel.inner), kernel.work)
            start, step = outer * (kernel.axis * kernel.inner) + inner, kernel.inner
            top, total = (T.alloc_buffer((1,), "float32") for _ in range(2))
            T.buffer_store(top, x[start], [0])
            with T.serial(0, kernel.axis) as place:
                T.buffer_store(top, FUNCTIONS["max"](top[0], x[start + place * step]), [0])
            T.buffer_store(total, constant("float32", 0), [0])
            with T.serial(0, kernel.axis) as place:
                T.buffer_store(y, exponential(x[start + place * step] - top[0]), [start + place * step])
            with T.serial(0, kernel.axis) as place:
                T.buffer_store(total, total[0] + y[start + place * step], [0])
            with T.serial(0, kernel.axis) as place:
                if kernel.log:
                    element = x[start + place * step] - top[0] - tirx.log(total[0])
                else:
                    element = y[start + place * step] / total[0]
                T.buffer_store(y, element, [start + place * step])

    return function(body)


def emit_integer_softmax(kernel: IntegerSoftmax) -> Any:
    """The integer softmax of `intarsia.ir.ops.quantized`, in 64 bits."""
    size = kernel.outer * kernel.axis * kernel.inner

    def body() -> None:
        x = parameter("x", size, "int8")
        table = parameter("table", 256, "int32")
        y = parameter("y", size, "int8")
        with ExitStack() as stack:
            outer, inner = loops(stack, (kernel.outer, kernel.inner), kernel.work)
            start, step = outer * (kernel.axis * kernel.inner) + inner, kernel.inner
            top, total = T.alloc_buffer((1,), "int32"), T.alloc_buffer((1,), "int64")

            def element(place: Term) -> Term:
                return tirx.Cast("int32", x[start + place * step])

            def weight(place: Term) -> Term:
                return tirx.Cast("int64", table[top[0] - element(place)])

            T.buffer_store(top, tirx.const(-128, "int32"), [0])
            with T.serial(0, kernel.axis) as place:
                T.buffer_store(top, tirx.max(top[0], element(place)), [0])
            T.buffer_store(total, _wide(0), [0])
            with T.serial(0, kernel.axis) as place:
                T.buffer_store(total, total[0] + weight(place), [0])
            with T.serial(0, kernel.axis) as place:
                share = tirx.truncdiv(weight(place) * _wide(512) + total[0], total[0] * _wide(2))
                result = tirx.min(share - _wide(128), _wide(127))
                T.buffer_store(y, tirx.Cast("int8", result), [start + place * step])

    return function(body)


def emit_normalize(kernel: Normalize) -> Any:
    """Mean, then variance around it, then the scaled row. Sums run in float64: rows are long."""
    size = kernel.outer * kernel.axis
    parameters = kernel.period or kernel.axis

    def body() -> None:
        x = parameter("x", size, "float32")
        scale, shift = (parameter(name, parameters, "float32") for name in ("scale", "shift"))
        y = parameter("y", size, "float32")
        with ExitStack() as stack:
            (outer,) = loops(stack, (kernel.outer,), kernel.work)
            start = outer * kernel.axis
            mean, square = (T.alloc_buffer((1,), "float64") for _ in range(2))

            def element(place: Term) -> Term:
                return tirx.Cast("float64", x[start + place])

            T.buffer_store(mean, _double(0), [0])
            if kernel.centre:
                with T.serial(0, kernel.axis) as place:
                    T.buffer_store(mean, mean[0] + element(place), [0])
                T.buffer_store(mean, mean[0] / _double(kernel.axis), [0])
            T.buffer_store(square, _double(0), [0])
            with T.serial(0, kernel.axis) as place:
                distance = element(place) - mean[0]
                T.buffer_store(square, square[0] + distance * distance, [0])
            spread = tirx.sqrt(square[0] / _double(kernel.axis) + _double(kernel.epsilon))
            T.buffer_store(square, _double(1) / spread, [0])
            with T.serial(0, kernel.axis) as place:
                index = tirx.floormod(outer, kernel.period) if kernel.period else place
                unit = tirx.Cast("float32", (element(place) - mean[0]) * square[0])
                T.buffer_store(y, unit * scale[index] + shift[index], [start + place])

    return function(body)


def _wide(number: int) -> Term:
    return tirx.const(number, "int64")


def _double(number: float) -> Term:
    return constant("float64", number)
