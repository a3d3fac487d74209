"""Compile a region for the overlay: a program, its constants, and what the host must know to run it."""

from __future__ import annotations

from typing import Any

import numpy as np

from intarsia.ir.graph import Graph, Value
from intarsia.targets import Blob
from intarsia_backends.overlay.builder import Builder
from intarsia_backends.overlay.config import LANES, WORD_BYTES, OverlayConfig
from intarsia_backends.overlay.convolve import ConvEmitter
from intarsia_backends.overlay.isa import Segment
from intarsia_backends.overlay.layout import TensorLayout
from intarsia_backends.overlay.lowering import Lowered, Lowering
from intarsia_backends.overlay.planner import Plan, plan
from intarsia_backends.overlay.program import Access, Unit, assemble
from intarsia_backends.overlay.steps import ConvStep, VecStep
from intarsia_backends.overlay.tensors import Dram, Tensor
from intarsia_backends.overlay.vectors import VecEmitter

PROGRAM, CONSTANTS = "program.bin", "constants.bin"


def compile_region(graph: Graph, config: OverlayConfig) -> Blob:
    """Compile a region whose nodes the target answered with yes.

    files     program.bin (128-bit words), constants.bin (the constants segment)
    metadata  config (name), config_hash, config_data; segments (bytes of each, by name); inputs and outputs
              (TensorLayout records, offsets in their segments); tags (layer name of each tag)
    layers    a row a tag: name, op, macs, tag, onchip_peak_bytes
    """
    lowered = Lowering(graph, config).run()
    builder = Builder(config)
    inputs, input_bytes = _place_inputs(graph, lowered)
    outputs, output_bytes = _place_outputs(graph, lowered)
    _place_constants(lowered, builder)
    fixed = [tensor.root for tensor in lowered.tensors.values() if tensor.root.place is not None]
    placement = plan(lowered.steps, fixed, config)
    rows = _emit(lowered, placement, builder)
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
    return Blob("overlay", {PROGRAM: program, CONSTANTS: constants}, metadata, tuple(rows))


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


def _place_constants(lowered: Lowered, builder: Builder) -> None:
    for tensor, data in lowered.constants.items():
        lanes = np.zeros((tensor.blocks * LANES, tensor.height, tensor.width), np.int8)
        lanes[: tensor.channels] = data
        blocks = lanes.reshape(tensor.blocks, LANES, tensor.height, tensor.width).transpose(0, 2, 3, 1)
        offset = builder.pool.add(np.ascontiguousarray(blocks).tobytes())
        tensor.place = Dram(Segment.CONSTANTS, offset // WORD_BYTES)


def _emit(lowered: Lowered, placement: Plan, builder: Builder) -> list[dict[str, Any]]:
    """All words, step by step; a report row for each."""
    rows = []
    for step, live in zip(lowered.steps, placement.live):
        begin = len(builder.units)
        banks = builder.tile_banks(live)
        if isinstance(step, ConvStep):
            ConvEmitter(builder, step, banks).emit()
        else:
            assert isinstance(step, VecStep)
            VecEmitter(builder, step, banks).emit()
        rows.append(
            {
                "name": step.name,
                "op": step.op,
                "macs": step.macs,
                "tag": step.tag,
                "onchip_peak_bytes": _peak_bytes(builder.units[begin:], live, builder.config),
            }
        )
    return rows


def _peak_bytes(units: list[Unit], live: tuple[Tensor, ...], config: OverlayConfig) -> int:
    """Bytes of ACT in banks that hold a resident tensor or a tile while the step runs."""
    banks: set[int] = set()
    spans = [access for unit in units for item in (*unit.loads, *unit.body) for access in item.accesses]
    for tensor in live:
        base = tensor.place.base  # type: ignore[union-attr]
        spans.append(Access("act", base, base + tensor.words, False))
    for access in spans:
        if access.memory == "act" and access.start < access.stop:
            banks.update(range(access.start // config.bank_words, (access.stop - 1) // config.bank_words + 1))
    return len(banks) * config.activation_bank_bytes
