"""A region as text of kernels, their launches and weights: what goes into an artifact."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from intarsia.errors import CompileError
from intarsia.ir.facts import macs
from intarsia.ir.graph import Graph
from intarsia_backends.gpu.kernels import Narrowed
from intarsia_backends.gpu.launches import (
    ALIGNMENT_LIMIT,
    ARENA,
    MEMORY_LIMIT,
    WEIGHTS,
    Check,
    Copy,
    KernelFacts,
    Launch,
    Launches,
    Place,
    Step,
)
from intarsia_backends.gpu.lower import lower_region
from intarsia_backends.gpu.machine import GpuMachine
from intarsia_backends.gpu.narrow import narrow
from intarsia_backends.lowering.expressions import Gather
from intarsia_backends.lowering.kernel import Kernel
from intarsia_backends.lowering.kernels import Nest
from intarsia_backends.lowering.memory_plan import plan
from intarsia_backends.lowering.program import ALIGNMENT_BYTES, Bounds, Buffer, Operand, Part, Program, buffer_of

if TYPE_CHECKING:
    from intarsia_backends.gpu.source.dialect import Dialect
    from intarsia_backends.gpu.source.kernels import KernelSource


@dataclass(frozen=True)
class GpuCode:
    """A compiled region.

    text     of all kernels
    weights  contents of the memory that never changes
    sources  by description of a kernel, what it became, in their order
    """

    text: str
    launches: Launches
    weights: bytes
    sources: Mapping[Kernel, KernelSource]


def compile_region(region: Graph, machine: GpuMachine, dialect: Dialect) -> GpuCode:
    """The kernels of a region and how they are launched.

    Raises CompileError where there is no TVM, and where a region needs more memory than kernels can reach.
    """
    program = lower_region(region, machine)
    if machine.halves:
        narrow(program, tensor_cores=machine.tensor_cores)
    plan(program)
    return coded(program, region, machine, dialect)


def coded(program: Program, region: Graph, machine: GpuMachine, dialect: Dialect, *, guard_bytes: int = 0) -> GpuCode:
    """The same for a region that is lowered, its arena planned.

    guard_bytes  that stay free in front of every input and output, and behind the last
    """
    kernels = dict.fromkeys(call.kernel for call in program.calls if isinstance(call.kernel, Kernel))
    names = {kernel: f"{_kind(kernel)}_{number}" for number, kernel in enumerate(kernels)}
    starts, end = _places(program, region, guard_bytes)
    sources = _sources(names, machine, dialect, _alignments(program, starts), region.name)
    launches = _launches(program, region, names, sources, starts, end)
    for what, size_bytes in (("values", launches.arena_bytes), ("weights", launches.weights_bytes)):
        if size_bytes > MEMORY_LIMIT:
            raise CompileError(
                where=f"region '{region.name}'",
                what=f"its {what} take {size_bytes} bytes at a time, and kernels reach {MEMORY_LIMIT}",
                help="compile the model for a smaller batch, or for the target 'cpu'",
            )
    text = "\n".join([dialect.preamble, *(source.text for source in sources.values())])
    return GpuCode(text, launches, bytes(program.weights), sources)


def _kind(kernel: Kernel) -> str:
    """What reports call a kernel, float16 in memory or not."""
    return type(kernel.kernel if isinstance(kernel, Narrowed) else kernel).__name__.lower()


def layer_rows(graph: Graph) -> tuple[Mapping[str, Any], ...]:
    """One row a node for reports."""
    return tuple({"name": node.name, "op": node.op, "macs": macs(node)} for node in graph.nodes)


def _sources(
    names: Mapping[Kernel, str],
    machine: GpuMachine,
    dialect: Dialect,
    alignments: Mapping[Kernel, tuple[int, ...]],
    region: str,
) -> dict[Kernel, KernelSource]:
    try:
        from intarsia_backends.gpu.emit.generate import generate
    except ImportError as error:
        raise CompileError(
            where=f"region '{region}'",
            what=f"TVM, in whose form kernels are written first, cannot be imported: {error}",
            help="install it: `pip install apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post1`",
        ) from error
    return generate(names, machine, dialect, alignments)


Starts = Mapping[tuple[str, int], int]
"""Where inputs and outputs stand in the arena, by kind and index."""


def _places(program: Program, region: Graph, guard_bytes: int) -> tuple[Starts, int]:
    """Inputs and outputs stand in the arena behind what the planner placed there; and where it ends."""
    starts: dict[tuple[str, int], int] = {}
    end = program.arena + guard_bytes
    for kind, values in (("input", region.inputs), ("output", region.outputs)):
        for index, value in enumerate(values):
            starts[kind, index] = end
            end += -(-value.type.size_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES + guard_bytes
    return starts, end


def _place(operand: Operand, starts: Starts) -> Place:
    buffer, start = buffer_of(operand), operand.start if isinstance(operand, Part) else 0
    if buffer.kind == "weight":
        return Place(WEIGHTS, buffer.offset + start)
    return Place(ARENA, _start(buffer, starts) + start)


def _alignments(program: Program, starts: Starts) -> dict[Kernel, tuple[int, ...]]:
    """What the places of each kernel's parameters are multiples of, in all of its calls."""
    found: dict[Kernel, tuple[int, ...]] = {}
    for call in program.calls:
        if isinstance(call.kernel, Kernel):
            own = [math.gcd(_place(operand, starts).start, ALIGNMENT_LIMIT) for operand in call.operands]
            before = found.get(call.kernel, own)
            found[call.kernel] = tuple(map(min, own, before))
    return found


