"""Running graphs: order, observation, memory, errors that name the node, and whole models against ONNX Runtime."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import pytest

from intarsia.dtypes import Array
from intarsia.errors import RunError
from intarsia.importer import import_model
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph, Value
from intarsia.ir.types import TensorType

VECTOR = TensorType("float32", (3,))


def doubled(count: int) -> Graph:
    """x + x, as often as asked."""
    graph = Graph("doubled")
    value = graph.add_input("x", VECTOR)
    for index in range(count):
        value = graph.add_node("Add", [value, value], [VECTOR], name=f"add{index}", opset=17).output
    graph.outputs = [value]
    return graph


def test_values_are_observed_in_order() -> None:
    seen: list[tuple[str, list[float]]] = []

    def observe(value: Value, data: Array) -> None:
        seen.append((value.name, data.tolist()))

    x = np.array([1, 2, 3], np.float32)
    (found,) = evaluate(doubled(2), {"x": x}, observe=observe)
    assert seen == [("add0", [2, 4, 6]), ("add1", [4, 8, 12])]
    assert found.tolist() == [4, 8, 12]


def test_arrays_go_when_nobody_reads_them_any_more() -> None:
    alive: list[weakref.ref[Array]] = []
    most = 0

    def observe(value: Value, data: Array) -> None:
        nonlocal most
        alive.append(weakref.ref(data))
        most = max(most, sum(reference() is not None for reference in alive))

    evaluate(doubled(20), {"x": np.ones(3, np.float32)}, observe=observe)
    assert most <= 3


def test_outputs_may_be_inputs_constants_and_twice() -> None:
    graph = Graph("g")
    x = graph.add_input("x", VECTOR)
    seven = graph.add_constant("seven", np.array([7.0]))
    neg = graph.add_node("Neg", [x], [VECTOR], opset=17)
    graph.outputs = [x, seven, neg.output, neg.output]
    found = evaluate(graph, {"x": np.ones(3, np.float32)})
    assert [item.tolist() for item in found] == [[1, 1, 1], [7], [-1, -1, -1], [-1, -1, -1]]


def test_bad_values_at_run_time_name_the_node() -> None:
    graph = Graph("g")
    x, index = graph.add_input("x", VECTOR), graph.add_input("index", TensorType("int64", (1,)))
    pick = graph.add_node("Gather", [x, index], [TensorType("float32", (1,))], name="pick", opset=17)
    graph.outputs = [pick.output]
    assert evaluate(graph, {"x": np.arange(3, dtype=np.float32), "index": np.array([-1])})[0].tolist() == [2]
    with pytest.raises(RunError, match="Gather 'pick': it cannot be computed on these inputs"):
        evaluate(graph, {"x": np.zeros(3, np.float32), "index": np.array([3])})


def against_onnxruntime(path: Path) -> list[tuple[Array, Array]]:
    onnxruntime = pytest.importorskip("onnxruntime")
    graph = import_model(path)
    generator = np.random.default_rng(11)
    feed = {value.name: generator.normal(size=value.shape).astype(value.dtype) for value in graph.inputs}
    options = onnxruntime.SessionOptions()  # its optimizer rounds elsewhere: the model as it stands is the measure
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return list(zip(evaluate(graph, feed), session.run(None, feed)))


@pytest.mark.parametrize(
    "name", ["ic_resnet8_float", "kws_dscnn_float", "ad_ae_float", "fastestdet_coco", "silero_vad_openvino_16k"]
)
def test_float_models_agree_with_onnxruntime(shared_models: Path, name: str) -> None:
    for found, wanted in against_onnxruntime(shared_models / f"{name}.onnx"):
        assert found.dtype == wanted.dtype
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("name", ["ic_resnet8_int8", "kws_dscnn_int8", "ad_ae_int8"])
def test_quantized_models_agree_with_onnxruntime(shared_models: Path, name: str) -> None:
    """QDQ models round at every layer; a float sum in another order could move a value by one step."""
    for found, wanted in against_onnxruntime(shared_models / f"{name}.onnx"):
        assert np.abs(found.astype(np.float64) - wanted).max() <= 1


def test_digits_are_read(request: pytest.FixtureRequest) -> None:
    folder = request.config.rootpath / "tests" / "models"
    for found, wanted in against_onnxruntime(folder / "digits_cnn.onnx"):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
