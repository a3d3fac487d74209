"""Values of four axes with their channels last: which are stored so, and in which halo.

What a convolution, a pool or an elementwise op behind them makes is stored channels last. The halo is as wide as the
padding of those that read the value, so that no padding is copied. An int8 is stored as an int16 without its zero
point: the halo is zeros then, and an int32 holds two channels, as the multiply-add of pairs wants them. Where all that
read it want bytes, it is stored as a uint8, 128 more than the int8, and the halo holds the zero point so. Builders that
keep int8 store it as it is, in a halo of zero points.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Node, Value
from intarsia_backends.lowering.builder import Builder, ImageReader, element
from intarsia_backends.lowering.expressions import Cast, Constant, Input
from intarsia_backends.lowering.kernels import Surround, nest
from intarsia_backends.lowering.program import Buffer
from intarsia_backends.lowering.views import Halo, Images, View

BYTE_ZERO = -128
"""`zero` of an int8 that is stored as a uint8."""


def wanted_halo(value: Value, builder: Builder) -> Halo:
    """Wide enough for every node that reads the value as an image."""
    halo = Halo()
    for node, reader in _readers(value, builder):
        halo = halo.joined(reader.halo(builder, node))
    return halo


def _wants_bytes(value: Value, builder: Builder) -> bool:
    """Whether all nodes that read the value as an image want bytes."""
    readers = _readers(value, builder)
    return bool(readers) and all(reader.takes_bytes(builder, node) for node, reader in readers)


def _readers(value: Value, builder: Builder) -> list[tuple[Node, ImageReader[Any]]]:
    """The nodes that read the value as an image, and how."""
    nodes = [node for node in value.users if node.op in builder.readers and node.inputs[0] is value]
    return [(node, builder.readers[node.op]) for node in nodes]


def zero_point(value: Value) -> int:
    """What stands for 0 in an int8: what is taken off it where it is stored as an int16."""
    if value.quantization is not None:
        return int(value.quantization.zero_point)
    for node in value.users:
        if node.inputs[0] is value and "input_zero_point" in node.attributes:
            return int(node.attributes["input_zero_point"])
    return 0


def images_result(builder: Builder, value: Value, *, as_bytes: bool = False) -> View:
    """Channels-last memory for a value that a node makes, with the halo that is wanted.

    as_bytes  whether the node's kernel can store an int8 as a uint8
    """
    room = builder.room(value)
    if room is not None:
        builder.place(value, *room)
        return room[0]
    stored = "uint8" if as_bytes and value.dtype == "int8" and _wants_bytes(value, builder) else "int16"
    return allocated(builder, value, wanted_halo(value, builder), builder.image_step(value), None, stored)


def number_images(builder: Builder, value: Value) -> list[tuple[View, Images]]:
    """The channels-last places of a value that are no bytes in place of an int8."""
    return [(view, images) for view, images in builder.images(value) if view.dtype != "uint8" or view.zero is None]


def channels_last(
    builder: Builder, value: Value, halo: Halo, step: int, zero: int | None = None, *, as_bytes: bool = False
) -> tuple[View, Images]:
    """Where a value lies with its channels last; a copy where there is no such place yet.

    halo      what is wanted around it
    step      channels are rounded up to a multiple of it, and may be read up to there
    zero      what stands for 0 in an int8, and what it is stored without
    as_bytes  whether an int8 is to be stored as a uint8 instead
    """
    taken = BYTE_ZERO if as_bytes else zero
    fill = zero - BYTE_ZERO if as_bytes and zero is not None else 0
    if builder.keeps_int8:
        taken, fill = None, zero or 0
    for view, images in builder.images(value) if as_bytes else number_images(builder, value):
        kind = view.zero == taken and (not as_bytes or view.dtype == "uint8")
        filled = images.fill == fill or halo == Halo()
        if kind and filled and images.halo.covers(halo) and images.pitch % step == 0:
            return view, images
    source = builder.view(value)
    for view, _ in builder.images(value):
        source = view
    halo = halo.joined(wanted_halo(value, builder))
    target = allocated(builder, value, halo, step, zero, "uint8" if as_bytes else "int16")
    if taken is None:
        body = element(source, 0)
    else:
        whole = Cast("int32", element(source, 0))
        body = Cast(target.dtype, whole - Constant("int32", taken))
        if source.zero == taken and source.dtype == target.dtype:
            body = Input(0)
    builder.call(nest(value.shape, [source.access], target.access, body), [source.buffer], target.buffer)
    return builder.images(value)[-1]


def allocated(builder: Builder, value: Value, halo: Halo, step: int, zero: int | None, stored: str) -> View:
    """Fresh memory for a value with its channels last.

    step    channels are rounded up to a multiple of it
    zero    what stands for 0 in an int8; as the value itself has it for None
    stored  the type in place of int8
    """
    batch, channels, height, width = value.shape
    dtype, fill = value.dtype, 0
    if dtype == "int8":
        point = zero_point(value) if zero is None else zero
        if builder.keeps_int8:
            fill, zero = point, None
        elif stored == "uint8":
            dtype, fill, zero = stored, point - BYTE_ZERO, BYTE_ZERO
        else:
            dtype, zero = stored, point
    images = Images(
        batch=batch,
        channels=channels,
        height=height,
        width=width,
        pitch=-(-channels // step) * step,
        halo=halo,
        fill=fill,
    )
    buffer = builder.scratch(images.elements, dtype)
    view = images.view(buffer, dtype, zero)
    if halo != Halo():
        surround = Surround(
            dtype=dtype,
            batch=batch,
            height=height,
            width=width,
            pitch=images.pitch,
            top=halo.top,
            left=halo.left,
            bottom=halo.bottom,
            right=halo.right,
            fill=fill,
        )
        builder.call(surround, [], buffer)
    builder.place(value, view, images)
    return view


def channel_weight(builder: Builder, numbers: Array) -> Buffer:
    """A number for each channel, read by whole vectors: zeros follow."""
    return builder.weight(np.concatenate([numbers, np.zeros(builder.machine.lanes, numbers.dtype)]))
