"""Normalizations: batch (inference form), layer, instance, group, RMS, Lp and local response."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from intarsia.dtypes import FLOATING, Array, numpy_dtype
from intarsia.ir.graph import Node
from intarsia.ir.op import Known, Op, attribute, refuse, required
from intarsia.ir.ops.convolution import along_channels
from intarsia.ir.ops.rules import (
    BAD_MODEL,
    Types,
    axes_in,
    axis_in,
    broadcast,
    element_type_of,
    fallback,
    fitting,
    given,
    given_or_none,
    of_rank,
    optional,
    tensor,
    wide,
)
from intarsia.ir.types import TensorType


def _check_per_channel(node: Node, types: Types, x: TensorType, indices: Sequence[int]) -> None:
    """Parameters of one entry a channel."""
    for index in indices:
        parameter = tensor(node, types, index, FLOATING)
        of_rank(node, parameter, 1, 1)
        if x.shape is None or parameter.shape is None:
            continue
        if not fitting(parameter.shape[0], x.shape[1]):
            raise refuse(node, f"input {index} is {parameter}, and {x} has {x.shape[1]} channels", BAD_MODEL)


# ---- BatchNormalization


def _infer_batch(node: Node, types: Types, known: Known) -> list[TensorType]:
    x = tensor(node, types, 0, FLOATING)
    of_rank(node, x, 1)
    if x.shape is not None and len(x.shape) > 1:
        _check_per_channel(node, types, x, (1, 2, 3, 4))
    mean, variance = tensor(node, types, 3), tensor(node, types, 4)
    return [x, mean, variance][: max(len(node.outputs), 1)]


def _evaluate_batch(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, scale, bias, mean, variance = (given(inputs, index) for index in range(5))
    if attribute(node, BATCH, "training_mode"):
        return fallback(node, inputs)
    rank = max(x.ndim, 2)
    epsilon = variance.dtype.type(attribute(node, BATCH, "epsilon"))
    factor = along_channels(wide(scale) / np.sqrt(wide(variance + epsilon)), rank)
    result = (wide(x).reshape(x.shape if x.ndim > 1 else (-1, 1)) - along_channels(wide(mean), rank)) * factor
    result = result + along_channels(wide(bias), rank)
    return [result.reshape(x.shape).astype(x.dtype, copy=False)]


BATCH = Op(
    "BatchNormalization",
    _infer_batch,
    _evaluate_batch,
    {"epsilon": 1e-5, "momentum": 0.9, "training_mode": 0},
    rare=lambda node: bool(node.attributes.get("training_mode", 0)),
    carries_activation=True,
    optional_outputs=True,
)


# ---- LayerNormalization, RMSNormalization


def _trailing(node: Node, types: Types, parameters: Sequence[int]) -> tuple[TensorType, int | None]:
    """The input's type and the axis from which it is normalized; None where the rank is not known."""
    x = tensor(node, types, 0, FLOATING)
    if x.shape is None:
        return x, None
    axis = axis_in(node, node.attributes.get("axis", -1), len(x.shape))
    for index in parameters:
        parameter = optional(types, index)
        if parameter is None:
            continue
        together = broadcast(node, x, parameter)
        if (together is not None and not all(map(fitting, together, x.shape))) or len(together or ()) > len(x.shape):
            raise refuse(node, f"input {index} is {parameter}, which does not broadcast to {x}", BAD_MODEL)
    return x, axis


def _infer_layer(node: Node, types: Types, known: Known) -> list[TensorType]:
    tensor(node, types, 1)
    x, axis = _trailing(node, types, (1, 2))
    shape = None if x.shape is None or axis is None else (*x.shape[:axis], *(1,) * (len(x.shape) - axis))
    stash = TensorType(element_type_of(node, attribute(node, LAYER, "stash_type")), shape)
    return [x, stash, stash][: max(len(node.outputs), 1)]


