"""Attention as one kernel, in float32 and over float16, against `evaluate`: on OpenCL, and as CUDA in some orders."""

from __future__ import annotations

from typing import Any

import cuda_regions
import gpu_regions
import numpy as np
import pytest
from encoder import WORDS, encoder
from gpu_kernels import Kinds, attention
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import parser

import intarsia
from generated_graphs import examples
from intarsia.artifact.parts import whole_graph
from intarsia.ir.evaluate import evaluate
from intarsia.runtime.vectors import verify_vectors
from intarsia_backends.gpu.kernels import Attention, attention_tile
from intarsia_backends.gpu.lower import lower_region
from intarsia_backends.gpu.machine import GpuMachine
from intarsia_backends.gpu.narrow import narrow

MACHINE = GpuMachine()


def kernels(kinds: Kinds) -> list[str]:
    """The kinds of kernels of a region, in order."""
    return [type(call.kernel).__name__ for call in lower_region(kinds.graph, MACHINE).calls]


def check(kinds: Kinds) -> None:
    gpu_regions.check(kinds.graph, kinds.inputs)
    cuda_regions.check(kinds.graph, kinds.inputs)


@st.composite
def attentions(draw: Any) -> Kinds:
    """One of any small sizes, with any mask that broadcasts."""
    sizes = st.integers(1, 70)
    batch = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=2)))
    rows, keys = draw(sizes), draw(st.integers(2, 70))
    shape = (*batch, rows, keys)
    mask = draw(st.none() | st.tuples(*(st.sampled_from((1, size)) for size in shape)))
    kinds = Kinds()
    attention(kinds, batch, rows, keys, draw(sizes), draw(sizes), mask)
    return kinds


@given(attentions())
@settings(max_examples=examples(6))
def test_sizes_that_are_no_multiples_of_tiles(kinds: Kinds) -> None:
    assert kernels(kinds) == ["Attention"], "transposes, scale and mask are part of it"
    gpu_regions.check(kinds.graph, kinds.inputs)


def test_orders_of_threads() -> None:
    """Several tiles of keys, the last one cut, as are rows and columns."""
    kinds = Kinds()
    attention(kinds, (2, 2), 45, 75, 18, 27, mask=(2, 1, 45, 75))
    check(kinds)


@pytest.mark.parametrize("hidden", [-np.inf, float(np.finfo(np.float32).min), -10000.0])
def test_rows_that_are_masked_whole(hidden: float) -> None:
    """NaN where all is -inf, as softmax has it, and the mean of v where all is as low as a float32 goes."""
    kinds = Kinds()
    attention(kinds, (2,), 9, 70, 8, 8, mask=(9, 70))
    mask = kinds.inputs["x3"] = np.zeros((9, 70), np.float32)
    mask[1], mask[2, :50], mask[3, 40:] = hidden, hidden, hidden
    (wanted,) = evaluate(kinds.graph, kinds.inputs)
    assert np.isnan(wanted).any(axis=(1, 2)).tolist() == [number == 1 and hidden == -np.inf for number in range(9)]
    check(kinds)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38])
def test_numbers_that_are_none_stay_in_their_rows(bad: float) -> None:
    kinds = Kinds()
    attention(kinds, (1,), 40, 40, 8, 8)
    kinds.inputs["x0"][3, 0, 1] = bad
    check(kinds)


def test_other_spellings() -> None:
    """Scaled before the product, hidden by Where, values shared by heads, an op behind it, a single row, no batch."""
    kinds = Kinds()
    f = kinds.numbers
    q = kinds.add("Mul", f(2, 3, 20, 16), np.array(0.25, np.float32), constants=(1,))
    scores = kinds.add("MatMul", q, f(1, 1, 16, 33))
    seen = np.tril(np.ones((20, 33), bool), 5)
    scores = kinds.add("Where", seen, scores, np.array(-np.inf, np.float32), constants=(2,))
    y = kinds.add("MatMul", kinds.add("Softmax", scores, axis=3), f(3, 33, 10))
    one = kinds.add("Relu", y)
    row = kinds.add("Softmax", kinds.add("MatMul", f(1, 64), f(64, 90)), axis=-1)
    two = kinds.add("MatMul", row, f(5, 90, 7)[0])
    kinds.graph.outputs = [one, two]
    assert kernels(kinds).count("Attention") == 2 and "Softmax" not in kernels(kinds)
    check(kinds)


