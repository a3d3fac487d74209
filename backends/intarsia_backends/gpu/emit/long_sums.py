"""TIR for long reductions that make few elements: several threads share the steps of each, and join what they have.

Where neighbouring outputs are made of neighbours in memory, 32 of them go side by side in a block and 4 threads share
each; else a whole block makes one.
"""

from __future__ import annotations

import math
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from intarsia_backends.gpu.emit.products import unravelled, within
from intarsia_backends.gpu.emit.shared import join, only
from intarsia_backends.lowering.expressions import Constant, Expression, Input, apply
from intarsia_backends.lowering.kernels import Nest
from intarsia_backends.tir.expressions import Term, term
from intarsia_backends.tir.functions import function, parameter
from intarsia_backends.tir.nests import address, finished, loaded, operands, span, stored

_THREADS = 128
_SIDE_BY_SIDE = 32
_LONG = 64
"""Steps from which on sharing them pays."""

_FEW = 1 << 15
"""Elements from which on there are threads enough without."""

_NEUTRAL = {"add": 0, "mul": 1}


def is_long(kernel: Nest) -> bool:
    """Whether a nest is a long reduction that makes few elements."""
    elements = math.prod(kernel.kept)
    return bool(kernel.combine) and 0 < elements < _FEW and math.prod(kernel.reduced) >= _LONG


def emit_long_sums(kernel: Nest) -> Any:
    """The PrimFunc of a nest whose steps are shared."""
    extents = (*kernel.kept, *kernel.reduced)
    elements, depth = math.prod(kernel.kept), math.prod(kernel.reduced)
    beside = _SIDE_BY_SIDE if _lie_across(kernel) and elements > 1 else 1
    sharers = _THREADS // beside
    dtype = kernel.accumulator_dtype

    def body() -> None:
        buffers = operands(kernel.operands, extents, "x")
        output = parameter("y", span(kernel.output, kernel.kept), stored(kernel.output.dtype))
        with (
            T.thread_binding(0, -(-elements // beside), "blockIdx.x") as block,
            T.thread_binding(0, _THREADS, "threadIdx.x") as thread,
        ):
            column, sharer = tirx.floormod(thread, beside), tirx.floordiv(thread, beside)
            number = block * beside + column
            kept = unravelled(within(number, elements, beside), kernel.kept)

            def expression(which: Expression, reduced: list[Term], total: Term = None) -> Term:
                def load(index: int, further: Term | None) -> Term:
                    return loaded(buffers[index], kernel.operands[index], [*kept, *reduced], further)

                return term(which, load, total)

            total = T.alloc_buffer((1,), dtype)
            shared = T.alloc_buffer((_THREADS,), dtype, scope="shared")
            initial = expression(kernel.initial, [])
            if kernel.combine in _NEUTRAL:
                neutral = term(Constant(dtype, _NEUTRAL[kernel.combine]), lambda index, further: None)
                initial = tirx.Select(sharer < 1, initial, neutral)
            T.buffer_store(total, initial, [0])
            with T.serial(0, -(-depth // sharers)) as turn:
                step = turn * sharers + sharer
                with only(step < depth if depth % sharers else None):
                    grown = expression(kernel.step, unravelled(step, kernel.reduced), total[0])
                    T.buffer_store(total, grown, [0])
            T.buffer_store(shared, total[0], [thread])

            def joined(left: Term, right: Term) -> Term:
                pair = left, right
                return term(apply(kernel.combine, Input(0), Input(1)), lambda index, further: pair[index])

            join(shared, thread, sharers, beside, joined)
            ends = sharer < 1
            if elements % beside:
                ends = tirx.And(ends, number < elements)
            with only(ends):
                place = unravelled(number, kernel.kept)

                def load(index: int, further: Term | None) -> Term:
                    return loaded(buffers[index], kernel.operands[index], place, further)

                element = finished(kernel.epilogue, load, shared[thread], kernel.output.dtype)
                T.buffer_store(output, element, [address(kernel.output, place)])

    return function(body)


def _lie_across(kernel: Nest) -> bool:
    """Whether neighbouring outputs are made of neighbours in memory, and the steps of one are not neighbours."""
    last, innermost = len(kernel.kept) - 1, len(kernel.kept) + len(kernel.reduced) - 1
    strides = [access.strides for access in kernel.operands if any(access.strides[last + 1 :])]
    return any(walk[last] == 1 for walk in strides) and not any(walk[innermost] == 1 for walk in strides[:1])
