"""If, Loop and Scan: what they read of the outer graph, what they mean, and branches that are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx_models import assert_like_onnxruntime, model_of, noise

from intarsia.errors import CompileError
from intarsia.importer import import_model
from intarsia.ir.evaluate import evaluate

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
    assert all(isinstance(node.attributes[name], bytes) for name in ("then_branch", "else_branch"))


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
