"""Load, LoadPatch, LoadConstants and Store in NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from intarsia.dtypes import Array
from intarsia_backends.overlay.machine import isa
from intarsia_backends.simulator.decoded import Operation
from intarsia_backends.simulator.state import State

Step = Callable[[], None]


def bind_load(operation: Operation, state: State) -> Step:
    """A function that executes a Load on a machine."""
    word = operation.word
    assert isinstance(word, isa.Load)
    dram, chip = word.transfer(operation.registers)
    source, target = dram.view(state.segment(dram.memory)), chip.view(state.act)

    def step() -> None:
        target[...] = source

    if not word.upsample:
        return step
    rows, columns = np.arange(chip.rows) >> 1, np.arange(chip.columns) >> 1

    def enlarge() -> None:
        target[...] = source[:, rows][:, :, columns]

    return enlarge


def bind_store(operation: Operation, state: State) -> Step:
    """A function that executes a Store on a machine."""
    word = operation.word
    assert isinstance(word, isa.Store)
    dram, chip = word.transfer(operation.registers)
    source, target = chip.view(state.act), dram.view(state.segment(dram.memory))

    def step() -> None:
        target[...] = source

    return step


def bind_constants(operation: Operation, state: State) -> Step:
    """A function that executes a LoadConstants on a machine."""
    word = operation.word
    assert isinstance(word, isa.LoadConstants)
    dram, chip = word.transfer(operation.registers)
    memory = {"WGT": state.wgt, "PAR": state.par, "TAB": state.tab}[chip.memory]
    source = state.segment(dram.memory)[dram.base : dram.last + 1].reshape(chip.columns, -1)
    target = memory[chip.base : chip.last + 1]

    def step() -> None:
        target[...] = source

    return step


def bind_patch(operation: Operation, state: State) -> Step:
    """A function that executes a LoadPatch, which is im2col, on a machine."""
    word, shape = operation.word, operation.setup(isa.LoadPatchShape)
    assert isinstance(word, isa.LoadPatch)
    vertical, horizontal = word.windows(operation.registers)
    target = word.target_rectangle(operation.registers)
    image = word.image_rectangle(operation.registers)
    depth = shape.kernel_height * shape.kernel_width * shape.channels
    lanes = np.zeros((target.rows, target.columns, target.blocks * isa.WORD_BYTES), np.int8)
    padded = np.full((vertical.span, horizontal.span, shape.channels), shape.fill, np.int8)
    down, right, channel = padded.strides
    window = np.lib.stride_tricks.as_strided(
        padded,
        (target.rows, target.columns, shape.kernel_height, shape.kernel_width, shape.channels),
        (vertical.stride * down, horizontal.stride * right, down, right, channel),
    )
    top, left = vertical.inside[0] - vertical.first, horizontal.inside[0] - horizontal.first
    start, stop = horizontal.inside
    inner = padded[top:, left : left + stop - start]
    source: Array | None = None
    if image is not None and start < stop:
        pixels = np.lib.stride_tricks.as_strided(
            state.segment(image.memory)[image.base :],
            (image.rows, shape.width, shape.channels),
            (shape.pitch * isa.WORD_BYTES, shape.channels, 1),
        )
        source, inner = pixels[:, start:stop], inner[: image.rows]
    blocks = lanes.reshape(target.rows, target.columns, target.blocks, isa.WORD_BYTES).transpose(2, 0, 1, 3)
    words = target.view(state.act)

    def step() -> None:
        if source is not None:
            inner[...] = source
        lanes[..., :depth] = window.reshape(target.rows, target.columns, depth)
        words[...] = blocks

    return step
