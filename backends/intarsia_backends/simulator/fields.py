"""Rules about fields beside the limits that isa.py gives each, every one an error that names the word."""

from __future__ import annotations

from intarsia_backends.overlay.machine import isa
from intarsia_backends.overlay.machine.config import OverlayConfig
from intarsia_backends.simulator.decoded import Operation


def check_fields(operation: Operation, config: OverlayConfig) -> None:
    """Raises RunError for shapes never set, values that do not agree, and operands read after they are written."""
    word = operation.word
    for kind in word.reads():
        setup = operation.setup(kind)
        for name, least, _ in kind.limits():
            if least is not None and getattr(setup, name) < least:
                raise operation.fault(f"{kind.__name__}.{name} is {getattr(setup, name)}: nothing would be done")
    if isinstance(word, isa.Load):
        _check_distinct(operation, word.transfer(operation.registers)[1])
    elif isinstance(word, isa.Store):
        _check_distinct(operation, word.transfer(operation.registers)[0])
    elif isinstance(word, isa.LoadPatch):
        _check_patch(operation, word, config)
    elif isinstance(word, isa.Conv):
        _check_conv(operation, word, config)
    elif isinstance(word, isa.Vec):
        _check_vec(operation, word)


def _check_patch(operation: Operation, word: isa.LoadPatch, config: OverlayConfig) -> None:
    shape = operation.setup(isa.LoadPatchShape)
    if shape.width * shape.channels > shape.pitch * isa.WORD_BYTES:
        raise operation.fault(f"a row of {shape.width * shape.channels} bytes is longer than its pitch")
    line_bytes = shape.kernel_height * -(-shape.width * shape.channels // isa.WORD_BYTES) * isa.WORD_BYTES
    if line_bytes > config.patch_bytes:
        raise operation.fault(f"{line_bytes} bytes of image rows, the line buffer holds {config.patch_bytes}")
    _check_distinct(operation, word.target_rectangle(operation.registers))


def _check_distinct(operation: Operation, target: isa.Rectangle) -> None:
    """A word may not be written twice: which of the two would last is not said."""
    if not target.is_distinct:
        raise operation.fault(f"writes words of {target} twice")


def _check_conv(operation: Operation, word: isa.Conv, config: OverlayConfig) -> None:
    shape = operation.setup(isa.ConvWindow)
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
    if not word.finish:
        return
    target = word.target_rectangle(operation.registers)
    _check_distinct(operation, target)
    if word.residual:
        _check_in_place(operation, word.residual_rectangle(operation.registers), target, may_match=True)


def _check_vec(operation: Operation, word: isa.Vec) -> None:
    target = operation.setup(isa.VecTarget)
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
    if not word.finish:
        return
    place = word.target_rectangle(operation.registers)
    _check_distinct(operation, place)
    if word.operation == isa.VecOperation.FILL:
        return
    window = word.source_window(operation.registers)
    source = window.rectangle
    if source is not None:
        simple = (
            window.vertical.kernel * window.horizontal.kernel * window.vertical.stride * window.horizontal.stride == 1
        )
        whole = not window.is_padded and not word.upsample
        _check_in_place(operation, source, place, may_match=simple and whole)
    if word.operation in isa.TWO_OPERANDS:
        _check_in_place(operation, word.second_rectangle(operation.registers), place, may_match=True)


def _check_in_place(operation: Operation, operand: isa.Rectangle, target: isa.Rectangle, *, may_match: bool) -> None:
    """A word writes its target as it goes: what it still has to read must not lie there."""
    if may_match and operand.same_words(target):
        return
    if operand.overlaps(target):
        raise operation.fault(f"reads {operand}, of which it overwrites a part at other pixels ({target})")
