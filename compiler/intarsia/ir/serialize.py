"""A graph as JSON-able data and one blob of weights, for artifacts. Read on boards, with NumPy alone.

    data = {"format": 1, "name", "inputs": [value], "constants": [value], "nodes": [node], "outputs": [name]}
    value = {"name", "dtype", "shape", "quantization"?: [scale, zero_point],
             "offset", "strings" or "elsewhere" for a constant}
    node = {"op", "name", "inputs": [name or null], "outputs": [value or null], "attributes"?, "opset"?, "domain"?}

Arrays lie in the blob little endian, row by row, each at a multiple of 64 bytes. Attributes that JSON has no form for
are objects of one entry: {"float": "inf"}, {"bytes": base64}, {"array": {"dtype", "shape", "offset"}}, and
{"graph": data} for a graph that the node runs, whose arrays lie in the same blob. A graph of format 2 has constants
that lie elsewhere, in a file that whoever keeps the graph knows: "elsewhere" is an object of theirs.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from intarsia.dtypes import NATIVE, Array, dtype_name, is_type_name, numpy_dtype
from intarsia.errors import RunError
from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.types import Quantization, TensorType

FORMAT, WITH_ELSEWHERE = 1, 2
ALIGNMENT_BYTES = 64
MAX_DEPTH = 16
"""Graphs in graphs, as many as the importer takes."""


Elsewhere = Callable[[str, Any, str, Sequence[int]], Array]
"""Called with the words for a constant, the object "elsewhere", the element type and the shape: its array. RunError
where it is not to be had."""


def to_data(graph: Graph, elsewhere: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], bytes]:
    """JSON-able data and the weights; equal graphs give equal data and equal bytes.

    elsewhere  by the name of a constant that is not to lie in the weights, the object that says where it lies
    """
    blob = bytearray()
    return _graph_data(graph, blob, elsewhere or {}), bytes(blob)


def _graph_data(graph: Graph, blob: bytearray, elsewhere: Mapping[str, Any]) -> dict[str, Any]:
    inputs = {id(value) for value in graph.inputs}
    return {
        "format": WITH_ELSEWHERE if elsewhere else FORMAT,
        "name": graph.name,
        "inputs": [_value_data(value) for value in graph.inputs],
        "constants": [
            {
                **_value_data(value),
                **({"elsewhere": elsewhere[value.name]} if value.name in elsewhere else _array_data(value.data, blob)),
            }
            for value in graph.values()
            if value.data is not None and id(value) not in inputs
        ],
        "nodes": [_node_data(node, blob) for node in graph.nodes],
        "outputs": [value.name for value in graph.outputs],
    }


def _value_data(value: Value) -> dict[str, Any]:
    shape = None if value.type.shape is None else list(value.type.shape)
    data: dict[str, Any] = {"name": value.name, "dtype": value.type.dtype, "shape": shape}
    if value.quantization is not None:
        data["quantization"] = [_encode(float(value.quantization.scale), None), int(value.quantization.zero_point)]
    return data


def _array_data(array: Array, blob: bytearray) -> dict[str, Any]:
    if array.dtype.kind in "OUS":
        return {"strings": [_encode(item, blob) for item in array.reshape(-1).tolist()]}
    if array.dtype.name in NATIVE:
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    blob.extend(b"\0" * (-len(blob) % ALIGNMENT_BYTES))
    offset = len(blob)
    blob.extend(array.tobytes())
    return {"offset": offset}


def _node_data(node: Node, blob: bytearray) -> dict[str, Any]:
    data: dict[str, Any] = {
        "op": node.op,
        "name": node.name,
        "inputs": [None if value is None else value.name for value in node.inputs],
        "outputs": [None if value is None else _value_data(value) for value in node.outputs],
    }
    if node.attributes:
        data["attributes"] = {name: _encode(node.attributes[name], blob) for name in sorted(node.attributes)}
    if node.opset:
        data["opset"] = node.opset
    if node.domain:
        data["domain"] = node.domain
    return data


def _encode(value: Any, blob: bytearray | None) -> Any:
    if isinstance(value, np.ndarray):
        assert blob is not None
        shape = {"dtype": dtype_name(value.dtype), "shape": list(value.shape)}
        return {"array": {**shape, **_array_data(value, blob)}}
    if isinstance(value, Graph):
        assert blob is not None
        return {"graph": _graph_data(value, blob, {})}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (tuple, list)):
        return [_encode(item, blob) for item in value]
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode("ascii")}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    assert isinstance(value, (bool, int, float, str)), f"an attribute cannot hold {type(value).__name__}"
    return value


# ---- reading


def from_data(data: Mapping[str, Any], blob: bytes, elsewhere: Elsewhere | None = None) -> Graph:
    """The graph that `to_data` wrote. Its constants are read-only views of the blob, or lie elsewhere.

    Raises RunError where data or blob are not what `to_data` writes: they come from files.
    """
    try:
        return _Reader(blob, elsewhere).graph(data)
    except RunError:
        raise
    except ImportError as error:
        raise RunError(
            where="graph", what=f"it holds an element type that needs {error.name}", help="install ml_dtypes"
        ) from error
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise _nonsense(f"{type(error).__name__}: {error}") from error


def _nonsense(what: str) -> RunError:
    return RunError(
        where="graph",
        what=what,
        help="the file is damaged or was not written by intarsia; compile the model again",
    )


def _check(fact: bool, what: Callable[[], str]) -> None:
    if not fact:
        raise _nonsense(what())


class _Reader:
    """Builds one graph; every fact is checked before it is believed."""

    def __init__(self, blob: bytes, elsewhere: Elsewhere | None, depth: int = 0) -> None:
        self.blob = blob
        self.elsewhere = elsewhere
        self.depth = depth
        self.values: dict[str, Value] = {}
        self.node_names: set[str] = set()

    def graph(self, data: Mapping[str, Any]) -> Graph:
        _check(isinstance(data, Mapping), lambda: "it is not a JSON object")
        version = data.get("format")
        if version != FORMAT and (version != WITH_ELSEWHERE or isinstance(version, bool)):
            raise RunError(
                where="graph",
                what=f"format {version!r} is none of the formats {FORMAT} and {WITH_ELSEWHERE} that this version reads",
                help="use the intarsia version that wrote it, or compile the model again",
            )
        graph = Graph(_text(data["name"]))
        for entry in data["inputs"]:
            name, type, quantization = self.declaration(entry)
            self.values[name] = graph.add_input(name, type, quantization)
        for entry in data["constants"]:
            name, type, quantization = self.declaration(entry)
            value = graph.add_constant(name, self.array(entry))
            value.quantization = quantization
            self.values[name] = value
        for entry in data["nodes"]:
            self.node(graph, entry)
        graph.outputs = [self.read(name) for name in data["outputs"]]
        return graph

    def node(self, graph: Graph, data: Mapping[str, Any]) -> None:
        name = _text(data["name"])
        _check(name not in self.node_names, lambda: f"two nodes are called {name!r}")
        self.node_names.add(name)
        inputs = [None if item is None else self.read(item) for item in data["inputs"]]
        outputs = [None if item is None else self.declaration(item) for item in data["outputs"]]
        declared = [output[0] for output in outputs if output is not None]
        _check(len(set(declared)) == len(declared), lambda: f"node {name!r} makes a value twice")
        node = graph.add_node(
            _text(data["op"]),
            inputs,
            [None if output is None else output[1] for output in outputs],
            {_text(key): self.decode(value) for key, value in data.get("attributes", {}).items()},
            name=name,
            output_names=["" if output is None else output[0] for output in outputs],
            opset=_whole(data.get("opset", 0)),
            domain=_text(data.get("domain", "")),
        )
        for value, output in zip(node.outputs, outputs):
            if value is not None and output is not None:
                value.quantization = output[2]
                self.values[value.name] = value

    def read(self, name: Any) -> Value:
        _check(isinstance(name, str) and name in self.values, lambda: f"the value {name!r} is read before it is made")
        return self.values[name]

    def declaration(self, data: Mapping[str, Any]) -> tuple[str, TensorType, Quantization | None]:
        name = _text(data["name"])
        _check(name not in self.values, lambda: f"two values are called {name!r}")
        shape = None if data["shape"] is None else _shape(data["shape"])
        quantization = None
        if data.get("quantization") is not None:
            scale, zero_point = data["quantization"]
            quantization = Quantization(self.scale(scale), _whole(zero_point))
        return name, TensorType(_type_name(data["dtype"]), shape), quantization

    def scale(self, data: Any) -> float:
        scale = self.decode(data)
        _check(isinstance(scale, float), lambda: f"{scale!r} is not a scale")
        return float(scale)

    def array(self, data: Mapping[str, Any]) -> Array:
        name, sizes = _type_name(data["dtype"]), _shape(data["shape"])
        _check(None not in sizes, lambda: f"an array has the shape {data['shape']}")
        shape = tuple(size for size in sizes if size is not None)
        count = math.prod(shape)
        if name == "string":
            strings = [self.decode(item) for item in data["strings"]]
            _check(len(strings) == count, lambda: f"{len(strings)} strings do not fill {shape}")
            array = np.empty(count, dtype=object)
            array[:] = strings
            return array.reshape(shape)
        if "elsewhere" in data:
            _check(self.elsewhere is not None, lambda: "an array lies elsewhere, and the graph stands alone")
            assert self.elsewhere is not None
            return self.elsewhere(f"constant {data.get('name')!r:.80}", data["elsewhere"], name, shape)
        dtype = numpy_dtype(name)
        if name in NATIVE:
            dtype = dtype.newbyteorder("<")
        offset = _whole(data["offset"])
        fits = offset >= 0 and offset + count * dtype.itemsize <= len(self.blob)
        _check(fits, lambda: f"{name}{list(shape)} at byte {offset} leaves the {len(self.blob)} bytes of weights")
        if count == 0:
            return np.zeros(shape, numpy_dtype(name))
        array = np.frombuffer(self.blob, dtype, count, offset).reshape(shape)
        return array if array.dtype.isnative else array.astype(numpy_dtype(name))

    def decode(self, data: Any) -> Any:
        if isinstance(data, (list, tuple)):
            return tuple(self.decode(item) for item in data)
        if isinstance(data, Mapping):
            _check(len(data) == 1, lambda: f"{sorted(map(str, data))} is no form of an attribute")
            ((form, value),) = data.items()
            if form == "float":
                return float(_text(value))
            if form == "bytes":
                try:
                    return base64.b64decode(_text(value), validate=True)
                except binascii.Error as error:
                    raise _nonsense(f"bad base64: {error}") from error
            if form == "array":
                return self.array(value)
            if form == "graph":
                _check(self.depth < MAX_DEPTH, lambda: f"graphs stand more than {MAX_DEPTH} deep in each other")
                return _Reader(self.blob, None, self.depth + 1).graph(value)
            raise _nonsense(f"{form!r} is no form of an attribute")
        _check(isinstance(data, (bool, int, float, str)), lambda: f"{data!r} is no attribute")
        return data


def _text(data: Any) -> str:
    _check(isinstance(data, str), lambda: f"{data!r} stands where a name should")
    return str(data)


def _whole(data: Any) -> int:
    _check(isinstance(data, int) and not isinstance(data, bool), lambda: f"{data!r} stands where a whole number should")
    return int(data)


def _shape(data: Any) -> tuple[int | None, ...]:
    _check(isinstance(data, (list, tuple)), lambda: f"{data!r} is not a shape")
    shape = tuple(None if size is None else _whole(size) for size in data)
    _check(all(size is None or 0 <= size < 1 << 40 for size in shape), lambda: f"{list(shape)} is not a shape")
    return shape


def _type_name(data: Any) -> str:
    name = _text(data)
    _check(is_type_name(name), lambda: f"no element type is called {name!r}")
    return name
