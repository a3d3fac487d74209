"""Inputs and outputs of a node, held against the op's schema: how many, which of them needed, and of what type."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from intarsia.errors import CompileError
from intarsia.importer.attributes import schema_of
from intarsia.importer.names import listed, node_where
from intarsia.importer.types import element_name
from intarsia.ir.graph import Value


@dataclass(frozen=True)
class _Formal:
    name: str
    needed: bool
    variadic: bool
    alike: bool
    symbol: str
    dtypes: frozenset[str]


@functools.cache
def _needed_outputs(op: str, opset: int, domain: str) -> tuple[tuple[str, bool], ...]:
    """Name of each output, and whether it may not be left out."""
    single = onnx.defs.OpSchema.FormalParameterOption.Single
    return tuple((row.name, row.option == single) for row in schema_of(op, opset, domain).outputs)


@functools.cache
def variadic_outputs(op: str, opset: int, domain: str) -> bool:
    """Whether an op gives as many outputs as are asked for, such as Split."""
    outputs = schema_of(op, opset, domain).outputs
    return bool(outputs) and bool(outputs[-1].option == onnx.defs.OpSchema.FormalParameterOption.Variadic)


@functools.cache
def _formals(op: str, opset: int, domain: str) -> tuple[_Formal, ...]:
    option = onnx.defs.OpSchema.FormalParameterOption
    return tuple(
        _Formal(
            row.name,
            row.option == option.Single,
            row.option == option.Variadic,
            row.is_homogeneous,
            row.type_str,
            frozenset(_dtype(text) for text in row.types),
        )
        for row in schema_of(op, opset, domain).inputs
    )


def _dtype(text: str) -> str:
    """`tensor(float)` as we write it: float32; `seq(tensor(float))`: sequence(float32)."""
    container, _, inner = text.partition("(")
    inner = inner.removesuffix(")")
    if container == "tensor":
        return element_name(inner)
    if container == "map":
        key, _, value = inner.partition(",")
        value = value.strip()
        return f"map({key},{_dtype(value) if '(' in value else element_name(value)})"
    return f"{'sequence' if container == 'seq' else container}({_dtype(inner)})"


def check_signature(proto: onnx.NodeProto, opset: int, domain: str, inputs: Sequence[Value | None]) -> None:
    """Refuse too few or too many inputs and outputs, those left out, and element types that the op does not take."""
    where, schema = node_where(proto), schema_of(proto.op_type, opset, domain)
    formals = _formals(proto.op_type, opset, domain)
    if not schema.min_input <= len(inputs) <= schema.max_input:
        raise CompileError(
            where=where,
            what=f"it has {len(inputs)} inputs; {proto.op_type} takes {_range(schema.min_input, schema.max_input)}",
            help=f"its inputs are {listed([formal.name for formal in formals])}; export the model again",
        )
    if not schema.min_output <= len(proto.output) <= schema.max_output or not any(proto.output):
        raise CompileError(
            where=where,
            what=f"it has {len(proto.output)} outputs; {proto.op_type} gives "
            f"{_range(schema.min_output, schema.max_output)}",
            help="export the model again",
        )
    for (title, needed), name in zip(_needed_outputs(proto.op_type, opset, domain), proto.output):
        if needed and not name:
            raise CompileError(
                where=where,
                what=f"its output '{title}' has no name, and may not be left out",
                help="give it a name that nobody reads; export the model again",
            )
    bound: dict[str, tuple[str, str]] = {}
    for index, value in enumerate(inputs):
        formal = formals[min(index, len(formals) - 1)]
        if value is None:
            if formal.needed:
                raise CompileError(
                    where=where,
                    what=f"its input {index} ({formal.name}) is left out",
                    help=f"{proto.op_type} cannot do without it; export the model again",
                )
            continue
        if value.type.dtype not in formal.dtypes:
            later = _first_opset(proto.op_type, opset, domain, index, value.type.dtype)
            way = "put a Cast in front of it" + (f", or export for opset {later}, which takes it" if later else "")
            raise CompileError(
                where=where,
                what=f"its input {index} ({formal.name}) '{value.name}' is {value.type.dtype}",
                help=f"it takes {listed(sorted(formal.dtypes), 12)}; {way}",
            )
        _check_alike(where, formal, value, bound)


def _first_opset(op: str, opset: int, domain: str, index: int, dtype: str) -> int | None:
    """The first opset behind `opset` in which an op takes an element type at an input, or None."""
    for later in range(opset + 1, onnx.defs.onnx_opset_version() + 1) if not domain else ():
        schema = schema_of(op, later, domain)
        if schema is None or schema.since_version <= opset or not schema.inputs:
            continue
        formals = _formals(op, later, domain)
        if dtype in formals[min(index, len(formals) - 1)].dtypes:
            return later
    return None


def _check_alike(where: str, formal: _Formal, value: Value, bound: dict[str, tuple[str, str]]) -> None:
    dtype = value.type.dtype
    if "(" in formal.symbol or (formal.variadic and not formal.alike):
        return
    name, first = bound.setdefault(formal.symbol, (value.name, dtype))
    if first != dtype:
        raise CompileError(
            where=where,
            what=f"its inputs '{name}' and '{value.name}' must have one type, but are {first} and {dtype}",
            help="put a Cast in front of one of them",
        )


def _range(low: int, high: int) -> str:
    if low == high:
        return str(low)
    return f"{low} or more" if high > 1 << 30 else f"{low} to {high}"
