"""Which layers run together, band by band: where an intermediate that does not fit on chip would bind the DRAM."""

from __future__ import annotations

from collections.abc import Sequence, Set

from intarsia_backends.overlay.compiler.cascade import band_rows, links
from intarsia_backends.overlay.compiler.constants import input_blocks
from intarsia_backends.overlay.compiler.estimates import conv_layer_cycles, vec_layer_cycles, window_word
from intarsia_backends.overlay.compiler.program_builder import assign_banks
from intarsia_backends.overlay.compiler.steps import ConvStep, Step, VecStep
from intarsia_backends.overlay.compiler.tensors import POINT, Tensor, ceil_div
from intarsia_backends.overlay.machine.config import WEIGHT_ROW_BYTES, WORD_BYTES, OverlayConfig
from intarsia_backends.overlay.machine.isa import weight_rows

LENGTH_MAX = 8
_BAND_CYCLES = 200  # what a band of a layer costs beside its work: filling and draining the array, words, semaphores
_EXPOSED = 0.25  # of what runs side by side, the share of the shorter parts that does not hide


def group_steps(
    steps: Sequence[Step], arena: Set[Tensor], ends: Set[Tensor], config: OverlayConfig
) -> list[list[Step]]:
    """Cut the steps into groups to run together, most of them of one step.

    arena  tensors that have no place on chip when every step runs by itself
    ends   inputs, outputs and constants of the region, which stand in DRAM in any case

    Steps may be grouped where each makes, in DRAM, what the next alone reads. Among all ways to cut, the one with the
    least time by a rough model: a group takes the longest of array, vector unit and DRAM traffic.
    """
    spilled = arena | ends
    uses: dict[Tensor, int] = {}
    for step in steps:
        for tensor in step.inputs:
            uses[tensor.root] = uses.get(tensor.root, 0) + 1

    def linked(index: int) -> bool:
        """Whether step index and the next may be in one group."""
        first, second = steps[index], steps[index + 1]
        between = first.output
        return (
            links(first)
            and links(second)
            and between in arena
            and between.parent is None
            and second.inputs[0] is between
            and uses[between] == 1
        )

    best: list[tuple[float, int]] = [(0.0, 0)]  # time of the first n steps, and where their last group begins
    for stop in range(1, len(steps) + 1):
        found: tuple[float, int] | None = None
        for start in range(stop - 1, max(stop - LENGTH_MAX, 0) - 1, -1):
            if start < stop - 1 and not linked(start):
                break
            time = _time(steps[start:stop], spilled, config)
            if time is not None and (found is None or best[start][0] + time < found[0]):
                found = (best[start][0] + time, start)
        assert found is not None
        best.append(found)
    groups: list[list[Step]] = []
    stop = len(steps)
    while stop:
        start = best[stop][1]
        groups.insert(0, list(steps[start:stop]))
        stop = start
    return groups


def _time(steps: Sequence[Step], spilled: Set[Tensor], config: OverlayConfig) -> float | None:
    """Rough cycles of a group; None where it cannot be."""
    streams_in = not _on_chip(steps[0].inputs[0], spilled)
    streams_out = not _on_chip(steps[-1].output, spilled)
    rows = sum(_weight_rows(step) for step in steps)
    array = sum(_cycles(step, config) for step in steps if isinstance(step, ConvStep))
    vector = sum(_cycles(step, config) for step in steps if isinstance(step, VecStep))
    bytes_moved = rows * WEIGHT_ROW_BYTES
    for tensor in (*(extra for step in steps for extra in step.inputs[1:]), steps[0].inputs[0], steps[-1].output):
        if not _on_chip(tensor, spilled):
            bytes_moved += tensor.channels * tensor.height * tensor.width if tensor.image else tensor.words * WORD_BYTES
    overhead = 0
    if len(steps) > 1:
        groups = sum(step.output.blocks for step in steps if isinstance(step, ConvStep))
        if rows > config.weight_rows or groups > config.parameter_groups:
            return None
        empty = [False] * config.activation_banks
        height = band_rows(
            steps, streams_in, streams_out, lambda sizes: assign_banks(sizes, empty, config) is not None, config
        )
        if not height:
            return None
        overhead = _BAND_CYCLES * ceil_div(steps[-1].output.height, height) * len(steps)
    parts = (array, vector, bytes_moved / config.dram_bytes_per_cycle)
    if len(steps) == 1:
        return max(parts)
    return max(parts) + _EXPOSED * (sum(parts) - max(parts)) + overhead


def _on_chip(tensor: Tensor, spilled: Set[Tensor]) -> bool:
    return tensor.root not in spilled


def _weight_rows(step: Step) -> int:
    if not isinstance(step, ConvStep):
        return 0
    reads = (input_blocks(step, block) for block in range(step.output.blocks))
    height, width = step.weight.shape[2:]
    return sum(weight_rows(height, width, last - first, depthwise=step.depthwise) for first, last in reads)


def _cycles(step: Step, config: OverlayConfig) -> int:
    output = step.output
    if isinstance(step, ConvStep):
        window = POINT if step.patch else step.window
        first, last = input_blocks(step, 0)
        shape = window_word(window, last - first, output.blocks, output.height, output.width)
        return conv_layer_cycles(shape, config, depthwise=step.depthwise, patches=step.patch is not None)
    assert isinstance(step, VecStep)
    return vec_layer_cycles(step.operation, output.words, step.window.taps)
