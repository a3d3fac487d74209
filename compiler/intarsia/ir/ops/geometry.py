"""Attributes of sliding windows as convolutions and pools carry them, checked once for both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from intarsia.ir.graph import Node
from intarsia.ir.op import refuse
from intarsia.ir.ops.rules import BAD_MODEL
from intarsia.ir.ops.windows import output_size
from intarsia.ir.types import Dimension


@dataclass(frozen=True)
class Window:
    """Sizes along each spatial axis; pads in ONNX order, all befores then all afters.

    auto_pad   "NOTSET" where `pads` hold; "SAME_UPPER" or "SAME_LOWER" where they follow from the input's size
    ceil_mode  True where a last window that reaches beyond the padded input counts
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    auto_pad: str = "NOTSET"
    ceil_mode: bool = False

    @property
    def rank(self) -> int:
        """The number of spatial axes."""
        return len(self.kernel)

    def reach(self, axis: int) -> int:
        """Positions from the first tap to the last, both counted."""
        return self.dilations[axis] * (self.kernel[axis] - 1) + 1

    def pads_for(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """The pads for an input of those spatial sizes."""
        if self.auto_pad == "NOTSET":
            return self.pads
        befores, afters = [], []
        for axis, size in enumerate(sizes):
            steps = -(-size // self.strides[axis])
            total = max((steps - 1) * self.strides[axis] + self.reach(axis) - size, 0)
            smaller, larger = total // 2, total - total // 2
            befores.append(smaller if self.auto_pad == "SAME_UPPER" else larger)
            afters.append(larger if self.auto_pad == "SAME_UPPER" else smaller)
        return (*befores, *afters)

    def positions(self, axis: int, size: int, before: int, after: int) -> int:
        """Windows along an axis; 0 or less where the padded input is too small for one."""
        stride = self.strides[axis]
        if not self.ceil_mode:
            return output_size(size, self.kernel[axis], stride, self.dilations[axis], before, after)
        count = -(-(size + before + after - self.reach(axis)) // stride) + 1
        return count - 1 if (count - 1) * stride >= size + before else count


def window_of(node: Node, rank: int, kernel: Sequence[Dimension] | None = None) -> Window:
    """The window that a node's attributes describe, over `rank` spatial axes.

    kernel  the sizes that a weight has; None for a pool, which must carry `kernel_shape`
    """
    given = node.attributes.get("kernel_shape")
    if given is None:
        if kernel is None:
            raise refuse(node, "the attribute 'kernel_shape' is missing", BAD_MODEL)
        sizes = tuple(size if size is not None else 1 for size in kernel)
    else:
        sizes = tuple(int(size) for size in given)
        if kernel is not None and any(size is not None and size != own for size, own in zip(kernel, sizes)):
            raise refuse(node, f"kernel_shape {list(sizes)} is not the weight's {list(kernel)}", BAD_MODEL)
    auto_pad = node.attributes.get("auto_pad", "NOTSET")
    if auto_pad not in ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"):
        raise refuse(node, f"auto_pad {auto_pad!r} is not one of ONNX's", BAD_MODEL)
    window = Window(
        sizes,
        tuple(int(step) for step in node.attributes.get("strides", (1,) * rank)),
        tuple(int(step) for step in node.attributes.get("dilations", (1,) * rank)),
        tuple(int(pad) for pad in node.attributes.get("pads", (0,) * (2 * rank))),
        "NOTSET" if auto_pad == "VALID" else auto_pad,
        bool(node.attributes.get("ceil_mode", 0)),
    )
    _check(node, window, rank)
    return window


def _check(node: Node, window: Window, rank: int) -> None:
    facts = (
        ("kernel_shape", window.kernel, rank, 1),
        ("strides", window.strides, rank, 1),
        ("dilations", window.dilations, rank, 1),
        ("pads", window.pads, 2 * rank, 0),
    )
    for name, sizes, length, least in facts:
        if len(sizes) != length:
            raise refuse(node, f"{name} {list(sizes)} has {len(sizes)} entries for {rank} spatial axes", BAD_MODEL)
        if min(sizes, default=least) < least:
            raise refuse(node, f"{name} {list(sizes)} has an entry below {least}", BAD_MODEL)


def spatial_shape(node: Node, window: Window, sizes: Sequence[Dimension]) -> tuple[Dimension, ...]:
    """Windows along each axis; refused where the input is too small for one."""
    result: list[Dimension] = []
    for axis, size in enumerate(sizes):
        if size is None:
            result.append(None)
            continue
        pads = window.pads_for([1 if other is None else other for other in sizes])
        before, after = pads[axis], pads[window.rank + axis]
        count = window.positions(axis, size, before, after)
        if count < 1:
            raise refuse(
                node,
                f"the input has {size} positions on spatial axis {axis}, {size + before + after} with pads, "
                f"and the window reaches over {window.reach(axis)}",
                "give the model larger inputs, or a smaller kernel, or pads",
            )
        result.append(count)
    return tuple(result)
