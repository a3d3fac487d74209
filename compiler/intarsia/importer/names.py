"""Names in errors: what a node is called."""

from __future__ import annotations

import onnx


def node_name(proto: onnx.NodeProto) -> str:
    """A node's own name, else that of its first output."""
    return proto.name or next((name for name in proto.output if name), "without a name")


def node_where(proto: onnx.NodeProto) -> str:
    """The node, as errors name it."""
    return f"{proto.op_type} '{node_name(proto)}'"


def listed(items: list[str], limit: int = 10) -> str:
    """At most `limit` items, and how many more there are."""
    rest = len(items) - limit
    return ", ".join(items[:limit]) + (f" and {rest} more" if rest > 0 else "")
