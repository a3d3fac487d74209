"""Pooling: averages as qaveragepool; maxima stay ONNX's MaxPool, on int8."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from intarsia.ir.graph import Node, Value
from intarsia.ir.integer import INT8_RANGE
from intarsia.ir.ops.windows import output_size
from intarsia.ir.types import Quantization
from intarsia.passes.base import Refused, refuse
from intarsia.passes.quantize.elementwise import fused_clamp
from intarsia.passes.quantize.emitter import Emitter, clamps, quantization
from intarsia.passes.quantize.scales import ratio

_SUM_LIMIT = (1 << 31) // 255
"""Elements in one window at most, so that their sum fits 32 bits."""


def check_average_pool(node: Node) -> Refused | None:
    """AveragePool: one divisor for all windows, and sums that fit 32 bits."""
    kernel, spatial = tuple(node.attributes["kernel_shape"]), len(node.attributes["kernel_shape"])
    pads, strides = _pads(node), _strides(node)
    if any(dilation != 1 for dilation in node.attributes.get("dilations", ())):
        return refuse("its window is dilated")
    if any(pads) and not node.attributes.get("count_include_pad", 0):
        return refuse("its divisor changes at the border (count_include_pad is 0)")
    shape = node.input(0).shape[2:]
    floor = tuple(output_size(shape[i], kernel[i], strides[i], 1, pads[i], pads[spatial + i]) for i in range(spatial))
    if floor != node.output.shape[2:]:
        return refuse("its last window reaches over the border (ceil_mode)")
    return _check_count(math.prod(kernel))


def _check_count(count: int) -> Refused | None:
    return refuse(f"{count} elements in one average can overflow 32 bits") if count > _SUM_LIMIT else None


def _pads(node: Node) -> tuple[int, ...]:
    return tuple(node.attributes.get("pads", (0,) * 2 * len(node.attributes["kernel_shape"])))


def _strides(node: Node) -> tuple[int, ...]:
    return tuple(node.attributes.get("strides", (1,) * len(node.attributes["kernel_shape"])))


def emit_average_pool(
    emitter: Emitter, node: Node, sources: Sequence[Value], target: Quantization
) -> list[Value] | Refused:
    """qaveragepool, which divides and scales in one step."""
    kernel = tuple(node.attributes["kernel_shape"])
    return _average(emitter, node, sources[0], target, kernel, _strides(node), _pads(node))


def _average(
    emitter: Emitter,
    node: Node,
    source: Value,
    target: Quantization,
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    pads: tuple[int, ...],
) -> list[Value] | Refused:
    of = quantization(source)
    factor = ratio(of.scale / (math.prod(kernel) * target.scale))
    if isinstance(factor, Refused):
        return factor
    positions = tuple(
        output_size(size, kernel[i], strides[i], 1, pads[i], pads[len(kernel) + i])
        for i, size in enumerate(source.shape[2:])
    )
    attributes = {
        "kernel_shape": kernel,
        "strides": strides,
        "pads": pads,
        "input_zero_point": of.zero_point,
        "output_zero_point": target.zero_point,
        "multiplier": factor[0],
        "shift": factor[1],
        **clamps(fused_clamp(node, target)),
    }
    return [emitter.add("qaveragepool", [source], (*source.shape[:2], *positions), target, attributes, node)]


def check_global_pool(node: Node) -> Refused | None:
    """A pool over all spatial axes: there is one, and the sum fits 32 bits."""
    if node.input(0).type.rank < 3:
        return refuse("its input has no spatial axis")
    return _check_count(math.prod(node.input(0).shape[2:]))


def emit_global_average_pool(
    emitter: Emitter, node: Node, sources: Sequence[Value], target: Quantization
) -> list[Value] | Refused:
    """qaveragepool whose window is the whole image."""
    kernel = sources[0].shape[2:]
    return _average(emitter, node, sources[0], target, kernel, (1,) * len(kernel), (0,) * 2 * len(kernel))


def _mean_axes(node: Node) -> tuple[int, ...] | None:
    """The axes of a ReduceMean, counted from the front, sorted; None where they are computed at run time."""
    rank, value = node.input(0).type.rank, node.optional_input(1)
    if value is not None and value.data is None:
        return None
    axes = node.attributes.get("axes", ()) if value is None or value.data is None else tuple(value.data.tolist())
    if not axes:
        return () if node.attributes.get("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted(int(axis) % rank for axis in axes))


def check_reduce_mean(node: Node) -> Refused | None:
    """ReduceMean: over all spatial axes and no other."""
    rank = node.input(0).type.rank
    if rank < 3 or _mean_axes(node) != tuple(range(2, rank)):
        return refuse("it does not run over all spatial axes and no other")
    return check_global_pool(node)


def emit_reduce_mean(
    emitter: Emitter, node: Node, sources: Sequence[Value], target: Quantization
) -> list[Value] | Refused:
    """qaveragepool whose window is the whole image, and a Reshape where the axes go."""
    result = emit_global_average_pool(emitter, node, sources, target)
    if isinstance(result, Refused) or result[0].shape == node.output.shape:
        return result
    shape = emitter.constant(f"{node.name}_shape", np.asarray(node.output.shape, np.int64))
    return [emitter.add("Reshape", [result[0], shape], node.output.shape, target, {}, node, opset=18)]


def check_max_pool(node: Node) -> Refused | None:
    """MaxPool: without the indices of its maxima."""
    if len(node.outputs) > 1 and node.outputs[1] is not None:
        return refuse("it also gives the indices of its maxima")
    return None


def emit_max_pool(
    emitter: Emitter, node: Node, sources: Sequence[Value], target: Quantization
) -> list[Value] | Refused:
    """MaxPool on int8, and a requantize where its activation clamps."""
    attributes = {name: value for name, value in node.attributes.items() if not name.startswith("activation")}
    return _maximum(emitter, node, sources[0], attributes)


def _maximum(emitter: Emitter, node: Node, source: Value, attributes: dict[str, object]) -> list[Value] | Refused:
    of = quantization(source)
    opset = max(node.opset, 12)
    result = emitter.add("MaxPool", [source], node.output.shape, of, attributes, node, opset)
    clamp = fused_clamp(node, of)
    if clamp == INT8_RANGE:
        return [result]
    clamped = emitter.requantized(result, of, node, clamp)
    return clamped if isinstance(clamped, Refused) else [clamped]


def emit_global_max_pool(
    emitter: Emitter, node: Node, sources: Sequence[Value], target: Quantization
) -> list[Value] | Refused:
    """MaxPool on int8 whose window is the whole image."""
    kernel = sources[0].shape[2:]
    ones = (1,) * len(kernel)
    attributes = {
        "kernel_shape": kernel,
        "strides": ones,
        "pads": (0,) * 2 * len(kernel),
        "dilations": ones,
        "ceil_mode": 0,
        "storage_order": 0,
    }
    return _maximum(emitter, node, sources[0], attributes)
