"""Graphs inside nodes: made whole before they are kept, and put in place where the choice is known at compile time."""

from __future__ import annotations

import onnx
from onnx import numpy_helper

from intarsia.importer.structure import subgraphs
from intarsia.importer.tensors import TensorReader


def embed(node: onnx.NodeProto, reader: TensorReader) -> onnx.NodeProto:
    """The node with every tensor of its graphs read and checked, and external data put into the graphs.

    The same object where the graphs keep all their data inside.
    """
    found = [tensor for graph in subgraphs(node) for tensor in _tensors(graph)]
    for tensor in found:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            reader.read(tensor, f"tensor '{tensor.name}'")
    if all(tensor.data_location != onnx.TensorProto.EXTERNAL for tensor in found):
        return node
    twin = onnx.NodeProto()
    twin.CopyFrom(node)
    for graph in subgraphs(twin):
        for tensor in _tensors(graph):
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                data = reader.read(tensor, f"tensor '{tensor.name}'")
                tensor.CopyFrom(numpy_helper.from_array(data, tensor.name))
    return twin


def _tensors(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    """Every tensor of a graph: initializers, attributes, and those of the graphs inside its nodes."""
    found = list(graph.initializer)
    for sparse in graph.sparse_initializer:
        found += [sparse.values, sparse.indices]
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                found.append(attribute.t)
            if attribute.HasField("sparse_tensor"):
                found += [attribute.sparse_tensor.values, attribute.sparse_tensor.indices]
            found += attribute.tensors
        for inner in subgraphs(node):
            found += _tensors(inner)
    return found


def chosen_branch(node: onnx.NodeProto, condition: bool) -> onnx.GraphProto:
    """The graph that an If runs."""
    name = "then_branch" if condition else "else_branch"
    return next(attribute.g for attribute in node.attribute if attribute.name == name)
