"""A graph as text for people, dumps and golden files: one line a node, in order, with types and scales."""

from __future__ import annotations

from typing import Any

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Graph, Node, Value

_SPELLED_ELEMENTS = 8
_BYTES_SHOWN = 16


def text(graph: Graph) -> str:
    """The graph as a listing that is equal for equal graphs, ending in a line break.

    Constants stand where they are read: `const float32[64,3,3,3]`, with the elements where there are at most 8.
    """
    lines = [f"graph {_word(graph.name)} ("]
    lines += [f"  {_declared(value)}" for value in graph.inputs]
    lines.append(") {")
    lines += [f"  {_node(node)}" for node in graph.nodes]
    lines.append(f"  return {', '.join(_read(value) for value in graph.outputs)}")
    lines.append("}")
    return "\n".join(lines) + "\n"


def _word(name: str) -> str:
    """A name on one line, whatever an exporter wrote into it."""
    return name if name.isprintable() and " " not in name else repr(name)


def _declared(value: Value) -> str:
    scale = "" if value.quantization is None else f" {value.quantization}"
    return f"%{_word(value.name)}: {value.type}{scale}"


def _read(value: Value | None) -> str:
    if value is None:
        return "_"
    return f"%{_word(value.name)}" if value.data is None else _constant(value.data, str(value.type))


def _constant(data: Array, type: str) -> str:
    if data.size > _SPELLED_ELEMENTS or data.size == 0:
        return f"const {type}"
    return f"const {type} {_elements(data)}"


def _elements(data: Array) -> str:
    spelled = [_element(item) for item in data.reshape(-1)]
    return spelled[0] if data.ndim == 0 else f"[{', '.join(spelled)}]"


def _element(item: Any) -> str:
    if isinstance(item, (str, bytes)):
        return repr(item)
    if isinstance(item, (bool, np.bool_)):
        return "true" if item else "false"
    if isinstance(item, (int, np.integer)):
        return str(int(item))
    if isinstance(item, (complex, np.complexfloating)):
        return f"{item.real:.6g}{item.imag:+.6g}j"
    return f"{float(item):.6g}"


def _node(node: Node) -> str:
    outputs = ", ".join("_" if value is None else _declared(value) for value in node.outputs)
    inputs = ", ".join(_read(value) for value in node.inputs)
    op = f"{node.domain}.{node.op}" if node.domain else node.op
    attributes = ", ".join(f"{name}={_attribute(node.attributes[name])}" for name in sorted(node.attributes))
    line = f"{outputs} = {op}({inputs})"
    if attributes:
        line += f" {{{attributes}}}"
    if not node.outputs or node.outputs[0] is None or node.outputs[0].name != node.name:
        line += f" '{node.name}'"
    return line


def _attribute(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(_attribute(item) for item in value)})"
    if isinstance(value, Graph):
        return f"<graph {_word(value.name)}, {len(value.nodes)} nodes>"
    if isinstance(value, np.ndarray):
        return _constant(value, f"{value.dtype.name}[{','.join(map(str, value.shape))}]")
    if isinstance(value, str):
        return value if value.isidentifier() else repr(value)
    if isinstance(value, bytes):
        return repr(value) if len(value) <= _BYTES_SHOWN else f"<{len(value)} bytes>"
    return _element(value)
