"""By kind of kernel, what writes it as TIR over blocks and threads."""

from __future__ import annotations

from collections.abc import Mapping

from intarsia_backends.gpu.emit.attention import emit_attention
from intarsia_backends.gpu.emit.nests import emit_nest
from intarsia_backends.gpu.emit.recurrent import emit_recurrent
from intarsia_backends.gpu.emit.rows import emit_integer_softmax, emit_normalize, emit_softmax
from intarsia_backends.gpu.emit.scatter import emit_scatter
from intarsia_backends.gpu.emit.surround import emit_surround
from intarsia_backends.gpu.kernels import Attention
from intarsia_backends.lowering.kernel import Kernel
from intarsia_backends.lowering.kernels import IntegerSoftmax, Nest, Normalize, Recurrent, Scatter, Softmax, Surround
from intarsia_backends.tir import emitters

EMITTERS: Mapping[type[Kernel], emitters.Emitter] = {
    **emitters.EMITTERS,
    Attention: emit_attention,
    IntegerSoftmax: emit_integer_softmax,
    Nest: emit_nest,
    Normalize: emit_normalize,
    Recurrent: emit_recurrent,
    Scatter: emit_scatter,
    Softmax: emit_softmax,
    Surround: emit_surround,
}
