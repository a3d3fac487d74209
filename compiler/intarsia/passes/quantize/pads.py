"""Pad of integers into the padding that integer ops have themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from intarsia.ir.graph import Node, Value
from intarsia.ir.integer import INT8_MIN
from intarsia.passes.base import CHANGED, Answer, Refused, Rewrite, Rewriter, refuse
from intarsia.passes.simplify.padding import pad_value, spatial_pads


@dataclass(frozen=True)
class FuseIntegerPad(Rewrite):
    """`qconv(Pad(x))` -> `qconv[pads](x)`, likewise for qaveragepool, which pad with their input's zero point.

    MaxPool takes a Pad with -128, where it is the least that there is. In float these are merged before; here a Pad
    stands between two scales that are equal, as quantizers write it in front of a convolution.
    """

    name: ClassVar[str] = "fuse-integer-pad"
    ops: ClassVar[tuple[str, ...]] = ("qconv", "qaveragepool", "MaxPool")

    def rewrite(self, node: Node, rewriter: Rewriter) -> Answer:
        source = node.input(0)
        pad = source.producer
        if pad is None or pad.op != "Pad" or pad.domain or source.dtype != "int8" or node.attributes.get("ceil_mode"):
            return None
        widths = spatial_pads(pad)
        if isinstance(widths, Refused):
            return widths
        wanted = INT8_MIN if node.op == "MaxPool" else int(node.attributes["input_zero_point"])
        fill = pad_value(pad)
        if fill != wanted:
            return refuse(f"{pad.where} pads with {fill}, and {node.op} with {wanted}")
        own = tuple(node.attributes.get("pads", (0,) * len(widths)))
        total = tuple(a + b for a, b in zip(own, widths))
        if node.op == "MaxPool":
            kernel = tuple(node.attributes["kernel_shape"]) * 2
            dilations = tuple(node.attributes.get("dilations", (1,) * (len(kernel) // 2))) * 2
            if any(wide > (size - 1) * step for wide, size, step in zip(total, kernel, dilations)):
                return refuse(f"a window of {node.where} would lie wholly in the padding")
        inputs: list[Value | None] = [pad.input(0), *node.inputs[1:]]
        node.attributes["pads"] = total
        rewriter.set_inputs(node, inputs)
        return CHANGED
