"""TIR for `Surround`: the numbers of a halo."""

from __future__ import annotations

from typing import Any

from tvm.script.ir_builder import tirx as T

from intarsia_backends.lowering.kernels import Surround
from intarsia_backends.tir.expressions import Term, constant
from intarsia_backends.tir.functions import function, parameter
from intarsia_backends.tir.schedule import Schedule


def emit_surround(kernel: Surround, schedule: Schedule) -> Any:
    """What lies right of one row and left of the next is one piece, and so is all before the first row's elements."""
    row = (kernel.left + kernel.width + kernel.right) * kernel.pitch
    image = (kernel.top + kernel.height + kernel.bottom) * row
    before = kernel.top * row + kernel.left * kernel.pitch
    between = (kernel.right + kernel.left) * kernel.pitch
    inside = kernel.width * kernel.pitch
    after = image - before - (kernel.height - 1) * row - inside

    def body() -> None:
        memory = parameter("memory", kernel.batch * image, kernel.dtype)
        number = constant(kernel.dtype, kernel.fill)

        def fill(start: Term, elements: int) -> None:
            if elements:
                with T.serial(0, elements) as place:
                    T.buffer_store(memory, number, [start + place])

        with T.serial(0, kernel.batch) as batch:
            start = batch * image
            fill(start, before)
            if between and kernel.height > 1:
                with T.serial(0, kernel.height - 1) as line:
                    fill(start + before + inside + line * row, between)
            fill(start + (before + (kernel.height - 1) * row + inside), after)

    return function(body)
