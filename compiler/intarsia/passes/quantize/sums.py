"""Conv and dense as qconv and qmatmul; a scale and shift for each channel as a depthwise qconv of one tap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Node, Value
from intarsia.ir.types import Quantization
from intarsia.passes.base import Refused, refuse
from intarsia.passes.fuse.affine import Affine, affine_of
from intarsia.passes.quantize.constants import constant_of, weight_of
from intarsia.passes.quantize.emitter import Emitter, clamps, quantization
from intarsia.passes.quantize.scales import Scaling, Weight, clamp_of, quantize_weight, scale_sums
from intarsia.passes.quantize.spread import spread_conv, spread_dense

_WINDOW = ("strides", "pads", "dilations", "group")


def check_conv(node: Node) -> Refused | None:
    """Conv: weights and bias are finite constants, and the input is none."""
    return _check_constants(node)


def check_dense(node: Node) -> Refused | None:
    """dense: like Conv, with an input of two axes at least."""
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
    """qconv: weight int8 [M, C / group, *K], bias, multiplier and shift int32 [M]."""
    source = sources[0]
    weight = _weight(emitter, node, 0)
    if isinstance(weight, Refused):
        return weight
    attributes = {name: node.attributes[name] for name in _WINDOW}
    if weight.integers.dtype != np.int8:
        spread = spread_conv(emitter, node, source, weight, attributes)
        if isinstance(spread, Refused):
            return spread
        source, weight, attributes = spread
    scaling = scale_sums(weight, 0, _bias(node), quantization(source), target)
    if isinstance(scaling, Refused):
        return scaling
    return [_add(emitter, "qconv", node, source, scaling, target, attributes)]


def emit_dense(emitter: Emitter, node: Node, sources: Sequence[Value], target: Quantization) -> list[Value] | Refused:
    """qmatmul: weight int8 [K, M], bias, multiplier and shift int32 [M]."""
    source = sources[0]
    weight = _weight(emitter, node, 1)
    if isinstance(weight, Refused):
        return weight
    if weight.integers.dtype != np.int8:
        source, weight = spread_dense(emitter, node, source, weight)
    scaling = scale_sums(weight, 1, _bias(node), quantization(source), target)
    if isinstance(scaling, Refused):
        return scaling
    return [_add(emitter, "qmatmul", node, source, scaling, target, {})]


def channels_of(node: Node) -> Affine | None:
    """The scale and shift that a BatchNormalization, or a Mul, Div, Add or Sub of a constant, gives each channel.

    None where it is the same for all channels, or where there is no spatial axis: other forms serve those better.
    """
    if node.output.type.rank < 3:
        return None
    affine = affine_of(node, 1)
    if affine is None or isinstance(affine, Refused) or not np.isfinite([affine.scale, affine.shift]).all():
        return None
    if node.op != "BatchNormalization" and max(np.ptp(affine.scale), np.ptp(affine.shift)) == 0.0:
        return None
    return affine


def check_batch_norm(node: Node) -> Refused | None:
    """BatchNormalization: on images, with finite constants."""
    if node.input(0).type.rank < 3:
        return refuse("its input has no spatial axis")
    return None if channels_of(node) else refuse("its scale and shift are no finite constants")


def emit_batch_norm(
    emitter: Emitter, node: Node, sources: Sequence[Value], target: Quantization
) -> list[Value] | Refused:
    """A depthwise qconv of one tap."""
    affine = channels_of(node)
    assert affine is not None
    return emit_channels(emitter, node, sources[0], affine, target)


def emit_channels(
    emitter: Emitter,
    node: Node,
    source: Value,
    affine: Affine,
    target: Quantization,
    clamp: tuple[int, int] | None = None,
) -> list[Value] | Refused:
    """y = x * scale + shift for each channel, with a multiplier and a 32-bit bias each.

    clamp  the clamp of the result; that of the node's fused activation where none is given
    """
    channels, spatial = len(affine.scale), source.type.rank - 2
    weight = quantize_weight(affine.scale.reshape((channels, 1) + (1,) * spatial), 0)
    scaling = scale_sums(weight, 0, affine.shift, quantization(source), target)
    if isinstance(scaling, Refused):
        return scaling
    ones = (1,) * spatial
    attributes = dict(zip(_WINDOW, (ones, (0,) * 2 * spatial, ones, channels)))
    return [_add(emitter, "qconv", node, source, scaling, target, attributes, clamp)]


def _weight(emitter: Emitter, node: Node, axis: int) -> Weight | Refused:
    weight = weight_of(node.input(1), axis)
    if isinstance(weight, Weight) and weight.clamped:
        what = "weight" if weight.clamped == 1 else "weights"
        emitter.notes.append((node.name, f"{weight.clamped} {what} of -128 became -127, the least that engines take"))
    return weight


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
    clamp: tuple[int, int] | None = None,
) -> Value:
    clamp = clamp or clamp_of(
        node.attributes.get("activation", ""), node.attributes.get("activation_arguments", ()), target
    )
    inputs = [
        source,
        emitter.constant(f"{node.name}_weight", scaling.weight.integers),
        emitter.constant(f"{node.name}_bias", scaling.bias),
        emitter.constant(f"{node.name}_multiplier", scaling.multiplier),
        emitter.constant(f"{node.name}_shift", scaling.shift),
    ]
    zero_points = {"input_zero_point": quantization(source).zero_point, "output_zero_point": target.zero_point}
    return emitter.add(op, inputs, node.output.shape, target, {**attributes, **zero_points, **clamps(clamp)}, node)
