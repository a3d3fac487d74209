"""From a piece of work on tiles to its words: setup and run word together with what they touch."""

from __future__ import annotations

from dataclasses import replace

from intarsia_backends.overlay.compiler.program import Access, Item
from intarsia_backends.overlay.compiler.steps import ConvStep, Scale, VecStep
from intarsia_backends.overlay.compiler.tensors import POINT, Dram, Tensor, View, Window, ceil_div
from intarsia_backends.overlay.machine.config import LANES, OverlayConfig
from intarsia_backends.overlay.machine.isa import (
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
    Segment,
    Store,
    StoreShape,
    Vec,
    VecOperation,
    VecScale,
    VecSecond,
    VecSource,
    VecTarget,
    VecWindow,
)

_CONSTANT_MEMORY = {Memory.WEIGHTS: ("wgt", 64), Memory.PARAMETERS: ("par", 128), Memory.TABLES: ("tab", 256)}
_ISSUE_CYCLES = 20  # rough cost of a word beside its data


def act(view: View, write: bool, exclusive: bool = False) -> Access:
    """The access of a view."""
    start, stop = view.span
    return Access("act", start, stop, write, exclusive)


def _transfer_cycles(bytes_moved: int, config: OverlayConfig) -> int:
    return config.dram_latency_cycles + int(bytes_moved / min(config.axi_bytes, config.dram_bytes_per_cycle))


def _dram(tensor: Tensor, view: View, write: bool) -> tuple[Access, Segment, int]:
    """The access of a tensor's part in DRAM, its segment, and the offset of the part's first word."""
    place = tensor.root.place
    assert isinstance(place, Dram)
    plane = tensor.height * tensor.width
    offset = place.offset + (tensor.root_block + view.block0) * plane + view.rect.y0 * tensor.width + view.rect.x0
    y0, y1 = view.rect.y0, view.rect.y1
    if tensor.height != tensor.root.height:  # the same bytes seen with other rows
        y0, y1 = 0, tensor.root.height
    access = Access(
        "dram",
        y0,
        y1,
        write,
        tensor=tensor,
        block0=view.block0,
        block1=view.block0 + view.blocks,
    )
    return access, place.segment, offset


def load(tensor: Tensor, view: View, tag: int, config: OverlayConfig, *, row_step: int = 1) -> Item:
    """Bring a part of a tensor from DRAM into a tile; of every row_step rows only the first."""
    access, segment, offset = _dram(tensor, view, False)
    if row_step > 1:
        first = view.rect.y0 * row_step
        offset += (first - view.rect.y0) * tensor.width
        if tensor.height == tensor.root.height:
            access = replace(access, start=first, stop=(view.rect.y1 - 1) * row_step + 1)
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
    return Item((shape,), run, (access, act(view, True)), _transfer_cycles(view.blocks * view.rect.pixels * 16, config))


def store(tensor: Tensor, view: View, tag: int, config: OverlayConfig) -> Item:
    """Put a tile into its tensor in DRAM."""
    access, segment, offset = _dram(tensor, view, True)
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
    accesses = (act(view, False), access)
    return Item((shape,), run, accesses, _transfer_cycles(view.blocks * view.rect.pixels * 16, config))


def load_patch(image: Tensor, window: Window, fill: int, view: View, tag: int, config: OverlayConfig) -> Item:
    """Cut patches for the output pixels view.rect out of an image in DRAM."""
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
    access = Access("dram", needed.y0, needed.y1, False, tensor=image, block1=1)
    run = LoadPatch(tag=tag, segment=place.segment, offset=place.offset, base=view.base)
    words = view.blocks * view.rect.pixels
    cycles = max(words, _transfer_cycles(needed.rows * shape.pitch * 16, config))
    return Item((shape, target), run, (access, act(view, True)), cycles)


def load_constants(memory: Memory, offset_bytes: int, at: int, count: int, tag: int, config: OverlayConfig) -> Item:
    """Bring constants into WGT, PAR or TAB."""
    name, entry_bytes = _CONSTANT_MEMORY[memory]
    assert offset_bytes % 16 == 0
    run = LoadConstants(
        tag=tag, memory=memory, segment=Segment.CONSTANTS, offset=offset_bytes // 16, at=at, count=count
    )
    return Item((), run, (Access(name, at, at + count, True),), _transfer_cycles(count * entry_bytes, config))


