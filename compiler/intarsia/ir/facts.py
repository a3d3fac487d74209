"""What is known of a node by the row of its op in the op table, and how much work it is. Ops without a row compute."""

from __future__ import annotations

from collections.abc import Iterator

from intarsia.dtypes import NARROW
from intarsia.ir.graph import Node, Value
from intarsia.ir.op import bodies_of
from intarsia.ir.ops import op_of


def is_compute(node: Node) -> bool:
    """True for ops that calculate: neither data movement nor a change of number format."""
    op = op_of(node)
    return op is None or op.work == "compute"


def is_conversion(node: Node) -> bool:
    """Whether the node changes the element type alone: casts, and between floats and quantized integers."""
    op = op_of(node)
    return op is not None and op.work == "conversion"


def macs(node: Node) -> int:
    """Multiply-accumulates of one run; 0 for ops that are not made of them, or whose shapes depend on data."""
    op = op_of(node)
    values = [value for value in (*node.inputs, *node.outputs) if value is not None]
    return op.macs(node) if op is not None and all(value.type.is_static for value in values) else 0


def moved_bytes(node: Node) -> int:
    """Bytes that the node reads and writes, constants included; values of unknown size count nothing."""
    values = [value for value in (*node.inputs, *node.outputs) if value is not None]
    return sum(value.type.size_bytes for value in values if value.type.is_static and value.dtype != "string")


def carries_activation(node: Node) -> bool:
    """Whether an activation may be fused into the node."""
    op = op_of(node)
    return op is not None and op.carries_activation


def keeps_scale(node: Node) -> bool:
    """Whether the node moves quantized integers as they are, so that scale and zero point pass through."""
    op = op_of(node)
    return op is not None and op.keeps_scale


def is_border(node: Node) -> bool:
    """Whether the node makes integers of what callers give, or real numbers for callers alone."""
    if node.op == "quantize":
        return node.input(0).producer is None
    return node.op == "dequantize" and not node.output.users


def decides_sizes(value: Value) -> Node | None:
    """The node that decides at run time, by the numbers that it reads, how large a value is; None where there is none,
    so that a size that is not known is open for want of fixed sizes in the model."""
    seen: set[Value] = set()
    stack = [value]
    while stack:
        value = stack.pop()
        node = value.producer
        if value in seen or value.type.is_static or node is None:
            continue
        seen.add(value)
        if node.op in _COUNTING and node.domain == "":
            return node
        stack += [item for item in node.inputs if item is not None]
    return None


_COUNTING = ("Compress", "If", "Loop", "NonMaxSuppression", "NonZero", "Scan", "SequenceAt", "StringSplit", "Unique")


def fix_for_sizes(value: Value) -> str:
    """What to do about a value of which a size is not known."""
    node = decides_sizes(value)
    if node is None:
        return "export the model with fixed shapes"
    return f"nothing: {node.where} decides at run time how many elements there are, so that NumPy computes what follows"


def is_narrowing(node: Node) -> bool:
    """Whether the node is a Cast from float32 to float16 or bfloat16, or back."""
    kinds = {node.input(0).dtype, node.output.dtype} if node.op == "Cast" and not node.domain else set()
    return "float32" in kinds and any(kind in kinds for kind in NARROW)


def is_random(node: Node) -> bool:
    """Whether the node may give other numbers every time."""
    op = op_of(node)
    return (op is not None and op.random(node)) or any(is_random(inner) for inner in _nodes_of_bodies(node))


def needs_onnx(node: Node) -> bool:
    """Whether the node is given to onnx.reference, which a board does not have."""
    op = op_of(node)
    return op is None or op.needs_onnx(node) or any(needs_onnx(inner) for inner in _nodes_of_bodies(node))


def _nodes_of_bodies(node: Node) -> Iterator[Node]:
    for body in bodies_of(node):
        yield from body.nodes
