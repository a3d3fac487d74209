"""Sliding windows of convolutions and pools, without their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from intarsia.ir.graph import Node
from intarsia.targets import YES, Support
from intarsia_backends.lowering.ops.activations import knows_activation
from intarsia_backends.lowering.ops.table import attribute, refused, sequence
from intarsia_backends.lowering.views import Halo, Images


@dataclass(frozen=True)
class Window:
    """A convolution without its numbers.

    batch, groups, channels, outputs  images; groups; channels and outputs of one group
    size, kernel, strides, dilations  per spatial axis; `size` of the input
    before, after                     padding per spatial axis
    positions                         spatial shape of the output
    """

    batch: int
    groups: int
    channels: int
    outputs: int
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    positions: tuple[int, ...]

    @property
    def padded(self) -> tuple[int, ...]:
        return tuple(low + size + high for low, size, high in zip(self.before, self.size, self.after))

    @property
    def is_spatial(self) -> bool:
        """Vectors run along the row of positions, not along output channels, of which there are too few."""
        return self.outputs < 3 or (self.channels == 1 and self.outputs < 8 and self.groups > 1)


def window_halo(window: Window) -> Halo:
    """The padding of a window with two spatial axes."""
    return Halo(window.before[0], window.before[1], window.after[0], window.after[1])


def first_tap(images: Images, window: Window) -> int:
    """Elements from the first element of the images to the first tap of the first window."""
    return -(window.before[0] * images.row + window.before[1] * images.pitch)


def window_of(node: Node, weight_shape: Sequence[int]) -> Window:
    """The window of a Conv or qconv, whose attributes are all explicit."""
    x, spatial = node.input(0).shape, len(weight_shape) - 2
    groups = int(attribute(node, "group", 1))
    pads = sequence(node, "pads", (0,) * (2 * spatial))
    return Window(
        batch=x[0],
        groups=groups,
        channels=x[1] // groups,
        outputs=weight_shape[0] // groups,
        size=tuple(x[2:]),
        kernel=tuple(weight_shape[2:]),
        strides=sequence(node, "strides", (1,) * spatial),
        dilations=sequence(node, "dilations", (1,) * spatial),
        before=pads[:spatial],
        after=pads[spatial:],
        positions=tuple(node.output.shape[2:]),
    )


def reaching_window(node: Node, kernel: tuple[int, ...], groups: int, outputs: int) -> Window:
    """A window of any kernel. Where sizes are rounded up, the border grows to what the last window reaches.

    outputs  of one group
    """
    x, spatial = node.input(0).shape, len(kernel)
    strides, dilations = sequence(node, "strides", (1,) * spatial), sequence(node, "dilations", (1,) * spatial)
    pads = sequence(node, "pads", (0,) * (2 * spatial))
    positions = tuple(node.output.shape[2:])
    reach = [
        (count - 1) * stride + dilation * (extent - 1) + 1
        for count, stride, dilation, extent in zip(positions, strides, dilations, kernel)
    ]
    after = tuple(max(pads[spatial + axis], reach[axis] - x[2 + axis] - pads[axis]) for axis in range(spatial))
    size, before = tuple(x[2:]), pads[:spatial]
    return Window(
        batch=x[0],
        groups=groups,
        channels=x[1] // groups,
        outputs=outputs,
        size=size,
        kernel=kernel,
        strides=strides,
        dilations=dilations,
        before=before,
        after=after,
        positions=positions,
    )


def check_window(node: Node) -> Support:
    """What the lowerings of windows ask of a node: spatial axes, explicit pads, an activation that can be made."""
    if node.input(0).type.rank < 3:
        return refused("rank", f"input {node.input(0).type} has no spatial axis")
    if any(pad < 0 for pad in sequence(node, "pads", ())):
        return refused("padding", "pads are negative")
    if attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", b"NOTSET", ""):
        return refused("auto-pad", "auto_pad is not resolved")
    if not knows_activation(node):
        return refused("activation", f"no code is made for {node.attributes['activation']}")
    return YES
