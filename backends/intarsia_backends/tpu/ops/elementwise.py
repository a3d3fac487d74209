"""Ops on one element at a time, with broadcasting."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from intarsia.ir.activations import ARGUMENTS
from intarsia.ir.graph import Node
from intarsia.targets import YES, Support
from intarsia_backends.lowering.ops.table import elements, refused
from intarsia_backends.tpu.body import Body, emitter
from intarsia_backends.tpu.ops.functions import ACTIVATIONS, activate, clip, erf
from intarsia_backends.tpu.stablehlo import Tensor

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
NUMBERS = ("float32", *INTEGERS)
ALL = (*NUMBERS, "bool")

_PLAIN = {
    "Sqrt": "sqrt",
    "Exp": "exponential",
    "Log": "log",
    "Sin": "sine",
    "Cos": "cosine",
    "Tan": "tan",
    "Ceil": "ceil",
    "Floor": "floor",
    "Round": "round_nearest_even",
}

_COMPARISONS = {"Equal": "EQ", "Less": "LT", "LessOrEqual": "LE", "Greater": "GT", "GreaterOrEqual": "GE"}


def spread(body: Body, node: Node) -> list[Tensor]:
    """The inputs in the output's shape."""
    return [body.spread(tensor, node.output.shape) for tensor in body.inputs(node)]


def _unary(op: str) -> Callable[[Body, Node], Tensor]:
    return lambda body, node: body.unary(op, body.read(node.input(0)))


def _binary(op: str) -> Callable[[Body, Node], Tensor]:
    return lambda body, node: body.binary(op, *spread(body, node))


def _many(op: str, mean: bool = False) -> Callable[[Body, Node], Tensor]:
    def emit(body: Body, node: Node) -> Tensor:
        total, *others = spread(body, node)
        for other in others:
            total = body.binary(op, total, other)
        return body.with_number("divide", total, 1 + len(others)) if mean else total

    return emit


def _activation(body: Body, node: Node) -> Tensor:
    arguments = [node.attributes.get(key, default) for key, default in ARGUMENTS.get(node.op, {}).items()]
    return activate(body, body.read(node.input(0)), node.op, arguments)


def _compare(how: str) -> Callable[[Body, Node], Tensor]:
    return lambda body, node: body.compare(how, *spread(body, node))


def _erf(body: Body, node: Node) -> Tensor:
    return erf(body, body.read(node.input(0)))


def _reciprocal(body: Body, node: Node) -> Tensor:
    x = body.read(node.input(0))
    return body.binary("divide", body.like(1.0, x), x)


def _is_nan(body: Body, node: Node) -> Tensor:
    x = body.read(node.input(0))
    return body.compare("NE", x, x)


def _power(body: Body, node: Node) -> Tensor:
    exponent = node.input(1).data
    if exponent is not None and exponent.size == 1 and exponent.reshape(-1)[0] == 2:
        x = body.spread(body.read(node.input(0)), node.output.shape)
        return body.binary("multiply", x, x)
    a, b = spread(body, node)
    return body.binary("power", a, body.convert(b, a.dtype))


def _where(body: Body, node: Node) -> Tensor:
    return body.select(*spread(body, node))


def _clip(body: Body, node: Node) -> Tensor:
    x = body.read(node.input(0))
    for index, op, name in ((1, "maximum", "min"), (2, "minimum", "max")):
        bound = node.optional_input(index)
        if bound is not None:
            number = body.broadcast(body.reshape(body.read(bound), ()), x.shape, ())
            x = body.binary(op, x, number)
        elif name in node.attributes:
            low, high = (node.attributes[name], None) if name == "min" else (None, node.attributes[name])
            x = clip(body, x, low, high)
    return x


def _prelu(body: Body, node: Node) -> Tensor:
    x, slope = spread(body, node)
    return body.select(body.compare("LT", x, body.like(0, x)), body.binary("multiply", x, slope), x)


