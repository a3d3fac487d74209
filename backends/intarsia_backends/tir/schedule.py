"""How the loops of kernels are opened: which of them threads share, and how wide vectors are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from intarsia_backends.tir.expressions import Term


@dataclass(frozen=True)
class Schedule:
    """What emitters are told of a target.

    lanes        float32 numbers in a vector; 1 for loops without vectors
    share        opens a loop of so many steps that threads share, and gives its index: `T.parallel`, or a grid of a
                 GPU; None where all loops go one step after the other
    share_work   elementary operations from which on the outer loops of a kernel are shared
    share_steps  steps that a shared loop has at least, where the outer loops have so many
    """

    lanes: int = 1
    share: Callable[[int], AbstractContextManager[Term]] | None = None
    share_work: int = 0
    share_steps: int = 1

    def loops(self, stack: ExitStack, extents: Sequence[int], work: int, joined: int = 0) -> list[Term]:
        """Open loops over all extents, whose steps may go in any order; the outermost ones as one shared loop where
        the work is worth it. Gives their indices.

        joined  outer loops to join at least
        """
        share = self.share if work >= self.share_work else None
        while share is not None and joined < len(extents) and math.prod(extents[:joined]) < self.share_steps:
            joined += 1
        indices: list[Term] = []
        if joined:
            rest = math.prod(extents[:joined])
            fused = stack.enter_context(T.serial(0, rest) if share is None else share(rest))
            for extent in extents[:joined]:
                rest //= extent
                index = tirx.floordiv(fused, rest) if rest > 1 else fused
                indices.append(tirx.floormod(index, extent) if indices else index)
        return indices + ordered_loops(stack, extents[joined:])


def ordered_loops(stack: ExitStack, extents: Sequence[int]) -> list[Term]:
    """Open loops over all extents, one step after the other; gives their indices."""
    return [stack.enter_context(T.serial(0, extent)) if extent > 1 else tirx.const(0, "int32") for extent in extents]
