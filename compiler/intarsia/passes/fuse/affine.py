"""Scales and shifts of channels, folded into the weights and bias of the convolution or dense op beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from intarsia.dtypes import Array, numpy_dtype
from intarsia.ir.evaluate import evaluate_node
from intarsia.ir.graph import Graph, Node, Value
from intarsia.passes.base import CHANGED, Answer, Outcome, Refused, Rewrite, Rewriter, refuse
from intarsia.passes.context import Context
from intarsia.passes.matching import constant, constant_operand, quantized_constant, why_shared
from intarsia.passes.quantized_constants import has_one_scale, rescaled, reshaped
from intarsia.passes.statistics import trained_statistics

_AFFINE = ("BatchNormalization", "Mul", "Div", "Add", "Sub")
_WEIGHTED = ("Conv", "ConvTranspose", "dense", "BatchNormalization")


@dataclass(frozen=True)
class Affine:
    """y = x * scale + shift, channel by channel.

    scale, shift  float64 [C]
    """

    x: Value
    scale: Array
    shift: Array


def affine_of(node: Node, axis: int) -> Affine | Refused | None:
    """What a node does to each channel; None for a node that has no constant operand.

    axis  where the channels are in x, from the front
    """
    if node.op == "BatchNormalization":
        return _batchnorm(node, axis)
    pair = constant_operand(node)
    if pair is None:
        return None
    x, data = pair
    if not x.type.is_static or x.type != node.output.type:
        return refuse("its constant broadcasts the other operand to more elements")
    vector = channel_vector(data, x.shape, axis)
    if vector is None:
        return refuse(f"its constant {list(data.shape)} is not one number for each channel")
    one, zero = np.ones_like(vector), np.zeros_like(vector)
    first = x is node.input(0)
    if node.op == "Div" and not first:
        return refuse("it divides a constant by the value")
    if node.op == "Mul":
        return Affine(x, vector, zero)
    if node.op == "Div":
        with np.errstate(divide="ignore"):
            return Affine(x, 1.0 / vector, zero)
    if node.op == "Add":
        return Affine(x, one, vector)
    return Affine(x, one, -vector) if first else Affine(x, -one, vector)


def channel_vector(data: Array, shape: Sequence[int], axis: int) -> Array | None:
    """A constant that broadcasts against `shape`, as one number for each channel; None where it is not that."""
    if data.ndim > len(shape):
        return None
    full = data.reshape((1,) * (len(shape) - data.ndim) + data.shape)
    if any(size != 1 for index, size in enumerate(full.shape) if index != axis):
        return None
    return np.broadcast_to(full.reshape(-1).astype(np.float64), (shape[axis],))


def _batchnorm(node: Node, axis: int) -> Affine | Refused:
    if node.attributes.get("training_mode", 0):
        return refuse("it is in training mode")
    if axis != 1:
        return refuse("it normalises axis 1, which is not the axis of the channels")
    data = [node.input(index).data for index in range(1, 5)]
    gamma, beta, mean, variance = [None if item is None else item.astype(np.float64) for item in data]
    if gamma is None or beta is None or mean is None or variance is None:
        return refuse("its scale, bias, mean or variance is not constant")
    with np.errstate(all="ignore"):
        scale = gamma / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
        shift = beta - mean * scale
    if not (np.isfinite(scale).all() and np.isfinite(shift).all()):
        return refuse("its scale or shift is infinite or no number: a variance may be below 0")
    return Affine(node.input(0), scale, shift)


def _channel_axis(node: Node) -> int:
    return node.output.type.rank - 1 if node.op == "dense" else 1


def _groups(node: Node) -> int:
    return int(node.attributes.get("group", 1))


def scaled_outputs(node: Node, weight: Array, scale: Array) -> Array:
    """Weights that make each output channel `scale` times what it was, in float64."""
    weight = weight.astype(np.float64)
    if node.op == "dense":
        return np.asarray(weight * scale)
    if node.op == "Conv":
        return np.asarray(weight * scale.reshape((-1,) + (1,) * (weight.ndim - 1)))
    grouped = weight.reshape((_groups(node), -1, *weight.shape[1:]))
    factor = scale.reshape((_groups(node), 1, -1) + (1,) * (weight.ndim - 2))
    return np.asarray((grouped * factor).reshape(weight.shape))


def absorbed_inputs(node: Node, weight: Array, scale: Array, shift: Array) -> tuple[Array, Array]:
    """Weights for unscaled input channels, and what the shift adds to each output channel; both float64."""
    weight = weight.astype(np.float64)
    if node.op == "dense":
        return weight * scale[:, None], shift @ weight
    grouped = weight.reshape((_groups(node), -1, *weight.shape[1:]))
    per_input = (_groups(node), 1, -1) + (1,) * (weight.ndim - 2)
    added = (grouped * shift.reshape(per_input)).reshape(weight.shape[0], -1).sum(axis=1)
    return (grouped * scale.reshape(per_input)).reshape(weight.shape), added


def outside(dtype: str, *arrays: Array | None) -> Refused | None:
    """Refuse weights or a bias, in float64, that are not finite in the type that they are to have."""
    with np.errstate(over="ignore", invalid="ignore"):
        if all(array is None or np.isfinite(array.astype(numpy_dtype(dtype))).all() for array in arrays):
            return None
    return refuse(f"weights or bias would not be finite in {dtype}")


def _set_weight(graph: Graph, node: Node, weight: Array | None, bias: Array | None) -> None:
    """Give a node new weights and bias, in the type that its weights had."""
    inputs = list(node.inputs) + [None] * (3 - len(node.inputs))
    dtype, name = node.input(1).dtype, node.output.name
    if weight is not None:
        inputs[1] = constant(graph, f"{name}_weight", weight.astype(dtype))
    if bias is not None:
        inputs[2] = constant(graph, f"{name}_bias", bias.astype(dtype))
    node.set_inputs(inputs)


@dataclass(frozen=True)
class FuseBatchNorm(Rewrite):
    """Fold BatchNormalization, and Mul, Div, Add, Sub with a number for each channel, into the op before them.

    `BatchNormalization(Conv(x))` -> `Conv(x)`, likewise for ConvTranspose, dense and BatchNormalization itself.
    """

    name: ClassVar[str] = "fuse-batchnorm"
    tolerance: ClassVar[float] = 1e-4
    ops: ClassVar[tuple[str, ...]] = _AFFINE

    def apply(self, graph: Graph, context: Context) -> Outcome:
        context.trained.update(trained_statistics(graph))  # nothing else knows them once they are folded
        return super().apply(graph, context)

    def rewrite(self, node: Node, rewriter: Rewriter) -> Answer:
        producer = _weighted_producer(node)
        if producer is None:
            return None
        affine = affine_of(node, _channel_axis(producer))
        if not isinstance(affine, Affine):
            return affine
        if "activation" in producer.attributes:
            return refuse(f"{producer.where} applies {producer.attributes['activation']} first")
        shared = why_shared(rewriter.graph, affine.x, node)
        if shared is not None:
            return refuse(f"{producer.where} must stay as it is: {shared}")
        if not np.isfinite(affine.scale).all() or not np.isfinite(affine.shift).all():
            return refuse("its scale or shift is not finite")
        if node.op in ("Add", "Sub") and _is_mask(affine.shift):
            return refuse("the numbers far below 0 that it adds are a mask: as a bias they would take int8 all steps")
        if producer.op == "BatchNormalization":
            refused = _set_batchnorm(rewriter.graph, producer, affine)
            return refused or self._take_over(node, producer, rewriter)
        weight, bias = producer.input(1), producer.optional_input(2)
        scales = bool((affine.scale != 1).any())
        real_bias = None if bias is None else _real(bias)
        if bias is not None and (real_bias is None or (bias.data is None and not scales)):
            return refuse(f"the bias '{bias.name}' of {producer.where} is not a float constant")
        total = affine.shift
        if real_bias is not None:
            total = real_bias.astype(np.float64) * affine.scale + affine.shift
        scaled = scaled_outputs(producer, weight.data, affine.scale) if scales and weight.data is not None else None
        refused = outside(weight.dtype, scaled, total)
        if refused is not None:
            return refused
        if scales and scaled is None:
            rescaled = _rescaled(rewriter.graph, producer, affine.scale)
            if rescaled is None:
                return refuse(f"the weight '{weight.name}' of {producer.where} is not a float constant")
            rewriter.set_inputs(producer, [producer.input(0), rescaled, *producer.inputs[2:]])
        needs_bias = bias is not None or bool(total.any())
        _set_weight(rewriter.graph, producer, scaled, total if needs_bias else None)
        return self._take_over(node, producer, rewriter)

    def _take_over(self, node: Node, producer: Node, rewriter: Rewriter) -> Answer:
        producer.attributes.update({key: node.attributes[key] for key in _FUSED if key in node.attributes})
        rewriter.supersede(node.output, producer.output)
        return CHANGED


_FUSED = ("activation", "activation_arguments")


def _is_mask(shift: Array) -> bool:
    """Whether some numbers lie so far below all others that they can only mean: not this one."""
    far = shift <= -1000.0
    return bool(far.any() and (shift > -100.0).any() and (far | (shift > -100.0)).all())


def _real(value: Value) -> Array | None:
    """The real numbers of a constant, float or dequantized from integers."""
    node = quantized_constant(value)
    if node is None:
        return value.data
    return evaluate_node(node, [None if item is None else item.data for item in node.inputs])[0]


def _rescaled(graph: Graph, node: Node, scale: Array) -> Value | None:
    """Quantized weights that make each output channel `scale` times what it was: the integers stay."""
    dequantize = quantized_constant(node.input(1))
    if dequantize is None or node.op not in ("Conv", "dense"):
        return None
    return rescaled(graph, dequantize, scale, 0 if node.op == "Conv" else 1)


def _set_batchnorm(graph: Graph, node: Node, after: Affine) -> Refused | None:
    """Let a BatchNormalization do what comes after it too: its mean becomes 0 and its variance 1."""
    own = affine_of(node, 1)
    if not isinstance(own, Affine):
        return refuse(f"{node.where} stays as it is: {own.reason}") if own is not None else None
    dtype, wish = node.input(1).dtype, node.output.name
    scale, shift = own.scale * after.scale, own.shift * after.scale + after.shift
    refused = outside(dtype, scale, shift)
    if refused is not None:
        return refused
    parts = {"scale": scale, "bias": shift, "mean": np.zeros_like(scale), "variance": np.ones_like(scale)}
    inputs = [constant(graph, f"{wish}_{part}", data.astype(dtype)) for part, data in parts.items()]
    node.set_inputs([node.input(0), *inputs])
    node.attributes["epsilon"] = 0.0
    return None


def _weighted_producer(node: Node) -> Node | None:
    """The convolution or dense op whose value the node scales or shifts."""
    for value in node.inputs[: 1 if node.op == "BatchNormalization" else 2]:
        producer = None if value is None else value.producer
        if producer is not None and not producer.domain and producer.op in _WEIGHTED:
            return producer
    return None


@dataclass(frozen=True)
class FuseBatchNormForward(Rewrite):
    """Fold the same ops into the Conv or dense op after them: `Conv(BatchNormalization(x))` -> `Conv(x)`."""

    name: ClassVar[str] = "fuse-batchnorm-forward"
    tolerance: ClassVar[float] = 1e-4
    ops: ClassVar[tuple[str, ...]] = ("Conv", "dense")

    def rewrite(self, node: Node, rewriter: Rewriter) -> Answer:
        x = node.input(0)
        former = x.producer
        if former is None or former.domain or former.op not in _AFFINE:
            return None
        affine = affine_of(former, _channel_axis(node))
        if affine is None or isinstance(affine, Refused):
            return None if affine is None else refuse(f"{former.where} stays: {affine.reason}")
        if "activation" in former.attributes:
            return None
        shared = why_shared(rewriter.graph, x, node)
        if shared is not None:
            return refuse(f"{former.where} must stay: {shared}")
        if not np.isfinite(affine.scale).all() or not np.isfinite(affine.shift).all():
            return refuse(f"the scale or shift of {former.where} is not finite")
        if affine.shift.any() and any(node.attributes.get("pads", ())):
            return refuse(f"it pads with 0 after the shift of {former.where}")
        weight, bias = node.input(1), node.optional_input(2)
        if weight.data is None or (bias is not None and bias.data is None):
            return refuse("its weight or bias is not a float constant")
        absorbed, added = absorbed_inputs(node, weight.data, affine.scale, affine.shift)
        if bias is not None and bias.data is not None:
            added = added + bias.data.astype(np.float64)
        refused = outside(weight.dtype, absorbed, added)
        if refused is not None:
            return refused
        _set_weight(rewriter.graph, node, absorbed, added if bias is not None or added.any() else None)
        rewriter.set_inputs(node, [affine.x, *node.inputs[1:]])
        return CHANGED


@dataclass(frozen=True)
class FuseQuantizedBias(Rewrite):
    """`Add(dense(x, w), DequantizeLinear(b))` -> `dense(x, w, DequantizeLinear(b))`, and the same for Conv."""

    name: ClassVar[str] = "fuse-quantized-bias"
    ops: ClassVar[tuple[str, ...]] = ("Add",)

    def rewrite(self, node: Node, rewriter: Rewriter) -> Answer:
        producer = _weighted_producer(node)
        if producer is None or producer.op not in ("Conv", "dense"):
            return None
        bias = next((value for value in node.inputs if value is not None and value is not producer.output), None)
        dequantize = None if bias is None else quantized_constant(bias)
        if bias is None or dequantize is None:
            return None
        if producer.optional_input(2) is not None:
            return refuse(f"{producer.where} has a bias already, and '{bias.name}' has a scale of its own")
        if "activation" in producer.attributes:
            return refuse(f"{producer.where} applies {producer.attributes['activation']} first")
        shared = why_shared(rewriter.graph, producer.output, node)
        if shared is not None:
            return refuse(f"{producer.where} must stay as it is: {shared}")
        axis, shape = _channel_axis(producer), producer.output.shape
        aligned = (1,) * (len(shape) - bias.type.rank) + bias.shape
        if node.output.shape != shape or aligned != tuple(n if i == axis else 1 for i, n in enumerate(shape)):
            return refuse(f"its constant {list(bias.shape)} is not one number for each channel")
        if bias.type.rank != 1:
            if not has_one_scale(dequantize) and dequantize.input(1).type.elements != shape[axis]:
                return refuse(f"the scales of '{bias.name}' do not go with the channels")
            bias = reshaped(rewriter.graph, dequantize, (shape[axis],), 0)
        producer.set_inputs([*producer.inputs[:2], bias])
        producer.attributes.update({key: node.attributes[key] for key in _FUSED if key in node.attributes})
        rewriter.supersede(node.output, producer.output)
        return CHANGED
