"""By kind of kernel, what writes it as TIR: the kernels that every target can make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from intarsia_backends.lowering.kernels import (
    Extreme,
    IntegerSoftmax,
    Kernel,
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
from intarsia_backends.tir.schedule import Schedule
from intarsia_backends.tir.surround import emit_surround

Emitter = Callable[[Any, Schedule], Any]
"""From a kernel to its PrimFunc."""

EMITTERS: Mapping[type[Kernel], Emitter] = {
    Extreme: emit_extreme,
    IntegerSoftmax: emit_integer_softmax,
    Nest: emit_nest,
    Normalize: emit_normalize,
    Recurrent: emit_recurrent,
    Running: emit_running,
    Scatter: emit_scatter,
    Softmax: emit_softmax,
    Surround: emit_surround,
    Top: emit_top,
}
