"""From a piece of work on tiles to its words: setup and run word together with what they touch."""

from __future__ import annotations

from dataclasses import replace

from intarsia_backends.overlay.compiler.estimates import window_word
from intarsia_backends.overlay.compiler.schedule import Item, TensorRows, item
from intarsia_backends.overlay.compiler.steps import ConvStep, Scale, VecStep
from intarsia_backends.overlay.compiler.tensors import POINT, Dram, Tensor, View, Window, ceil_div
from intarsia_backends.overlay.machine.config import LANES, WORD_BYTES, OverlayConfig
from intarsia_backends.overlay.machine.isa import (
    WINDOWED,
    Access,
    Conv,
    ConvAdd,
    ConvResidual,
    ConvSource,
    ConvTarget,
    ConvWindow,
    Load,
    LoadConstants,
    LoadPatch,
    LoadPatchShape,
    LoadPatchTarget,
    LoadShape,
    Memory,
    Rectangle,
    Segment,
    Store,
    StoreShape,
    Vec,
    VecScale,
    VecSecond,
    VecSource,
    VecTarget,
    VecWindow,
)


def _dram(tensor: Tensor, view: View, write: bool) -> tuple[TensorRows, Segment, int]:
    """A tensor's part in DRAM as rows, its segment, and the offset of the part's first word."""
    place = tensor.root.place
    assert isinstance(place, Dram)
    plane = tensor.height * tensor.width
    offset = place.offset + (tensor.root_block + view.block0) * plane + view.rect.y0 * tensor.width + view.rect.x0
    y0, y1 = view.rect.y0, view.rect.y1
    if tensor.height != tensor.root.height:  # the same bytes seen with other rows
        y0, y1 = 0, tensor.root.height
    rows = TensorRows(tensor, y0, y1, view.block0, view.block0 + view.blocks, write)
    return rows, place.segment, offset


def load(tensor: Tensor, view: View, tag: int, config: OverlayConfig, *, row_step: int = 1) -> Item:
    """Bring a part of a tensor from DRAM into a tile; of every row_step rows only the first."""
    rows, segment, offset = _dram(tensor, view, False)
    if row_step > 1:
        first = view.rect.y0 * row_step
        offset += (first - view.rect.y0) * tensor.width
        if tensor.height == tensor.root.height:
            rows = replace(rows, start=first, stop=(view.rect.y1 - 1) * row_step + 1)
    shape = LoadShape(
        blocks=view.blocks,
        rows=view.rect.rows,
        columns=view.rect.columns,
        row_pitch=view.row_pitch,
        block_pitch=view.block_pitch,
        dram_row_pitch=tensor.width * row_step,
        dram_block_pitch=tensor.height * tensor.width,
    )
    run = Load(tag=tag, segment=segment, offset=offset, base=view.base)
    return item((shape,), run, config, rows)


def store(tensor: Tensor, view: View, tag: int, config: OverlayConfig) -> Item:
    """Put a tile into its tensor in DRAM."""
    rows, segment, offset = _dram(tensor, view, True)
    shape = StoreShape(
        blocks=view.blocks,
        rows=view.rect.rows,
        columns=view.rect.columns,
        row_pitch=view.row_pitch,
        block_pitch=view.block_pitch,
        dram_row_pitch=tensor.width,
        dram_block_pitch=tensor.height * tensor.width,
    )
    run = Store(tag=tag, segment=segment, offset=offset, base=view.base)
    return item((shape,), run, config, rows)


