"""How ops look when their operands are transposed: which do not care, and which attributes move along."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Attribute, Graph, Node, Value
from intarsia.passes.matching import constant, integers, known_axes, normal_axes

Perm = tuple[int, ...]
"""Axis i after is axis perm[i] before."""


def inverse(perm: Sequence[int]) -> Perm:
    """The perm that undoes a perm."""
    return tuple(int(axis) for axis in np.argsort(perm))


def compose(first: Sequence[int], second: Sequence[int]) -> Perm:
    """The perm of a Transpose by `second` after one by `first`."""
    return tuple(first[axis] for axis in second)


@dataclass(frozen=True)
class Moved:
    """A node as it is when its operands are transposed.

    attributes  those that change
    inputs      by index: constants that take the place of shapes, axes, pads and scales
    """

    attributes: dict[str, Attribute]
    inputs: dict[int, Array]


Move = Callable[[Node, Perm], Moved | None]
"""The node in the transposed world, or None where it does not let itself be moved."""


@dataclass(frozen=True)
class Mover:
    """operands  indices of the inputs that are transposed; None for all of them"""

    move: Move
    operands: tuple[int, ...] | None = (0,)


def _plain(node: Node, perm: Perm) -> Moved | None:
    return Moved({}, {})


def _axis(default: int) -> Move:
    def move(node: Node, perm: Perm) -> Moved | None:
        axis = node.attributes.get("axis", default) % len(perm)
        return Moved({"axis": perm.index(axis)}, {})

    return move


def _softmax(node: Node, perm: Perm) -> Moved | None:
    return _axis(-1)(node, perm) if node.opset >= 13 else None


def _scaled(node: Node, perm: Perm) -> Moved | None:
    """QuantizeLinear and DequantizeLinear: one scale, or one for each index along an axis."""
    scale = node.input(1)
    if not scale.type.is_static or node.attributes.get("block_size", 0):
        return None
    if scale.type.rank == 0 or scale.shape == (1,):
        return Moved({}, {})
    return _axis(1)(node, perm)


def _reduce(node: Node, perm: Perm) -> Moved | None:
    axes = known_axes(node)
    if axes is None or not node.attributes.get("keepdims", 1):
        return None
    return _reduced(node, perm, axes)


def _reduced(node: Node, perm: Perm, axes: Sequence[int]) -> Moved:
    if len(node.inputs) < 2 or node.inputs[1] is None:
        return Moved({}, {})
    return Moved({}, {1: np.array(sorted(perm.index(axis) for axis in axes), np.int64)})


def _arg(node: Node, perm: Perm) -> Moved | None:
    return _axis(0)(node, perm) if node.attributes.get("keepdims", 1) else None


def _pad(node: Node, perm: Perm) -> Moved | None:
    pads = integers(node.input(1))
    if pads is None or node.optional_input(3) is not None:
        return None
    table = np.array(pads, np.int64).reshape(2, -1)
    return Moved({}, {1: table[:, list(perm)].reshape(-1)})


def _tile(node: Node, perm: Perm) -> Moved | None:
    repeats = integers(node.input(1))
    return None if repeats is None else Moved({}, {1: np.array(repeats, np.int64)[list(perm)]})


def _slice(node: Node, perm: Perm) -> Moved | None:
    starts, given = integers(node.input(1)), node.optional_input(3)
    axes = tuple(range(len(starts or ()))) if given is None else integers(given)
    if starts is None or axes is None:
        return None
    return Moved({}, {3: np.array([perm.index(axis) for axis in normal_axes(axes, len(perm))], np.int64)})


def _resize(node: Node, perm: Perm) -> Moved | None:
    mode = node.attributes.get("coordinate_transformation_mode", "half_pixel")
    if node.opset < 11 or "axes" in node.attributes or mode in ("tf_crop_and_resize", b"tf_crop_and_resize"):
        return None
    moved: dict[int, Array] = {}
    for index in (2, 3):
        value = node.optional_input(index)
        if value is None or (value.data is not None and value.data.size == 0):
            continue
        if value.data is None:
            return None
        moved[index] = value.data[list(perm)]
    return Moved({}, moved)


_UNARY = (
    *(
        "Relu",
        "LeakyRelu",
        "Sigmoid",
        "Tanh",
        "HardSigmoid",
        "HardSwish",
        "Elu",
        "Selu",
        "Celu",
        "Softplus",
        "Softsign",
    ),
    *("Swish", "Gelu", "Mish", "ThresholdedRelu", "Clip", "Erf", "Exp", "Log", "Sqrt", "Reciprocal", "Neg", "Abs"),
    *("Floor", "Ceil", "Round", "Sign", "Sin", "Cos", "Not", "Cast", "Identity", "IsNaN", "IsInf", "Dropout"),
)
_MANY = (
    *("Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Sum", "Mean", "PRelu", "Where", "Mod", "And", "Or", "Xor"),
    *("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"),
)
_REDUCE = tuple(
    f"Reduce{kind}" for kind in ("Mean", "Sum", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp")
)

MOVERS: dict[str, Mover] = {
    **dict.fromkeys(_UNARY, Mover(_plain)),
    **dict.fromkeys(_MANY, Mover(_plain, None)),
    **dict.fromkeys(_REDUCE, Mover(_reduce)),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), Mover(_softmax)),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), Mover(_scaled)),
    **dict.fromkeys(("ArgMax", "ArgMin"), Mover(_arg)),
    "Concat": Mover(_axis(0), None),
    "Split": Mover(_axis(0)),
    "Pad": Mover(_pad),
    "Tile": Mover(_tile),
    "Slice": Mover(_slice),
    "Resize": Mover(_resize),
}
"""Ops that work on any order of axes."""


def operands(node: Node) -> list[tuple[int, Value]]:
    """The inputs that are transposed along with the node, with their indices; single numbers are not."""
    mover = MOVERS[node.op]
    indices = range(len(node.inputs)) if mover.operands is None else mover.operands
    found = [(index, node.optional_input(index)) for index in indices]
    return [(index, value) for index, value in found if value is not None and not _is_number(node, value)]


def _is_number(node: Node, value: Value) -> bool:
    return node.op in _MANY and value.type.is_static and value.type.elements == 1


def moves(node: Node) -> bool:
    """True for a node that can be transposed as a whole: outputs and operands of one rank, everything else known."""
    if node.domain or node.op not in MOVERS or "activation" in node.attributes:
        return False
    outputs = [value for value in node.outputs if value is not None]
    if not outputs or not all(value.type.is_static for value in outputs):
        return False
    rank = outputs[0].type.rank
    if rank < 2 or any(value.type.rank != rank for value in outputs):
        return False
    for _, value in operands(node):
        fits = value.is_constant if value.type.is_static and value.type.rank < rank else value.type.is_static
        if not fits or value.type.rank > rank:
            return False
    return MOVERS[node.op].move(node, tuple(range(rank))) is not None


def transposed_constant(graph: Graph, value: Value, perm: Perm) -> Value:
    """A constant in the other order of axes; one of lower rank is first given leading axes, as broadcasting does."""
    assert value.data is not None
    data = value.data.reshape((1,) * (len(perm) - value.data.ndim) + value.data.shape)
    return constant(graph, f"{value.name}_transposed", data.transpose(perm))


def accepts(reader: Node, value: Value, perm: Perm) -> Moved | None:
    """How a node that ends the order of axes reads the transposed value, giving the same result; None if it cannot.

    A Reshape does where only axes of size 1 move; a Reduce without keepdims where the axes that stay keep their order.
    """
    if reader.domain or reader.input(0) is not value or not reader.output.type.is_static:
        return None
    if any(other is value for other in reader.inputs[1:]) or "activation" in reader.attributes:
        return None
    if reader.op == "Reshape":
        order = [axis for axis in perm if value.shape[axis] != 1]
        return Moved({}, {1: np.array(reader.output.shape, np.int64)}) if order == sorted(order) else None
    if reader.op in _REDUCE and not reader.attributes.get("keepdims", 1):
        axes = known_axes(reader)
        if axes is None:
            return None
        rest = [axis for axis in perm if axis not in axes]
        return _reduced(reader, perm, axes) if rest == sorted(rest) else None
    return None
