"""By kind of kernel, what writes it as TIR: the kernels that every target can make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from intarsia_backends.lowering.kernel import Kernel
from intarsia_backends.lowering.kernels import (
    ArgReduce,
    IntegerSoftmax,
    Nest,
    Normalize,
    Recurrent,
    Scan,
    Scatter,
    Softmax,
    Surround,
    TopK,
)
from intarsia_backends.tir.indexing import emit_arg_reduce, emit_scan, emit_scatter, emit_top_k
from intarsia_backends.tir.nests import emit_nest
from intarsia_backends.tir.recurrent import emit_recurrent
from intarsia_backends.tir.rows import emit_integer_softmax, emit_normalize, emit_softmax
from intarsia_backends.tir.schedule import Schedule
from intarsia_backends.tir.surround import emit_surround

Emitter = Callable[[Any, Schedule], Any]
"""From a kernel to its PrimFunc."""

EMITTERS: Mapping[type[Kernel], Emitter] = {
    ArgReduce: emit_arg_reduce,
    IntegerSoftmax: emit_integer_softmax,
    Nest: emit_nest,
    Normalize: emit_normalize,
    Recurrent: emit_recurrent,
    Scan: emit_scan,
    Scatter: emit_scatter,
    Softmax: emit_softmax,
    Surround: emit_surround,
    TopK: emit_top_k,
}
