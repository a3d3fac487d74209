"""A batch for models that are written for one row, and letters about what stands in its way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx_models import model_of, noise

import intarsia
from intarsia.errors import CompileError
from intarsia.importer import import_model
from intarsia.ir.evaluate import evaluate

WRITTEN_FOR_ONE: dict[str, tuple[str, dict[str, Any]]] = {
    # name: (nodes that make y of x, float[1,3,4,5]; initializers)
    "flattened": ("r = Reshape (x, s)  y = MatMul (r, w)", {"s": np.array([1, -1]), "w": noise(60, 7)}),
    "flattened_whole": ("r = Reshape (x, s)  y = MatMul (r, w)", {"s": np.array([1, 60]), "w": noise(60, 7)}),
    "there_and_back": (
        "r = Reshape (x, s)  m = MatMul (r, w)  y = Reshape (m, t)",
        {"s": np.array([-1, 5]), "w": noise(5, 2), "t": np.array([1, 3, 4, 2])},
    ),
    "heads": (
        """r = Reshape (x, s)  t = Transpose <perm = [0, 2, 1]> (r)  p = Add (t, e)
           h = Reshape (p, k)  y = Softmax <axis = -1> (h)""",
        {"s": np.array([1, 3, 20]), "e": noise(1, 20, 3), "k": np.array([1, 20, 1, 3])},
    ),
    "convolution": (
        "c = Conv <pads = [1,1,1,1]> (x, w)  g = GlobalAveragePool (c)  f = Flatten (g)  y = Relu (f)",
        {"w": noise(6, 3, 3, 3)},
    ),
    "shape_arithmetic": (
        """h = Shape (x)  n = Gather (h, zero)  m = Reshape (n, one)  k = Concat <axis = 0> (m, rest)
           y = Reshape (x, k)""",
        {"zero": np.array(0), "one": np.array([1]), "rest": np.array([-1, 2])},
    ),
}


def row_by_row(model: onnx.ModelProto, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"x": row[None]})[0] for row in x])


@pytest.mark.parametrize("name", WRITTEN_FOR_ONE)
@pytest.mark.parametrize("batch", [2, 3])
def test_rows_give_what_they_give_alone(name: str, batch: int) -> None:
    nodes, arrays = WRITTEN_FOR_ONE[name]
    model = model_of(f"g (float[1,3,4,5] x) => (y) {{ {nodes} }}", **arrays)
    graph = import_model(model, batch=batch)
    assert graph.inputs[0].shape == (batch, 3, 4, 5)
    x = noise(batch, 3, 4, 5, seed=9)
    (ours,) = evaluate(graph, {"x": x})
    np.testing.assert_allclose(ours, row_by_row(model, x), rtol=1e-4, atol=1e-5)


def test_a_compiled_batch_runs() -> None:
    nodes, arrays = WRITTEN_FOR_ONE["flattened"]
    model = model_of(f"g (float[1,3,4,5] x) => (float[1,7] y) {{ {nodes} }}", **arrays)
    x = noise(8, 3, 4, 5)
    with intarsia.load(intarsia.compile_model(model, target="cpu", precision="float32", batch=4)) as session:
        np.testing.assert_allclose(session.run(x)[0], row_by_row(model, x), rtol=1e-4, atol=1e-5)


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    # name: (graph; initializers)
    "mixes-rows": ("(float[1,6] x) => (y) { m = ReduceMean <axes = [0]> (x)  y = Sub (x, m) }", {}),
    "first-row-alone": ("(float[1,6] x) => (y) { y = Gather <axis = 0> (x, i) }", {"i": np.array([0])}),
    "boxes-above-a-threshold": (  # made-up rows give no box at all, alone or together
        """(float[1,6,4] b, float[1,1,6] s) => (int64[?,3] y) {
           y = NonMaxSuppression (b, s, most, half, least) }""",
        {"most": np.array([3]), "half": np.array([0.5], np.float32), "least": np.array([5], np.float32)},
    ),
    "centred-pixels": (
        """(float[1,8] x) => (y) {
           p = Div (x, full)  m = ReduceMean <axes = [0]> (p)  c = Sub (p, m)  d = MatMul (c, w)  y = Add (d, b) }""",
        {"full": np.array([255], np.float32), "w": noise(8, 3), "b": 100 * noise(3)},
    ),
    "beyond-a-threshold": (
        """(float[1,8] x) => (y) { m = ReduceMax <axes = [0]> (x)  c = Greater (m, ten)  y = Where (c, m, x) }""",
        {"ten": np.array([10], np.float32)},
    ),
    "branches-of-one-row": (
        """(float[1,8] x) => (y) {
           m = ReduceMax <axes = [1], keepdims = 1> (x)  c = Greater (m, zero)
           y = If (c) < then_branch = t () => (float[1,8] p) { p = Relu (x) },
                        else_branch = e () => (float[1,8] q) { q = Neg (x) } > }""",
        {"zero": np.array([0], np.float32)},
    ),
    "every-row-with-every-row": ("(float[1,8] x) => (y) { t = Transpose <perm = [1,0]> (x)  y = MatMul (x, t) }", {}),
    "random": ("(float[1,6] x) => (y) { r = RandomNormalLike (x)  y = Add (x, r) }", {}),
    "class-token": ("(float[1,6,2] x) => (y) { y = Concat <axis = 1> (t, x) }", {"t": noise(1, 1, 2)}),
    "merged": ("(float[1,6,2] x) => (y) { y = Reshape (x, s) }", {"s": np.array([6, 2])}),
    "other-input": ("(float[1,6] x, float[6] k) => (y) { y = Add (x, k) }", {}),
    "no-row": ("(float k) => (y) { y = Neg (k) }", {}),
    "open-and-fixed": (
        "(float[N,6,2] x) => (y) { r = Reshape (x, s)  y = MatMul (r, w) }",
        {"s": np.array([1, -1]), "w": noise(12, 3)},
    ),
    "open-and-merged": ("(float[N,6,2] x) => (y) { y = Reshape (x, s) }", {"s": np.array([6, 2])}),
    "broken-anyway": ("(float[N,6] x) => (y) { y = MatMul (x, w) }", {"w": noise(5, 3)}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, golden: Callable[[str], None]) -> None:
    text, arrays = REFUSED[case]
    model = model_of(f"g {text}", **arrays)
    with pytest.raises(CompileError) as caught:
        import_model(model, batch=4)
    golden(f"{caught.value}\n")


@pytest.mark.parametrize("options", [{"dimensions": {"N": 4}}, {"shapes": {"x": (4, 6, 2)}}, {"batch": 4}])
def test_the_reshape_is_named_however_the_batch_is_said(options: dict[str, Any]) -> None:
    text, arrays = REFUSED["open-and-fixed"]
    model = model_of(f"g {text}", **arrays)
    with pytest.raises(CompileError, match=r"Reshape 'r': its shape \[1, -1\] fixes .* a batch of 4"):
        import_model(model, **options)
    broken = model_of("g (float[N,6] x) => (y) { y = MatMul (x, w) }", w=noise(5, 3))
    with pytest.raises(CompileError, match=r"^MatMul 'y': float32"):
        import_model(broken, dimensions={"N": 4})


def test_what_a_graph_says_for_a_batch_is_taken() -> None:
    """A first size of 1 that nothing else contradicts is what the model says, however odd."""
    model = model_of("g (float[N,6] x) => (y) { y = Reshape (x, s) }", s=np.array([1, -1]))
    assert import_model(model, batch=4).outputs[0].shape == (1, 24)


def test_notes_are_told_once() -> None:
    notes: list[tuple[str, str]] = []
    model = model_of("g (float[1,6] x) => (y) <float[1,7] r> { r = Relu (x)  y = Neg (r) }")
    import_model(model, notes=notes)
    assert len(notes) == 1
    assert import_model(model, batch=3, notes=notes).outputs[0].shape == (3, 6)


def test_branches_that_declare_one_row_take_a_batch() -> None:
    """An If has the sizes that its branches make, not those that they declare."""
    model = model_of(
        """g (float[N,8] x) => (float[N,8] y) {
           m = ReduceMax <keepdims = 0> (x)  c = Greater (m, zero)
           y = If (c) < then_branch = t () => (float[1,8] p) { p = Relu (x) },
                        else_branch = e () => (float[1,8] q) { q = Neg (x) } > }""",
        zero=np.array(0, np.float32),
    )
    x = noise(4, 8)
    with intarsia.load(intarsia.compile_model(model, target="cpu", batch=4)) as session:
        assert session.outputs[0].shape == (4, 8)
        np.testing.assert_array_equal(session.run(x)[0], np.maximum(x, 0))