def _cast(body: Body, node: Node) -> Tensor:
    x, to = body.read(node.input(0)), node.output.dtype
    if x.dtype == "float32" and to in ("int8", "int16", "uint8", "uint16"):
        x = body.convert(x, "int32")  # out of range, NumPy keeps the low bits
    if to == "bool":
        return body.compare("NE", x, body.like(0, x))
    return body.convert(x, to)


def _check_divisor(node: Node) -> Support:
    divisor = node.input(1)
    if divisor.dtype != "float32" and (divisor.data is None or not elements(divisor).all()):
        return refused("division", "whole numbers by what may be 0 at run time")
    return YES


def _batch(body: Body, node: Node) -> Tensor:
    """Scale and shift with the running figures."""
    scale, shift, mean, variance = (elements(node.input(index)).astype(np.float64) for index in range(1, 5))
    factor = scale / np.sqrt(variance + float(node.attributes.get("epsilon", 1e-5)))
    x = body.read(node.input(0))
    axis = 1 if x.rank > 1 else 0
    scaled = body.binary("multiply", x, body.along(factor, x.dtype, x.shape, axis))
    return body.binary("add", scaled, body.along(shift - mean * factor, x.dtype, x.shape, axis))


def _check_batch(node: Node) -> Support:
    return refused("training", "training_mode") if node.attributes.get("training_mode", 0) else YES


EMITTERS = {
    **{name: emitter(_unary(op)) for name, op in _PLAIN.items()},
    **{name: emitter(_activation) for name in ACTIVATIONS},
    "Relu": emitter(_activation, dtypes=("float32", "int8", "int16", "int32", "int64")),
    "Abs": emitter(_unary("abs"), dtypes=("float32", "int8", "int16", "int32", "int64")),
    "Neg": emitter(_unary("negate"), dtypes=("float32", "int8", "int16", "int32", "int64")),
    "Sign": emitter(_unary("sign"), dtypes=("float32", "int8", "int16", "int32", "int64")),
    "Not": emitter(_unary("not"), dtypes=("bool",)),
    "Erf": emitter(_erf),
    "Reciprocal": emitter(_reciprocal),
    "IsNaN": emitter(_is_nan, own_type=(0,)),
    "Add": emitter(_binary("add"), dtypes=NUMBERS),
    "Sub": emitter(_binary("subtract"), dtypes=NUMBERS),
    "Mul": emitter(_binary("multiply"), dtypes=NUMBERS),
    "Div": emitter(_binary("divide"), dtypes=NUMBERS, check=_check_divisor),
    "Pow": emitter(_power, unread=(1,)),
    "And": emitter(_binary("and"), dtypes=("bool",)),
    "Or": emitter(_binary("or"), dtypes=("bool",)),
    "Xor": emitter(_binary("xor"), dtypes=("bool",)),
    "BitwiseAnd": emitter(_binary("and"), dtypes=INTEGERS),
    "BitwiseOr": emitter(_binary("or"), dtypes=INTEGERS),
    "BitwiseXor": emitter(_binary("xor"), dtypes=INTEGERS),
    **{name: emitter(_compare(how), dtypes=ALL, own_type=(0,)) for name, how in _COMPARISONS.items()},
    "Min": emitter(_many("minimum"), dtypes=NUMBERS),
    "Max": emitter(_many("maximum"), dtypes=NUMBERS),
    "Sum": emitter(_many("add")),
    "Mean": emitter(_many("add", mean=True)),
    "Where": emitter(_where, dtypes=ALL),
    "Clip": emitter(_clip, dtypes=NUMBERS),
    "PRelu": emitter(_prelu, dtypes=NUMBERS),
    "Cast": emitter(_cast, dtypes=ALL),
    "CastLike": emitter(_cast, dtypes=ALL, unread=(1,)),
    "BatchNormalization": emitter(_batch, constants=(1, 2, 3, 4), check=_check_batch),
}
