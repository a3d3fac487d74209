"""Conv and dense as qconv and qmatmul."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Node, Value
from intarsia.ir.types import Quantization
from intarsia.passes.base import Refused, refuse
from intarsia.passes.quantize.constants import constant_of, weight_of
from intarsia.passes.quantize.emitter import Emitter, clamps, quantization
from intarsia.passes.quantize.scales import Scaling, clamp_of, scale_sums


def check_conv(node: Node) -> Refused | None:
    return _check_constants(node)


def check_dense(node: Node) -> Refused | None:
    if node.input(0).type.rank < 2:
        return refuse("its input has one axis; qmatmul needs two")
    return _check_constants(node)


def _check_constants(node: Node) -> Refused | None:
    if constant_of(node.input(0)) is not None:
        return refuse("its input is a constant")
    for index, what in ((1, "weights"), (2, "bias")):
        value = node.optional_input(index)
        if value is None:
            continue
        data = constant_of(value)
        if data is None:
            return refuse(f"its {what} are computed at run time")
        if not np.isfinite(data).all():
            return refuse(f"its {what} hold NaN or infinity")
    return None


def emit_conv(emitter: Emitter, node: Node, sources: Sequence[Value], target: Quantization) -> list[Value] | Refused:
    source = sources[0]
    scaling = _scaling(emitter, node, 0, quantization(source), target)
    if isinstance(scaling, Refused):
        return scaling
    attributes = {name: node.attributes[name] for name in ("strides", "pads", "dilations", "group")}
    return [_add(emitter, "qconv", node, source, scaling, target, attributes)]


def emit_dense(emitter: Emitter, node: Node, sources: Sequence[Value], target: Quantization) -> list[Value] | Refused:
    source = sources[0]
    scaling = _scaling(emitter, node, 1, quantization(source), target)
    if isinstance(scaling, Refused):
        return scaling
    return [_add(emitter, "qmatmul", node, source, scaling, target, {})]


def _scaling(emitter: Emitter, node: Node, axis: int, source: Quantization, target: Quantization) -> Scaling | Refused:
    weight = weight_of(node.input(1), axis)
    if isinstance(weight, Refused):
        return weight
    if weight.clamped:
        what = "weight" if weight.clamped == 1 else "weights"
        emitter.notes.append((node.name, f"{weight.clamped} {what} of -128 became -127, the least that engines take"))
    return scale_sums(weight, axis, _bias(node), source, target)


def _bias(node: Node) -> Array | None:
    value = node.optional_input(2)
    if value is None:
        return None
    data = constant_of(value)
    assert data is not None
    return np.broadcast_to(data.reshape(-1), node.output.shape[1:2] if node.op == "Conv" else node.output.shape[-1:])


def _add(
    emitter: Emitter,
    op: str,
    node: Node,
    source: Value,
    scaling: Scaling,
    target: Quantization,
    attributes: dict[str, object],
) -> Value:
    clamp = clamp_of(node.attributes.get("activation", ""), node.attributes.get("activation_arguments", ()), target)
    inputs = [
        source,
        emitter.constant(f"{node.name}_weight", scaling.weight.integers),
        emitter.constant(f"{node.name}_bias", scaling.bias),
        emitter.constant(f"{node.name}_multiplier", scaling.multiplier),
        emitter.constant(f"{node.name}_shift", scaling.shift),
    ]
    zero_points = {"input_zero_point": quantization(source).zero_point, "output_zero_point": target.zero_point}
    return emitter.add(op, inputs, node.output.shape, target, {**attributes, **zero_points, **clamps(clamp)}, node)
