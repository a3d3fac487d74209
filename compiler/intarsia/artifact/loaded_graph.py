"""A graph that came from a file is what it says, or is refused: structure, ops, types, and what it may take."""

from __future__ import annotations

from typing import Any

from intarsia.errors import FOREIGN, CompileError, RunError, said
from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.op import required
from intarsia.ir.ops import op_of
from intarsia.ir.verify import VerifyError, verify

VALUE_LIMIT_BYTES = 1 << 33
"""Memory of one value whose shape is known before it is made."""

_HELP = "the file is damaged or was not written by intarsia; compile the model again"


def check_graph(graph: Graph, where: str) -> None:
    """RunError, naming the node, where a graph breaks a rule that every compiled graph keeps.

    Every value is made once, before it is read; every op is one that there is; what the nodes say of the types of their
    outputs is what the ops' shape rules say; no value takes more than VALUE_LIMIT_BYTES.
    """
    for value in graph.values():
        _check_size(value, where)
    for node in graph.nodes:
        _check_attributes(node, where)
    try:
        verify(graph, "partitioned")
    except VerifyError as error:
        raise RunError(where=where, what=str(error).splitlines()[0], help=_HELP) from error
    except CompileError as error:
        raise RunError(where=f"{where}, {error.where}", what=error.what, help=_HELP) from error
    except FOREIGN as error:
        raise RunError(where=where, what=f"its types cannot be worked out: {said(error)}", help=_HELP) from error


def _check_attributes(node: Node, where: str) -> None:
    """Those that must be given are, and numbers of our own ops, which shape rules do not read, are finite numbers."""
    op = op_of(node)
    if op is None:
        return
    for name, default in op.attributes.items():
        value = node.attributes.get(name, default)
        what = None
        if value is required:
            what = f"the attribute '{name}' is missing"
        elif op.integer and not _is_number(value):
            what = f"the attribute '{name}' is {repr(value)[:80]}"
        if what is not None:
            raise RunError(where=f"{where}, {node.where}", what=what, help=_HELP)


def _is_number(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_number, value))
    return value is None or isinstance(value, str) or (isinstance(value, (int, float)) and abs(value) < 1 << 63)


def _check_size(value: Value, where: str) -> None:
    if value.type.shape is None or value.dtype.startswith(("sequence(", "optional(")):
        return
    least = 1
    for size in value.type.shape:
        least *= 1 if size is None else size
    if least > VALUE_LIMIT_BYTES:
        raise RunError(
            where=where,
            what=f"the value '{value.name[:80]}' is {value.type}, of more than {VALUE_LIMIT_BYTES} elements",
            help=_HELP,
        )
