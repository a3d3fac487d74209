"""Compile a region for the overlay: a program, its constants, and what the host must know to run it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from intarsia.artifact import memory
from intarsia.artifact.elsewhere import Elsewhere, fit_places
from intarsia.ir.graph import Graph, Value
from intarsia.targets import Blob
from intarsia_backends.overlay.compiler.cascade import CascadeEmitter
from intarsia_backends.overlay.compiler.convolve import ConvEmitter
from intarsia_backends.overlay.compiler.grouping import group_steps
from intarsia_backends.overlay.compiler.lowering import Lowered, Lowering
from intarsia_backends.overlay.compiler.planner import Groups, Plan, plan
from intarsia_backends.overlay.compiler.program_builder import ProgramBuilder, banks_of
from intarsia_backends.overlay.compiler.schedule import Unit, assemble
from intarsia_backends.overlay.compiler.steps import ConvStep, Step, VecStep
from intarsia_backends.overlay.compiler.tensors import Dram, Resident, Tensor
from intarsia_backends.overlay.compiler.vector_unit import VecEmitter
from intarsia_backends.overlay.machine.config import LANES, WORD_BYTES, OverlayConfig
from intarsia_backends.overlay.machine.isa import Segment
from intarsia_backends.overlay.machine.layout import TensorLayout

PROGRAM, CONSTANTS = "program.bin", "constants.bin"

_LEAST_BYTES = 1024
"""Of a weight that is worth the words that say where it lies."""


def compile_region(graph: Graph, config: OverlayConfig) -> Blob:
    """Compile a region whose nodes the target answered with yes.

    files     program.bin (128-bit words), constants.bin (the constants segment)
    metadata  config (name), config_hash, config_data; segments (bytes of each, by name); inputs and outputs
              (TensorLayout records, offsets in their segments); tags (layer name of each tag)
    layers    a row a tag: name, op, macs, tag, onchip_peak_bytes
    """
    lowered = Lowering(graph, config).run()
    builder = ProgramBuilder(config)
    inputs, input_bytes = _place_inputs(graph, lowered)
    outputs, output_bytes = _place_outputs(graph, lowered)
    _place_constants(lowered, builder)
    fixed = [tensor.root for tensor in lowered.tensors.values() if tensor.root.place is not None]
    alone = plan([[step] for step in lowered.steps], fixed, config)
    groups = group_steps(lowered.steps, alone.spilled, set(fixed), config)
    placement = plan(groups, fixed, config)
    while not all(_fits(group, live, builder) for group, live in zip(groups, placement.live)):
        groups = [
            part
            for group, live in zip(groups, placement.live)
            for part in ([group] if _fits(group, live, builder) else [[step] for step in group])
        ]
        placement = plan(groups, fixed, config)
    rows = _emit(groups, placement, builder)
    program, _ = assemble(builder.units, config)
    constants = builder.pool.image()
    metadata: dict[str, Any] = {
        "config": config.name,
        "config_hash": config.hash,
        "config_data": config.to_dict(),
        "segments": {
            "constants": len(constants),
            "arena": placement.arena_bytes,
            "inputs": input_bytes,
            "outputs": output_bytes,
        },
        "inputs": [layout.to_dict() for layout in inputs],
        "outputs": [layout.to_dict() for layout in outputs],
        "tags": [row["name"] for row in rows],
    }
    metadata[memory.KEY] = {"contiguous_bytes": len(program) + sum(metadata["segments"].values())}
    files = {PROGRAM: program, CONSTANTS: constants}
    return Blob("overlay", files, metadata, tuple(rows), _origins(lowered, builder, len(constants)))


def _origins(lowered: Lowered, builder: ProgramBuilder, size_bytes: int) -> dict[str, Elsewhere]:
    """By the name of a weight, where it lies in the constants."""
    found = {}
    for step in lowered.steps:
        if not isinstance(step, ConvStep) or step.weight.nbytes < _LEAST_BYTES:
            continue
        places = builder.pool.places(step)
        if places is None:
            continue
        value, shaped = step.origin
        order = shaped(np.arange(places.size, dtype=np.int32).reshape(value.shape)).reshape(-1)
        own = np.empty_like(places)
        own[order] = places
        pieces = fit_places(own.reshape(value.shape), size_bytes)
        if pieces is not None:
            found[value.name] = Elsewhere(CONSTANTS, 0, "int8", pieces)
    return found


def _layout(value: Value, lowered: Lowered, offset: int) -> TensorLayout:
    tensor = lowered.tensors[value]
    return TensorLayout(
        name=value.name,
        form="pixels" if tensor.image else "blocks",
        shape=value.shape,
        channels=tensor.channels,
        height=tensor.height,
        width=tensor.width,
        channels_last=lowered.planes[value].channels_last,
        offset=offset,
        dtype=value.dtype,
    )


def _place_inputs(graph: Graph, lowered: Lowered) -> tuple[list[TensorLayout], int]:
    layouts, size = [], 0
    for value in graph.inputs:
        layouts.append(_layout(value, lowered, size))
        lowered.tensors[value].place = Dram(Segment.INPUTS, size // WORD_BYTES)
        size += layouts[-1].size_bytes
    return layouts, size


def _place_outputs(graph: Graph, lowered: Lowered) -> tuple[list[TensorLayout], int]:
    layouts, words = [], 0
    for value in graph.outputs:
        tensor = lowered.tensors[value]
        root = tensor.root
        if root.place is None:
            root.place = Dram(Segment.OUTPUTS, words)
            words += root.words
        assert isinstance(root.place, Dram) and root.place.segment == Segment.OUTPUTS
        offset = root.place.offset + tensor.root_block * tensor.height * tensor.width
        layouts.append(_layout(value, lowered, offset * WORD_BYTES))
    return layouts, words * WORD_BYTES


def _place_constants(lowered: Lowered, builder: ProgramBuilder) -> None:
    for tensor, data in lowered.constants.items():
        lanes = np.zeros((tensor.blocks * LANES, tensor.height, tensor.width), np.int8)
        lanes[: tensor.channels] = data
        blocks = lanes.reshape(tensor.blocks, LANES, tensor.height, tensor.width).transpose(0, 2, 3, 1)
        offset = builder.pool.add(np.ascontiguousarray(blocks).tobytes())
        tensor.place = Dram(Segment.CONSTANTS, offset // WORD_BYTES)


def _fits(group: Sequence[Step], live: tuple[Tensor, ...], builder: ProgramBuilder) -> bool:
    """Whether a group that runs together has room for its smallest bands."""
    return len(group) == 1 or CascadeEmitter(builder, group, builder.tile_banks(live)).fits


def _emit(groups: Groups, placement: Plan, builder: ProgramBuilder) -> list[dict[str, Any]]:
    """All words, group by group; a report row for each step."""
    rows = []
    for group, live in zip(groups, placement.live):
        begin = len(builder.units)
        banks = builder.tile_banks(live)
        first = group[0]
        if len(group) > 1:
            CascadeEmitter(builder, group, banks).emit()
        elif isinstance(first, ConvStep):
            ConvEmitter(builder, first, banks).emit()
        else:
            assert isinstance(first, VecStep)
            VecEmitter(builder, first, banks).emit()
        peak = _peak_bytes(builder.units[begin:], live, builder.config)
        rows += [
            {"name": step.name, "op": step.op, "macs": step.macs, "tag": step.tag, "onchip_peak_bytes": peak}
            for step in group
        ]
    return _by_tag(rows)


def _by_tag(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row a tag: steps that share one are counted as one layer, which is called after its first and its last."""
    merged: list[dict[str, Any]] = []
    for _, group in itertools.groupby(rows, key=lambda row: row["tag"]):
        first, *others = group
        if others:
            last, parts = others[-1], (first, *others)
            first = {
                **first,
                "name": f"{first['name']} to {last['name']}",
                "macs": sum(row["macs"] for row in parts),
                "onchip_peak_bytes": max(row["onchip_peak_bytes"] for row in parts),
            }
        merged.append(first)
    return merged


def _peak_bytes(units: list[Unit], live: tuple[Tensor, ...], config: OverlayConfig) -> int:
    """Bytes of ACT in banks that hold a resident tensor or a tile while the step runs."""
    banks: set[int] = set()
    for unit in units:
        for item in (*unit.loads, *unit.body):
            for access in item.on_chip:
                if access.place.memory == "ACT":
                    banks.update(banks_of(access.place.base, access.place.last + 1 - access.place.base, config))
    for tensor in live:
        assert isinstance(tensor.place, Resident)
        banks.update(banks_of(tensor.place.base, tensor.words, config))
    return len(banks) * config.activation_bank_bytes
