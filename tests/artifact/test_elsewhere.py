"""Constants that an artifact holds once, in the order in which a region's code reads them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx.parser
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

import intarsia
from artifact_examples import small_graph
from generated_graphs import examples, graphs, networks
from intarsia.artifact import Artifact
from intarsia.artifact.elsewhere import Elsewhere, fit_places, from_data, row_by_row, shared
from intarsia.artifact.parts import EVALUATOR, graph_files, read_graph, stored_constants, whole_graph
from intarsia.dtypes import Array
from intarsia.errors import RunError
from intarsia.ir.graph import Graph
from intarsia.partition import partition
from intarsia.targets import find_target
from intarsia_backends.cpu.lower.packing import arrange, interleaved_outputs
from intarsia_backends.cpu.lower.panels import arrange_panels
from intarsia_backends.cpu.tiling import ProductTiling, split_evenly


def places_of(arranged: Array, shape: tuple[int, ...]) -> Array:
    """Where the elements of an array lie that counts from 1."""
    flat = arranged.reshape(-1)
    places = np.empty(int(np.prod(shape)), np.int64)
    places[flat[flat > 0] - 1] = np.flatnonzero(flat)
    return places.reshape(shape)


def check(data: Array, arranged: Array, numbers: Array, stored: str) -> None:
    """The pieces found give the array back, from JSON too."""
    pieces = fit_places(places_of(numbers, data.shape), numbers.size)
    assert pieces is not None
    content = b"before--" + arranged.astype(stored).tobytes()
    place = Elsewhere("weights.bin", 8, stored, pieces)
    again = from_data(json.loads(json.dumps(place.to_data())), data.shape, "here")
    assert again == place
    found = again.array(content, str(data.dtype), data.shape)
    assert found.tobytes() == data.tobytes() and found.dtype == data.dtype and not found.flags.writeable
    assert shared({"w": data}, {"w": place}, {"weights.bin": content}) == {"w": place}


def counted(shape: tuple[int, ...]) -> Array:
    return np.arange(1, int(np.prod(shape)) + 1).reshape(shape)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 70),
    st.integers(1, 130),
    st.sampled_from([1, 4, 8, 16]),
    st.integers(1, 12),
    st.sampled_from([("float32", "float32", "float32"), ("dot2", "int8", "int16"), ("dot4", "int8", "int8")]),
    st.booleans(),
)
def test_panels_of_products(
    depth: int, columns: int, lanes: int, largest: int, kinds: tuple[str, str, str], turned: bool
) -> None:
    products, dtype, stored = kinds
    panels, wide, wide_panels = split_evenly(-(-columns // lanes), largest)
    tiling = ProductTiling(lanes, wide, wide_panels, panels, (4, 4), depth, 1, 1)
    shape = (columns, depth) if turned else (depth, columns)
    data = np.random.default_rng(depth).integers(-128, 128, shape).astype(dtype)
    arranged, numbers = (
        arrange_panels(array.T if turned else array, tiling, products) for array in (data, counted(shape))
    )
    check(data, arranged, numbers, stored)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([1, 2, 3]),
    st.integers(1, 70),
    st.integers(1, 9),
    st.sampled_from([(1, 1), (3, 3), (2, 5)]),
    st.integers(1, 6),
    st.sampled_from([4, 8, 16]),
    st.sampled_from([("float32", "float32"), ("dot2", "int16"), ("dot4", "int8")]),
    st.booleans(),
)
def test_weights_of_convolutions(
    groups: int,
    outputs: int,
    channels: int,
    window: tuple[int, int],
    vectors: int,
    lanes: int,
    kinds: tuple[str, str],
    interleaved: bool,
) -> None:
    products, stored = kinds
    order = interleaved_outputs(outputs, vectors, lanes) if interleaved and products != "float32" else None
    shape = (groups * outputs, channels, *window)
    data = np.random.default_rng(outputs).integers(-128, 128, shape).astype("float32" if order is None else "int8")
    if products != "float32":
        data = data.astype(np.int8)
    arranged, numbers = (
        arrange(array.reshape(groups, outputs, *shape[1:]), vectors, lanes, products, window_first=True, order=order)
        for array in (data, counted(shape))
    )
    check(data, arranged, numbers, stored)


@given(st.lists(st.integers(1, 5), min_size=0, max_size=4))
def test_an_array_in_its_own_order(sizes: list[int]) -> None:
    data = np.random.default_rng(1).standard_normal(sizes).astype(np.float32)
    place = row_by_row("f", 4, "float32", data.shape)
    assert place.array(b"four" + data.tobytes(), "float32", data.shape).tobytes() == data.tobytes()
    assert from_data(json.loads(json.dumps(place.to_data())), data.shape, "here") == place


def test_an_order_without_strides_is_no_order() -> None:
    assert fit_places(np.random.default_rng(0).permutation(4000).reshape(40, 100), 4000) is None
    assert fit_places(np.arange(100)[::-1].copy(), 100) is None


def test_a_place_that_holds_something_else_is_not_believed() -> None:
    data = np.arange(40, dtype=np.float32)
    place = row_by_row("f", 0, "float32", data.shape)
    files = {"f": data.tobytes()}
    assert shared({"w": data}, {"w": place}, files) == {"w": place}
    assert shared({"w": data + 1}, {"w": place}, files) == {}
    assert shared({"w": data}, {"w": place}, {"f": data.tobytes()[:-1]}) == {}
    assert shared({"w": data}, {"w": place}, {"g": data.tobytes()}) == {}
    assert shared({"w": data}, {"v": place}, files) == {}
    same = np.array([0.0, -0.0], np.float32)
    assert shared({"w": same}, {"w": row_by_row("f", 0, "float32", (2,))}, {"f": (-same).tobytes()}) == {}


GOOD = row_by_row("regions/0_cpu/weights.bin", 0, "float32", (4, 6)).to_data()
CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no_object": lambda data: [data],
    "no_file": lambda data: {key: value for key, value in data.items() if key != "file"},
    "one_more": lambda data: {**data, "more": 1},
    "a_type_of_texts": lambda data: {**data, "dtype": "string"},
    "below_zero": lambda data: {**data, "offset": -1},
    "no_pieces": lambda data: {**data, "pieces": []},
    "many_pieces": lambda data: {**data, "pieces": data["pieces"] * 65},
    "twice_the_same": lambda data: {**data, "pieces": data["pieces"] * 2},
    "half_of_it": lambda data: {**data, "pieces": [[[0, 0], [2, 6], 0, [[[2, 6]], [[6, 1]]]]]},
    "two_halves_that_overlap": lambda data: {**data, "pieces": [[[0, 0], [2, 6], 0, [[[2, 6]], [[6, 1]]]]] * 2},
    "another_rank": lambda data: {**data, "pieces": [[[0], [24], 0, [[[24, 1]]]]]},
    "a_digit_too_many": lambda data: {**data, "pieces": [[[0, 0], [4, 6], 0, [[[4, 6, 1]], [[6, 1]]]]]},
    "a_place_that_is_no_number": lambda data: {**data, "pieces": [[[0, 0], [4, 6], True, [[[4, 6]], [[6, 1]]]]]},
    "an_axis_that_counts_too_far": lambda data: {**data, "pieces": [[[0, 0], [4, 6], 0, [[[9, 6]], [[6, 1]]]]]},
    "digits_that_count_for_ever": lambda data: {
        **data,
        "pieces": [[[0, 0], [4, 6], 0, [[[1, 0], [1 << 40, 0]], [[6, 1]]]]],
    },
    "no_digits": lambda data: {**data, "pieces": [[[0, 0], [4, 6], 0, [[], [[6, 1]]]]]},
    "out_of_the_array": lambda data: {**data, "pieces": [[[1, 0], [4, 6], 0, [[[4, 6]], [[6, 1]]]]]},
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_says_something_else_is_refused(name: str, golden: Callable[[str], None]) -> None:
    assert from_data(GOOD, (4, 6), "here").to_data() == GOOD
    with pytest.raises(RunError) as caught:
        from_data(json.loads(json.dumps(CHANGES[name](GOOD))), (4, 6), "constant 'w'")
    golden(f"{caught.value}\n")


# ---- what targets say

LEAST_BYTES = 1024


@settings(max_examples=examples(40), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.one_of(graphs(), networks()), st.sampled_from(["tiny", "pynq-z2"]))
def test_what_the_overlays_compiler_says_is_true(graph: Graph, name: str) -> None:
    """All large weights of what it compiles are found, where it says."""
    target = find_target(name)
    for region in partition(graph, (target, find_target("cpu"))).regions:
        if region.place != name:
            continue
        blob = target.compile(region.graph)
        constants = {value.name: value.data for value in region.graph.values() if value.data is not None}
        assert shared(constants, blob.constants, blob.files) == blob.constants
        products = [node.input(1) for node in region.graph.nodes if node.op in ("qconv", "qmatmul")]
        large = {value.name for value in products if value.type.size_bytes >= LEAST_BYTES}
        assert large <= set(blob.constants)


# ---- graphs and artifacts


def shared_graph() -> tuple[Graph, dict[str, bytes], dict[str, bytes]]:
    """A graph, its files, and the files of a region that holds its constants."""
    graph = small_graph()
    alone = {f"regions/0_evaluator/{name}": data for name, data in graph_files(graph).items()}
    places = {
        name: Elsewhere(f"regions/0_evaluator/{place.file}", place.offset, place.dtype, place.pieces)
        for name, place in stored_constants(graph_files(graph)).items()
    }
    constants = {value.name: value.data for value in graph.values() if value.data is not None}
    return graph, graph_files(graph, shared(constants, places, alone)), alone


def test_a_graph_without_weights_of_its_own_comes_back() -> None:
    graph, files, others = shared_graph()
    assert files["weights.bin"] == b"" and json.loads(files["graph.json"])["format"] == 2
    assert graph_files(read_graph(files, "graph", others)) == graph_files(graph)


def test_errors_name_the_constant(golden: Callable[[str], None]) -> None:
    _, files, others = shared_graph()
    text = files["graph.json"].decode()

    def said(files: Mapping[str, bytes], others: Mapping[str, bytes] | None) -> str:
        with pytest.raises(RunError) as caught:
            read_graph(files, "graph", others)
        return str(caught.value)

    golden(
        "\n".join(
            [
                said(files, None),
                said(files, {path: data[:8] for path, data in others.items()}),
                said({**files, "graph.json": text.replace('"offset":0', '"offset":"x"').encode()}, others),
                said({**files, "graph.json": text.replace('"format":2', '"format":3').encode()}, others),
            ]
        )
        + "\n"
    )


def dense_model() -> onnx.ModelProto:
    """Two layers of 40 to 70 to 30, and an op that no code is made for."""
    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 18]> mlp (float[1,40] x) => (float[1,30] y, int64[2,k] places)'
        "{ h = Gemm (x, a, c) r = Relu (h) y = Gemm <transB = 1> (r, b) g = Greater (y, t) places = NonZero (g) }"
    )
    random = np.random.default_rng(0)
    for name, shape in (("a", (40, 70)), ("b", (30, 70)), ("c", (70,)), ("t", (1, 30))):
        array = random.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


SAMPLES = np.random.default_rng(1).standard_normal((40, 40)).astype(np.float32)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_weights_are_stored_once(precision: str) -> None:
    given_data: dict[str, Any] = {} if precision == "float32" else {"calibration": SAMPLES}
    made = intarsia.compile_model(dense_model(), target="cpu", precision=precision, **given_data)
    weights = (40 * 70 + 70 * 30) * (4 if precision == "float32" else 1)
    assert len(made.files["graph/weights.bin"]) < weights / 3
    kept = sum(len(data) for path, data in made.files.items() if path.endswith("weights.bin"))
    assert weights <= kept < 2.1 * weights  # columns are filled up to whole vectors
    again = intarsia.compile_model(dense_model(), target="cpu", precision=precision, **given_data)
    assert again.manifest == made.manifest and again.files == made.files
    x = SAMPLES[:1]
    outputs = [intarsia.load(made, native=native).run(x) for native in (True, False)]
    for one, other in zip(*outputs):
        np.testing.assert_allclose(one, other, atol=1e-4)
    regions = {region.kind for region in made.contents.regions}
    assert regions == {"cpu", EVALUATOR}


def test_a_damaged_region_is_no_weights(tmp_path: Any) -> None:
    """Who changes a region's weights, and its hash, changes the graph's too: both say the same."""
    made = intarsia.compile_model(dense_model(), target="cpu")
    path = next(path for path in made.files if path.endswith("cpu/weights.bin"))
    changed = Artifact(made.manifest, {**made.files, path: bytes(len(made.files[path]))})
    before, after = ({value.name: value for value in whole_graph(item.files).values()} for item in (made, changed))
    assert any(np.any(value.data) for value in before.values() if value.data is not None)
    large = [value for value in after.values() if value.data is not None and value.data.nbytes > 4000]
    assert large and not any(np.any(value.data) for value in large)