def test_what_stays_a_softmax() -> None:
    """Scores or weights that somebody else reads, another axis, and heads that are too wide."""
    for case in range(4):
        kinds = Kinds()
        f, wide = kinds.numbers, case == 3
        scores = kinds.add("MatMul", f(2, 33, 16), f(2, 16, 33))
        weights = kinds.add("Softmax", scores, axis=1 if case == 0 else -1)
        y = kinds.add("MatMul", weights, f(2, 33, 2100 if wide else 16))
        kinds.graph.outputs = [y, *([weights] if case == 1 else []), *([scores] if case == 2 else [])]
        assert "Softmax" in kernels(kinds) and "Attention" not in kernels(kinds)
        gpu_regions.check(kinds.graph, kinds.inputs)


def test_tiles_fit_into_shared_memory() -> None:
    for rows, depth, columns in ((1, 64, 64), (128, 64, 64), (512, 128, 128), (77, 256, 256), (5, 300, 8)):
        tile = attention_tile(rows, depth, columns, MACHINE.shared_bytes)
        assert tile is not None and tile.shared_bytes(depth, columns) <= MACHINE.shared_bytes
        kinds = Kinds()
        attention(kinds, (1,), rows, 40, depth, columns)
        (facts,) = cuda_regions.compiled(kinds.graph, MACHINE).launches.kernels
        assert facts.shared_bytes == tile.shared_bytes(depth, columns)
    assert attention_tile(8, 3000, 8, MACHINE.shared_bytes) is None


def test_no_scores_in_memory() -> None:
    kinds = Kinds()
    attention(kinds, (1, 2), 300, 300, 8, 8)
    launches = cuda_regions.compiled(kinds.graph, MACHINE).launches
    assert launches.arena_bytes < 2 * 300 * 300, "a matrix of scores alone would take 4 bytes for each"


def test_over_float16() -> None:
    kinds = Kinds()
    f = kinds.numbers
    x = kinds.add("Relu", kinds.add("MatMul", f(2, 50, 24), f(24, 48), constants=(1,)))
    heads = kinds.add("Reshape", x, np.array([2, 50, 3, 16]), constants=(1,))
    y = attention(kinds, (2, 3), 50, 50, 16, 16, mask=(50, 50), x=heads)
    kinds.graph.outputs = [kinds.add("ReduceMean", y, np.array([1]), constants=(1,), keepdims=0)]
    machine = GpuMachine(halves=True)
    program = lower_region(kinds.graph, machine)
    narrow(program, tensor_cores=True)
    (kernel,) = (call.kernel for call in program.calls if isinstance(call.kernel, Attention))
    walks = (*kernel.operands, kernel.output)
    dtypes = ["float16"] * 3 + ["float32"] * 2 + ["float16"]
    assert [each.dtype for each in walks] == dtypes, "the scale is a single number, the mask an input"
    (wanted,) = evaluate(kinds.graph, kinds.inputs)
    code = cuda_regions.compiled(kinds.graph, machine)
    (found,) = cuda_regions.run(kinds.graph, code, kinds.inputs, order=7)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-3 * np.abs(wanted).max())


def test_a_model_with_the_op_attention() -> None:
    """From ONNX's own op to a run, through the passes that take it apart."""
    model = parser.parse_model("""<ir_version: 11, opset_import: ["" : 23]>
    net (float[2,4,33,16] q, float[2,4,40,16] k, float[2,4,40,16] v) => (float[2,4,33,16] y) {
      a = Relu (q)
      y = Attention (a, k, v) }""")
    artifact = intarsia.compile_model(model, target="opencl")
    with intarsia.load(artifact) as session:
        assert set(session.devices.values()) == {"opencl"} and all(each.ok for each in verify_vectors(session))
        text = session.listing(next(iter(session.devices)))
        assert "attention_" in text and "softmax_" not in text


@pytest.mark.parametrize(("precision", "within"), [("float32", 1e-6), ("float16", 5e-3)])
def test_an_encoder_of_text(precision: str, within: float) -> None:
    """Every attention is one kernel, nothing is copied between, and whole numbers in the mask stay what they are."""
    artifact = intarsia.compile_model(encoder(), target="opencl", precision=precision)
    random = np.random.default_rng(1)
    inputs = {"ids": random.integers(0, WORDS, (1, 40)), "mask": (np.arange(40) < 30).astype(np.int64)[None]}
    (wanted,) = evaluate(whole_graph(artifact.files), inputs)
    with intarsia.load(artifact) as session:
        (found,) = session.run(inputs["ids"], inputs["mask"])
        text = session.listing(next(iter(session.devices)))
    assert np.abs(found - wanted).max() <= within * np.abs(wanted).max()
    assert text.count("void attention_") == 1, "both layers have the same kernel"
    assert "softmax" not in text and artifact.manifest["regions"][0]["metadata"]["steps"] == 22
