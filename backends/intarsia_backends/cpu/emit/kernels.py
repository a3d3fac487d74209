"""From descriptions of kernels to one object file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from intarsia_backends.cpu.emit.contractions import emit_contraction
from intarsia_backends.cpu.emit.nests import emit_nest
from intarsia_backends.cpu.emit.objects import write_object
from intarsia_backends.cpu.emit.rows import emit_integer_softmax, emit_normalize, emit_softmax
from intarsia_backends.cpu.kernels import Contraction, IntegerSoftmax, Kernel, Nest, Softmax
from intarsia_backends.cpu.machine import Machine


def _emit(kernel: Kernel, machine: Machine) -> Any:
    if isinstance(kernel, Nest):
        return emit_nest(kernel, machine.lanes)
    if isinstance(kernel, Contraction):
        return emit_contraction(kernel)
    if isinstance(kernel, Softmax):
        return emit_softmax(kernel)
    if isinstance(kernel, IntegerSoftmax):
        return emit_integer_softmax(kernel)
    return emit_normalize(kernel)


def generate(kernels: Mapping[str, Kernel], machine: Machine, path: Path) -> None:
    """Write an object file with one function `int symbol(void*, ...)` for each kernel."""
    write_object({symbol: partial(_emit, kernel, machine) for symbol, kernel in kernels.items()}, machine, path)
