"""From descriptions of kernels to their text."""

from __future__ import annotations

from collections.abc import Mapping

from intarsia_backends.gpu.emit.grid import schedule_of
from intarsia_backends.gpu.emit.kernels import EMITTERS
from intarsia_backends.gpu.kernels import Narrowed
from intarsia_backends.gpu.machine import GpuMachine
from intarsia_backends.gpu.source.dialect import Dialect
from intarsia_backends.gpu.source.kernels import KernelSource, kernel_source
from intarsia_backends.lowering.kernel import Kernel
from intarsia_backends.tir.half import named_conversions
from intarsia_backends.tir.turn import TURN


def generate(names: Mapping[Kernel, str], machine: GpuMachine, dialect: Dialect) -> dict[Kernel, KernelSource]:
    """The text of each kernel, under its name."""
    schedule = schedule_of(machine)
    sources = {}
    with TURN.lock:
        for kernel, name in names.items():
            whole, halves = (kernel.kernel, kernel.halves) if isinstance(kernel, Narrowed) else (kernel, ())
            with named_conversions():
                function = EMITTERS[type(whole)](whole, schedule)
            sources[kernel] = kernel_source(function, name, dialect, halves)
    return sources
