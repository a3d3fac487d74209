"""Kernels on Oclgrind, which interprets them and sees what no driver does: reads and writes outside of a buffer, and
threads that touch one place without a barrier between them.

python tests/gpu/interpreted_kernels.py [--without-barriers]

Every kernel of `gpu_kernels.every_kind`, of a quantized network and of one in float16 runs alone, each parameter in a
buffer that is just as long as the kernel says. Prints what Oclgrind saw; nothing where all is well.
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from gpu_kernels import chain, every_kind  # noqa: E402

from artifact_examples import small_graph  # noqa: E402
from intarsia_backends.gpu.emit.generate import generate  # noqa: E402
from intarsia_backends.gpu.lower import lower_region  # noqa: E402
from intarsia_backends.gpu.machine import GpuMachine  # noqa: E402
from intarsia_backends.gpu.narrow import narrow  # noqa: E402
from intarsia_backends.gpu.source.dialect import Dialect  # noqa: E402
from intarsia_backends.gpu.source.kernels import KernelSource  # noqa: E402
from intarsia_backends.lowering.kernel import Kernel  # noqa: E402
from intarsia_backends.opencl.dialect import OPENCL_C  # noqa: E402


def sources(dialect: Dialect) -> list[KernelSource]:
    """The kernels that are looked at."""
    machine = GpuMachine()
    programs = [lower_region(graph, machine) for graph in (every_kind().graph, small_graph(), chain().graph)]
    narrow(programs[-1])
    kernels = dict.fromkeys(
        call.kernel for program in programs for call in program.calls if isinstance(call.kernel, Kernel)
    )
    # No name begins another: Oclgrind counts the local memory of all whose names begin with a kernel's as its own.
    return list(
        generate({kernel: f"kernel_{number:03}" for number, kernel in enumerate(kernels)}, machine, dialect).values()
    )


def seen(dialect: Dialect, count: int | None = None) -> str:
    """What Oclgrind says of the kernels, or of so many of them."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        # Read when a context is made.
        os.environ.update(OCLGRIND_DATA_RACES="1", OCLGRIND_LOG=str(log))
        import pyopencl as cl

        platform = next(platform for platform in cl.get_platforms() if platform.name == "Oclgrind")
        context = cl.Context(platform.get_devices()[:1])
        queue = cl.CommandQueue(context)
        made = sources(dialect)[:count]
        text = dialect.preamble + "".join(source.text for source in made)
        program = cl.Program(context, text).build(["-cl-std=CL1.2"], cache_dir=False)
        for source in made:
            facts, arguments, kept = source.facts, [], []
            for parameter in facts.parameters:
                data = np.zeros(parameter.elements, parameter.dtype)
                kept.append(cl.Buffer(context, cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR, hostbuf=data))
                arguments += [kept[-1], np.int32(0)]
            kernel = cl.Kernel(program, facts.name)
            kernel.set_args(*arguments)
            items = tuple(blocks * threads for blocks, threads in zip(facts.grid, facts.block))
            cl.enqueue_nd_range_kernel(queue, kernel, items, facts.block)
            queue.finish()
        return log.read_text() if log.exists() else ""


if __name__ == "__main__":
    if "--without-barriers" in sys.argv:  # of the first ones alone: races are many, and each is told of
        print(seen(replace(OPENCL_C, barrier=""), 3), end="")
    else:
        print(seen(OPENCL_C), end="")
