"""Ops that are made of simpler ones: by our own expansions, or by the functions that ONNX defines them with."""

from __future__ import annotations

import numpy as np
from cpu_regions import Layers


def test_reductions_and_norms() -> None:
    made = Layers()
    x = made.floats(3, 4, 5, 6) * np.float32(30)
    for axes in ((1,), (0, -1), (0, 1, 2, 3)):
        for keep in (0, 1):
            made.add("ReduceLogSumExp", [x, np.array(axes)], {"keepdims": keep}, constants=(1,))
    made.add("ReduceLogSumExp", [np.full((2, 3), -np.inf, np.float32), np.array([1])], constants=(1,))
    flags = made.random.integers(0, 2, (4, 5)).astype(bool)
    for op in ("ReduceMax", "ReduceMin"):
        made.add(op, [flags, np.array([1])], {"keepdims": 0}, constants=(1,), opset=20)
    for p in (1, 2):
        for axis in (0, -1):
            made.add("LpNormalization", [np.array([[0, 0], [3, -4]], np.float32)], {"p": p, "axis": axis})
    for size in (1, 3, 4):
        made.add("LRN", [made.floats(2, 7, 3, 3)], {"size": size, "alpha": 0.3, "beta": 0.6, "bias": 1.5})
    made.check()


def test_batch_normalization_with_figures_made_at_run_time() -> None:
    made = Layers()
    for shape in ((2, 5, 6, 6), (4, 5)):
        figures = [made.floats(5) for _ in range(3)] + [np.abs(made.floats(5))]
        made.add("BatchNormalization", [made.floats(*shape), *figures], {"epsilon": 1e-3})
    figures = [made.floats(5) for _ in range(3)] + [np.abs(made.floats(5))]
    made.add("BatchNormalization", [made.floats(2, 5, 6), *figures], {"training_mode": 1}, outputs=3)
    made.check()


def test_hardmax() -> None:
    made = Layers()
    for axis in (0, 1, -1):
        made.add("Hardmax", [made.floats(3, 4, 5)], {"axis": axis})
    made.add("Hardmax", [made.floats(3, 4, 5)], {"axis": 1}, opset=11)
    made.check(exact=True)


def test_einsum() -> None:
    made = Layers()
    a, b, square = made.floats(3, 4), made.floats(4, 5), made.floats(4, 4)
    made.add("Einsum", [a, b], {"equation": "ij,jk->ik"})
    made.add("Einsum", [a, b], {"equation": "ij,jk"})
    made.add("Einsum", [a], {"equation": "ij->ji"})
    made.add("Einsum", [a], {"equation": "ij->"})
    made.add("Einsum", [a], {"equation": "ij->i"})
    made.add("Einsum", [square], {"equation": "ii->i"})
    made.add("Einsum", [square], {"equation": "ii"})
    made.add("Einsum", [a, made.floats(3, 4), b], {"equation": "ij,ij,jk->k"})
    made.add("Einsum", [made.floats(2, 3, 4, 6), made.floats(3, 6, 5)], {"equation": "b...ij,...jk->b...ik"})
    made.add("Einsum", [made.floats(2, 3, 4), made.floats(1, 4, 5)], {"equation": "...ij,...jk"})
    made.add("Einsum", [made.floats(2, 8, 3, 40), made.floats(2, 8, 9, 40)], {"equation": "bhid, bhjd -> bhij"})
    made.check()


def test_functions_of_onnx() -> None:
    made = Layers()
    x = made.floats(2, 6, 5)
    made.add("LayerNormalization", [x, made.floats(5), made.floats(5)], {"axis": -1}, outputs=3)
    made.add("LayerNormalization", [x, made.floats(6, 5)], {"axis": 1}, outputs=1)
    made.add("GroupNormalization", [x, made.floats(6), made.floats(6)], {"num_groups": 3}, opset=21)
    made.add("GroupNormalization", [x, made.floats(3), made.floats(3)], {"num_groups": 3})
    made.add("MeanVarianceNormalization", [made.floats(2, 3, 4, 4)], {"axes": (0, 2, 3)})
    made.add("DynamicQuantizeLinear", [x], outputs=3)
    labels = made.random.integers(0, 6, (2, 5))
    for reduction in ("none", "mean", "sum"):
        made.add("NegativeLogLikelihoodLoss", [x, labels], {"reduction": reduction})
        made.add("SoftmaxCrossEntropyLoss", [x, labels, made.floats(6)], {"reduction": reduction}, outputs=2)
    queries, keys = made.floats(2, 3, 4, 8), made.floats(2, 3, 6, 8)
    made.add("Attention", [queries, keys, made.floats(2, 3, 6, 10)], opset=23)
    made.add("Attention", [queries, keys, made.floats(2, 3, 6, 10), made.floats(4, 6)], {"is_causal": 1}, opset=23)
    rotation = [made.floats(2, 4, 4), made.floats(2, 4, 4)]
    made.add("RotaryEmbedding", [queries, *rotation], opset=23)
    made.check()


def test_an_output_of_a_function_that_the_function_reads_itself() -> None:
    """One is read by one node inside, and stays wanted outside."""
    made = Layers()
    queries, keys, numbers = (made.floats(1, 2, 2, 8).astype(np.float16) for _ in range(3))
    mask = np.array([[True, False], [True, True]])
    attributes = {"qk_matmul_output_mode": 3, "softmax_precision": 1}
    made.add("Attention", [queries, keys, numbers, mask], attributes, opset=24, outputs=4)
    made.check()


def test_fourier_transforms() -> None:
    made = Layers()
    real, complex_numbers = made.floats(2, 12, 3, 1), made.floats(2, 12, 3, 2)
    for x in (real, complex_numbers):
        for axis in (1, 2):
            made.add("DFT", [x, None, np.array(axis)], constants=(2,), opset=20)
            made.add("DFT", [x, np.array(7), np.array(axis)], constants=(1, 2), opset=20)
            made.add("DFT", [x, np.array(15)], {"axis": axis}, constants=(1,), opset=17)
    made.add("DFT", [real, None, np.array(1)], {"onesided": 1}, constants=(2,), opset=20)
    signal, window = made.floats(2, 64, 1), np.hanning(16).astype(np.float32)
    made.add("STFT", [signal, np.array(8), window], {"onesided": 1}, constants=(1, 2), opset=17)
    made.add("STFT", [signal, np.array(5), None, np.array(12)], {"onesided": 0}, constants=(1, 3), opset=17)
    made.check()