def _evaluate_layer(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, scale, bias = given(inputs, 0), given(inputs, 1), given_or_none(inputs, 2)
    stash = numpy_dtype(element_type_of(node, attribute(node, LAYER, "stash_type")))
    axes = tuple(range(axis_in(node, attribute(node, LAYER, "axis"), x.ndim), x.ndim))
    source = x.astype(stash)
    mean = np.mean(source, axis=axes, keepdims=True)
    centred = source - mean
    variance = np.mean(np.square(centred), axis=axes, keepdims=True)
    inverse = np.reciprocal(np.sqrt(variance + stash.type(attribute(node, LAYER, "epsilon"))))
    result = (centred * inverse).astype(x.dtype) * scale
    if bias is not None:
        result = result + bias
    return [result.astype(x.dtype, copy=False), mean, inverse][: max(len(node.outputs), 1)]


LAYER = Op(
    "LayerNormalization",
    _infer_layer,
    _evaluate_layer,
    {"axis": -1, "epsilon": 1e-5, "stash_type": 1},
    optional_outputs=True,
)


def _infer_rms(node: Node, types: Types, known: Known) -> list[TensorType]:
    scale = tensor(node, types, 1)
    return [TensorType(scale.dtype, _trailing(node, types, (1,))[0].shape)]


def _evaluate_rms(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, scale = given(inputs, 0), given(inputs, 1)
    stash = numpy_dtype(element_type_of(node, attribute(node, RMS, "stash_type")))
    axes = tuple(range(axis_in(node, attribute(node, RMS, "axis"), x.ndim), x.ndim))
    source = x.astype(stash)
    square = np.mean(np.square(source), axis=axes, keepdims=True)
    result = source / np.sqrt(square + stash.type(attribute(node, RMS, "epsilon")))
    return [np.asarray(result.astype(x.dtype) * scale).astype(scale.dtype, copy=False)]


RMS = Op("RMSNormalization", _infer_rms, _evaluate_rms, {"axis": -1, "epsilon": 1e-5, "stash_type": 1})


# ---- InstanceNormalization, GroupNormalization, MeanVarianceNormalization


def _infer_instance(node: Node, types: Types, known: Known) -> list[TensorType]:
    x = tensor(node, types, 0, FLOATING)
    of_rank(node, x, 3)
    _check_per_channel(node, types, x, (1, 2))
    return [x]


def _standardized(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    centred = x - np.mean(x, axis=axes, keepdims=True)
    variance = np.mean(np.square(centred), axis=axes, keepdims=True)
    return np.asarray(centred / np.sqrt(variance + x.dtype.type(epsilon)))


def _evaluate_instance(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, scale, bias = given(inputs, 0), given(inputs, 1), given(inputs, 2)
    result = _standardized(wide(x), tuple(range(2, x.ndim)), attribute(node, INSTANCE, "epsilon"))
    result = result * along_channels(wide(scale), x.ndim) + along_channels(wide(bias), x.ndim)
    return [result.astype(x.dtype, copy=False)]


INSTANCE = Op("InstanceNormalization", _infer_instance, _evaluate_instance, {"epsilon": 1e-5})


def _infer_group(node: Node, types: Types, known: Known) -> list[TensorType]:
    x, groups = tensor(node, types, 0, FLOATING), attribute(node, GROUP, "num_groups")
    of_rank(node, x, 2)
    channels = None if x.shape is None else x.shape[1]
    if groups < 1 or (channels is not None and channels % groups):
        raise refuse(node, f"{channels} channels do not divide into {groups} groups", BAD_MODEL)
    for index in (1, 2):
        parameter, entries = tensor(node, types, index, FLOATING), channels if node.opset >= 21 else groups
        of_rank(node, parameter, 1, 1)
        if parameter.shape is not None and not fitting(parameter.shape[0], entries):
            raise refuse(node, f"input {index} is {parameter}, not of {entries} entries", BAD_MODEL)
    return [x]


def _evaluate_group(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, scale, bias = given(inputs, 0), given(inputs, 1), given(inputs, 2)
    groups = attribute(node, GROUP, "num_groups")
    if node.opset < 21:  # one entry a group
        scale, bias = np.repeat(scale, x.shape[1] // groups), np.repeat(bias, x.shape[1] // groups)
    rows = wide(x).reshape(x.shape[0], groups, -1)
    result = _standardized(rows, (2,), attribute(node, GROUP, "epsilon")).reshape(x.shape)
    result = result * along_channels(wide(scale), x.ndim) + along_channels(wide(bias), x.ndim)
    return [result.astype(x.dtype, copy=False)]


GROUP = Op(
    "GroupNormalization", _infer_group, _evaluate_group, {"epsilon": 1e-5, "num_groups": required, "stash_type": 1}
)


def _infer_mean_variance(node: Node, types: Types, known: Known) -> list[TensorType]:
    x = tensor(node, types, 0, FLOATING)
    if x.shape is not None:
        axes_in(node, attribute(node, MEAN_VARIANCE, "axes"), len(x.shape))
    return [x]


def _evaluate_mean_variance(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x = given(inputs, 0)
    axes, source = axes_in(node, attribute(node, MEAN_VARIANCE, "axes"), x.ndim), wide(x)
    mean = np.mean(source, axis=axes, keepdims=True)
    deviation = np.sqrt(np.mean(np.square(source), axis=axes, keepdims=True) - np.square(mean))
    return [((source - mean) / (deviation + source.dtype.type(1e-9))).astype(x.dtype, copy=False)]


MEAN_VARIANCE = Op("MeanVarianceNormalization", _infer_mean_variance, _evaluate_mean_variance, {"axes": (0, 2, 3)})


# ---- LpNormalization, LRN


def _infer_lp(node: Node, types: Types, known: Known) -> list[TensorType]:
    x = tensor(node, types, 0, FLOATING)
    if x.shape is not None:
        axis_in(node, attribute(node, LP, "axis"), len(x.shape))
    if attribute(node, LP, "p") not in (1, 2):
        raise refuse(node, f"p is {attribute(node, LP, 'p')}, not 1 or 2", BAD_MODEL)
    return [x]


def _evaluate_lp(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x = given(inputs, 0)
    axis, source = attribute(node, LP, "axis"), wide(x)
    if attribute(node, LP, "p") == 1:
        norm = np.sum(np.abs(source), axis=axis, keepdims=True)
    else:
        norm = np.sqrt(np.sum(np.square(source), axis=axis, keepdims=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        return [np.where(norm == 0, 0, source / norm).astype(x.dtype, copy=False)]


LP = Op("LpNormalization", _infer_lp, _evaluate_lp, {"axis": -1, "p": 2})


def _infer_lrn(node: Node, types: Types, known: Known) -> list[TensorType]:
    x = tensor(node, types, 0, FLOATING)
    of_rank(node, x, 2)
    if attribute(node, LRN, "size") < 1:
        raise refuse(node, f"size is {attribute(node, LRN, 'size')}", BAD_MODEL)
    return [x]


def lrn_window(size: int, channels: int) -> tuple[int, int]:
    """How many channels in front and behind an LRN of this `size` sums, as far as there are any."""
    furthest = max(channels - 1, 0)
    return min((size - 1) // 2, furthest), min(size // 2, furthest)


def _evaluate_lrn(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, size = given(inputs, 0), attribute(node, LRN, "size")
    before, after = lrn_window(size, x.shape[1])
    square = np.square(wide(x))
    padded = np.pad(square, [(0, 0), (before, after), *[(0, 0)] * (x.ndim - 2)])
    total = np.zeros_like(square)
    for offset in range(before + 1 + after):
        total += padded[:, offset : offset + x.shape[1]]
    kind = square.dtype.type
    factor = kind(attribute(node, LRN, "alpha") / size)
    divisor = np.power(kind(attribute(node, LRN, "bias")) + factor * total, kind(attribute(node, LRN, "beta")))
    return [(wide(x) / divisor).astype(x.dtype, copy=False)]


LRN = Op("LRN", _infer_lrn, _evaluate_lrn, {"alpha": 1e-4, "beta": 0.75, "bias": 1.0, "size": required})


OPS = (BATCH, LAYER, RMS, INSTANCE, GROUP, MEAN_VARIANCE, LP, LRN)
