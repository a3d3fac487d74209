"""Ops that are made of simpler ones: what stands in their place, what it means, and why some stay whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import intarsia
from intarsia import driver
from intarsia.artifact.arrays import from_npy
from intarsia.dtypes import Array, dtype_name, numpy_dtype
from intarsia.errors import CompileError
from intarsia.importer import function_body
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.text import text
from intarsia.ir.types import TensorType
from intarsia.ir.verify import verify
from intarsia.partition.advice import advised
from intarsia.passes import run_passes, simplify_passes
from intarsia.passes.decompose import Advice, Decompose, Kept
from intarsia.passes.decompose.expansions import OPS, expansion_of
from intarsia.passes.decompose.functions import FUNCTIONS
from intarsia.passes.instruments import Dump, relative_drift
from intarsia.passes.pipeline import parse_pipeline
from intarsia.targets import Support, no


def floats(*shape: int) -> Array:
    """Numbers that are the same in every run, since golden files show them."""
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


def halves(*shape: int) -> Array:
    return floats(*shape).astype(np.float16)


def taken(node: Node) -> Support:
    """A machine that knows numbers of float32, whole numbers and truths, and none of the ops in question."""
    values = [value for value in (*node.inputs, *node.outputs) if value is not None]
    if expansion_of(node) is not None or node.op in FUNCTIONS:
        return no("operator", f"no code is made for {node.op}", "none")
    if node.op not in ("Cast", "CastLike") and any(value.dtype == "float16" for value in values):
        return no("element-type", "it is float16", "none")
    return Support(True)


def step(taken: Callable[[Node], Support] = taken, **told: Any) -> Decompose:
    def function(node: Node) -> Graph:
        body = function_body(node, {})
        run_passes(body, simplify_passes())
        return body

    return Decompose(("some",), Advice(taken, function, **told))


def single(
    op: str,
    inputs: Sequence[Array | None],
    attributes: Mapping[str, Any] | None = None,
    *,
    constants: Sequence[int] = (),
    outputs: Sequence[TensorType | None] = (),
    opset: int = 18,
) -> tuple[Graph, dict[str, Array]]:
    """A graph of one node, called as its op in lower case, and what to give it. By default it makes what goes in."""
    graph, given = Graph(op), {}
    values: list[Value | None] = []
    for index, data in enumerate(inputs):
        if data is None:
            values.append(None)
        elif index in constants:
            values.append(graph.add_constant(f"c{index}", data))
        else:
            values.append(graph.add_input(f"x{index}", TensorType(dtype_name(data.dtype), data.shape)))
            given[f"x{index}"] = data
    types = outputs
    if not types:
        assert values[0] is not None
        types = [values[0].type]
    node = graph.add_node(
        op, values, types, attributes, name=op.lower(), output_names=["y", "z", "u", "v"], opset=opset
    )
    graph.outputs = [value for value in node.outputs if value is not None]
    return graph, given


def f32(*shape: int) -> TensorType:
    return TensorType("float32", shape)


GOLDEN: dict[str, Callable[[], tuple[Graph, dict[str, Array]]]] = {
    "layer-normalization-half": lambda: single(
        "LayerNormalization", [halves(2, 6), halves(6), halves(6)], {"axis": -1}, constants=(1, 2)
    ),
    "layer-normalization": lambda: single(
        "LayerNormalization",
        [floats(2, 3, 20), floats(20), floats(20)],
        {"axis": -1},
        constants=(1, 2),
        outputs=[f32(2, 3, 20), None, f32(2, 3, 1)],
    ),
    "attention": lambda: single("Attention", [floats(1, 2, 4, 8), floats(1, 2, 6, 8), floats(1, 2, 6, 8)], opset=23),
    "group-normalization": lambda: single(
        "GroupNormalization", [floats(2, 4, 3, 3), floats(4), floats(4)], {"num_groups": 2}, constants=(1, 2), opset=21
    ),
    "lrn": lambda: single("LRN", [floats(1, 5, 2, 2)], {"size": 3, "alpha": 0.3, "beta": 0.6, "bias": 1.5}),
    "hardmax": lambda: single("Hardmax", [floats(3, 4)], {"axis": 1}),
    "lp-normalization": lambda: single("LpNormalization", [floats(3, 4)], {"axis": 1, "p": 1}),
    "reduce-log-sum-exp": lambda: single(
        "ReduceLogSumExp", [floats(3, 4), np.array([1])], {"keepdims": 0}, constants=(1,), outputs=[f32(3)]
    ),
    "reduce-max-of-bools": lambda: single(
        "ReduceMax", [np.eye(3, 4) > 0, np.array([1])], constants=(1,), outputs=[TensorType("bool", (3, 1))], opset=20
    ),
    "dft": lambda: single(
        "DFT", [floats(1, 6, 1), None, np.array(1)], constants=(2,), outputs=[f32(1, 6, 2)], opset=20
    ),
    "stft": lambda: single(
        "STFT",
        [floats(1, 16, 1), np.array(4), np.hanning(8).astype(np.float32)],
        constants=(1, 2),
        outputs=[f32(1, 3, 5, 2)],
        opset=17,
    ),
    "batch-normalization": lambda: single(
        "BatchNormalization", [floats(2, 3, 4), floats(3), floats(3), floats(3), np.abs(floats(3))]
    ),
    "dynamic-quantize-linear": lambda: single(
        "DynamicQuantizeLinear",
        [floats(3, 40)],
        outputs=[TensorType("uint8", (3, 40)), f32(), TensorType("uint8", ())],
    ),
    "soft-max-cross-entropy": lambda: single(
        "SoftmaxCrossEntropyLoss", [floats(2, 6), np.array([1, 5])], outputs=[f32()]
    ),
    "convolution-half": lambda: single(
        "Conv",
        [halves(1, 2, 4, 4), halves(3, 2, 1, 1)],
        {"kernel_shape": (1, 1), "strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "group": 1},
        constants=(1,),
        outputs=[TensorType("float16", (1, 3, 4, 4))],
    ),
    "add-half": lambda: single("Add", [halves(20), halves(20)]),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_ops_are_taken_apart(name: str, golden: Callable[[str], None]) -> None:
    graph, inputs = GOLDEN[name]()
    before, names = evaluate(graph, inputs), [value.name for value in graph.outputs]
    whole: dict[str, Kept] = {}
    apart = step(told=whole.__setitem__)
    assert (apart.run(graph), whole) == (1, {})
    verify(graph, "decomposed")
    assert [value.name for value in graph.outputs] == names
    assert all(taken(node).ok for node in graph.nodes)
    for value, wanted, found in zip(graph.outputs, before, evaluate(graph, inputs)):
        drift = relative_drift(wanted, found)
        exact = value.dtype not in ("float32", "float16") or name == "add-half"
        assert drift <= (0 if exact else 1e-3 if value.dtype == "float16" else 1e-5), value
    assert apart.run(graph) == 0, "a second run finds more to change"
    golden(text(graph))


EXACT_HALVES = ("Abs", "Add", "Div", "Erf", "Exp", "Floor", "Max", "Mul", "Neg", "Reciprocal", "Relu", "Sqrt", "Tanh")
ROUNDED_HALVES = ("Gelu", "HardSwish", "LogSoftmax", "Mish", "Selu", "Sigmoid", "Softmax", "LpNormalization")


@pytest.mark.parametrize("op", EXACT_HALVES + ROUNDED_HALVES)
def test_half_precision_rounds_as_the_meaning_does(op: str) -> None:
    operands = 2 if op in ("Add", "Div", "Max", "Mul") else 1
    graph, inputs = single(op, [np.abs(halves(6, 50 + index)[:, :50]) for index in range(operands)], opset=20)
    (before,) = evaluate(graph, inputs)
    assert step().run(graph) == 1
    (after,) = evaluate(graph, inputs)
    if op in EXACT_HALVES:
        np.testing.assert_array_equal(after, before)
    assert relative_drift(before, after) <= 1e-3


def test_a_part_takes_its_names_from_the_node() -> None:
    graph = Graph("two")
    x = graph.add_input("x", f32(2, 3))
    first = graph.add_node("Hardmax", [x], [x.type], name="choice", output_names=["a"], opset=18)
    second = graph.add_node("Hardmax", [first.output], [x.type], name="choice/ArgMax", output_names=["b"], opset=18)
    graph.outputs = [second.output]
    assert step().run(graph) == 2
    verify(graph, "decomposed")
    assert [(node.name, node.output.name) for node in graph.nodes] == [
        ("choice/ArgMax_1", "choice/ArgMax_1"),
        ("choice/OneHot", "a"),
        ("choice/ArgMax/ArgMax", "choice/ArgMax/ArgMax"),
        ("choice/ArgMax/OneHot", "b"),
    ]


def test_outputs_that_are_inputs_constants_or_the_same_are_read_where_they_are() -> None:
    def body(node: Node) -> Graph:
        inner = Graph("body")
        x = inner.add_input("input_0", f32(2, 3))
        doubled = inner.add_node("Add", [x, x], [x.type], opset=18).output
        inner.outputs = [doubled, x, inner.add_constant("table", np.ones((2, 3), np.float32)), doubled]
        return inner

    graph = Graph("plain")
    x = graph.add_input("x", f32(2, 3))
    node = graph.add_node("SwiGLU", [x], [x.type] * 4, output_names=["a", "b", "c", "d"], opset=18)
    graph.outputs = [graph.add_node("Neg", [value], [x.type], opset=18).output for value in node.outputs]
    graph.outputs += [value for value in node.outputs if value is not None]
    assert Decompose(("some",), Advice(taken, body)).run(graph) == 1
    verify(graph, "decomposed")
    assert [node.name for node in graph.nodes] == ["SwiGLU/Add", "Neg", "Neg_1", "Neg_2", "Neg_3"]
    data = floats(2, 3)
    wanted = [data * 2, data, np.ones((2, 3)), data * 2]
    for expected, found in zip([-array for array in wanted] + wanted, evaluate(graph, {"x": data})):
        np.testing.assert_array_equal(found, expected)


def test_constants_of_a_node_are_not_copied() -> None:
    graph, _ = GOLDEN["stft"]()
    window = graph.nodes[0].input(2)
    assert step().run(graph) == 1
    assert [node.name for node in window.users] == ["stft/Mul"]


def test_an_output_of_a_function_may_be_what_it_reads() -> None:
    graph, inputs = single(
        "Attention",
        [floats(1, 2, 4, 8), floats(1, 2, 6, 8), floats(1, 2, 6, 8)],
        constants=(2,),
        outputs=[f32(1, 2, 4, 8), f32(1, 2, 6, 8), f32(1, 2, 6, 8)],
        opset=23,
    )
    before = evaluate(graph, inputs)
    assert step().run(graph) == 1
    verify(graph, "decomposed")
    assert graph.outputs[2].is_constant
    for wanted, found in zip(before, evaluate(graph, inputs), strict=True):
        assert relative_drift(wanted, found) < 1e-5


# ---- what stays whole


def test_what_is_taken_stays_whole() -> None:
    graph, _ = GOLDEN["layer-normalization"]()
    asked: list[Node] = []
    whole: dict[str, Kept] = {}

    def everything(node: Node) -> Support:
        asked.append(node)
        return Support(True)

    assert step(everything, told=whole.__setitem__).run(graph) == 0
    assert asked == graph.nodes and not whole


def test_nobody_is_asked_about_ops_that_cannot_be_taken_apart() -> None:
    def nothing(node: Node) -> Support:
        raise AssertionError(node)

    graph, _ = single("Relu", [floats(3)])
    assert step(nothing).run(graph) == 0


@pytest.mark.parametrize("op", sorted(OPS))
def test_expansions_refuse_dynamic_shapes(op: str) -> None:
    graph = Graph("dynamic")
    x = graph.add_input("x", TensorType("bool" if op in ("ReduceMax", "ReduceMin") else "float32", (None, 3)))
    node = graph.add_node(op, [x], [x.type], opset=18)
    whole: dict[str, Kept] = {}
    assert step(told=whole.__setitem__).run(graph) == 0
    assert whole[node.name].rule == "static-shape" and whole[node.name].fix


REFUSED: dict[str, Callable[[], tuple[Graph, dict[str, Array]]]] = {
    "an inverse transform": lambda: single(
        "DFT", [floats(1, 6, 2), None, np.array(1)], {"inverse": 1}, constants=(2,), opset=20
    ),
    "axes made at run time": lambda: single("ReduceLogSumExp", [floats(3, 4), np.array([1])], outputs=[f32(3, 1)]),
    "nothing to normalize": lambda: single("LRN", [floats(0, 4, 3, 3)], {"size": 3}),
    "a table too large": lambda: single(
        "DFT", [np.broadcast_to(np.float32(0), (1, 1 << 31, 1))], outputs=[f32(1, 1 << 31, 2)], opset=17
    ),
    "types that do not fit": lambda: single(
        "MeanVarianceNormalization", [floats(2, 3, 4).astype(numpy_dtype("bfloat16"))], {"axes": (2,)}
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_forms_that_stay_whole_say_why(name: str, golden: Callable[[str], None]) -> None:
    graph, _ = REFUSED[name]()
    before = text(graph)
    whole: dict[str, Kept] = {}
    assert step(told=whole.__setitem__).run(graph) == 0
    assert text(graph) == before
    ((node, kept),) = whole.items()
    golden(f"{node}: {kept.rule}: {kept.reason}; {kept.fix}\n")
    assert [str(refusal) for refusal in step().refusals(graph)] == [f"{graph.nodes[0].where}: {kept.reason}"]


def test_the_first_part_that_is_refused_is_named() -> None:
    def no_division(node: Node) -> Support:
        return no("operator", "nothing is divided here", "multiply") if node.op == "Div" else taken(node)

    graph, _ = GOLDEN["layer-normalization-half"]()
    before = text(graph)
    whole: dict[str, Kept] = {}
    assert step(no_division, told=whole.__setitem__).run(graph) == 0
    assert text(graph) == before
    reason = "its part LayerNormalization: its part Div: nothing is divided here"
    assert whole == {"layernormalization": Kept("operator", reason, "multiply")}


def test_explain_tells_the_part() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]> m (float[2,3,8] x) => (bfloat16[2,3,8] y) '
        "{ b = Cast <to = 16> (x) y = Hardmax (b) }"
    )
    told = intarsia.explain(model, target="cpu")
    (row,) = (row for row in told.rows if row.op == "Hardmax")
    assert row.place == "evaluator"
    assert [reason.target for reason in row.reasons] == ["cpu", "decompose"]
    assert row.reasons[-1].reason.startswith("its part ArgMax: 'b' is bfloat16")


# ---- as the driver runs it


def mixed_model() -> onnx.ModelProto:
    return onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 21]>
        m (float[1,4,6,6] x, float16[4,8] h) => (float[1,4,6,6] y, float16[4,8] z) {
          a = LRN <size = 3> (x)
          y = Relu (a)
          z = Softmax (h)
        }"""
    )


