"""Elementwise ops with broadcasting."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from intarsia.ir.graph import Node, Value
from intarsia.targets import YES, Support
from intarsia_backends.lowering.builder import Builder
from intarsia_backends.lowering.expressions import Cast, Constant, Expression, Input, apply, equal, logical_not, select
from intarsia_backends.lowering.fusion import map_values
from intarsia_backends.lowering.layouts import channel_weight
from intarsia_backends.lowering.ops.activations import UNARY, activated, attribute_arguments, knows_activation, unary
from intarsia_backends.lowering.ops.table import ALL, FLOATS, MOVED, NUMBERS, Lowering, attribute, elements, refused
from intarsia_backends.lowering.views import View


def _present(node: Node) -> list[Value]:
    return [value for value in node.inputs if value is not None]


def _unary(builder: Builder, node: Node) -> None:
    x = node.input(0)
    body = unary(node.op, attribute_arguments(node), Input(0), x.dtype)
    assert body is not None
    map_values(builder, [x], node.output, body)


def _binary(function: str) -> Callable[[Builder, Node], None]:
    def lower(builder: Builder, node: Node) -> None:
        body = activated(node, apply(function, Input(0), Input(1)), node.input(0).dtype)
        map_values(builder, _present(node), node.output, body)

    return lower


def _variadic(function: str, mean: bool = False) -> Callable[[Builder, Node], None]:
    def lower(builder: Builder, node: Node) -> None:
        values = _present(node)
        body: Expression = Input(0)
        for index in range(1, len(values)):
            body = apply(function, body, Input(index))
        if mean:
            body = body / Constant(node.output.dtype, float(len(values)))
        map_values(builder, values, node.output, body)

    return lower


def _lower_not(builder: Builder, node: Node) -> None:
    map_values(builder, _present(node), node.output, logical_not(Input(0)))


def _lower_where(builder: Builder, node: Node) -> None:
    map_values(builder, _present(node), node.output, select(Input(0), Input(1), Input(2)))


def _lower_clip(builder: Builder, node: Node) -> None:
    x = node.input(0)
    values: list[Value] = [x]
    body: Expression = Input(0)
    for index, function in ((1, "max"), (2, "min")):
        bound = node.optional_input(index)
        if bound is not None:
            body = apply(function, body, Input(len(values)))
            values.append(bound)
    map_values(builder, values, node.output, body)


def _lower_prelu(builder: Builder, node: Node) -> None:
    map_values(builder, _present(node), node.output, apply("leaky", Input(0), Input(1)))


def _lower_cast(builder: Builder, node: Node) -> None:
    source, target = node.input(0).dtype, node.output.dtype
    body: Expression = Input(0)
    if source == "float16" and target != "float16":
        source, body = "float32", apply("from_half", body)
    if source == target:
        pass
    elif target == "float16":
        body = apply("to_half", _converted(body, source, "float32"))
    else:
        body = _converted(body, source, target)
    map_values(builder, [node.input(0)], node.output, body)  # the second input of CastLike is not read


def _converted(body: Expression, source: str, target: str) -> Expression:
    """An element of one native type as another."""
    if source == target:
        return body
    if target == "bool":
        return logical_not(equal(body, Constant(source, 0)))
    if source == "bool":
        return select(body, Constant(target, 1), Constant(target, 0))
    if source in FLOATS and target in ("int8", "int16", "uint8", "uint16"):
        # Out of range, NumPy keeps the low bits of the whole number; a direct cast could give anything.
        return Cast(target, Cast("int32", body))
    if source in FLOATS and target == "uint32":
        return Cast(target, Cast("int64", body))
    return Cast(target, body)


def _check_cast(node: Node) -> Support:
    source, target = node.input(0).dtype, node.output.dtype
    if source == "float64" and target == "float16":
        return refused("cast", "from float64 to float16: by way of float32 it would round twice")
    if source in (*FLOATS, "float16") and target == "uint64":
        return refused("cast", f"from {source} to {target}: what is out of range has no meaning to keep")
    return YES


def _lower_batch_normalization(builder: Builder, node: Node) -> None:
    """Scale and shift with the running figures, folded into two numbers a channel."""
    scale, shift, mean, variance = (elements(node.input(index)).astype(np.float64) for index in range(1, 5))
    factor = scale / np.sqrt(variance + float(attribute(node, "epsilon", 1e-5)))
    x, dtype = node.input(0), node.input(0).dtype
    strides = (0, 1, *(0 for _ in x.shape[2:])) if x.type.rank > 1 else (0,)
    tables = [
        View(channel_weight(builder, table.astype(dtype)), dtype, strides) for table in (factor, shift - mean * factor)
    ]
    body = Input(0) * Input(1) + Input(2)
    map_values(builder, [x], node.output, activated(node, body, dtype), tables)


def _check_batch_normalization(node: Node) -> Support:
    if attribute(node, "training_mode", 0):
        return refused("training", "training_mode is 1")
    return _check_activation(node)


def _check_activation(node: Node) -> Support:
    if not knows_activation(node):
        return refused("activation", f"no code is made for {node.attributes['activation']}")
    return YES


def _check_order(node: Node) -> Support:
    return refused("element-type", "the order of bools") if node.input(0).dtype == "bool" else YES


def _check_pow(node: Node) -> Support:
    if node.input(0).dtype not in FLOATS:
        return refused("element-type", f"{node.input(0).dtype} to the power of {node.input(1).dtype}")
    return YES


def _lower_pow(builder: Builder, node: Node) -> None:
    exponent = node.input(1)
    x = Input(0)
    if exponent.data is not None and exponent.type.elements == 1 and len(exponent.shape) <= len(node.output.shape):
        power = float(elements(exponent).reshape(-1)[0])
        simple = {2.0: x * x, 3.0: x * x * x, 0.5: apply("sqrt", x), 1.0: x}
        if power in simple:
            map_values(builder, [node.input(0)], node.output, simple[power])
            return
    dtype = node.output.dtype
    power_term: Expression = Input(1)
    if exponent.dtype != dtype:
        power_term = Cast(dtype, power_term)
    map_values(builder, [node.input(0), exponent], node.output, apply("pow", x, power_term))


LOWERINGS = {
    **{name: Lowering(_unary, dtypes=FLOATS) for name in UNARY},
    "Relu": Lowering(_unary, dtypes=FLOATS),
    **{
        name: Lowering(_unary, dtypes=("float32", "float64", "int8", "int16", "int32", "int64"))
        for name in ("Abs", "Neg")
    },
    "Add": Lowering(_binary("add"), dtypes=NUMBERS, check=_check_activation),
    "Sub": Lowering(_binary("sub"), dtypes=NUMBERS, check=_check_activation),
    "Mul": Lowering(_binary("mul"), dtypes=NUMBERS, check=_check_activation),
    "Pow": Lowering(_lower_pow, dtypes=NUMBERS, check=_check_pow),
    "Min": Lowering(_variadic("min"), dtypes=NUMBERS),
    "Max": Lowering(_variadic("max"), dtypes=NUMBERS),
    "Sum": Lowering(_variadic("add"), dtypes=FLOATS),
    "Mean": Lowering(_variadic("add", mean=True), dtypes=FLOATS),
    "Equal": Lowering(_binary("eq"), dtypes=ALL),
    "Greater": Lowering(_binary("gt"), dtypes=ALL, check=_check_order),
    "GreaterOrEqual": Lowering(_binary("ge"), dtypes=ALL, check=_check_order),
    "Less": Lowering(_binary("lt"), dtypes=ALL, check=_check_order),
    "LessOrEqual": Lowering(_binary("le"), dtypes=ALL, check=_check_order),
    "And": Lowering(_binary("and"), dtypes=("bool",)),
    "Or": Lowering(_binary("or"), dtypes=("bool",)),
    "Xor": Lowering(_binary("xor"), dtypes=("bool",)),
    "Not": Lowering(_lower_not, dtypes=("bool",)),
    "Where": Lowering(_lower_where, dtypes=MOVED),
    "Clip": Lowering(_lower_clip, dtypes=NUMBERS),
    "PRelu": Lowering(_lower_prelu, dtypes=FLOATS),
    "Cast": Lowering(_lower_cast, dtypes=MOVED, check=_check_cast),
    "CastLike": Lowering(_lower_cast, dtypes=MOVED, unread=(1,), check=_check_cast),
    "BatchNormalization": Lowering(
        _lower_batch_normalization, dtypes=FLOATS, constants=(1, 2, 3, 4), check=_check_batch_normalization
    ),
}
