"""Between onnx.TypeProto and TensorType, and onnx's names and numbers of element types."""

from __future__ import annotations

import functools

import onnx

from intarsia.dtypes import ELEMENT_TYPES
from intarsia.errors import CompileError
from intarsia.ir.types import TensorType

_RENAMED = {
    "float": "float32",
    "double": "float64",
    "float8e4m3fn": "float8_e4m3fn",
    "float8e4m3fnuz": "float8_e4m3fnuz",
    "float8e5m2": "float8_e5m2",
    "float8e5m2fnuz": "float8_e5m2fnuz",
    "float8e8m0": "float8_e8m0fnu",
    "float4e2m1": "float4_e2m1fn",
}


def element_name(onnx_name: str) -> str:
    """Our name of an element type that onnx calls `onnx_name` ("FLOAT" in TensorProto, "float" in a schema)."""
    lower = onnx_name.lower()
    return _RENAMED.get(lower, lower)


@functools.cache
def element_types() -> dict[int, str]:
    """From number to name, the element types that the installed onnx can read: an older one knows fewer of ours."""
    return {number: ELEMENT_TYPES[number] for number in onnx.TensorProto.DataType.values() if number in ELEMENT_TYPES}


def element_type(name: str) -> int:
    """onnx's number of an element type; KeyError for a name that the installed onnx does not have."""
    return {ours: number for number, ours in element_types().items()}[name]


def tensor_type(proto: onnx.TypeProto, where: str) -> TensorType | None:
    """The type that a TypeProto states; None where it states not even an element type."""
    kind = proto.WhichOneof("value")
    if kind == "tensor_type":
        number = proto.tensor_type.elem_type
        if number == onnx.TensorProto.UNDEFINED:
            return None
        return TensorType(_element(number, where), _shape(proto.tensor_type))
    if kind in ("sequence_type", "optional_type"):
        inner = tensor_type(getattr(proto, kind).elem_type, where)
        return None if inner is None else TensorType(f"{kind.removesuffix('_type')}({inner.dtype})", None)
    if kind == "map_type":
        inner = tensor_type(proto.map_type.value_type, where)
        key = _element(proto.map_type.key_type, where)
        return None if inner is None else TensorType(f"map({key},{inner.dtype})", None)
    if kind == "sparse_tensor_type":
        raise CompileError(where=where, what="it is a sparse tensor", help="make it dense in the exporter")
    return None


def _element(number: int, where: str) -> str:
    if number not in element_types():
        raise CompileError(
            where=where,
            what=f"no element type has the number {number}",
            help="the file is damaged, or newer than the installed onnx package",
        )
    return element_types()[number]


def _shape(tensor: onnx.TypeProto.Tensor) -> tuple[int | None, ...] | None:
    if not tensor.HasField("shape"):
        return None
    return tuple(
        size.dim_value if size.HasField("dim_value") and size.dim_value >= 0 else None for size in tensor.shape.dim
    )


def type_proto(type: TensorType) -> onnx.TypeProto:
    """The TypeProto of a TensorType, sequences and maps included."""
    proto = onnx.TypeProto()
    _fill(proto, type.dtype, type.shape)
    return proto


def _fill(proto: onnx.TypeProto, dtype: str, shape: tuple[int | None, ...] | None) -> None:
    container, _, inner = dtype.partition("(")
    inner = inner.removesuffix(")")
    if not inner:
        proto.tensor_type.elem_type = element_type(dtype)
        if shape is not None:
            proto.tensor_type.shape.SetInParent()
            for size in shape:
                row = proto.tensor_type.shape.dim.add()
                if size is not None:
                    row.dim_value = size
    elif container == "map":
        key, _, value = inner.partition(",")
        proto.map_type.key_type = element_type(key)
        _fill(proto.map_type.value_type, value, None)
    else:
        _fill((proto.sequence_type if container == "sequence" else proto.optional_type).elem_type, inner, None)


def merged(found: TensorType, declared: TensorType) -> TensorType:
    """What two agreeing statements say together."""
    if found.shape is None or declared.shape is None:
        return TensorType(found.dtype, found.shape or declared.shape)
    return TensorType(found.dtype, tuple(b if a is None else a for a, b in zip(found.shape, declared.shape)))
