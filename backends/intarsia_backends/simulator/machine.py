"""The NumPy machine: executes the bytes of a program, bit for bit as the hardware does.

A program is static, so everything that can go wrong with it is found when it is loaded: words that are no instruction,
operands outside of their memory, deadlocks, words that meet at the same memory unordered. What is left for a run is a
list of functions over fixed views of the memories.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from intarsia.dtypes import Array
from intarsia.errors import FOREIGN, RunError, said
from intarsia_backends.overlay.machine import isa
from intarsia_backends.overlay.machine.config import OverlayConfig
from intarsia_backends.overlay.machine.region import AGAIN, PROGRAM, OverlayRegion
from intarsia_backends.simulator.bounds import check_bounds, memory_sizes
from intarsia_backends.simulator.convolution import (
    Parameters,
    Weights,
    bind_conv,
    unpack_parameters,
    unpack_weights,
)
from intarsia_backends.simulator.decoded import REPORT, Operation, Program, decode
from intarsia_backends.simulator.fields import check_fields
from intarsia_backends.simulator.hazards import check_hazards
from intarsia_backends.simulator.order import Ordered, legal_order
from intarsia_backends.simulator.state import State
from intarsia_backends.simulator.transfers import bind_constants, bind_load, bind_patch, bind_store
from intarsia_backends.simulator.vector import bind_vec

Step = Callable[[], None]

WEIGHTS_KEPT_BYTES = 512 * 1024 * 1024
"""Unpacked weights are kept for the next run up to here; the rest is unpacked at each run."""


@dataclass(frozen=True)
class LoadedProgram:
    """A program that has passed every check, ready for any number of machines.

    program     decoded
    config      of the machine
    constants   int8 [words, 16], the segment CONSTANTS
    segments    bytes of the segments ARENA, INPUTS, OUTPUTS
    order       the run words in an order in which they may execute
    """

    program: Program
    config: OverlayConfig
    constants: Array
    segments: Mapping[isa.Segment, int]
    order: Sequence[Ordered]
    _constants: _StaticConstants = field(repr=False)


class Machine:
    """Memories, and the run words bound to them. One run at a time; make one machine for each thread."""

    def __init__(self, loaded: LoadedProgram) -> None:
        self.state = State(loaded.config, loaded.constants, loaded.segments)
        self._steps = [
            step for item in loaded.order for step in [_bind(item.operation, self.state, loaded._constants)] if step
        ]

    def run(self, inputs: Array) -> Array:
        """Execute the program.

        inputs   uint8 or int8 bytes of the segment INPUTS
        returns  uint8 bytes of the segment OUTPUTS; they are overwritten by the next run
        """
        segment = self.state.dram[isa.Segment.INPUTS]
        assert inputs.size == segment.size, f"{inputs.size} bytes of inputs, not {segment.size}"
        segment.reshape(-1)[...] = inputs.reshape(-1).view(np.int8)
        for step in self._steps:
            step()
        return self.state.dram[isa.Segment.OUTPUTS].reshape(-1).view(np.uint8)


def load_program(
    data: bytes, config: OverlayConfig, constants: bytes, segments: Mapping[isa.Segment, int]
) -> LoadedProgram:
    """Decode and check a program.

    data       words of 16 bytes
    constants  contents of the segment CONSTANTS
    segments   bytes of the segments ARENA, INPUTS and OUTPUTS

    Raises RunError, naming the word, for anything that the hardware's result would be undefined for.
    """
    for segment, size in segments.items():
        if size % isa.WORD_BYTES:
            raise RunError(where="program", what=f"{segment.name} has {size} bytes, not whole words", help=REPORT)
    padded = constants + bytes(-len(constants) % isa.WORD_BYTES)
    image = np.frombuffer(padded, np.int8).reshape(-1, isa.WORD_BYTES)
    program = decode(data)
    sizes = memory_sizes(config, {**segments, isa.Segment.CONSTANTS: image.size})
    for operation in program.operations:
        check_fields(operation, config)
        check_bounds(operation, sizes)
    _check_sums(program.operations)
    order = legal_order(program, config)
    check_hazards(order, config, sizes)
    return LoadedProgram(program, config, image, dict(segments), order, _StaticConstants(order, config, image))


def load_region(region: OverlayRegion) -> LoadedProgram:
    """The program of a region, as `load_program` makes it ready; errors name the region and its file."""
    where = f"{region.where}, file '{PROGRAM}'"
    try:
        return load_program(region.program, region.config, region.constants, region.segments)
    except RunError as error:
        raise RunError(where=f"{where}, {error.where}", what=error.what, help=error.help) from None
    except FOREIGN as error:
        raise RunError(where=where, what=f"it cannot be made ready: {said(error)}", help=AGAIN) from error


def _check_sums(operations: Sequence[Operation]) -> None:
    """A sum over several words goes on only where the word before left one of the same size."""
    left: dict[isa.Queue, int | None] = {isa.Queue.MAC: None, isa.Queue.VEC: None}
    for operation in operations:
        word = operation.word
        if isinstance(word, isa.Conv):
            shape = operation.setup(isa.ConvWindow)
            size = shape.rows * shape.columns
        elif isinstance(word, isa.Vec):
            size = 1
        else:
            continue
        if not word.start and left[word.queue] is None:
            raise operation.fault("start = 0, but the accumulators hold nothing: the word before did not leave its sum")
        if not word.start and left[word.queue] != size:
            raise operation.fault(f"goes on with {size} sums, the word before left {left[word.queue]}")
        left[word.queue] = None if word.finish else size


class _StaticConstants:
    """Weights and parameters of each Conv as far as they are known before any run.

    They are where LoadConstants takes everything from the segment CONSTANTS, as it usually does; `dynamic` says whether
    some LoadConstants reads another segment: then constant memories are filled and unpacked at each run.
    """

    def __init__(self, order: Sequence[Ordered], config: OverlayConfig, image: Array) -> None:
        loads = [item.operation for item in order if isinstance(item.operation.word, isa.LoadConstants)]
        self.dynamic = any(
            isinstance(item.word, isa.LoadConstants) and item.word.segment != isa.Segment.CONSTANTS for item in loads
        )
        self._weights: dict[int, Weights] = {}
        self._parameters: dict[int, Parameters] = {}
        if self.dynamic:
            return
        shadow = State(config, image, {})
        known: dict[tuple[object, ...], Weights] = {}
        kept = 0
        for item in order:
            operation, word = item.operation, item.operation.word
            if isinstance(word, isa.LoadConstants):
                if word.memory != isa.Memory.TABLES:
                    bind_constants(operation, shadow)()
            elif isinstance(word, isa.Conv):
                shape = operation.setup(isa.ConvWindow)
                rows = shadow.wgt[word.weight_row : word.weight_row + word.weight_rows(operation.registers)]
                kernel = (shape.kernel_height, shape.kernel_width, shape.input_blocks, shape.output_blocks)
                key = (word.depthwise, kernel, rows.tobytes())
                weights = known.get(key)
                if weights is None:
                    if kept > WEIGHTS_KEPT_BYTES:
                        self.dynamic = True
                        continue
                    weights = known[key] = unpack_weights(operation, rows)
                    kept += weights.matrix.nbytes
                self._weights[operation.index] = weights
                groups = shadow.par[word.parameter_group : word.parameter_group + shape.output_blocks]
                if word.finish:
                    self._parameters[operation.index] = unpack_parameters(groups)

    def of(self, operation: Operation) -> tuple[Weights | None, Parameters | None]:
        """Weights and parameters of a Conv; None for what must be read at each run."""
        return self._weights.get(operation.index), self._parameters.get(operation.index)


def _bind(operation: Operation, state: State, constants: _StaticConstants) -> Step | None:
    word = operation.word
    if isinstance(word, isa.Load):
        return bind_load(operation, state)
    if isinstance(word, isa.LoadPatch):
        return bind_patch(operation, state)
    if isinstance(word, isa.Store):
        return bind_store(operation, state)
    if isinstance(word, isa.LoadConstants):
        needed = constants.dynamic or word.memory == isa.Memory.TABLES
        return bind_constants(operation, state) if needed else None
    if isinstance(word, isa.Conv):
        return bind_conv(operation, state, *constants.of(operation))
    if isinstance(word, isa.Vec):
        return bind_vec(operation, state)
    assert isinstance(word, isa.End)
    return None