def test_decomposed_is_a_stage_of_its_own() -> None:
    whole, parts = (driver.lower(mixed_model(), target="cpu", until=stage) for stage in ("quantized", "decomposed"))
    assert (whole.stage, parts.stage) == ("fused", "decomposed"), "float32 is not quantized"
    assert whole.meaning is None and [node.op for node in whole.graph.nodes] == ["LRN", "Relu", "Softmax"]
    assert parts.meaning is not None and text(parts.meaning) == text(whole.graph)
    assert "LRN" not in {node.op for node in parts.graph.nodes}


def test_the_artifact_holds_parts_and_vectors_of_the_model_as_it_was() -> None:
    artifact = intarsia.compile_model(mixed_model(), target="cpu")
    rows = artifact.manifest["placements"]
    assert {row["place"] for row in rows} == {"cpu"}
    assert {row["name"].partition("/")[0] for row in rows} == {"a", "y", "z"}
    assert [item["name"] for item in artifact.manifest["outputs"]] == ["y", "z"]
    lowered = driver.lower(mixed_model(), target="cpu", until="quantized")
    graph = json.loads(artifact.files["graph/graph.json"])
    assert {node["name"] for node in graph["nodes"]} == {row["name"] for row in rows}
    for index in range(2):
        files = artifact.manifest["vectors"][index]
        inputs = {
            value.name: from_npy(artifact.files[path], value.dtype, path)
            for value, path in zip(lowered.graph.inputs, files["inputs"])
        }
        for wanted, value, path in zip(evaluate(lowered.graph, inputs), lowered.graph.outputs, files["outputs"]):
            np.testing.assert_array_equal(wanted, from_npy(artifact.files[path], value.dtype, path))


