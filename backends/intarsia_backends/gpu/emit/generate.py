"""From descriptions of kernels to their text."""

from __future__ import annotations

from collections.abc import Mapping

from intarsia_backends.gpu.emit.grid import schedule_of
from intarsia_backends.gpu.emit.kernels import EMITTERS
from intarsia_backends.gpu.machine import GpuMachine
from intarsia_backends.gpu.source.dialect import Dialect
from intarsia_backends.gpu.source.kernels import KernelSource, kernel_source
from intarsia_backends.lowering.kernel import Kernel
from intarsia_backends.tir.turn import TURN


def generate(names: Mapping[Kernel, str], machine: GpuMachine, dialect: Dialect) -> dict[Kernel, KernelSource]:
    """The text of each kernel, under its name."""
    schedule = schedule_of(machine)
    with TURN.lock:
        return {
            kernel: kernel_source(EMITTERS[type(kernel)](kernel, schedule), name, dialect)
            for kernel, name in names.items()
        }
