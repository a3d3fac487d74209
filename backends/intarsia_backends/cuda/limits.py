"""Kernels that a GPU could not launch, or not run as they were meant: refused when they are compiled."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from intarsia.errors import CompileError
from intarsia_backends.cuda.toolchain.compiler import capability_of
from intarsia_backends.cuda.toolchain.multiprocessors import (
    BLOCK_THREADS,
    MULTIPROCESSORS,
    REGISTERS,
    STATIC_SHARED_BYTES,
    THREAD_REGISTERS,
    occupancy,
)
from intarsia_backends.cuda.toolchain.resources import Resources
from intarsia_backends.cuda.toolchain.sass import Codes
from intarsia_backends.gpu.launches import KernelFacts

_SPILLS = 0.02
"""Of the instructions of a hot loop, those that may move registers to memory and back: few cost next to nothing."""


def check_blocks(kernels: Iterable[KernelFacts]) -> None:
    """What is known before there is machine code: threads and shared memory of a block. CompileError where they are too
    many."""
    for kernel in kernels:
        if kernel.shared_bytes > STATIC_SHARED_BYTES:
            what = f"its blocks share {kernel.shared_bytes} bytes, and every GPU has {STATIC_SHARED_BYTES} for one"
            raise _refused(kernel.name, "", what)
        if kernel.threads > BLOCK_THREADS:
            what = f"its blocks have {kernel.threads} threads, at most {BLOCK_THREADS}"
            raise _refused(kernel.name, "", what)


def check_resources(
    resources: Mapping[str, Mapping[str, Resources]],
    codes: Codes,
    kernels: Iterable[KernelFacts],
    multiplying: Collection[str],
) -> None:
    """What machine code takes, on each GPU that it is for. CompileError where a block does not fit a multiprocessor,
    and where the hot loop of a kernel that multiplies moves many registers to memory and back.

    resources    by "sm_86" and kernel
    multiplying  names of kernels whose time goes into sums of products
    """
    for kernel in kernels:
        for name, of_kernels in resources.items():
            taken, capability = of_kernels[kernel.name], capability_of(name)[0]
            found = occupancy(capability, taken, kernel.threads)
            if not found.blocks:
                raise _refused(kernel.name, name, _too_much(taken, kernel.threads, capability, found.limit))
            if taken.spill_bytes and kernel.name in multiplying:
                code = codes.of(name).get(kernel.name)
                if code is not None and code.spill_share > _SPILLS:
                    what = (
                        f"{code.spill_share:.0%} of the instructions of its hot loop move registers to memory and "
                        f"back, as its threads have no more than {taken.registers}"
                    )
                    raise _refused(kernel.name, name, what)


def _too_much(taken: Resources, threads: int, capability: int, limit: str) -> str:
    if limit == "registers":
        return (
            f"its blocks of {threads} threads take {taken.registers} registers for each thread, and there are "
            f"{REGISTERS} for a block, {THREAD_REGISTERS} for a thread"
        )
    most = MULTIPROCESSORS[capability].block_shared_bytes
    return f"its blocks of {threads} threads share {taken.shared_bytes} bytes, and there are {most} for one"


def _refused(kernel: str, name: str, what: str) -> CompileError:
    return CompileError(
        where=f"kernel '{kernel}'" + (f" for {name}" if name else ""),
        what=what,
        help="this is a fault of intarsia: please report it with the model; the target 'cpu' takes the model meanwhile",
    )