def _launches(
    program: Program,
    region: Graph,
    names: Mapping[Kernel, str],
    sources: Mapping[Kernel, KernelSource],
    starts: Starts,
    end: int,
) -> Launches:
    numbers = {kernel: number for number, kernel in enumerate(names)}
    steps: list[Step] = []
    for call in program.calls:
        places = tuple(_place(operand, starts) for operand in call.operands)
        match call.kernel:
            case None:
                steps.append(Copy(places[0], places[-1], buffer_of(call.operands[-1]).size))
            case Bounds(dtype=dtype, count=count, low=low, high=high, text=text):
                steps.append(Check(places[0], dtype, count, low, high, text))
            case kernel:
                steps.append(Launch(numbers[kernel], places))
    facts = tuple(_with_tables(kernel, source.facts, program) for kernel, source in sources.items())
    return Launches(
        arena_bytes=end,
        weights_bytes=len(program.weights),
        inputs=tuple(starts["input", index] for index in range(len(region.inputs))),
        outputs=tuple(starts["output", index] for index in range(len(region.outputs))),
        kernels=facts,
        steps=tuple(steps),
        extensions=tuple(sorted({each for source in sources.values() for each in source.extensions})),
        rounds=any(source.rounds for source in sources.values()),
    )


def _with_tables(kernel: Kernel, facts: KernelFacts, program: Program) -> KernelFacts:
    """The facts of a kernel, with all of the tables that it gathers from: its walks tell of their beginnings alone."""
    if not isinstance(kernel, Nest):
        return facts
    expressions = (kernel.initial, kernel.body, kernel.epilogue)
    tables = {part.operand for each in expressions for part in each.walk() if isinstance(part, Gather)}
    parameters = list(facts.parameters)
    for table in tables:
        sizes = [_size_bytes(call.operands[table]) for call in program.calls if call.kernel == kernel]
        item_bytes = np.dtype(parameters[table].dtype).itemsize
        parameters[table] = replace(parameters[table], elements=min(sizes) // item_bytes)
    return replace(facts, parameters=tuple(parameters))


def _size_bytes(operand: Operand) -> int:
    return buffer_of(operand).size - (operand.start if isinstance(operand, Part) else 0)


def _start(buffer: Buffer, starts: Starts) -> int:
    return buffer.offset if buffer.kind == "arena" else starts[buffer.kind, buffer.index]
