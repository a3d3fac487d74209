"""Attributes of a node, from protobuf to plain Python, each held against the op's schema."""

from __future__ import annotations

import functools
from typing import Any

import onnx

from intarsia.arguments import near
from intarsia.errors import CompileError
from intarsia.importer.tensors import TensorReader
from intarsia.ir.graph import Attribute

# fmt: off
FLAGS = frozenset((
    "align_corners", "allowzero", "antialias", "broadcast", "ceil_mode", "center_point_box", "count_include_pad",
    "detect_negative", "detect_positive", "exclude_outside", "exclusive", "fmod", "input_forget", "interleaved",
    "inverse", "is_causal", "is_case_sensitive", "keepdims", "largest", "layout", "linear_before_reset", "new_axis",
    "noop_with_empty_axes", "onesided", "periodic", "reverse", "saturate", "select_last_index", "sorted",
    "storage_order", "training_mode", "transA", "transB", "upper", "zeros",
))
# fmt: on
"""Attributes that say yes or no, as 1 or 0. Of another number one runtime makes yes and the next no."""

_KINDS: dict[int, str] = {number: name for name, number in onnx.AttributeProto.AttributeType.items()}


@functools.cache
def schema_of(op: str, opset: int, domain: str) -> Any:
    """The onnx.defs.OpSchema in force, or None where the op is not known at that opset."""
    try:
        return onnx.defs.get_schema(op, opset, domain)
    except onnx.defs.SchemaError:
        return None


@functools.cache
def _rows(op: str, opset: int, domain: str) -> dict[str, tuple[str, bool]]:
    """For each attribute: its kind and whether it must be there."""
    schema = schema_of(op, opset, domain)
    return {name: (row.type.name, row.required) for name, row in schema.attributes.items()}


def read_attributes(proto: onnx.NodeProto, opset: int, domain: str, where: str, reader: TensorReader) -> dict[str, Any]:
    """int, float, str, tuple, array; graphs and types serialized.

    Raises CompileError for names that the op does not have, wrong kinds, flags that are neither 0 nor 1, text that is
    no UTF-8, and required ones that are missing.
    """
    rows = _rows(proto.op_type, opset, domain)
    attributes: dict[str, Attribute] = {}
    for item in proto.attribute:
        if item.name not in rows:
            raise CompileError(
                where=where,
                what=f"{proto.op_type} has no attribute '{item.name}' in opset {opset}",
                help=f"it has {', '.join(sorted(rows)) or 'none'}{near(item.name, rows)}",
            )
        if item.name in attributes:
            raise CompileError(
                where=where, what=f"the attribute '{item.name}' stands there twice", help="remove one of them"
            )
        attributes[item.name] = _read(item, rows[item.name][0], f"{where}, attribute '{item.name}'", reader)
    for name, (_, needed) in rows.items():
        if needed and name not in attributes:
            raise CompileError(
                where=where,
                what=f"the attribute '{name}' is missing",
                help=f"{proto.op_type} cannot do without it; export the model again",
            )
    return attributes


def _read(item: onnx.AttributeProto, want: str, where: str, reader: TensorReader) -> Attribute:
    kind = _KINDS.get(item.type, "UNDEFINED")
    if kind != want:
        raise CompileError(where=where, what=f"it is of kind {kind}, not {want}", help="export the model again")
    if item.ref_attr_name:
        raise CompileError(
            where=where, what="it refers to an attribute of a function, outside of one", help="export the model again"
        )
    if kind == "INT":
        if item.name in FLAGS and item.i not in (0, 1):
            raise CompileError(where=where, what=f"it is {item.i}, neither 0 nor 1", help="export the model again")
        return item.i
    if kind == "FLOAT":
        return item.f
    if kind == "STRING":
        return _text(item.s, where)
    if kind == "TENSOR":
        return reader.read(item.t, where)
    if kind == "SPARSE_TENSOR":
        return reader.read_sparse(item.sparse_tensor, where)
    if kind == "GRAPH":
        return item.g.SerializeToString(deterministic=True)
    if kind == "TYPE_PROTO":
        return item.tp.SerializeToString(deterministic=True)
    if kind == "INTS":
        return tuple(item.ints)
    if kind == "FLOATS":
        return tuple(item.floats)
    if kind == "STRINGS":
        return tuple(_text(value, where) for value in item.strings)
    raise CompileError(where=where, what=f"attributes of kind {kind} are not supported", help="export it otherwise")


def _text(raw: bytes, where: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise CompileError(
            where=where,
            what=f"it is no UTF-8 text: {raw[:20]!r}",
            help="the file is damaged, or its exporter wrong; export the model again",
        ) from None