def load_patch(image: Tensor, window: Window, fill: int, view: View, tag: int, config: OverlayConfig) -> Item:
    """Cut patches for the output pixels view.rect out of an image in DRAM: im2col, made while it is loaded."""
    place = image.place
    assert isinstance(place, Dram)
    shape = LoadPatchShape(
        height=image.height,
        width=image.width,
        channels=image.channels,
        pitch=ceil_div(image.width * image.channels, LANES),
        kernel_height=window.kernel[0],
        kernel_width=window.kernel[1],
        stride_y=window.strides[0],
        stride_x=window.strides[1],
        fill=fill,
    )
    target = LoadPatchTarget(
        rows=view.rect.rows,
        columns=view.rect.columns,
        row_pitch=view.row_pitch,
        block_pitch=view.block_pitch,
        pad_top=window.pads[0] - view.rect.y0 * window.strides[0],
        pad_left=window.pads[1] - view.rect.x0 * window.strides[1],
    )
    needed = window.needs(view.rect, image.height, image.width)
    rows = TensorRows(image, needed.y0, needed.y1, 0, 1, False)
    run = LoadPatch(tag=tag, segment=place.segment, offset=place.offset, base=view.base)
    return item((shape, target), run, config, rows)


def load_constants(memory: Memory, offset_bytes: int, at: int, count: int, tag: int, config: OverlayConfig) -> Item:
    """Bring constants into WGT, PAR or TAB."""
    assert offset_bytes % WORD_BYTES == 0
    run = LoadConstants(
        tag=tag, memory=memory, segment=Segment.CONSTANTS, offset=offset_bytes // WORD_BYTES, at=at, count=count
    )
    return item((), run, config)


def _origin(window: Window, source: View, target: View) -> tuple[View, int, int]:
    """The source cut to begin where the first window does, and the pads left: 0 or more where any of it is read."""
    pad_top = window.pads[0] + source.rect.y0 - target.rect.y0 * window.strides[0]
    pad_left = window.pads[1] + source.rect.x0 - target.rect.x0 * window.strides[1]
    rect = source.rect
    if pad_top < 0:
        skip = min(-pad_top, rect.rows)
        rect, pad_top = type(rect)(rect.y0 + skip, rect.y1, rect.x0, rect.x1), pad_top + skip
    if pad_left < 0:
        skip = min(-pad_left, rect.columns)
        rect, pad_left = type(rect)(rect.y0, rect.y1, rect.x0 + skip, rect.x1), pad_left + skip
    if not rect.pixels:  # all that the windows see is fill, wherever they begin: as far inside as a field can say
        pad_top, pad_left = max(pad_top, -ConvSource.most("pad_top")), max(pad_left, -ConvSource.most("pad_left"))
    return source.part(rect, source.block0, source.blocks), pad_top, pad_left


def _rows_read(window: Window, source: View, target: View) -> View:
    """The part of a source that the windows of a target really read: what the words lie over."""
    if not source.rect.pixels:
        return source
    rect = window.needs(target.rect, source.rect.y1, source.rect.x1)
    rect = type(rect)(max(rect.y0, source.rect.y0), rect.y1, max(rect.x0, source.rect.x0), rect.x1)
    if not rect.pixels:
        return source.part(type(rect)(source.rect.y0, source.rect.y0, 0, 0), source.block0, source.blocks)
    return source.part(rect, source.block0, source.blocks)


