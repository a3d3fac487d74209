"""Ops of ONNX Runtime with channels last, as those with channels first between transposes."""

from __future__ import annotations

import onnx

from intarsia.importer.workbench import Workbench

CHANNELS_LAST = "channels_last"

_NAMES = {"NhwcMaxPool": ("", "MaxPool")}
"""Domain and name with channels first, where they are others."""


def is_channels_last(bench: Workbench, node: onnx.NodeProto) -> bool:
    """Whether a node has channels last."""
    return node.op_type in _NAMES or bool(bench.attribute(node, CHANNELS_LAST, 0))


def channels_first(bench: Workbench, node: onnx.NodeProto) -> onnx.NodeProto | None:
    """The same node with channels first, with a transpose in front of it on the bench; None where no rank is known.

    What it makes has a new name: `channels_last` transposes that back.
    """
    rank = _rank(bench, node)
    if rank is None or rank < 3:
        return None
    twin = onnx.NodeProto()
    twin.CopyFrom(node)
    twin.domain, twin.op_type = _NAMES.get(node.op_type, (node.domain, node.op_type))
    del twin.attribute[:]
    twin.attribute.extend(item for item in node.attribute if item.name != CHANNELS_LAST)
    order = (0, rank - 1, *range(1, rank - 1))
    twin.input[0] = bench.add("Transpose", [node.input[0]], None, {"perm": order})
    twin.output[0] = bench.fresh("channels_first")
    return twin


def channels_last(bench: Workbench, node: onnx.NodeProto, first: str) -> None:
    """The transpose behind a node with channels first, which made `first`."""
    rank = _rank(bench, node)
    assert rank is not None
    bench.add("Transpose", [first], [node.output[0]], {"perm": (0, *range(2, rank), 1)})


def _rank(bench: Workbench, node: onnx.NodeProto) -> int | None:
    kernel = bench.attribute(node, "kernel_shape", ())
    if kernel:
        return len(kernel) + 2
    weight = bench.known(node.input[3]) if node.op_type == "QLinearConv" and len(node.input) > 3 else None
    return bench.rank(node.input[0]) if weight is None else weight.ndim
