"""From descriptions of kernels to their text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from intarsia_backends.gpu.emit.fours import emit_fours, fours_of
from intarsia_backends.gpu.emit.grid import schedule_of
from intarsia_backends.gpu.emit.kernels import EMITTERS
from intarsia_backends.gpu.emit.long_sums import is_long
from intarsia_backends.gpu.emit.staged.form import form_of
from intarsia_backends.gpu.emit.staged.kernel import emit_staged
from intarsia_backends.gpu.emit.tiles import tiles_of
from intarsia_backends.gpu.kernels import Narrowed
from intarsia_backends.gpu.machine import GpuMachine
from intarsia_backends.gpu.source.dialect import Dialect
from intarsia_backends.gpu.source.kernels import KernelSource, Work, kernel_source
from intarsia_backends.lowering.kernel import Kernel
from intarsia_backends.lowering.kernels import Nest
from intarsia_backends.tir.half import named_conversions
from intarsia_backends.tir.turn import TURN

Alignments = Mapping[Kernel, tuple[int, ...]]
"""By kernel, what the place of each parameter is a multiple of, in bytes, whenever it is launched."""


def generate(
    names: Mapping[Kernel, str], machine: GpuMachine, dialect: Dialect, alignments: Alignments = MappingProxyType({})
) -> dict[Kernel, KernelSource]:
    """The text of each kernel, under its name."""
    with TURN.lock:
        return {
            kernel: _source(kernel, name, machine, dialect, alignments.get(kernel)) for kernel, name in names.items()
        }


def _source(
    kernel: Kernel, name: str, machine: GpuMachine, dialect: Dialect, alignments: tuple[int, ...] | None
) -> KernelSource:
    # The printer spells conversions out where a language has none by name, so that it goes by itself.
    with named_conversions():
        function, halves, work = _emitted(kernel, machine, alignments)
    source = kernel_source(function, name, dialect, halves)
    return source if work is None else replace(source, work=work)


def _emitted(
    kernel: Kernel, machine: GpuMachine, alignments: tuple[int, ...] | None
) -> tuple[Any, tuple[int, ...], Work | None]:
    """The PrimFunc of a kernel, which parameters are float16, and what it multiplies where that is counted."""
    if machine.tensor_cores and isinstance(kernel, Nest):
        alignments = alignments or (1,) * (len(kernel.operands) + 1)
        form = form_of(kernel, alignments, machine)
        if form is not None:
            return emit_staged(kernel, form, alignments), (), Work(form.wanted, form.issued, form.brought_bytes)
        fours = None if tiles_of(kernel) or is_long(kernel) else fours_of(kernel, alignments)
        if fours is not None:
            return emit_fours(kernel, fours, schedule_of(machine)), (), None
    whole, halves = (kernel.kernel, kernel.halves) if isinstance(kernel, Narrowed) else (kernel, ())
    return EMITTERS[type(whole)](whole, schedule_of(machine)), halves, None
