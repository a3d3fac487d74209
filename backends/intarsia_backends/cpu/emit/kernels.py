"""From descriptions of kernels to one object file."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from tvm.script.ir_builder import tirx as T

from intarsia_backends.cpu.emit.contractions import emit_contraction
from intarsia_backends.cpu.emit.depthwise import emit_depthwise
from intarsia_backends.cpu.emit.image_rows import emit_image_rows
from intarsia_backends.cpu.emit.objects import write_object
from intarsia_backends.cpu.emit.products import emit_product
from intarsia_backends.cpu.emit.winograd import emit_winograd
from intarsia_backends.cpu.image_kernels import Depthwise, Winograd
from intarsia_backends.cpu.image_rows import ImageRows
from intarsia_backends.cpu.kernels import Contraction, MatrixProduct
from intarsia_backends.cpu.machine import Machine
from intarsia_backends.cpu.tiling import PARALLEL_WORK
from intarsia_backends.lowering.kernel import Kernel
from intarsia_backends.tir import emitters
from intarsia_backends.tir.schedule import Schedule

EMITTERS: Mapping[type[Kernel], emitters.Emitter] = {
    **emitters.EMITTERS,
    Contraction: emit_contraction,
    Depthwise: emit_depthwise,
    ImageRows: emit_image_rows,
    MatrixProduct: emit_product,
    Winograd: emit_winograd,
}

_SHARED_STEPS = 64
"""Steps of a loop from which on threads get about the same share each."""


def schedule_of(machine: Machine) -> Schedule:
    """Vectors as wide as the machine's; outer loops for the threads of the pool."""
    return Schedule(machine.lanes, _parallel, PARALLEL_WORK, _SHARED_STEPS)


def _parallel(steps: int) -> AbstractContextManager[Any]:
    loop: AbstractContextManager[Any] = T.parallel(0, steps)
    return loop


def _emit(kernel: Kernel, schedule: Schedule) -> Any:
    return EMITTERS[type(kernel)](kernel, schedule)


def generate(kernels: Mapping[str, Kernel], machine: Machine, path: Path) -> None:
    """Write an object file with one function `int symbol(void*, ...)` for each kernel."""
    schedule = schedule_of(machine)
    write_object({symbol: partial(_emit, kernel, schedule) for symbol, kernel in kernels.items()}, machine, path)