def test_every_kind_of_node_goes_through_onnx_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from intarsia.importer import bodies

    made: list[str] = []
    imported = bodies._imported

    def noted(node: Node) -> Graph:
        made.append(node.name)
        return imported(node)

    monkeypatch.setattr(bodies, "_imported", noted)
    graph = Graph("many")
    x = graph.add_input("x", f32(2, 32, 5))
    inputs = {"x": floats(2, 32, 5)}
    value = x
    for _ in range(4):
        weights = [graph.add_constant(graph.fresh_name("w"), floats(32)) for _ in range(2)]
        node = graph.add_node("GroupNormalization", [value, *weights], [x.type], {"num_groups": 2}, opset=21)
        value = node.output
    graph.outputs = [value]
    before = evaluate(graph, inputs)
    from intarsia_backends.cpu.target import CpuTarget

    apart = advised(Decompose(("cpu",)), [CpuTarget()])
    assert apart.run(graph) == 4 and len(made) == 1
    assert relative_drift(before[0], evaluate(graph, inputs)[0]) < 1e-5


def test_the_comparison_of_passes_holds() -> None:
    intarsia.compile_model(mixed_model(), target="cpu", compare=True)


# ---- as text


def test_the_text_names_targets_and_parses_back() -> None:
    made = replace(step(), targets=("pynq-z2", "cpu"))
    assert str(made) == "decompose{targets=('pynq-z2', 'cpu')}"
    assert parse_pipeline(str(made)) == (made,)
    with pytest.raises(CompileError, match="no option 'advice'"):
        parse_pipeline("decompose{advice=None}")


def test_without_targets_to_ask_it_says_so(golden: Callable[[str], None]) -> None:
    graph, _ = GOLDEN["lrn"]()
    with pytest.raises(CompileError) as caught:
        Decompose(("cpu",)).run(graph)
    golden(f"{caught.value}\n")


def test_a_crash_replays_with_the_targets_that_were_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, inputs = GOLDEN["lrn"]()
    before = evaluate(graph, inputs)

    def fall(node: Node) -> Support:
        raise RuntimeError("fell")

    with pytest.raises(RuntimeError, match="fell"):
        run_passes(graph, [replace(step(fall), targets=("cpu",))], hook=Dump(tmp_path))
    assert (tmp_path / "crash" / "pass.txt").read_text() == "decompose{targets=('cpu',)}\n"
    mended = driver.replay(tmp_path / "crash")
    assert "LRN" not in {node.op for node in mended.nodes}
    assert relative_drift(before[0], evaluate(mended, inputs)[0]) < 1e-5
