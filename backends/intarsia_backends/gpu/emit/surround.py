"""TIR for `Surround`: a thread for each number of the memory, those of the images aside."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from intarsia_backends.lowering.kernels import Surround
from intarsia_backends.tir.expressions import constant
from intarsia_backends.tir.functions import function, parameter
from intarsia_backends.tir.nests import stored
from intarsia_backends.tir.schedule import Schedule


def emit_surround(kernel: Surround, schedule: Schedule) -> Any:
    """The PrimFunc of a halo."""
    width, height = kernel.left + kernel.width + kernel.right, kernel.top + kernel.height + kernel.bottom
    extents = (kernel.batch, height, width, kernel.pitch)

    def body() -> None:
        memory = parameter("memory", kernel.batch * height * width * kernel.pitch, stored(kernel.dtype))
        with ExitStack() as stack:
            batch, line, column, channel = schedule.loops(stack, extents, 1, 4)
            above, below = line < kernel.top, line >= kernel.top + kernel.height
            before, after = column < kernel.left, column >= kernel.left + kernel.width
            stack.enter_context(T.If(tirx.Or(tirx.Or(above, below), tirx.Or(before, after))))
            stack.enter_context(T.Then())
            place = ((batch * height + line) * width + column) * kernel.pitch + channel
            T.buffer_store(memory, constant(kernel.dtype, kernel.fill), [place])

    return function(body)
