"""The journey of an import: read, check, then node by node into a graph."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike

from intarsia.dtypes import Array
from intarsia.errors import CompileError
from intarsia.importer.attributes import read_attributes
from intarsia.importer.control import check_it_ends, read_bodies
from intarsia.importer.dialects import translate
from intarsia.importer.draft import Draft
from intarsia.importer.dynamic import dynamic_note
from intarsia.importer.functions import inline
from intarsia.importer.inference import Inference
from intarsia.importer.inputs import InputShapes
from intarsia.importer.limits import Limits
from intarsia.importer.names import node_name, node_where
from intarsia.importer.opsets import check_ops, opset_versions
from intarsia.importer.read import read_model
from intarsia.importer.rebatch import Batch, check_rows
from intarsia.importer.signature import check_signature, variadic_outputs
from intarsia.importer.stale import Stale, stale_note
from intarsia.importer.structure import (
    captured_names,
    check_single_assignment,
    check_subgraphs,
    check_text,
    in_order,
    initializer_names,
)
from intarsia.importer.subgraphs import chosen_branch, embed
from intarsia.importer.tensors import TensorReader
from intarsia.importer.types import merged, tensor_type
from intarsia.importer.upgrades import upgrade
from intarsia.importer.weights import check_weights
from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.op import CAPTURED
from intarsia.ir.types import TensorType, agree

_UNTYPED = TensorType("float32", None)

_RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
"""Ops that give another shape to the same elements."""


def build_graph(
    model: str | os.PathLike[str] | bytes | onnx.ModelProto,
    *,
    batch: int,
    limits: Limits,
    shapes: Mapping[str, Sequence[int]],
    dimensions: Mapping[str, int],
    values: Mapping[str, ArrayLike],
    notes: list[tuple[str, str]] | None = None,
) -> Graph:
    """What `intarsia.importer.import_model` says."""
    proto, where, folder = read_model(model, limits)

    bound = InputShapes(batch, shapes, dimensions, values)

    def alone() -> Graph:
        return _build(proto, where, folder, limits, bound.of_one_row(proto.graph.input), None)[0]

    try:
        graph, rows = _build(proto, where, folder, limits, bound, notes)
        if rows.assumed:
            check_rows(graph, alone(), batch)
        return graph
    except BatchError as error:
        raise error.rows.explained(error.error, _is_read(alone)) from error.error
    except UnicodeDecodeError as error:
        raise CompileError(
            where=where,
            what=f"a name in it is no UTF-8 text: {error.object[:20]!r}",
            help="the file is damaged; copy or export it again",
        ) from error
    except (RecursionError, MemoryError, OverflowError) as error:
        raise CompileError(
            where=where,
            what=f"it asks for too much: {type(error).__name__} {error}".rstrip(),
            help="the file is damaged, or its graphs or numbers are far too large; export it again",
        ) from error


class BatchError(Exception):
    """An error of an import with a batch, before it is known whether the batch is to blame."""

    def __init__(self, error: CompileError, rows: Batch) -> None:
        super().__init__(error)
        self.error = error
        self.rows = rows


def _is_read(alone: Callable[[], Graph]) -> bool:
    """Whether the model is read for one row."""
    try:
        alone()
    except CompileError:
        return False
    return True


def _build(
    proto: onnx.ModelProto,
    where: str,
    folder: Path | None,
    limits: Limits,
    bound: InputShapes,
    notes: list[tuple[str, str]] | None,
) -> tuple[Graph, Batch]:
    check_text(proto.graph)
    opsets = opset_versions(proto, where)
    proto = translate(inline(proto, where, limits), opsets)
    check_ops(proto.graph, opsets, where, limits)
    check_single_assignment(proto.graph)
    check_subgraphs(proto.graph)
    builder = Builder(proto.graph, opsets, TensorReader(folder, limits), limits)
    builder.add_constants(proto.graph)
    builder.add_inputs(bound)
    try:
        for node in in_order(proto.graph, builder.values):
            builder.add(node)
        builder.add_outputs()
    except CompileError as error:
        if builder.rows.size == 1:
            raise
        raise BatchError(error, builder.rows) from error
    if notes is not None:
        told = stale_note(builder.stale) if builder.stale else None
        notes += [note for note in (told, dynamic_note(builder.graph)) if note is not None]
    return builder.graph, builder.rows


class Builder:
    """The graph as far as it stands, and what upgrades may ask and add."""

    def __init__(self, proto: onnx.GraphProto, opsets: Mapping[str, int], reader: TensorReader, limits: Limits) -> None:
        self.proto = proto
        self.opsets = opsets
        self.reader = reader
        self.graph = Graph(proto.name or "model")
        self.values: dict[str, Value] = {}
        self.limits = limits
        self.inference = Inference(limits)
        self.declared = {value.name: value.type for value in (*proto.value_info, *proto.output)}
        self.trust_declared_sizes = True
        self.public = {output.name for output in proto.output}
        self.stale: list[Stale] = []
        self.rows = Batch(1, assumed=False)

    # ---- what the graph starts from

    def add_constants(self, proto: onnx.GraphProto) -> None:
        """Read a graph's initializers, sparse ones too."""
        for tensor in proto.initializer:
            self._initializer(tensor.name, self.reader.read(tensor, f"initializer '{tensor.name}'"))
        for sparse in proto.sparse_initializer:
            name = sparse.values.name
            self._initializer(name, self.reader.read_sparse(sparse, f"sparse initializer '{name}'"))

    def _initializer(self, name: str, data: Array) -> None:
        if not name:
            raise CompileError(where="an initializer", what="it has no name", help="export the model again")
        self.values[name] = self.constant(name, data)

    def add_inputs(self, bound: InputShapes) -> None:
        """Make the graph's inputs, with the shapes and values that they are bound to."""
        constants = set(initializer_names(self.proto))
        inputs = [value for value in self.proto.input if value.name not in constants]
        for name, data in bound.constants(inputs).items():
            self._initializer(name, data)
        inputs = [value for value in inputs if value.name not in self.values]
        types = bound.types(inputs)
        self.rows = Batch(bound.rows, bound.rebatched)
        for value, type in zip(inputs, types):
            self.values[value.name] = self.graph.add_input(value.name, type)
            if type.dtype.endswith(")"):
                self.inference.protos[self.values[value.name]] = value.type
            self.inference.check_size(type, f"input '{value.name}'", "it")
            self.rows.given(self.values[value.name])
        self.trust_declared_sizes = not bound.overrules

    # ---- nodes

    def add(self, proto: onnx.NodeProto) -> None:
        """Read one node, check it, bring it to the newest form and append it."""
        where = node_where(proto)
        domain = "" if proto.domain == "ai.onnx" else proto.domain
        opset = self.opsets[domain]
        proto = embed(proto, self.reader)
        attributes = read_attributes(proto, opset, domain, where, self.reader)
        if proto.op_type == "Constant" and domain == "":
            self._constant(proto, attributes)
            return
        captured = captured_names(proto)
        inputs = [self.values[name] if name else None for name in proto.input]
        while inputs and inputs[-1] is None:
            inputs.pop()
        check_signature(proto, opset, domain, inputs)
        if proto.op_type == "If" and domain == "" and self._inlined_if(proto, inputs):
            return
        if proto.op_type == "Loop" and domain == "":
            check_it_ends(proto, [self.inference.elements(value) for value in inputs])
        inputs += [self.values[name] for name in captured]
        if captured:
            attributes[CAPTURED] = tuple(captured)
        outputs = list(proto.output)
        if variadic_outputs(proto.op_type, opset, domain):  # one of many that nobody reads has a name nevertheless
            outputs = [name or self.graph.fresh_name(f"{node_name(proto)}_unread") for name in outputs]
        draft = Draft(proto.op_type, node_name(proto), domain, opset, inputs, outputs, attributes)
        upgrade(self, draft)
        self.rows.reshape(self, draft)
        check_weights(draft)
        read_bodies(self._append(draft, self._wished_types(draft)), proto, partial(self._body, captured))

    def _body(self, captured: Sequence[str], proto: onnx.GraphProto, formal: Sequence[TensorType]) -> Graph:
        """A graph inside a node, by itself: behind its formal inputs it has those that the node captures."""
        inner = Builder(proto, self.opsets, self.reader, self.limits)
        inner.trust_declared_sizes = self.trust_declared_sizes
        inner.public, inner.stale = set(), self.stale
        fresh = inner.graph.fresh_name
        given = [inner.graph.add_input(fresh(item.name), type) for item, type in zip(proto.input, formal)]
        for item, value in zip(proto.input, given):
            if value.dtype.endswith(")"):
                inner.inference.protos[value] = item.type
        for name in captured:
            outer = self.values[name]
            inner.values[name] = value = inner.graph.add_input(fresh(name), outer.type)
            elements = self.inference.elements(outer)
            if elements is not None:
                inner.inference.known[value] = elements
            if outer in self.inference.protos:
                inner.inference.protos[value] = self.inference.protos[outer]
        inner.add_constants(proto)
        inner.values.update({item.name: value for item, value in zip(proto.input, given)})
        for node in in_order(proto, inner.values):
            inner.add(node)
        inner.add_outputs()
        return inner.graph

    def _constant(self, proto: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        where = node_where(proto)
        if len(attributes) != 1 or len(proto.output) != 1 or proto.input:
            raise CompileError(
                where=where,
                what=f"it has {len(attributes)} values, {len(proto.output)} outputs and {len(proto.input)} inputs",
                help="a Constant has exactly one value attribute, one output and no input",
            )
        ((kind, value),) = attributes.items()
        dtypes = {"value_int": np.int64, "value_ints": np.int64, "value_float": np.float32, "value_floats": np.float32}
        data = value if isinstance(value, np.ndarray) else np.array(value, dtypes.get(kind, object))
        name = proto.output[0]
        self.values[name] = self.constant(name, data)
        self._compare(name, where)

    def _inlined_if(self, proto: onnx.NodeProto, inputs: Sequence[Value | None]) -> bool:
        """Put the branch that is taken in the place of an If whose condition is known; False where it is not."""
        condition = self.inference.elements(inputs[0])
        if condition is None or condition.size != 1:
            return False
        branch = chosen_branch(proto, bool(condition.item()))
        if len(branch.output) != len(proto.output):
            return False  # the type rule of If says what is wrong
        outer, declared = self.values, self.declared
        self.values = dict(outer)
        self.declared = {value.name: value.type for value in (*branch.value_info, *branch.output)}
        self.add_constants(branch)
        for node in in_order(branch, self.values):
            self.add(node)
        results = [self.values[output.name] for output in branch.output]
        self.values, self.declared = outer, declared
        for name, result in zip(proto.output, results):
            if name:  # an Identity gives the result its public name; it goes when the graph is simplified
                draft = Draft("Identity", node_name(proto), "", self.opsets[""], [result], [name])
                self._append(draft, self._wished_types(draft))
        return True

    def emit(self, draft: Draft) -> Value:
        """Append a node that an upgrade needs in front of the one it rewrites."""
        draft.outputs = [self.graph.fresh_name(draft.name)]
        return self._append(draft, {}).output

    def constant(self, wish: str, data: Array) -> Value:
        """A new constant under a name like `wish`."""
        return self.graph.add_constant(self.graph.fresh_name(wish), data)

    def _append(self, draft: Draft, declared: Mapping[str, TensorType]) -> Node:
        node = self.graph.add_node(
            draft.op,
            draft.inputs,
            [_UNTYPED if name else None for name in draft.outputs],
            draft.attributes,
            name=draft.name,
            output_names=draft.outputs,
            opset=draft.opset,
            domain=draft.domain,
        )
        self.inference.infer(node)
        self.rows.made(node)
        for name, value in zip(draft.outputs, node.outputs):
            if value is not None:
                self.values[name] = value
                if name in declared:
                    self._take(node, value, name, declared[name])
        return node

    def _take(self, node: Node, value: Value, name: str, declared: TensorType) -> None:
        """Believe what the model declares of an output; inside of the model a shape that cannot be is dropped."""
        made = value.type
        try:
            self._agree(value, declared, node.where)
            self._check_elements(node, declared)
        except CompileError:
            if name in self.public or made.dtype != declared.dtype:
                raise
            value.type = made
            self.stale.append(Stale(node.name, made, declared))

    def _check_elements(self, node: Node, declared: TensorType) -> None:
        """Refuse a declared shape that has not as many elements as the value that is to take it."""
        if node.op not in _RESHAPES or node.domain:
            return
        x, y = node.input(0).type, node.output.type
        if x.is_static and y.is_static and x.elements != y.elements:
            raise CompileError(
                where=node.where,
                what=f"{x} cannot become '{node.output.name}', which the model declares as {declared}: it has "
                f"{x.elements} elements, not {y.elements}",
                help="the model contradicts itself; export it again, or remove its stale value_info",
            )

    def _wished_types(self, draft: Draft) -> dict[str, TensorType]:
        """What the model declares of a node's outputs."""
        found = {}
        for name in draft.outputs:
            if name in self.declared:
                type = tensor_type(self.declared[name], f"value '{name}'")
                if type is not None:
                    found[name] = type
        return found

    def _compare(self, name: str, where: str) -> None:
        if name in self.declared:
            type = tensor_type(self.declared[name], f"value '{name}'")
            if type is not None:
                self._agree(self.values[name], type, where)

    def _agree(self, value: Value, declared: TensorType, where: str) -> None:
        if not self.trust_declared_sizes:
            declared = TensorType(declared.dtype, None)
        if not agree(value.type, declared):
            raise CompileError(
                where=where,
                what=f"it makes '{value.name}' as {value.type}, but the model declares {declared}",
                help="the model contradicts itself; export it again, or remove its stale value_info",
            )
        if value.data is None:
            value.type = merged(value.type, declared)

    # ---- the end

    def add_outputs(self) -> None:
        """Name the values that the graph gives; refused where it gives none."""
        if not self.proto.output:
            raise CompileError(
                where=f"graph '{self.graph.name}'", what="it has no outputs", help="name the outputs when exporting"
            )
        for output in self.proto.output:
            if output.name not in self.values:
                raise CompileError(
                    where=f"output '{output.name}'",
                    what="no node, input or initializer makes it",
                    help="the file is incomplete, or the name is wrong",
                )
            value = self.values[output.name]
            if value.producer is None:
                self._compare(output.name, f"output '{output.name}'")
            self.graph.outputs.append(value)
