"""Graphs as JSON and weights: nothing is lost, equal graphs give equal bytes, and nonsense is refused in words."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generated_graphs import graphs, random_inputs
from intarsia.dtypes import EXTENDED, NATIVE, Array, numpy_dtype
from intarsia.errors import RunError
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph
from intarsia.ir.serialize import ALIGNMENT_BYTES, from_data, to_data
from intarsia.ir.text import text
from intarsia.ir.types import Quantization, TensorType


def through_json(graph: Graph) -> Graph:
    """The graph as a file would give it back; strict JSON, without NaN and Infinity."""
    data, blob = to_data(graph)
    return from_data(json.loads(json.dumps(data, allow_nan=False)), blob)


def same(first: Any, second: Any) -> bool:
    """Equal in type and value; NaN is equal to itself, and 0.0 differs from -0.0."""
    if type(first) is not type(second):
        return False
    if isinstance(first, np.ndarray):
        kept = first.dtype == second.dtype and first.shape == second.shape
        return kept and bool(np.array_equal(first, second, equal_nan=first.dtype.kind in "fc"))
    if isinstance(first, tuple):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, float):
        return repr(first) == repr(second)
    return bool(first == second)


@st.composite
def arrays(draw: st.DrawFn) -> Array:
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    dtype = draw(st.sampled_from([*NATIVE, "string"]))
    if dtype == "string":
        data = np.empty(math.prod(shape), object)
        data[:] = [draw(st.one_of(st.text(max_size=3), st.binary(max_size=3))) for _ in range(data.size)]
        return data.reshape(shape)
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return generator.normal(scale=40, size=shape).astype(np.int64).astype(numpy_dtype(dtype))


scalars = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(max_size=5), st.binary(max_size=5)
)
attributes = st.dictionaries(
    st.text(min_size=1, max_size=5), st.one_of(scalars, st.lists(scalars, max_size=4).map(tuple), arrays()), max_size=5
)


@given(attributes, arrays(), st.floats(allow_nan=False), st.integers(-128, 127))
def test_nothing_is_lost(given: dict[str, Any], weight: Array, scale: float, zero_point: int) -> None:
    graph = Graph("g")
    x = graph.add_input("x", TensorType("float32", (1, None)), Quantization(scale, zero_point))
    w = graph.add_constant("w", weight)
    outputs = [TensorType("sequence(float32)", None), None, TensorType("int8", ())]
    node = graph.add_node(
        "Odd", [x, None, w, x], outputs, given, name="n", opset=7, domain="d", output_names=["a", "", "b"]
    )
    graph.outputs = [node.output, w, x]
    twin = through_json(graph)
    (back,) = twin.nodes
    assert (back.op, back.name, back.opset, back.domain) == ("Odd", "n", 7, "d")
    assert [None if value is None else value.name for value in back.inputs] == ["x", None, "w", "x"]
    assert [None if value is None else (value.name, value.type) for value in back.outputs] == [
        ("a", outputs[0]),
        None,
        ("b", outputs[2]),
    ]
    assert twin.inputs[0].quantization == x.quantization
    assert back.attributes.keys() == given.keys()
    assert all(same(given[name], back.attributes[name]) for name in given)
    assert same(weight, back.input(2).data)
    assert [value.name for value in twin.outputs] == ["a", "w", "x"]
    assert back.input(0).users == (back,)


@given(graphs(), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_generated_graphs_compute_the_same(graph: Graph, seed: int) -> None:
    data, blob = to_data(graph)
    twin = from_data(json.loads(json.dumps(data, allow_nan=False)), blob)
    assert text(twin) == text(graph)
    assert to_data(twin) == (data, blob)
    assert to_data(graph.copy()) == (data, blob)
    inputs = random_inputs(graph, seed)
    for wanted, found in zip(evaluate(graph, inputs), evaluate(twin, inputs)):
        assert np.array_equal(wanted, found)


def test_weights_lie_aligned_and_little_endian() -> None:
    graph = Graph("g")
    first = graph.add_constant("first", np.arange(3, dtype=">i2"))
    second = graph.add_constant("second", np.arange(5, dtype=np.float32))
    graph.outputs = [first, second]
    data, blob = to_data(graph)
    assert [entry["offset"] for entry in data["constants"]] == [0, ALIGNMENT_BYTES]
    assert blob[:6] == b"\0\0\1\0\2\0"
    assert np.frombuffer(blob, "<f4", 5, ALIGNMENT_BYTES).tolist() == [0, 1, 2, 3, 4]


def test_constants_are_views_of_the_blob() -> None:
    """A board must not hold the weights twice."""
    graph = Graph("g")
    graph.outputs = [graph.add_constant("w", np.ones((64, 64), np.float32))]
    data, blob = to_data(graph)
    weight = from_data(data, blob).outputs[0].data
    assert weight is not None and not weight.flags.owndata and not weight.flags.writeable


@pytest.mark.parametrize("dtype", EXTENDED)
def test_types_that_numpy_lacks(dtype: str) -> None:
    graph = Graph("g")
    graph.outputs = [graph.add_constant("w", np.array([0.0, 1.0], np.float32).astype(numpy_dtype(dtype)))]
    weight = through_json(graph).outputs[0]
    assert weight.dtype == dtype
    assert weight.data is not None and weight.data.astype(np.float32).tolist()[1] == 1


# ---- nonsense


def example() -> tuple[dict[str, Any], bytes]:
    graph = Graph("g")
    x = graph.add_input("x", TensorType("int8", (1, 3)), Quantization(0.5, 1))
    w = graph.add_constant("w", np.arange(6, dtype=np.int32).reshape(2, 3))
    node = graph.add_node("Odd", [x, w], [TensorType("int8", (1, 2))], {"blob": b"b", "top": math.inf}, name="odd")
    graph.outputs = [node.output]
    data, blob = to_data(graph)
    return json.loads(json.dumps(data)), blob


def change(data: Any, path: str, value: Any) -> None:
    *way, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in way:
        data = data[step]
    if value is KeyError:
        del data[last]
    else:
        data[last] = value


@pytest.mark.parametrize(
    ("path", "value", "what"),
    [
        ("format", 3, "format 3 is none of the formats 1 and 2"),
        ("name", 5, "5 stands where a name should"),
        ("name", KeyError, "KeyError"),
        ("inputs", None, "TypeError"),
        ("inputs.0.dtype", "int9", "no element type is called 'int9'"),
        ("inputs.0.shape", [1, -3], "is not a shape"),
        ("inputs.0.shape", [1, 1.5], "stands where a whole number should"),
        ("inputs.0.shape", "13", "is not a shape"),
        ("inputs.0.quantization", [0.5], "ValueError"),
        ("inputs.0.quantization", ["a", 1], "is not a scale"),
        ("constants.0.offset", 4, "leaves the 24 bytes"),
        ("constants.0.offset", -4, "leaves the 24 bytes"),
        ("constants.0.offset", KeyError, "KeyError"),
        ("constants.0.shape", [2, None], "an array has the shape"),
        ("constants.0.shape", [1 << 39, 1 << 39], "leaves the 24 bytes"),
        ("constants.0.dtype", "sequence(int8)", "no element type"),
        ("constants.0.name", "x", "two values are called 'x'"),
        ("nodes.0.inputs", ["x", "odd"], "'odd' is read before it is made"),
        ("nodes.0.inputs", [["x"]], "is read before it is made"),
        ("nodes.0.outputs.0.name", "w", "two values are called 'w'"),
        ("nodes.0.attributes.blob", {"bytes": "%%"}, "bad base64"),
        ("nodes.0.attributes.blob", {"bites": "Yg=="}, "'bites' is no form of an attribute"),
        ("nodes.0.attributes.blob", {"bytes": "Yg==", "float": "1"}, "is no form of an attribute"),
        ("nodes.0.attributes.blob", None, "None is no attribute"),
        ("nodes.0.attributes.top", {"float": "much"}, "ValueError"),
        ("nodes.0.attributes", [1], "AttributeError"),
        ("nodes.0.opset", "7", "stands where a whole number should"),
        ("outputs", ["y"], "'y' is read before it is made"),
        ("outputs", [None], "is read before it is made"),
    ],
)
def test_nonsense_is_refused(path: str, value: Any, what: str) -> None:
    data, blob = example()
    assert from_data(copy.deepcopy(data), blob).nodes[0].op == "Odd"
    change(data, path, value)
    with pytest.raises(RunError) as caught:
        from_data(data, blob)
    assert what in str(caught.value)
    assert "compile the model again" in caught.value.help


@pytest.mark.parametrize("data", [None, [], "graph", 7, {}])
def test_other_json_is_refused(data: Any) -> None:
    with pytest.raises(RunError):
        from_data(data, b"")


@given(st.data())
@settings(max_examples=80)
def test_damage_never_escapes_as_another_error(data: st.DataObject) -> None:
    """Any one place of the JSON may hold anything: a graph comes back, or a RunError."""
    tree, blob = example()
    places: list[tuple[Any, Any]] = []

    def walk(item: Any) -> None:
        for key, child in item.items() if isinstance(item, dict) else enumerate(item):
            places.append((item, key))
            if isinstance(child, (dict, list)):
                walk(child)

    walk(tree)
    parent, key = data.draw(st.sampled_from(places))
    parent[key] = data.draw(st.recursive(st.none() | scalars, lambda inner: st.lists(inner, max_size=3)))
    with contextlib.suppress(RunError):
        from_data(tree, blob)


def test_reading_needs_numpy_alone() -> None:
    """Boards have neither onnx nor ml_dtypes: reading and computing must not import them."""
    program = (
        "import sys; import intarsia.ir.serialize, intarsia.ir.evaluate; "
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'onnx', 'tvm', 'ml_dtypes', 'networkx'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
