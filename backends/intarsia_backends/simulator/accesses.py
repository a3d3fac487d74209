"""What each run word touches: the words of every memory that it reads and writes, checked against their sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from intarsia_backends.overlay.machine import isa
from intarsia_backends.overlay.machine.config import OverlayConfig
from intarsia_backends.simulator.program import Operation
from intarsia_backends.simulator.rectangles import Rectangle
from intarsia_backends.simulator.window import Axis, Window


@dataclass(frozen=True)
class Access:
    """One operand.

    role   "source" (read by the array, through both ports of a bank), "read" or "write"
    place  the words; gaps between strided windows are counted in
    """

    role: str
    place: Rectangle

    @property
    def writes(self) -> bool:
        return self.role == "write"


def conv_window(operation: Operation) -> Window:
    """The windows that a Conv reads."""
    word, source, shape = operation.word, operation.setup(isa.ConvSource), operation.setup(isa.ConvWindow)
    assert isinstance(word, isa.Conv)
    return Window(
        source,
        shape.output_blocks if word.depthwise else shape.input_blocks,
        Axis(shape.rows, shape.kernel_height, shape.stride_y, shape.dilation_y, source.pad_top, source.height),
        Axis(shape.columns, shape.kernel_width, shape.stride_x, shape.dilation_x, source.pad_left, source.width),
    )


def weight_rows(operation: Operation) -> int:
    """Rows of weight memory that a Conv reads."""
    word, shape = operation.word, operation.setup(isa.ConvWindow)
    assert isinstance(word, isa.Conv)
    if word.depthwise:
        return shape.output_blocks * -(-shape.kernel_height // 3) * -(-shape.kernel_width // 3) * 3
    return shape.output_blocks * shape.kernel_height * shape.kernel_width * shape.input_blocks * 4


def vec_window(operation: Operation) -> Window:
    """What Vec reads of its first operand; COPY with upsample = 1 reads the pixels that it repeats once."""
    word, source, target = operation.word, operation.setup(isa.VecSource), operation.setup(isa.VecTarget)
    assert isinstance(word, isa.Vec)
    rows, columns = target.rows, target.columns
    if word.operation in (isa.VecOperation.MAXIMUM, isa.VecOperation.SUM):
        shape = operation.setup(isa.VecWindow)
        vertical = Axis(rows, shape.kernel_height, shape.stride_y, 1, source.pad_top, source.height)
        horizontal = Axis(columns, shape.kernel_width, shape.stride_x, 1, source.pad_left, source.width)
    elif word.operation == isa.VecOperation.COPY:
        vertical = Axis(1 + (rows - 1 >> word.upsample), 1, 1, 1, source.pad_top, source.height)
        horizontal = Axis(1 + (columns - 1 >> word.upsample), 1, 1, 1, source.pad_left, source.width)
    else:
        vertical = Axis(rows, 1, 1, 1, 0, source.height)
        horizontal = Axis(columns, 1, 1, 1, 0, source.width)
    return Window(source, target.blocks, vertical, horizontal)


def vec_second(operation: Operation) -> Rectangle:
    """The second operand of Vec ADD and MULTIPLY."""
    second, target = operation.setup(isa.VecSecond), operation.setup(isa.VecTarget)
    return Rectangle(
        "ACT",
        second.base,
        target.blocks,
        target.rows,
        target.columns,
        second.block_pitch,
        second.row_pitch,
        second.column_pitch,
    )


def target_rectangle(operation: Operation) -> Rectangle:
    """What Conv or Vec writes."""
    if isinstance(operation.word, isa.Conv):
        conv, shape = operation.setup(isa.ConvTarget), operation.setup(isa.ConvWindow)
        return Rectangle(
            "ACT", conv.base, shape.output_blocks, shape.rows, shape.columns, conv.block_pitch, conv.row_pitch
        )
    target = operation.setup(isa.VecTarget)
    return Rectangle(
        "ACT", target.base, target.blocks, target.rows, target.columns, target.block_pitch, target.row_pitch
    )


def residual_rectangle(operation: Operation) -> Rectangle:
    """The second operand of a Conv with residual = 1."""
    residual, shape = operation.setup(isa.ConvResidual), operation.setup(isa.ConvWindow)
    return Rectangle(
        "ACT", residual.base, shape.output_blocks, shape.rows, shape.columns, residual.block_pitch, residual.row_pitch
    )


def transfer(operation: Operation) -> tuple[Rectangle, Rectangle]:
    """Where a Load or Store reads and writes: (in DRAM, in ACT)."""
    word = operation.word
    shape: isa.LoadShape | isa.StoreShape
    if isinstance(word, isa.Load):
        shape, shift = operation.setup(isa.LoadShape), word.upsample
    else:
        assert isinstance(word, isa.Store)
        shape, shift = operation.setup(isa.StoreShape), 0
    return (
        Rectangle(
            isa.Segment(word.segment).name,
            word.offset,
            shape.blocks,
            1 + (shape.rows - 1 >> shift),
            1 + (shape.columns - 1 >> shift),
            shape.dram_block_pitch,
            shape.dram_row_pitch,
        ),
        Rectangle("ACT", word.base, shape.blocks, shape.rows, shape.columns, shape.block_pitch, shape.row_pitch),
    )


def patch_window(operation: Operation) -> tuple[Axis, Axis]:
    """Vertical and horizontal windows of a LoadPatch over its image."""
    shape, target = operation.setup(isa.LoadPatchShape), operation.setup(isa.LoadPatchTarget)
    return (
        Axis(target.rows, shape.kernel_height, shape.stride_y, 1, target.pad_top, shape.height),
        Axis(target.columns, shape.kernel_width, shape.stride_x, 1, target.pad_left, shape.width),
    )


def patch_image(operation: Operation) -> Rectangle | None:
    """The words of DRAM that a LoadPatch reads: rows from the first to the last needed; None where it needs none."""
    word, shape = operation.word, operation.setup(isa.LoadPatchShape)
    assert isinstance(word, isa.LoadPatch)
    top, bottom = patch_window(operation)[0].inside
    if top == bottom:
        return None
    offset = word.offset + top * shape.pitch
    row_words = -(-shape.width * shape.channels // isa.WORD_BYTES)
    return Rectangle(isa.Segment(word.segment).name, offset, 1, bottom - top, row_words, 0, shape.pitch)


def patch_target(operation: Operation) -> Rectangle:
    """What a LoadPatch writes."""
    word, shape = operation.word, operation.setup(isa.LoadPatchShape)
    assert isinstance(word, isa.LoadPatch)
    target = operation.setup(isa.LoadPatchTarget)
    blocks = -(-shape.kernel_height * shape.kernel_width * shape.channels // isa.WORD_BYTES)
    return Rectangle("ACT", word.base, blocks, target.rows, target.columns, target.block_pitch, target.row_pitch)


CONSTANT_MEMORIES = {isa.Memory.WEIGHTS: ("WGT", 4), isa.Memory.PARAMETERS: ("PAR", 8), isa.Memory.TABLES: ("TAB", 16)}
"""Name, and words of DRAM in an entry."""


def constants_transfer(operation: Operation) -> tuple[Rectangle, Rectangle]:
    """Where a LoadConstants reads and writes: (in DRAM, on chip)."""
    word = operation.word
    assert isinstance(word, isa.LoadConstants)
    name, words = CONSTANT_MEMORIES[isa.Memory(word.memory)]
    return (
        Rectangle(isa.Segment(word.segment).name, word.offset, columns=word.count * words),
        Rectangle(name, word.at, columns=word.count),
    )


def accesses(operation: Operation) -> list[Access]:
    """Everything that a run word touches. The operation has passed `check_fields`."""
    word = operation.word
    if isinstance(word, isa.Load):
        dram, chip = transfer(operation)
        return [Access("read", dram), Access("write", chip)]
    if isinstance(word, isa.Store):
        dram, chip = transfer(operation)
        return [Access("read", chip), Access("write", dram)]
    if isinstance(word, isa.LoadConstants):
        dram, chip = constants_transfer(operation)
        return [Access("read", dram), Access("write", chip)]
    if isinstance(word, isa.LoadPatch):
        image = patch_image(operation)
        return [*([] if image is None else [Access("read", image)]), Access("write", patch_target(operation))]
    if isinstance(word, isa.Conv):
        return _conv_accesses(operation, word)
    if isinstance(word, isa.Vec):
        return _vec_accesses(operation, word)
    return []


def _conv_accesses(operation: Operation, word: isa.Conv) -> list[Access]:
    found = [Access("read", Rectangle("WGT", word.weight_row, columns=weight_rows(operation)))]
    source = conv_window(operation).rectangle
    if source is not None:
        found.append(Access("source", source))
    if word.finish:
        blocks = operation.setup(isa.ConvWindow).output_blocks
        found.append(Access("read", Rectangle("PAR", word.parameter_group, columns=blocks)))
        if word.residual:
            found.append(Access("read", residual_rectangle(operation)))
        found.append(Access("write", target_rectangle(operation)))
    return found


def _vec_accesses(operation: Operation, word: isa.Vec) -> list[Access]:
    found = []
    if word.operation != isa.VecOperation.FILL:
        source = vec_window(operation).rectangle
        if source is not None:
            found.append(Access("read", source))
    if word.operation in (isa.VecOperation.ADD, isa.VecOperation.MULTIPLY):
        found.append(Access("read", vec_second(operation)))
    if word.operation == isa.VecOperation.LOOKUP:
        found.append(Access("read", Rectangle("TAB", word.table)))
    if word.finish:
        found.append(Access("write", target_rectangle(operation)))
    return found


def memory_sizes(config: OverlayConfig, segments: Mapping[isa.Segment, int]) -> dict[str, int]:
    """Words of each memory by name.

    segments  bytes of each DRAM segment
    """
    return {
        "ACT": config.activation_words,
        "WGT": config.weight_rows,
        "PAR": config.parameter_groups,
        "TAB": config.tables,
        **{segment.name: segments.get(segment, 0) // isa.WORD_BYTES for segment in isa.Segment},
    }


def check_bounds(operation: Operation, sizes: Mapping[str, int]) -> None:
    """Raises RunError where an operand leaves its memory."""
    for access in accesses(operation):
        size = sizes[access.place.memory]
        if access.place.last >= size:
            verb = "writes" if access.writes else "reads"
            raise operation.fault(
                f"{verb} {access.place}, but {access.place.memory} has {size} words",
                "the program and the sizes it was compiled for do not belong together; compile the model again",
            )
