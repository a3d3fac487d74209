"""Pad into the padding that convolutions and pools have themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from intarsia.dtypes import numpy_dtype
from intarsia.ir.graph import Node, Value
from intarsia.passes.base import CHANGED, Answer, Refused, Rewrite, Rewriter, refuse
from intarsia.passes.matching import integers, normal_axes
from intarsia.passes.ranges import lower_bound


@dataclass(frozen=True)
class FusePad(Rewrite):
    """`Conv(Pad(x))` -> `Conv[pads](x)`, and likewise for MaxPool and AveragePool where the padded value allows it."""

    name: ClassVar[str] = "fuse-pad"
    ops: ClassVar[tuple[str, ...]] = ("Conv", "MaxPool", "AveragePool")

    def rewrite(self, node: Node, rewriter: Rewriter) -> Answer:
        pad = node.input(0).producer
        if pad is None or pad.op != "Pad" or pad.domain:
            return None
        widths = spatial_pads(pad)
        if isinstance(widths, Refused):
            return widths
        value = pad_value(pad)
        if value is None:
            return refuse(f"the value that {pad.where} pads with is not known")
        own = tuple(node.attributes.get("pads", (0,) * len(widths)))
        total = tuple(a + b for a, b in zip(own, widths))
        reason = _why_not(node, pad, value, own, total)
        if reason is not None:
            return refuse(reason)
        if node.op == "AveragePool":
            node.attributes["count_include_pad"] = 1
        node.attributes["pads"] = total
        rewriter.set_inputs(node, [pad.input(0), *node.inputs[1:]])
        return CHANGED


def spatial_pads(pad: Node) -> tuple[int, ...] | Refused:
    """Widths on the spatial axes in ONNX order: all befores, then all afters."""
    mode = pad.attributes.get("mode", "constant")
    mode = mode.decode() if isinstance(mode, bytes) else mode
    if mode != "constant":
        return refuse(f"{pad.where} pads by {mode}, not with a constant")
    rank, pads = pad.input(0).type.rank, integers(pad.optional_input(1))
    axes: tuple[int, ...] | None = tuple(range(rank))
    if pad.optional_input(3) is not None:
        axes = integers(pad.optional_input(3))
    if pads is None or axes is None:
        return refuse(f"the widths of {pad.where} are not known")
    axes = normal_axes(axes, rank)
    before, after = [0] * rank, [0] * rank
    for index, axis in enumerate(axes):
        before[axis], after[axis] = pads[index], pads[len(axes) + index]
    if any(before[:2]) or any(after[:2]):
        return refuse(f"{pad.where} pads the batch or the channels")
    if min(before + after) < 0:
        return refuse(f"{pad.where} crops")
    return (*before[2:], *after[2:])


def pad_value(pad: Node) -> float | None:
    """The number that a Pad pads with; None where it is not known."""
    value = pad.optional_input(2)
    if value is None:
        return 0.0
    return None if value.data is None else float(value.data.reshape(-1)[0])


def _why_not(node: Node, pad: Node, value: float, own: tuple[int, ...], total: tuple[int, ...]) -> str | None:
    if node.op == "Conv":
        return None if value == 0 else f"{pad.where} pads with {value:g}, and a Conv pads with 0"
    if node.attributes.get("ceil_mode", 0):
        return f"{node.where} rounds its size up, which counts padding differently"
    if node.op == "AveragePool":
        if value != 0:
            return f"{pad.where} pads with {value:g}, and an AveragePool pads with 0"
        if any(own) and not node.attributes.get("count_include_pad", 0):
            return f"{node.where} has padding that it does not count, and would have to count that of {pad.where}"
        return None
    if len(node.outputs) > 1:
        return f"{node.where} gives the positions of its maxima, which the padding shifts"
    kernel = node.attributes["kernel_shape"]
    dilations = node.attributes.get("dilations", (1,) * len(kernel))
    for index, width in enumerate(total):
        if width > (kernel[index % len(kernel)] - 1) * dilations[index % len(kernel)]:
            return f"a window of {node.where} would lie wholly in the padding"
    if dilations != (1,) * len(kernel) and value > _lowest(node.input(0)):
        return f"a dilated window of {node.where} may touch nothing but padding"
    least = max(_lowest(pad.input(0)), lower_bound(pad.input(0)))
    if value > least:
        return f"{pad.where} pads with {value:g}, and '{pad.input(0).name}' may be less"
    return None


def _lowest(value: Value) -> float:
    """What MaxPool pads with: no element is less."""
    dtype = numpy_dtype(value.dtype)
    if dtype.kind in "iu":
        return float(np.iinfo(dtype).min)
    return float(np.finfo(dtype).min) if dtype.kind == "f" else -np.inf
