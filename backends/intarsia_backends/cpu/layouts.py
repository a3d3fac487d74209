"""Values of four axes with their channels last: which are stored so, and in which halo.

What a convolution, a pool or an elementwise op behind them makes is stored channels last. The halo is as wide as the
padding of those that read the value, so that no padding is copied. An int8 is stored as an int16 without its zero
point: the halo is zeros then, and an int32 holds two channels, as the multiply-add of pairs wants them.
"""

from __future__ import annotations

from collections.abc import Callable

from intarsia.ir.graph import Node, Value
from intarsia_backends.cpu.builder import Builder, element
from intarsia_backends.cpu.kernels import Surround, nest
from intarsia_backends.cpu.views import Halo, Images, View

HALOS: dict[str, Callable[[Node, Builder], Halo]] = {}
"""By op, the halo that a node wants around its first input."""


def wanted_halo(value: Value, builder: Builder) -> Halo:
    """Wide enough for every node that reads the value as an image."""
    halo = Halo()
    for node in value.users:
        if node.op in HALOS and node.inputs[0] is value:
            halo = halo.joined(HALOS[node.op](node, builder))
    return halo


def zero_point(value: Value) -> int:
    """What is taken off an int8 where it is stored as an int16."""
    if value.quantization is not None:
        return int(value.quantization.zero_point)
    for node in value.users:
        if node.inputs[0] is value and "input_zero_point" in node.attributes:
            return int(node.attributes["input_zero_point"])
    return 0


def images_result(builder: Builder, value: Value) -> View:
    """Fresh channels-last memory for a value that a node makes, with a halo of zeros."""
    return _allocated(builder, value, wanted_halo(value, builder), builder.machine.lanes)


def channels_last(
    builder: Builder, value: Value, halo: Halo, step: int, zero: int | None = None
) -> tuple[View, Images]:
    """Where a value lies with its channels last; a copy where there is no such place yet.

    halo  zeros that are wanted around it
    step  channels are rounded up to a multiple of it, and may be read up to there
    zero  what an int8 is stored without
    """
    for view, images in builder.images(value):
        if view.zero == zero and images.halo.covers(halo) and images.pitch % step == 0:
            return view, images
    source = builder.view(value)
    for view, _ in builder.images(value):
        source = view
    halo = halo.joined(wanted_halo(value, builder))
    target = _allocated(builder, value, halo, step, zero)
    if zero is None:
        body = element(source, 0)
    else:
        whole = ("cast", "int32", element(source, 0))
        body = ("cast", "int16", ("sub", whole, ("const", "int32", zero)))
        if source.zero == zero:
            body = ("in", 0)
    builder.call(nest(value.shape, [source.access], target.access, body), [source.buffer], target.buffer)
    return builder.images(value)[-1]


def _allocated(builder: Builder, value: Value, halo: Halo, step: int, zero: int | None = None) -> View:
    batch, channels, height, width = value.shape
    images = Images(batch, channels, height, width, -(-channels // step) * step, halo)
    dtype = value.dtype
    if dtype == "int8":
        dtype, zero = "int16", zero_point(value) if zero is None else zero
    buffer = builder.scratch(images.elements, dtype)
    view = images.view(buffer, dtype, zero)
    if halo != Halo():
        sides = (halo.top, halo.left, halo.bottom, halo.right)
        builder.call(Surround(dtype, batch, height, width, images.pitch, *sides), [], buffer)
    builder.place(value, view, images)
    return view
