"""Loops over blocks and threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from tvm.script.ir_builder import tirx as T

from intarsia_backends.gpu.machine import GpuMachine
from intarsia_backends.tir.schedule import Schedule

_ALL = 1 << 31
"""More steps than any loop has."""


def grid_of(threads: int) -> Callable[[int], AbstractContextManager[Any]]:
    """What opens a loop whose steps are threads: blocks of so many, and the last one may have fewer."""

    @contextmanager
    def grid(steps: int) -> Iterator[Any]:
        block_threads = min(threads, max(1, steps))
        with ExitStack() as stack:
            block = stack.enter_context(T.thread_binding(0, -(-steps // block_threads), "blockIdx.x"))
            step = block * block_threads + stack.enter_context(T.thread_binding(0, block_threads, "threadIdx.x"))
            if steps % block_threads or not steps:
                stack.enter_context(T.If(step < steps))
                stack.enter_context(T.Then())
            yield step

    return grid


def schedule_of(machine: GpuMachine) -> Schedule:
    """All outer loops of a kernel as one grid."""
    return Schedule(lanes=machine.lanes, share=grid_of(machine.block), share_work=0, share_steps=_ALL)
