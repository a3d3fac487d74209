"""A second user of the shared lowering: regions as plain loop nests, compiled by TVM and called kernel by kernel.

It imports `intarsia_backends.lowering` and `intarsia_backends.tir` alone: a backend for another kind of machine starts
from no more than this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm

from intarsia.dtypes import Array
from intarsia.ir.graph import Graph, Node
from intarsia.targets import Support
from intarsia_backends.lowering.builder import Builder
from intarsia_backends.lowering.kernel import Kernel
from intarsia_backends.lowering.memory_plan import plan
from intarsia_backends.lowering.program import ALIGNMENT_BYTES, Bounds, Operand, Part, Program, buffer_of
from intarsia_backends.lowering.region import FURTHER, LOWERINGS, lower_node, supported
from intarsia_backends.tir.emitters import EMITTERS
from intarsia_backends.tir.schedule import Schedule

TABLES = (LOWERINGS, FURTHER)
"""What makes the calls of a node: nothing of this target's own."""


SERIAL = Schedule()
"""Loops without vectors, one step after the other."""


@dataclass(frozen=True)
class PlainMachine:
    """No vectors, and no instruction that rounds a product and a sum once."""

    lanes: int = 1
    fuses_multiply_add: bool = False
    wide_products: str = "float64"


def supports(node: Node) -> Support:
    """Whether loops can be made for a node."""
    return supported(TABLES, node)


def lower_plain(graph: Graph) -> Program:
    """The calls of a region whose nodes are all supported, and where their buffers stand."""
    builder = Builder(graph, PlainMachine(), {})
    for node in graph.nodes:
        assert lower_node(builder, TABLES, node), f"{node.where}: {supports(node)}"
    program = builder.finish(graph)
    plan(program)
    return program


class PlainRegion:
    """A region whose kernels are loaded."""

    def __init__(self, graph: Graph, schedule: Schedule = SERIAL) -> None:
        self.outputs = [(value.shape, value.dtype, value.type.size_bytes) for value in graph.outputs]
        self.program = lower_plain(graph)
        kernels = dict.fromkeys(call.kernel for call in self.program.calls if isinstance(call.kernel, Kernel))
        functions = {
            f"kernel_{index}": EMITTERS[type(kernel)](kernel, schedule) for index, kernel in enumerate(kernels)
        }
        self._kernels: dict[Kernel, tuple[Callable[..., None], Sequence[Any]]] = {}
        if kernels:
            module = tvm.IRModule({name: each.with_attr("global_symbol", name) for name, each in functions.items()})
            library = tvm.compile(module, target="llvm")
            for kernel, (name, function) in zip(kernels, functions.items()):
                self._kernels[kernel] = library[name], function.params
        self._weights, self._arena = _aligned(len(self.program.weights)), _aligned(self.program.arena)
        self._weights[:] = np.frombuffer(self.program.weights, np.uint8)

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """The outputs; ValueError where a check of the region fails."""
        held = {"input": [_copied(array) for array in inputs]}
        held["output"] = [_aligned(size) for _, _, size in self.outputs]

        def memory(operand: Operand) -> Array:
            buffer = buffer_of(operand)
            start = operand.start if isinstance(operand, Part) else 0
            if buffer.kind in held:
                return held[buffer.kind][buffer.index][start:]
            whole = self._weights if buffer.kind == "weight" else self._arena
            return whole[buffer.offset + start : buffer.offset + buffer.size]

        for call in self.program.calls:
            operands = [memory(operand) for operand in call.operands]
            if call.kernel is None:
                operands[-1][:] = operands[0]
            elif isinstance(call.kernel, Bounds):
                numbers = operands[0].view(call.kernel.dtype)[: call.kernel.count]
                if numbers.min() < call.kernel.low or numbers.max() > call.kernel.high:
                    raise ValueError(call.kernel.text)
            else:
                function, parameters = self._kernels[call.kernel]
                function(*(_argument(part, wanted) for part, wanted in zip(operands, parameters)))
        return [
            part[:size].view(dtype).reshape(shape) for part, (shape, dtype, size) in zip(held["output"], self.outputs)
        ]


def _aligned(size: int) -> Array:
    memory = np.zeros(size + ALIGNMENT_BYTES, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT_BYTES
    return memory[start : start + size]


def _copied(array: Array) -> Array:
    memory = _aligned(array.nbytes)
    memory[:] = np.ascontiguousarray(array).view(np.uint8).reshape(-1)
    return memory


def _argument(part: Array, parameter: Any) -> Any:
    """A part of memory as the buffer that a kernel asks for."""
    dtype, elements = str(parameter.dtype), int(parameter.shape[0])
    return tvm.runtime.from_dlpack(part[: elements * np.dtype(dtype).itemsize].view(dtype))
