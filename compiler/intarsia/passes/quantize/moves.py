"""Ops that move elements and compute nothing: they stay ONNX's, on int8, and keep the scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from intarsia.ir.graph import Node, Value
from intarsia.ir.integer import INT8_RANGE
from intarsia.ir.types import Quantization, TensorType
from intarsia.passes.base import Refused, refuse
from intarsia.passes.quantize.constants import constant_of, data_inputs
from intarsia.passes.quantize.emitter import Emitter, quantization
from intarsia.passes.quantize.scales import steps


def check_move(node: Node) -> Refused | None:
    """What is moved is the first input, and an activation."""
    if data_inputs(node) != (0,):
        return refuse("what it moves is not one activation")
    return None


def emit_move(emitter: Emitter, node: Node, sources: Sequence[Value], target: Quantization) -> list[Value] | Refused:
    """The same node on int8, with the scale of its input."""
    return move(emitter, node, [sources[0], *node.inputs[1:]])


def move(emitter: Emitter, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    """The same node on int8; all outputs have the scale of the first input."""
    assert inputs[0] is not None
    types = [None if value is None else TensorType("int8", value.shape) for value in node.outputs]
    wish = f"{node.name}_int8"
    twin = emitter.graph.add_node(
        node.op, inputs, types, node.attributes, name=wish, output_names=[wish] * len(types), opset=node.opset
    )
    results = [value for value in twin.outputs if value is not None]
    for value in results:
        value.quantization = inputs[0].quantization
    return results


def check_pad(node: Node) -> Refused | None:
    """Pad: the fill value is a constant."""
    value = node.optional_input(2)
    if value is not None and constant_of(value) is None:
        return refuse("its fill value is computed at run time")
    if np.isnan(fill_of(node) or 0.0):
        return refuse("its fill value is NaN")
    return check_move(node)


def fill_of(node: Node) -> float | None:
    """The constant that a Pad fills up with; None where it repeats what is there."""
    if node.attributes.get("mode", "constant") not in ("constant", b"constant"):
        return None
    fill = node.optional_input(2)
    data = None if fill is None else constant_of(fill)
    return 0.0 if data is None or not data.size else float(data.reshape(-1)[0])


def emit_pad(emitter: Emitter, node: Node, sources: Sequence[Value], target: Quantization) -> list[Value] | Refused:
    """Pad on int8; the fill value becomes its integer at the input's scale.

    Where that scale does not reach to it, and the output has another one, the input is requantized first.
    """
    source, fill = sources[0], fill_of(node)
    if fill is not None and target != source.quantization and not _reaches(quantization(source), fill):
        scaled = emitter.requantized(source, target, node, INT8_RANGE)
        if isinstance(scaled, Refused):
            return scaled
        source = scaled
    inputs: list[Value | None] = [source, *node.inputs[1:]]
    if fill is not None:
        integer = np.asarray(steps(fill, quantization(source)), np.int8)
        inputs += [None] * (3 - len(inputs))
        inputs[2] = emitter.constant(f"{node.name}_fill", integer)
    return move(emitter, node, inputs)


def _reaches(of: Quantization, real: float) -> bool:
    """Whether int8 of a scale come within a step of a number."""
    low, high = ((end - of.zero_point) * of.scale for end in INT8_RANGE)
    return low - of.scale <= real <= high + of.scale


def check_resize(node: Node) -> Refused | None:
    """Resize: by the nearest element, with nothing cropped."""
    mode = node.attributes.get("mode", "nearest")
    if mode != "nearest":
        return refuse(f"it interpolates ({mode}); only nearest has an integer form")
    if node.attributes.get("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        return refuse("it crops while it resizes (tf_crop_and_resize)")
    if len(data_inputs(node)) != 1 or constant_of(node.input(0)) is not None:
        return refuse("its scales are computed at run time")
    return None


def check_concat(node: Node) -> Refused | None:
    """Concat: of activations alone."""
    if len(data_inputs(node)) != len(node.inputs):
        return refuse("one of its inputs is a constant")
    return None


def emit_concat(emitter: Emitter, node: Node, sources: Sequence[Value], target: Quantization) -> list[Value] | Refused:
    """Concat on int8; inputs of another scale than the output's are requantized first."""
    inputs = []
    for source in sources:
        scaled: Value | Refused = source
        if source.quantization != target:
            scaled = emitter.requantized(source, target, node, INT8_RANGE)
        if isinstance(scaled, Refused):
            return scaled
        inputs.append(scaled)
    types = [TensorType("int8", node.output.shape)]
    wish = f"{node.name}_int8"
    twin = emitter.graph.add_node(
        "Concat", inputs, types, node.attributes, name=wish, output_names=[wish], opset=node.opset
    )
    twin.output.quantization = target
    return [twin.output]
