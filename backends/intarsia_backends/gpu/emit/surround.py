"""TIR for `Surround`: a thread for each number around the images."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from intarsia_backends.lowering.kernels import Surround
from intarsia_backends.tir.expressions import Term, constant
from intarsia_backends.tir.functions import function, parameter
from intarsia_backends.tir.nests import stored
from intarsia_backends.tir.schedule import Schedule


def emit_surround(kernel: Surround, schedule: Schedule) -> Any:
    """The PrimFunc of a halo."""
    width, height = kernel.left + kernel.width + kernel.right, kernel.top + kernel.height + kernel.bottom
    positions = width * height - kernel.width * kernel.height

    def body() -> None:
        memory = parameter("memory", kernel.batch * height * width * kernel.pitch, stored(kernel.dtype))
        with ExitStack() as stack:
            batch, position, channel = schedule.loops(stack, (kernel.batch, positions, kernel.pitch), 1, 3)
            line, column = _around(kernel, position)
            place = ((batch * height + line) * width + column) * kernel.pitch + channel
            T.buffer_store(memory, constant(stored(kernel.dtype), kernel.fill), [place])

    return function(body)


def _around(kernel: Surround, position: Term) -> tuple[Term, Term]:
    """Line and column of a position of the halo: those above the image and below it come first, then those beside."""
    width, sides = kernel.left + kernel.width + kernel.right, kernel.left + kernel.right
    whole_lines = kernel.top + kernel.bottom
    line, column = tirx.floordiv(position, width), tirx.floormod(position, width)
    line = tirx.Select(line < kernel.top, line, line + kernel.height)
    if sides == 0:
        return line, column
    beside = tirx.max(position - whole_lines * width, 0)
    step = tirx.floormod(beside, sides)
    is_beside = position >= whole_lines * width
    return (
        tirx.Select(is_beside, kernel.top + tirx.floordiv(beside, sides), line),
        tirx.Select(is_beside, tirx.Select(step < kernel.left, step, step + kernel.width), column),
    )
