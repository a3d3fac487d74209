"""A graph that came from a file is what it says, or is refused: structure, ops, types, and what it may take."""

from __future__ import annotations

from intarsia.errors import FOREIGN, CompileError, RunError, said
from intarsia.ir.graph import Graph, Value
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
    try:
        verify(graph, "partitioned")
    except VerifyError as error:
        raise RunError(where=where, what=str(error).splitlines()[0], help=_HELP) from error
    except CompileError as error:
        raise RunError(where=f"{where}, {error.where}", what=error.what, help=_HELP) from error
    except FOREIGN as error:
        raise RunError(where=where, what=f"its types cannot be worked out: {said(error)}", help=_HELP) from error


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
