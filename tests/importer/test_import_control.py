"""If, Loop and Scan: what they read of the outer graph, what they mean, and branches that are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from onnx_models import assert_like_onnxruntime, model_of, noise

from intarsia.errors import CompileError, RunError
from intarsia.importer import import_model
from intarsia.ir.evaluate import evaluate
from intarsia.ir.facts import is_random, needs_onnx
from intarsia.ir.serialize import from_data, to_data
from intarsia.ir.text import text
from intarsia.passes.simplify.common_subexpressions import EliminateCommonSubexpressions

BRANCHES = """g (bool c, float[4] x) => (float[4] y) {
  a = Relu (x)
  y = If (c) <then_branch = t () => (float[4] p) { p = Mul (a, w) },
              else_branch = e () => (float[4] q) { n = Neg (x)  q = Add (n, a) }>
}"""


def test_captured_values_are_inputs() -> None:
    graph = assert_like_onnxruntime(model_of(BRANCHES, w=noise(4)))
    node = graph.nodes[-1]
    assert node.attributes["captured"] == ("a", "w", "x")
    assert [value.name for value in node.inputs if value is not None] == ["c", "a", "w", "x"]
    branches = [node.attributes[name] for name in ("then_branch", "else_branch")]
    assert [[value.name for value in branch.inputs] for branch in branches] == [["a", "w", "x"]] * 2
    assert [[inner.op for inner in branch.nodes] for branch in branches] == [["Mul"], ["Neg", "Add"]]
    assert not needs_onnx(node)


@pytest.mark.parametrize("chosen", [True, False])
def test_a_known_branch_is_put_in_place(chosen: bool) -> None:
    model = model_of(BRANCHES, w=noise(4), c=np.array(chosen))
    del model.graph.input[0]
    graph = assert_like_onnxruntime(model)
    assert [node.op for node in graph.nodes] == ["Relu", *(["Mul"] if chosen else ["Neg", "Add"]), "Identity"]
    assert graph.outputs[0].name == "y"


def test_branches_that_use_one_name_are_both_put_in_place() -> None:
    branch = (
        "<then_branch = t () => (float[4] p) {{ p = {} (x) }}, else_branch = e () => (float[4] p) {{ p = Abs (x) }}>"
    )
    model = model_of(
        f"""g (float[4] x) => (float[4] y, float[4] z) {{
              y = If (c) {branch.format("Neg")}  z = If (c) {branch.format("Relu")} }}""",
        c=np.array(True),
    )
    assert [node.op for node in assert_like_onnxruntime(model).nodes] == ["Neg", "Identity", "Relu", "Identity"]


def test_a_branch_inside_a_branch_reads_the_outer_graph() -> None:
    model = model_of(
        """g (bool c, float[4] x) => (float[4] y) {
             y = If (c) <
               then_branch = t () => (float[4] p) {
                 p = If (c) <then_branch = tt () => (float[4] r) { r = Add (x, w) },
                             else_branch = te () => (float[4] s) { s = Neg (x) }>
               },
               else_branch = e () => (float[4] q) { q = Abs (x) }>
           }""",
        w=noise(4),
    )
    assert assert_like_onnxruntime(model).nodes[0].attributes["captured"] == ("c", "x", "w")


def test_loop_stacks_what_each_round_gives() -> None:
    """Rounds that give scalars, and matrices; onnx.reference stacks both wrongly."""
    model = model_of(
        """g (int64 count, float s, float[2,3] m) => (last, scalars, matrices) {
             last, all, scalars, matrices = Loop (count, on, s, m) <body =
               round (int64 i, bool o, float v, float[2,3] n)
                 => (bool o2, float v2, float[2,3] n2, float g, float[2,3] h)
               { o2 = Identity (o)  v2 = Add (v, one)  n2 = Mul (n, v2)  g = Neg (v)  h = Identity (n) }>
           }""",
        on=np.array(True),
        one=np.float32(1),
    )
    graph = import_model(model)
    feeds = {"count": np.array(3), "s": np.array(1, np.float32), "m": noise(2, 3)}
    last, scalars, matrices = evaluate(graph, feeds)
    assert last == 4
    assert scalars.tolist() == [-1, -2, -3]
    np.testing.assert_allclose(matrices, np.stack([feeds["m"], feeds["m"] * 2, feeds["m"] * 6]))
    _, scalars, matrices = evaluate(graph, {**feeds, "count": np.array(0)})
    assert scalars.shape == (0,) and matrices.shape == (0, 2, 3)


def scan(**attributes: object) -> onnx.ModelProto:
    """A running sum over rows (or columns, backwards) of x."""
    body = onnx.parser.parse_graph(
        "b (float[3] s, float[3] v) => (float[3] s2, float[3] o) { s2 = Add (s, v)  o = Neg (s2) }"
    )
    model = model_of("g (float[3] s, float[3,3] x) => (last, out) { }")
    model.graph.node.append(
        helper.make_node("Scan", ["s", "x"], ["last", "out"], body=body, num_scan_inputs=1, **attributes)
    )
    return model


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"scan_input_directions": [1]},
        {"scan_output_directions": [1]},
        {"scan_input_axes": [1], "scan_output_axes": [1]},
        {"scan_input_axes": [-1], "scan_output_axes": [-1], "scan_output_directions": [1]},
    ],
    ids=["plain", "backwards", "reversed", "columns", "last_axis"],
)
def test_scan(attributes: dict[str, object]) -> None:
    assert_like_onnxruntime(scan(**attributes))


def test_external_data_of_a_branch_is_put_into_it(tmp_path: Path) -> None:
    model = model_of(BRANCHES.replace("Mul (a, w)", "Mul (a, inner)"))
    tensor = numpy_helper.from_array(noise(4), "inner")
    (tmp_path / "w.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")
    model.graph.node[1].attribute[0].g.initializer.append(tensor)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    graph = import_model(tmp_path / "m.onnx")
    x = noise(4, seed=1)
    (result,) = evaluate(graph, {"c": np.array(True), "x": x})
    np.testing.assert_array_equal(result, np.maximum(x, 0) * noise(4))
    tensor.external_data[0].value = "../w.bin"
    model.graph.node[1].attribute[0].g.initializer[0].CopyFrom(tensor)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(CompileError, match="outside of the model's folder"):
        import_model(tmp_path / "m.onnx")


def loop(body: str, carried: str = "v", opset: int = 17, **arrays: Any) -> onnx.ModelProto:
    """A loop of up to `count` rounds; `body` stands between the braces."""
    return model_of(
        f"""g (int64 count, bool on, float[2] {carried}) => (last) {{
              last = Loop (count, on, {carried}) <body =
                round (int64 i, bool o, float[k] n) => (bool o2, float[m] n2) {{ {body} }}> }}""",
        opset,
        **arrays,
    )


@pytest.mark.parametrize("count", [0, 1, 5])
@pytest.mark.parametrize("on", [True, False])
def test_a_loop_that_ends_itself(count: int, on: bool) -> None:
    """Carried values that grow, the condition of the body, and constants of the outer graph as axes."""
    model = loop(
        """n2 = Concat <axis = 0> (n, n)  at = Identity (limit)  s = Squeeze (at, axis)  c = Cast <to = 7> (s)
           o2 = Less (i, c)""",
        axis=np.array([0]),
        limit=np.array([2], np.float32),
    )
    graph = import_model(model)
    feeds = {"count": np.array(count), "on": np.array(on), "v": noise(2)}
    assert not needs_onnx(graph.nodes[0])
    (ours,) = evaluate(graph, feeds)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert ours.tobytes() == session.run(None, feeds)[0].tobytes()


def test_what_a_body_cannot_do_without_onnx_is_told() -> None:
    (node,) = import_model(loop("o2 = Identity (o)  n2 = Bernoulli (n)")).nodes
    assert needs_onnx(node) and is_random(node)
    (node,) = import_model(loop("o2 = Identity (o)  n2 = Relu (n)")).nodes
    assert not needs_onnx(node) and not is_random(node)


def test_a_loop_that_fills_a_sequence() -> None:
    """As scripts append to lists: the sequence is carried, and one of the outer graph is read."""
    body = onnx.parser.parse_graph(
        "b (int64 i, bool o, seq(float[2]) s) => (bool o2, seq(float[2]) s2)"
        "{ o2 = Identity (o)  t = SequenceAt (given, i)  s2 = SequenceInsert (s, t) }"
    )
    model = model_of(
        """g (int64 count, float[2] x, float[2] z) => (float[m,2] y) {
             given = SequenceConstruct (x, z, x, z)  e = SequenceEmpty ()
             y = ConcatFromSequence <axis = 0, new_axis = 1> (all) }"""
    )
    model.graph.node.insert(2, helper.make_node("Loop", ["count", "", "e"], ["all"], body=body))
    graph = import_model(model)
    assert not any(needs_onnx(node) for node in graph.nodes)
    x, z = noise(2), noise(2, seed=1)
    assert evaluate(graph, {"count": np.array(3), "x": x, "z": z})[0].tolist() == np.stack([x, z, x]).tolist()


def test_a_branch_with_optionals_stays_with_onnx() -> None:
    branches = {
        name: onnx.parser.parse_graph(
            f"b () => (float[2] {name}) {{ k = Optional (x)  {name} = OptionalGetElement (k) }}"
        )
        for name in ("t", "e")
    }
    model = model_of("g (bool c, float[2] x) => (float[2] y) { }", 18)
    node = helper.make_node("If", ["c"], ["y"], then_branch=branches["t"], else_branch=branches["e"])
    model.graph.node.append(node)
    graph = import_model(model)
    assert isinstance(graph.nodes[0].attributes["then_branch"], bytes) and needs_onnx(graph.nodes[0])


def test_a_body_is_kept_by_an_artifact() -> None:
    """Graphs in graphs are written and read with their weights; what is no graph is refused."""
    graph = import_model(model_of(BRANCHES.replace("Mul (a, w)", "Mul (a, inner)"), inner=noise(4)))
    data, blob = to_data(graph)
    again = from_data(json.loads(json.dumps(data)), blob)
    feeds = {"c": np.array(True), "x": noise(4, seed=1)}
    assert evaluate(again, feeds)[0].tobytes() == evaluate(graph, feeds)[0].tobytes()
    assert text(again) == text(graph)
    damaged = json.loads(json.dumps(data))
    damaged["nodes"][-1]["attributes"]["then_branch"]["graph"]["nodes"][0]["inputs"][0] = "nobody"
    with pytest.raises(RunError, match="'nobody' is read before it is made"):
        from_data(damaged, blob)
    nested = damaged["nodes"][-1]["attributes"]
    for _ in range(20):
        nested["then_branch"] = {"graph": {**data, "nodes": [{**data["nodes"][-1], "attributes": dict(nested)}]}}
    with pytest.raises(RunError):
        from_data(damaged, blob)


def test_equal_branches_are_computed_once() -> None:
    branches = (
        "<then_branch = t () => (float[4] p) { p = Abs (x) }, else_branch = e () => (float[4] q) { q = Neg (x) }>"
    )
    other = branches.replace("Abs", "Relu")
    model = model_of(
        f"""g (bool c, float[4] x) => (float[4] y) {{
              a = If (c) {branches}  b = If (c) {branches}  d = If (c) {other}  e = Add (a, b)  y = Add (e, d) }}"""
    )
    graph = import_model(model)
    assert EliminateCommonSubexpressions().run(graph) == 1
    assert [node.op for node in graph.nodes] == ["If", "If", "Add", "Add"]