def conv(
    step: ConvStep,
    window: Window,
    source: View,
    target: View,
    residual: View | None,
    weight_row: int,
    parameter_group: int,
    config: OverlayConfig,
    *,
    start: bool = True,
    finish: bool = True,
) -> Item:
    """Convolve source blocks to the pixels and blocks of target; all of source's blocks are summed over."""
    blocks_in = 1 if step.depthwise else source.blocks
    assert not step.depthwise or source.blocks == target.blocks
    read = _rows_read(window, source, target)
    placed, pad_top, pad_left = _origin(window, read, target)
    setup: list[ConvSource | ConvWindow | ConvTarget | ConvResidual | ConvAdd] = [
        ConvSource(
            base=placed.base,
            row_pitch=placed.row_pitch,
            block_pitch=placed.block_pitch,
            height=placed.rect.rows,
            width=placed.rect.columns,
            pad_top=pad_top,
            pad_left=pad_left,
            fill=step.fill,
        ),
        window_word(window, blocks_in, target.blocks, target.rect.rows, target.rect.columns),
        ConvTarget(
            base=target.base,
            row_pitch=target.row_pitch,
            block_pitch=target.block_pitch,
            zero_point=step.zero_point,
            clamp_min=step.clamp_min,
            clamp_max=step.clamp_max,
        ),
    ]
    if residual is not None and finish:
        assert step.add is not None
        setup.append(ConvResidual(residual.base, residual.row_pitch, residual.block_pitch))
        setup.append(
            ConvAdd(
                zero_point=step.add.zero_point,
                multiplier=step.add.multiplier,
                residual_zero_point=step.add.second_zero_point,
                residual_multiplier=step.add.second_multiplier,
                shift=step.add.shift,
                output_zero_point=step.add.output_zero_point,
                clamp_min=step.add.clamp_min,
                clamp_max=step.add.clamp_max,
            )
        )
    run = Conv(
        tag=step.tag,
        weight_row=weight_row,
        parameter_group=parameter_group,
        depthwise=int(step.depthwise),
        start=int(start),
        finish=int(finish),
        residual=int(residual is not None and finish),
    )
    found = item(setup, run, config)
    if finish:
        return found
    # The parameters of a sum are loaded with its first weights, and stay from there on.
    held = Access("read", Rectangle("PAR", parameter_group, columns=target.blocks))
    return replace(found, on_chip=(*found.on_chip, held))


def vec(
    step: VecStep,
    source: View | None,
    second: View | None,
    target: View,
    config: OverlayConfig,
    *,
    window: Window = POINT,
    table: int = 0,
    start: bool = True,
    finish: bool = True,
    lanes: tuple[int, int, int] = (0, 0, LANES),
) -> Item:
    """One operation of the vector unit from views to a view."""
    setup: list[VecSource | VecSecond | VecTarget | VecWindow | VecScale] = []
    upsample = int(step.upsample)
    if source is not None:
        if upsample:
            assert target.rect.y0 % 2 == 0 and target.rect.x0 % 2 == 0
            placed, pad_top, pad_left = source, 0, 0
        else:
            placed, pad_top, pad_left = _origin(window, _rows_read(window, source, target), target)
        setup.append(
            VecSource(
                base=placed.base,
                row_pitch=placed.row_pitch,
                block_pitch=placed.block_pitch,
                height=placed.rect.rows,
                width=placed.rect.columns,
                pad_top=pad_top,
                pad_left=pad_left,
                fill=step.fill,
            )
        )
    if second is not None:
        repeat = second.rect.pixels == 1 and target.rect.pixels > 1
        row_pitch = 0 if repeat else second.row_pitch
        setup.append(VecSecond(second.base, row_pitch, second.block_pitch, column_pitch=int(not repeat)))
    setup.append(
        VecTarget(
            base=target.base,
            row_pitch=target.row_pitch,
            block_pitch=target.block_pitch,
            blocks=target.blocks,
            rows=target.rect.rows,
            columns=target.rect.columns,
        )
    )
    if step.operation in WINDOWED:
        setup.append(VecWindow(*window.kernel, *window.strides))
    if step.scale is not None:
        setup.append(_scale(step.scale))
    run = Vec(
        tag=step.tag,
        operation=step.operation,
        upsample=upsample,
        table=table,
        start=int(start),
        finish=int(finish),
        lane_from=lanes[0],
        lane_to=lanes[1],
        lane_count=lanes[2],
    )
    return item(setup, run, config)


def _scale(scale: Scale) -> VecScale:
    return VecScale(
        zero_point=scale.zero_point,
        multiplier=scale.multiplier,
        second_zero_point=scale.second_zero_point,
        second_multiplier=scale.second_multiplier,
        shift=scale.shift,
        output_zero_point=scale.output_zero_point,
        clamp_min=scale.clamp_min,
        clamp_max=scale.clamp_max,
    )
