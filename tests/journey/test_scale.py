"""Graphs of thousands of nodes, and small files that ask for much: time and memory stay within limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import helper, numpy_helper, parser

import intarsia
from intarsia import CompileError, Limits
from intarsia.cli.commands import intarsia as intarsia_command

HEAD = '<ir_version: 9, opset_import: ["" : 17]>\n'
SECONDS = 10.0  # of processor time, with room for busy machines


def graph_of(nodes: list[onnx.NodeProto], outputs: list[str], **constants: np.ndarray) -> onnx.ModelProto:
    """A model from nodes, with an input x of float[1, 4]."""
    given = [helper.make_tensor_value_info("x", 1, [1, 4])]
    found = [helper.make_tensor_value_info(name, 1, None) for name in outputs]
    held = [numpy_helper.from_array(data, name) for name, data in constants.items()]
    graph = helper.make_graph(nodes, "wide_or_deep", given, found, held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def chain(count: int) -> onnx.ModelProto:
    """Ops in a row."""
    names = ["x", *(f"v{index}" for index in range(count))]
    ops = ("Abs", "Neg")
    return graph_of([helper.make_node(ops[i % 2], [names[i]], [names[i + 1]]) for i in range(count)], [names[-1]])


def star(count: int) -> onnx.ModelProto:
    """Ops that read one value, and a sum of all of them."""
    rays = [helper.make_node("LeakyRelu", ["x"], [f"v{i}"], alpha=1 / (i + 2)) for i in range(count)]
    return graph_of([*rays, helper.make_node("Sum", [ray.output[0] for ray in rays], ["y"])], ["y"])


def fan(count: int) -> onnx.ModelProto:
    """Ops that read one value, each an output of the model."""
    rays = [helper.make_node("LeakyRelu", ["x"], [f"v{i}"], alpha=1 / (i + 2)) for i in range(count)]
    return graph_of(rays, [ray.output[0] for ray in rays])


def collected(count: int) -> onnx.ModelProto:
    """No-ops whose results one node with thousands of inputs reads."""
    rays = [helper.make_node("Identity", ["x"], [f"v{i}"]) for i in range(count)]
    return graph_of([*rays, helper.make_node("Concat", [ray.output[0] for ray in rays], ["y"], axis=1)], ["y"])


@pytest.mark.parametrize("make", [chain, star, fan, collected])
@pytest.mark.parametrize("target", ["cpu", "pynq-z2"])
def test_time_grows_with_the_number_of_nodes(make: Callable[[int], onnx.ModelProto], target: str) -> None:
    started = time.process_time()
    explanation = intarsia.explain(make(3000), target=target)
    assert time.process_time() - started < SECONDS
    assert explanation.rows


def test_a_deep_graph_runs_on_the_cpu() -> None:
    x = np.linspace(-2, 2, 4, dtype=np.float32).reshape(1, 4)
    (y,) = intarsia.load(intarsia.compile_model(chain(3000), target="cpu")).run(x=x)
    np.testing.assert_array_equal(y, -np.abs(x))


def test_a_deep_graph_runs_on_the_overlay() -> None:
    """There are more layers than its counters have tags."""
    x = np.linspace(-2, 2, 4, dtype=np.float32).reshape(1, 4)
    artifact = intarsia.compile_model(chain(1500), target="pynq-z2", calibration=[{"x": x}])
    (overlay,) = (region for region in artifact.contents.regions if region.kind == "overlay")
    assert [row["tag"] for row in overlay.layers] == list(range(len(overlay.layers)))
    assert 750 <= len(overlay.layers) <= 1024
    (y,) = intarsia.load(artifact, device="simulator").run(x=x)
    np.testing.assert_allclose(y, -np.abs(x), atol=0.02)


def doubling(depth: int) -> onnx.ModelProto:
    """Functions that call the next one twice: 2**depth nodes from some hundred bytes."""
    own, standard = helper.make_opsetid("f", 1), helper.make_opsetid("", 17)
    functions = [
        helper.make_function(
            *("f", f"f{level}", ["a"], ["b"]),
            [helper.make_node(f"f{level + 1}", [s], [r], domain="f") for s, r in (("a", "m"), ("m", "b"))],
            [standard, own],
        )
        for level in range(depth)
    ]
    functions.append(
        helper.make_function("f", f"f{depth}", ["a"], ["b"], [helper.make_node("Abs", ["a"], ["b"])], [standard])
    )
    model = graph_of([helper.make_node("f0", ["x"], ["y"], domain="f")], ["y"])
    model.functions.extend(functions)
    model.opset_import.append(own)
    return model


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_many_ways_to_one_value(precision: str) -> None:
    """40 Splits whose halves are put together again: 2 to the power of 40 ways lead from the first to the last."""
    halves = "".join(
        f"a{index}, b{index} = Split <axis = 1> (v{index})  v{index + 1} = Concat <axis = 1> (b{index}, a{index})\n"
        for index in range(40)
    )
    text = f"""g (float[1,8] x) => (float[1,8] y) {{ s = Sigmoid (x)  v0 = QuantizeLinear (s, step, zero)
      {halves} y = DequantizeLinear (v40, step, zero) }}"""
    model = parser.parse_model(HEAD + text)
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.01, np.float32), "step"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(0, np.int8), "zero"))
    started = time.process_time()
    intarsia.compile_model(model, target="cpu", precision=precision)
    assert time.process_time() - started < SECONDS


def test_functions_that_call_functions() -> None:
    intarsia.explain(doubling(10), target="pynq-z2")
    with pytest.raises(CompileError, match=r"grow to 196607 nodes; the limit is 30000\n.*Limits\(function_nodes=N\)"):
        intarsia.explain(doubling(16), target="pynq-z2")


ASKING: dict[str, tuple[str, Mapping[str, Any]]] = {
    "range": (
        "g (int32[1] x) => (int32[1] y) { r = Range (a, b, c) m = ReduceMax <keepdims = 0> (r) y = Add (x, m) }",
        {"a": np.int32(0), "b": np.int32(500_000_000), "c": np.int32(1)},
    ),
    "scan": (
        """g (float[1] x) => (float[1] y) {
          s = ConstantOfShape (shape)
          f, all = Scan <num_scan_inputs = 1, body = b (float[1] v, float[1] e) => (float[1] w, float[1] o) {
            w = Add (v, e) o = Identity (w) }> (start, s)
          y = Add (x, f) }""",
        {"shape": np.array([3_000_000, 1]), "start": np.ones(1, np.float32)},
    ),
    "product": (
        """g (float[1] x) => (float[1] y) {
          a = ConstantOfShape (shape) b = MatMul (a, a) c = ReduceSum <keepdims = 0> (b) y = Add (x, c) }""",
        {"shape": np.array([4000, 4000])},
    ),
    "convolution": (
        """g (float[1] x) => (float[1] y) {
          a = ConstantOfShape (image) w = ConstantOfShape (weight) b = Conv (a, w)
          c = ReduceSum <keepdims = 0> (b) y = Add (x, c) }""",
        {"image": np.array([1, 64, 100, 100]), "weight": np.array([64, 64, 33, 33])},
    ),
    "pool": (
        """g (float[1] x) => (float[1] y) {
          a = ConstantOfShape (image) b = MaxPool <kernel_shape = [63, 63], pads = [31, 31, 31, 31]> (a)
          c = ReduceSum <keepdims = 0> (b) y = Add (x, c) }""",
        {"image": np.array([1, 16, 300, 300])},
    ),
    "determinant": (
        """g (float[1] x) => (float[1] y) {
          a = ConstantOfShape (matrix) b = Det (a) y = Add (x, b) }""",
        {"matrix": np.array([3000, 3000])},
    ),
    "neighbours": (
        """g (float[1] x) => (float[1] y) {
          a = ConstantOfShape (image) b = LRN <size = 10000> (a) c = ReduceSum <keepdims = 0> (b) y = Add (x, c) }""",
        {"image": np.array([1, 10000, 10, 10])},
    ),
    "transform": (
        """g (float[1] x) => (float[1] y) {
          a = ConstantOfShape (signal) b = DFT <axis = 1> (a, n) c = ReduceSum <keepdims = 0> (b) y = Add (x, c) }""",
        {"signal": np.array([1, 10, 1]), "n": np.array(100_000_000)},
    ),
    "strings": (
        "g (string[1] x) => (string[1] y) { "
        + " ".join(f"s{level + 1} = StringConcat (s{level}, s{level})" for level in range(40))
        + " y = StringConcat (x, s40) }",
        {"s0": np.array(["ab" * 100], object)},
    ),
    "pattern": (
        'g (float[1] x) => (bool[1] y) { y = RegexFullMatch <pattern = "(a+)+$"> (s) }',
        {"s": np.array(["a" * 40 + "b"], object)},
    ),
}  # fmt: skip


def asking(name: str) -> onnx.ModelProto:
    text, constants = ASKING[name]
    model = parser.parse_model(HEAD.replace("17", "20" if name in ("pattern", "strings") else "17") + text)
    held = [numpy_helper.from_array(np.asarray(data), key) for key, data in constants.items()]
    model.graph.initializer.extend(held)
    return model


@pytest.mark.parametrize("name", ASKING)
def test_small_files_that_ask_for_much(name: str) -> None:
    started = time.process_time()
    explanation = intarsia.explain(asking(name), target="pynq-z2")
    assert time.process_time() - started < SECONDS
    assert any("too large for now" in text and " fold_" in text for _, text in explanation.notes)


def test_folding_has_limits_that_may_be_raised() -> None:
    model = parser.parse_model(
        HEAD + "g (float[1] x) => (float[1] y) {"
        " a = ConstantOfShape (shape) b = MatMul (a, a) c = ReduceSum <keepdims = 0> (b) y = Add (x, c) }"
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array([300, 300]), "shape"))
    assert not intarsia.explain(model, target="cpu").notes
    tight = intarsia.explain(model, target="cpu", limits=Limits(fold_work=10_000_000))
    assert any("multiply-adds or as much" in text and "left of fold_work" in text for _, text in tight.notes)


def test_the_command_raises_limits(tmp_path: Path) -> None:
    path = tmp_path / "functions.onnx"
    path.write_bytes(doubling(4).SerializeToString())
    arguments = ["explain", str(path), "--target", "cpu", "--limit"]
    few = CliRunner().invoke(intarsia_command, [*arguments, "function_nodes=10"])
    assert few.exit_code == 2
    assert "raise it: --limit function_nodes=N" in few.output
    assert CliRunner().invoke(intarsia_command, [*arguments, "function_nodes=100"]).exit_code == 0
    wrong = CliRunner().invoke(intarsia_command, [*arguments, "functions=100"])
    assert wrong.exit_code == 2
    assert "there are file_bytes, tensor_bytes," in " ".join(wrong.output.split())


ENDLESS = """g (float[1] x) => (float[1] y) { y = Loop (n, , x) <body = b (int64 i, bool on, float[1] v) =>
  (bool o, float[1] w) { o = Identity (on)  w = Abs (v) }> }"""
BODY = """g (float[1] x) => (float[1] y) { y = Loop (n, , x) <body = b (int64 i, bool on, float[1] v) =>
  (bool o, float[1] w) { o = Identity (on) big = ConstantOfShape (size) t = ReduceSum <keepdims = 0> (big)
  w = Add (v, t) }> }"""
LARGE = 'g (float[150] x) => (float[150,150,150,150] y) { y = Einsum <equation = "a,b,c,d->abcd"> (x, x, x, x) }'


@pytest.mark.parametrize(("text", "limit"), [(ENDLESS, "vector_work"), (BODY, "vector_bytes"), (LARGE, "vector_bytes")])
def test_test_vectors_are_left_out_where_they_take_too_much(text: str, limit: str) -> None:
    model = parser.parse_model(HEAD + text)
    if "Loop" in text:
        model.graph.initializer.append(numpy_helper.from_array(np.array(10**12), "n"))
        model.graph.initializer.append(numpy_helper.from_array(np.array([400_000_000]), "size"))
    artifact = intarsia.compile_model(model, target="cpu", limits=Limits(vector_work=1 << 32))
    notes = dict(artifact.contents.metadata["notes"])
    assert notes["test vectors"].startswith("none: ")
    assert limit in notes["test vectors"]
