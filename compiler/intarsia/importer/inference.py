"""Types of node outputs, one node after the other: our own strict rules first, onnx's where we have none.

What is known at compile time (shapes, and arithmetic on them) is computed on the way, so that a chain such as Shape ->
Gather -> Concat -> Reshape gives a static shape.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import numpy_helper

from intarsia.dtypes import NATIVE, Array, dtype_name, itemsize_bytes, numpy_dtype
from intarsia.errors import CompileError, RunError
from intarsia.importer.attributes import schema_of
from intarsia.importer.limits import Limits
from intarsia.importer.tensors import MAX_RANK
from intarsia.importer.types import element_name, tensor_type, type_proto
from intarsia.ir.budget import raising
from intarsia.ir.evaluate import evaluate_node
from intarsia.ir.graph import Node, Value
from intarsia.ir.infer import infer_node
from intarsia.ir.onnx_reference import node_proto, opset_imports
from intarsia.ir.op import CAPTURED
from intarsia.ir.types import TensorType

KNOWN_ELEMENTS = 4096
"""The longest array that is computed while shapes are inferred; shapes and indices are far shorter, weights longer."""

# fmt: off
SHAPE_ARITHMETIC = frozenset({
    "Abs", "Add", "And", "Cast", "CastLike", "Ceil", "Clip", "Compress", "Concat", "ConstantOfShape", "Div",
    "Equal", "Expand", "Flatten", "Floor", "Gather", "GatherElements", "GatherND", "Greater", "GreaterOrEqual",
    "Identity", "Less", "LessOrEqual", "Max", "Min", "Mod", "Mul", "Neg", "NonZero", "Not", "Or", "Pow", "Range",
    "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Round", "ScatterElements", "ScatterND", "Sign",
    "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Tile", "Transpose", "Unsqueeze", "Where", "Xor",
})
# fmt: on
"""Ops that exporters build shapes with; they alone are computed at import."""


class Inference:
    """Types and known elements of the values met so far."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.known: dict[Value, Array] = {}
        self.protos: dict[Value, onnx.TypeProto] = {}

    def elements(self, value: Value | None) -> Array | None:
        """The elements of a value, where they are known at compile time."""
        if value is None:
            return None
        return value.data if value.data is not None else self.known.get(value)

    def infer(self, node: Node) -> None:
        """Set the types of a node's outputs, and note their elements where they follow from what is known."""
        types = self._types(node)
        for value, type in zip(node.outputs, types):
            if value is not None:
                assert type is not None
                self.check_size(type, node.where)
                value.type = type
        self._compute(node)

    def check_size(self, type: TensorType, where: str, title: str = "its result") -> None:
        """Refuse an input or a computed tensor over the limit."""
        if type.shape is None:
            return
        if len(type.shape) > MAX_RANK:
            raise CompileError(
                where=where,
                what=f"{title} has {len(type.shape)} axes; NumPy takes {MAX_RANK}",
                help="merge some of them",
            )
        size_bytes = math.prod(max(size, 1) for size in type.shape if size is not None) * itemsize_bytes(type.dtype)
        if size_bytes > self.limits.tensor_bytes and type.is_static:
            raise CompileError(
                where=where,
                what=f"{type} would take {size_bytes} bytes; the limit is {self.limits.tensor_bytes}",
                help="check the shapes that the model computes; if it is meant to be so large, raise it: "
                + raising("tensor_bytes"),
            )

    # ---- types

    def _types(self, node: Node) -> list[TensorType | None]:
        known = [self.elements(value) for value in node.inputs]
        own: list[TensorType | None] = list(infer_node(node, known) or ())
        missing = [
            index
            for index, value in enumerate(node.outputs)
            if value is not None and (index >= len(own) or own[index] is None)
        ]
        if missing:
            theirs = self._by_onnx(node)
            own = [own[i] if i < len(own) and own[i] is not None else theirs[i] for i in range(len(node.outputs))]
        return own

    def _by_onnx(self, node: Node) -> list[TensorType | None]:
        """By onnx's own rule; sizes that it does not find are unknown."""
        names = [f"input_{index}" if value is not None else "" for index, value in enumerate(node.inputs)]
        captured = node.attributes.get(CAPTURED, ())
        names[len(names) - len(captured) :] = captured
        outputs = ["" if value is None else f"output_{index}" for index, value in enumerate(node.outputs)]
        schema = schema_of(node.op, node.opset, node.domain)
        types, data = {}, {}
        for name, value in zip(names, node.inputs):
            if value is not None:
                types[name] = self.protos.get(value) or type_proto(value.type)
                elements = self.elements(value)
                if elements is not None and elements.size <= KNOWN_ELEMENTS and elements.dtype.name in NATIVE:
                    data[name] = numpy_helper.from_array(elements)
        try:
            found = onnx.shape_inference.infer_node_outputs(
                schema, node_proto(node, names, outputs), types, data, opset_imports=opset_imports(node)
            )
        except Exception as error:  # onnx raises what its C++ raises
            raise CompileError(
                where=node.where, what=_reason(error), help="check what feeds this node; export the model again"
            ) from error
        results: list[TensorType | None] = []
        for value, name in zip(node.outputs, outputs):
            type = tensor_type(found[name], node.where) if name in found else None
            if value is not None and type is None:
                type = self._like_an_input(node, schema, len(results))
            if value is not None and name in found and type is not None and type.dtype.endswith(")"):
                self.protos[value] = found[name]
            results.append(type)
        return results

    def _like_an_input(self, node: Node, schema: onnx.defs.OpSchema, index: int) -> TensorType:
        """The element type alone, from an input that the schema says has the same."""
        formal = schema.outputs[min(index, len(schema.outputs) - 1)]
        if len(formal.types) == 1:
            only = next(iter(formal.types))
            if only.startswith("tensor("):
                return TensorType(element_name(only[7:-1]), None)
        for position, value in enumerate(node.inputs[: len(node.inputs) - len(node.attributes.get(CAPTURED, ()))]):
            if value is not None:
                row = schema.inputs[min(position, len(schema.inputs) - 1)]
                if row.type_str == formal.type_str:
                    return TensorType(value.type.dtype, None)
        raise CompileError(
            where=node.where,
            what=f"the type of its output {index} cannot be found",
            help="run onnx.shape_inference on the model, so that it declares the types of its values",
        )

    # ---- elements

    def _compute(self, node: Node) -> None:
        if node.domain != "":
            return
        if node.op in ("Shape", "Size"):
            self._compute_shape(node)
            return
        if node.op not in SHAPE_ARITHMETIC or any(value is None for value in node.outputs):
            return
        inputs = [self.elements(value) for value in node.inputs]
        for value, data in zip(node.inputs, inputs):
            if value is not None and (data is None or data.size > KNOWN_ELEMENTS or data.dtype.name not in NATIVE):
                return
        depends_on_data = node.op in ("NonZero", "Compress")
        for output in node.outputs:
            assert output is not None
            static = output.type.is_static and output.type.elements <= KNOWN_ELEMENTS and output.type.dtype in NATIVE
            if not static and not depends_on_data:
                return
        try:
            with np.errstate(all="ignore"):
                results = evaluate_node(node, inputs)
        except RunError as error:
            reason = error.what
            raise CompileError(
                where=node.where,
                what=f"it cannot be computed from its constant inputs: {reason}",
                help="check the constants that feed this node; export the model again",
            ) from error
        for output, result in zip(node.outputs, results):
            assert output is not None
            self.known[output] = np.asarray(result)
            output.type = TensorType(dtype_name(result.dtype), tuple(result.shape))

    def _compute_shape(self, node: Node) -> None:
        type = node.input(0).type
        if type.shape is None:
            return
        sizes = type.shape
        if node.op == "Shape":
            sizes = sizes[slice(node.attributes.get("start", 0), node.attributes.get("end"))]
        if None not in sizes:
            result = np.array(math.prod(type.dims) if node.op == "Size" else sizes, numpy_dtype("int64"))
            self.known[node.output] = result


def _reason(error: Exception) -> str:
    """The last sentence of onnx's message, without its brackets and C++ names."""
    text = str(error).strip()
    for tag in ("[ShapeInferenceError]", "[TypeInferenceError]"):
        text = text.split(tag)[-1].strip()
    lines = text.splitlines()
    return lines[0].strip() if lines else "its inputs do not fit"
