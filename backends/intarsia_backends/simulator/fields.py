"""Rules about fields beside the limits that isa.py gives each, every one an error that names the word."""

from __future__ import annotations

from intarsia_backends.overlay.machine import isa
from intarsia_backends.overlay.machine.config import OverlayConfig
from intarsia_backends.simulator.accesses import (
    patch_target,
    residual_rectangle,
    target_rectangle,
    transfer,
    vec_second,
    vec_window,
)
from intarsia_backends.simulator.program import Operation
from intarsia_backends.simulator.rectangles import Rectangle

_ELEMENTWISE = (isa.VecOperation.COPY, isa.VecOperation.ADD, isa.VecOperation.MULTIPLY, isa.VecOperation.LOOKUP)
_WINDOWED = (isa.VecOperation.MAXIMUM, isa.VecOperation.SUM)


def check_fields(operation: Operation, config: OverlayConfig) -> None:
    """Raises RunError for shapes never set, values that do not agree, and operands read after they are written."""
    word = operation.word
    if isinstance(word, isa.Load):
        _positive(operation, operation.setup(isa.LoadShape), "blocks", "rows", "columns")
        _check_distinct(operation, transfer(operation)[1])
    elif isinstance(word, isa.Store):
        _positive(operation, operation.setup(isa.StoreShape), "blocks", "rows", "columns")
        _check_distinct(operation, transfer(operation)[0])
    elif isinstance(word, isa.LoadPatch):
        _check_patch(operation, config)
    elif isinstance(word, isa.Conv):
        _check_conv(operation, word, config)
    elif isinstance(word, isa.Vec):
        _check_vec(operation, word)


def _positive(operation: Operation, holder: isa.Instruction, *names: str) -> None:
    for name in names:
        if getattr(holder, name) < 1:
            raise operation.fault(f"{type(holder).__name__}.{name} is 0: nothing would be done")


def _check_patch(operation: Operation, config: OverlayConfig) -> None:
    shape = operation.setup(isa.LoadPatchShape)
    _positive(operation, shape, "height", "width", "channels", "kernel_height", "kernel_width", "stride_y", "stride_x")
    _positive(operation, operation.setup(isa.LoadPatchTarget), "rows", "columns")
    if shape.width * shape.channels > shape.pitch * isa.WORD_BYTES:
        raise operation.fault(f"a row of {shape.width * shape.channels} bytes is longer than its pitch")
    line_bytes = shape.kernel_height * -(-shape.width * shape.channels // isa.WORD_BYTES) * isa.WORD_BYTES
    if line_bytes > config.patch_bytes:
        raise operation.fault(f"{line_bytes} bytes of image rows, the line buffer holds {config.patch_bytes}")
    _check_distinct(operation, patch_target(operation))


def _check_distinct(operation: Operation, target: Rectangle) -> None:
    """A word may not be written twice: which of the two would last is not said."""
    if not target.is_distinct:
        raise operation.fault(f"writes words of {target} twice")


def _check_conv(operation: Operation, word: isa.Conv, config: OverlayConfig) -> None:
    shape = operation.setup(isa.ConvWindow)
    _positive(operation, shape, *(name for name, _, _ in isa.ConvWindow.layout()))
    if word.depthwise and shape.input_blocks != 1:
        raise operation.fault(f"{shape.input_blocks} input blocks in depthwise mode, which takes 1")
    if not (word.start and word.finish):
        if word.depthwise or shape.output_blocks != 1:
            raise operation.fault("a sum over several Convs takes one output block, not in depthwise mode")
        if shape.rows * shape.columns > config.tile_pixels:
            pixels = shape.rows * shape.columns
            raise operation.fault(
                f"{pixels} pixels in a sum over several Convs, accumulators hold {config.tile_pixels}"
            )
    if word.finish:
        _check_distinct(operation, target_rectangle(operation))
    if word.finish and word.residual:
        _check_in_place(operation, residual_rectangle(operation), may_match=True)


def _check_vec(operation: Operation, word: isa.Vec) -> None:
    target = operation.setup(isa.VecTarget)
    _positive(operation, target, "blocks", "rows", "columns")
    if word.operation in _WINDOWED:
        _positive(operation, operation.setup(isa.VecWindow), *(name for name, _, _ in isa.VecWindow.layout()))
    lanes = (word.lane_from, word.lane_to, word.lane_count)
    if lanes != (0, 0, isa.WORD_BYTES):
        if word.operation != isa.VecOperation.COPY:
            raise operation.fault("single lanes are for COPY only")
        if word.lane_count < 1 or max(word.lane_from, word.lane_to) + word.lane_count > isa.WORD_BYTES:
            raise operation.fault(f"lanes {lanes} leave the 16 of a word")
    if not (word.start and word.finish) and (
        word.operation != isa.VecOperation.SUM or target.blocks * target.rows * target.columns != 1
    ):
        raise operation.fault("a sum over several Vecs is for SUM, one word at a time")
    if word.upsample and word.operation != isa.VecOperation.COPY:
        raise operation.fault("upsample is for COPY only")
    if word.finish:
        _check_distinct(operation, target_rectangle(operation))
    if not word.finish or word.operation == isa.VecOperation.FILL:
        return
    window = vec_window(operation)
    source = window.rectangle
    if source is not None:
        simple = (
            window.vertical.kernel * window.horizontal.kernel * window.vertical.stride * window.horizontal.stride == 1
        )
        whole = not window.is_padded and not word.upsample
        _check_in_place(operation, source, may_match=simple and whole)
    if word.operation in (isa.VecOperation.ADD, isa.VecOperation.MULTIPLY):
        _check_in_place(operation, vec_second(operation), may_match=True)


def _check_in_place(operation: Operation, operand: Rectangle, *, may_match: bool) -> None:
    """A word writes its target as it goes: what it still has to read must not lie there."""
    target = target_rectangle(operation)
    if may_match and operand.same_words(target):
        return
    if operand.overlaps(target):
        raise operation.fault(f"reads {operand}, of which it overwrites a part at other pixels ({target})")
