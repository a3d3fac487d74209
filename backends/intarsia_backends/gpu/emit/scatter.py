"""TIR for `Scatter` on a GPU: threads share the loops whose steps never meet, each does the others in order."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from intarsia_backends.lowering.kernels import Scatter
from intarsia_backends.tir.expressions import Term
from intarsia_backends.tir.indexing import scatter
from intarsia_backends.tir.schedule import Schedule, ordered_loops


def emit_scatter(kernel: Scatter, schedule: Schedule) -> Any:
    """The PrimFunc of updates at places."""
    others = [loop for loop in range(len(kernel.kept)) if loop not in kernel.apart]

    def loops(stack: ExitStack) -> Sequence[Term]:
        apart = [kernel.kept[loop] for loop in kernel.apart]
        shared = schedule.loops(stack, apart, 0, len(apart))
        ordered = ordered_loops(stack, [kernel.kept[loop] for loop in others])
        indices = dict(zip((*kernel.apart, *others), (*shared, *ordered)))
        return [indices[loop] for loop in range(len(kernel.kept))]

    return scatter(kernel, loops)
