"""By kind of kernel, what writes it as TIR over blocks and threads."""

from __future__ import annotations

from collections.abc import Mapping

from intarsia_backends.gpu.emit.nests import emit_nest
from intarsia_backends.gpu.emit.surround import emit_surround
from intarsia_backends.lowering.kernel import Kernel
from intarsia_backends.lowering.kernels import Nest, Surround
from intarsia_backends.tir import emitters

EMITTERS: Mapping[type[Kernel], emitters.Emitter] = {**emitters.EMITTERS, Nest: emit_nest, Surround: emit_surround}
