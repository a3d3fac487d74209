"""The only reader of ONNX: a model, from a file or from memory, becomes a Graph or a CompileError that says why not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from intarsia.arguments import check_mapping, check_whole, shown
from intarsia.errors import CompileError
from intarsia.importer.body_table import Bodies
from intarsia.importer.limits import Limits
from intarsia.ir.graph import Graph, Node

if TYPE_CHECKING:
    import onnx

__all__ = ["Bodies", "Limits", "function_body", "import_model"]

_DEFAULT = Limits()


def import_model(
    model: str | PathLike[str] | bytes | onnx.ModelProto,
    *,
    batch: int = 1,
    limits: Limits = _DEFAULT,
    shapes: Mapping[str, Sequence[int]] | None = None,
    dimensions: Mapping[str, int] | None = None,
    values: Mapping[str, ArrayLike] | None = None,
    notes: list[tuple[str, str]] | None = None,
) -> Graph:
    """Read an ONNX model (opset 7 or newer) into a graph with static shapes wherever they do not depend on data.

    model       a path, the bytes of a file, or a ModelProto (which is left as it was)
    batch       the size given to symbolic first axes of inputs; where all inputs are written for one row, to those, if
                running the model shows that each row of the batch gives what it gives alone
    limits      what the model may ask for
    shapes      a whole shape for an input, by name, instead of the declared one
    dimensions  a size for a symbolic dimension, by its name
    values      elements for an input, by its name; it is a constant then, and branches that it decides are chosen
    notes       gets facts that the user should know, as (name of a node, text)

    Every name is unique; initializers and Constant nodes are constants; old forms of ops are rewritten to those of
    opset 18; convolutions and pools carry kernel_shape, strides, pads, dilations and group. Subgraphs of If, Loop and
    Scan are graphs too, in the node's attributes, or stay serialized GraphProtos where they hold sequences or what no
    rule of ours reads; what they read of the outer graph stands as trailing inputs, named in the attribute `captured`.

    Shapes that the model declares inside of it and that its ops do not make are dropped, with a note: older versions of
    onnx wrote some wrongly. Those of its inputs and outputs must hold.

    Raises CompileError for whatever is wrong with the model, naming the place; no file outside of the model's own
    folder is read.
    """
    from intarsia.importer.build import build_graph  # imports onnx, a quarter of a second

    batch = check_whole(CompileError, "batch", batch, least=1)
    sizes = check_mapping(CompileError, "dimensions", dimensions, "give sizes by name: {'N': 4}")
    whole = check_mapping(CompileError, "shapes", shapes, "give whole shapes by name: {'x': (1, 3, 224, 224)}")
    return build_graph(
        model,
        batch=batch,
        limits=limits,
        shapes={name: _shape(f"shapes['{name}']", shape) for name, shape in whole.items()},
        dimensions={name: check_whole(CompileError, f"dimensions['{name}']", size) for name, size in sizes.items()},
        values=check_mapping(CompileError, "values", values, "give elements by name: {'flag': True}"),
        notes=notes,
    )


def _shape(where: str, shape: object) -> tuple[int, ...]:
    if not isinstance(shape, Iterable) or isinstance(shape, (str, bytes, Mapping)):
        raise CompileError(where=where, what=f"{shown(shape)} is no shape", help="give every size, outermost first")
    return tuple(check_whole(CompileError, where, size) for size in shape)


def function_body(node: Node, known: Bodies) -> Graph:
    """What a node means, by the function with which ONNX defines its op.

    node     of the standard domain
    known    bodies made before, which the caller keeps: each kind of node (op, attributes, types) is made once
    returns  a fresh graph, not simplified. Its inputs stand for those of the node that are no constants, in order (two
             for a value that is given twice); its outputs are those that the node does not leave out

    Raises CompileError where ONNX defines the op by nothing simpler, or not in this form.
    """
    from intarsia.importer.bodies import body_of

    return body_of(node, known)
