"""From descriptions of kernels to one object file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from intarsia_backends.cpu.emit.contractions import emit_contraction
from intarsia_backends.cpu.emit.depthwise import emit_depthwise
from intarsia_backends.cpu.emit.objects import write_object
from intarsia_backends.cpu.emit.products import emit_product
from intarsia_backends.cpu.emit.winograd import emit_winograd
from intarsia_backends.cpu.image_kernels import Depthwise, Winograd
from intarsia_backends.cpu.machine import Machine
from intarsia_backends.lowering.kernels import (
    Contraction,
    Extreme,
    IntegerSoftmax,
    Kernel,
    MatrixProduct,
    Nest,
    Normalize,
    Recurrent,
    Running,
    Scatter,
    Softmax,
    Surround,
    Top,
)
from intarsia_backends.tir.indexing import emit_extreme, emit_running, emit_scatter, emit_top
from intarsia_backends.tir.nests import emit_nest
from intarsia_backends.tir.recurrent import emit_recurrent
from intarsia_backends.tir.rows import emit_integer_softmax, emit_normalize, emit_softmax
from intarsia_backends.tir.surround import emit_surround

_EMITTERS: dict[type[Any], Callable[[Any], Any]] = {
    Contraction: emit_contraction,
    Surround: emit_surround,
    MatrixProduct: emit_product,
    IntegerSoftmax: emit_integer_softmax,
    Scatter: emit_scatter,
    Running: emit_running,
    Extreme: emit_extreme,
    Top: emit_top,
    Depthwise: emit_depthwise,
    Winograd: emit_winograd,
}


_WITH_LANES: dict[type[Any], Callable[[Any, int], Any]] = {
    Nest: emit_nest,
    Softmax: emit_softmax,
    Normalize: emit_normalize,
    Recurrent: emit_recurrent,
}
"""Those that are told how many float32 numbers a vector has."""


def _emit(kernel: Kernel, machine: Machine) -> Any:
    if type(kernel) in _WITH_LANES:
        return _WITH_LANES[type(kernel)](kernel, machine.lanes)
    return _EMITTERS[type(kernel)](kernel)


def generate(kernels: Mapping[str, Kernel], machine: Machine, path: Path) -> None:
    """Write an object file with one function `int symbol(void*, ...)` for each kernel."""
    write_object({symbol: partial(_emit, kernel, machine) for symbol, kernel in kernels.items()}, machine, path)