def _origin(window: Window, source: View, target: View) -> tuple[View, int, int]:
    """The source cut to begin where the first window does, and the pads that remain (0 or more)."""
    pad_top = window.pads[0] + source.rect.y0 - target.rect.y0 * window.strides[0]
    pad_left = window.pads[1] + source.rect.x0 - target.rect.x0 * window.strides[1]
    rect = source.rect
    if pad_top < 0:
        skip = min(-pad_top, rect.rows)
        rect, pad_top = type(rect)(rect.y0 + skip, rect.y1, rect.x0, rect.x1), pad_top + skip
    if pad_left < 0:
        skip = min(-pad_left, rect.columns)
        rect, pad_left = type(rect)(rect.y0, rect.y1, rect.x0 + skip, rect.x1), pad_left + skip
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
        ConvWindow(
            kernel_height=window.kernel[0],
            kernel_width=window.kernel[1],
            stride_y=window.strides[0],
            stride_x=window.strides[1],
            dilation_y=window.dilations[0],
            dilation_x=window.dilations[1],
            input_blocks=blocks_in,
            output_blocks=target.blocks,
            rows=target.rect.rows,
            columns=target.rect.columns,
        ),
        ConvTarget(
            base=target.base,
            row_pitch=target.row_pitch,
            block_pitch=target.block_pitch,
            zero_point=step.zero_point,
            clamp_min=step.clamp_min,
            clamp_max=step.clamp_max,
        ),
    ]
    accesses = [act(placed, False, exclusive=True)]
    if finish:
        accesses.append(act(target, True))
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
        accesses.append(act(residual, False))
    rows = weight_rows(step, window.kernel, blocks_in) * target.blocks
    accesses.append(Access("wgt", weight_row, weight_row + rows, False))
    accesses.append(Access("par", parameter_group, parameter_group + target.blocks, False))
    run = Conv(
        tag=step.tag,
        weight_row=weight_row,
        parameter_group=parameter_group,
        depthwise=int(step.depthwise),
        start=int(start),
        finish=int(finish),
        residual=int(residual is not None and finish),
    )
    cycles = conv_cycles(step.depthwise, window, blocks_in, target.blocks, target.rect.pixels, config)
    return Item(tuple(setup), run, tuple(accesses), cycles)


def weight_rows(step: ConvStep, kernel: tuple[int, int], blocks_in: int) -> int:
    """Rows of WGT that one block of output channels takes."""
    height, width = kernel
    return ceil_div(height, 3) * ceil_div(width, 3) * 3 if step.depthwise else height * width * blocks_in * 4


def conv_cycles(
    depthwise: bool, window: Window, blocks_in: int, blocks_out: int, pixels: int, config: OverlayConfig
) -> int:
    """Rough time of a Conv."""
    if depthwise:
        sub_windows = ceil_div(window.kernel[0], 3) * ceil_div(window.kernel[1], 3)
        slides = max(window.strides) <= 2 and max(window.dilations) == 1
        each = 1 if max(*window.strides, *window.dilations) == 1 else 3 if slides else 6
        return blocks_out * pixels * sub_windows * each + _ISSUE_CYCLES
    full, rest = divmod(pixels, config.tile_pixels)
    groups = full * config.tile_groups + (max(ceil_div(rest, config.pixels), 4) if rest else 0)
    return blocks_out * max(groups * window.taps * blocks_in, pixels) + _ISSUE_CYCLES


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
    accesses = []
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
        accesses.append(act(placed, False))
    if second is not None:
        repeat = second.rect.pixels == 1 and target.rect.pixels > 1
        row_pitch = 0 if repeat else second.row_pitch
        setup.append(VecSecond(second.base, row_pitch, second.block_pitch, column_pitch=int(not repeat)))
        accesses.append(act(second, False))
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
    if finish:
        accesses.append(act(target, True))
    if step.operation in (VecOperation.MAXIMUM, VecOperation.SUM):
        setup.append(VecWindow(*window.kernel, *window.strides))
    if step.scale is not None:
        setup.append(_scale(step.scale))
    if step.operation == VecOperation.LOOKUP:
        accesses.append(Access("tab", table, table + 1, False))
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
    words = target.blocks * target.rect.pixels
    each = window.taps
    if step.operation in (VecOperation.ADD, VecOperation.MULTIPLY, VecOperation.SUM) or lanes[0] != lanes[1]:
        each = max(each, 4)
    return Item(tuple(setup), run, tuple(accesses), words * each + _ISSUE_CYCLES)


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
