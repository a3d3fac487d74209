"""Model-local functions: put in place of their calls, after a look at how far that would grow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx
import onnx.inliner

from intarsia.errors import CompileError, said
from intarsia.importer.limits import Limits
from intarsia.importer.names import listed, node_where
from intarsia.importer.structure import check_text, nodes_below
from intarsia.ir.budget import raising

Key = tuple[str, str, str]


def inline(model: onnx.ModelProto, where: str, limits: Limits) -> onnx.ModelProto:
    """The model without functions; the same object where it has none."""
    if not model.functions:
        return model
    functions = _by_key(model)
    for function in functions.values():  # the same traps as in graphs
        check_text(onnx.GraphProto(name=function.name, node=function.node))
    _check_growth(model, functions, limits)
    try:
        return onnx.inliner.inline_local_functions(model, convert_version=True)
    except Exception as error:  # onnx raises what its C++ raises
        raise CompileError(
            where=where,
            what=f"its model-local functions cannot be put in place: {said(error)}",
            help="inline them in the exporter, or run onnx.inliner on the model",
        ) from error


def _by_key(model: onnx.ModelProto) -> dict[Key, onnx.FunctionProto]:
    functions: dict[Key, onnx.FunctionProto] = {}
    for function in model.functions:
        key = (_domain(function.domain), function.name, function.overload)
        if key in functions:
            raise CompileError(
                where=f"function '{function.name}'", what="it is defined twice", help="export the model again"
            )
        functions[key] = function
    return functions


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _calls(nodes: Iterator[onnx.NodeProto], functions: Mapping[Key, onnx.FunctionProto]) -> tuple[int, list[Key]]:
    """How many nodes there are, and the functions that they call, once for each call."""
    count, called = 0, []
    for node in nodes:
        count += 1
        key = (_domain(node.domain), node.op_type, node.overload)
        if key in functions:
            called.append(key)
            for kind, given, formal in (
                ("inputs", node.input, functions[key].input),
                ("outputs", node.output, functions[key].output),
            ):
                if len(given) > len(formal):
                    raise CompileError(
                        where=node_where(node),
                        what=f"it has {len(given)} {kind}; the function '{key[1]}' has {len(formal)}",
                        help="export the model again",
                    )
    return count, called


def _check_growth(model: onnx.ModelProto, functions: Mapping[Key, onnx.FunctionProto], limits: Limits) -> None:
    """Refuse functions that call themselves, are called too deep, or multiply beyond the limit."""
    sizes: dict[Key, int] = {}

    def size(key: Key, above: tuple[Key, ...]) -> int:
        where = f"function '{key[1]}'"
        if key in above:
            names = [name for _, name, _ in (*above[above.index(key) :], key)]
            raise CompileError(
                where=where, what=f"it calls itself: {listed(names)}", help="ONNX functions do not recur; use Loop"
            )
        if len(above) >= limits.function_depth:
            raise CompileError(
                where=where,
                what=f"functions call each other more than {limits.function_depth} deep",
                help=f"inline some of them, or raise it: {raising('function_depth')}",
            )
        if key not in sizes:
            count, called = _calls(nodes_below(functions[key].node), functions)
            sizes[key] = count + sum(size(inner, (*above, key)) for inner in called)
        return sizes[key]

    count, called = _calls(nodes_below(model.graph.node), functions)
    total = count + sum(size(key, ()) for key in called)
    for grown, limit, name in (
        (total, limits.nodes, "nodes"),
        (total - count, limits.function_nodes, "function_nodes"),
    ):
        if grown > limit:
            raise CompileError(
                where=f"function '{max(called, key=lambda key: size(key, ()))[1]}'",
                what=f"its calls make the model grow to {total} nodes; the limit is {limit}",
                help=f"if the model is meant to be so large, raise it: {raising(name)}",
            )
