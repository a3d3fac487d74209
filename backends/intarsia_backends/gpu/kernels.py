"""Kernels that regions for GPUs have beside those of `intarsia_backends.lowering.kernels`."""

from __future__ import annotations

from dataclasses import dataclass

from intarsia_backends.lowering.kernel import Kernel


@dataclass(frozen=True)
class Narrowed(Kernel):
    """Another kernel, some of whose float32 parameters are float16 in memory: converted where they are read, rounded
    where they are written.

    halves  numbers of these parameters, in order
    """

    kernel: Kernel
    halves: tuple[int, ...]

    @property
    def work(self) -> int:
        return self.kernel.work
