"""The artifacts that are forged: one of every kind of region, value and file that there is."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from onnx import numpy_helper, parser

import intarsia
from artifact_examples import evaluator_artifact, small_graph
from intarsia.artifact import Artifact

Subject = tuple[Artifact, list[Any]]
"""An artifact and inputs for a run."""


def _model(text: str, **constants: Any) -> Any:
    model = parser.parse_model(f'<ir_version: 9, opset_import: ["" : 17]> {text}')
    for name, array in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


def _weights(seed: int, *shapes: tuple[int, ...]) -> list[Any]:
    random = np.random.default_rng(seed)
    return [random.standard_normal(shape).astype(np.float32) for shape in shapes]


_NETWORK = """net (float[1,3,8,8] x) => (float[1,5] y, float[1,8] features) {
    a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w)  b = Relu (a)  c = GlobalAveragePool (b)
    features = Flatten (c)  e = Gemm (features, v)  y = Softmax (e) }"""


def _network(**options: Any) -> Subject:
    w, v = _weights(0, (8, 3, 3, 3), (8, 5))
    samples = _weights(1, (4, 3, 8, 8))[0]
    if options.pop("quantized"):
        options["calibration"] = samples
    return intarsia.compile_model(_model(_NETWORK, w=w, v=v), **options), [samples[:1]]


def _both_codes() -> Subject:
    """Regions for CPUs that have code for this machine and for a board's."""
    return _network(target="pynq-z2", quantized=True)


def _two_overlay_regions() -> Subject:
    """What the overlay does not take stands between; two inputs, a residual, a batch of rows."""
    w, v, u = _weights(2, (16, 4, 3, 3), (16, 16, 3, 3), (16, 4, 1, 1))
    text = """two (float[1,4,6,6] x, float[1,16,6,6] z) => (float[1,16,6,6] y) {
        a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w)  d = Conv <kernel_shape = [1, 1]> (x, u)
        b = Add (a, d)  c = InstanceNormalization (b, s, t)  f = Add (c, z)
        y = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (f, v) }"""
    ones = np.ones(16, np.float32)
    model = _model(text, w=w, v=v, u=u, s=ones, t=ones * 0)
    x, z = _weights(3, (4, 4, 6, 6), (4, 16, 6, 6))
    return intarsia.compile_model(model, target="tiny", calibration={"x": x, "z": z}), [x[:1], z[:1]]


def _checked_indices() -> Subject:
    """Indices that are made at run time: the code checks them, and the manifest has the words."""
    text = """indices (float[4,6] x, int64[3] i) => (float[3,6] y, float[4,6] z) {
        y = Gather <axis = 0> (x, i)  z = Exp (x) }"""
    return intarsia.compile_model(_model(text), target="cpu"), [_weights(4, (4, 6))[0], np.array([0, 3, 1])]


def _evaluated() -> Subject:
    """Ops that no code is made for: sizes that depend on data, a loop, texts, an output that is a constant."""
    text = """evaluated (float[3,4] x, int64 n)
        => (int64[2,k] places, float[3,4] sum, string[2] words, float[2] fixed) {
        m = Relu (x)  places = NonZero (m)
        words = Identity (texts)  fixed = Identity (numbers)
        sum = Loop (n, , x) <body = body (int64 i, bool c, float[3,4] s) => (bool d, float[3,4] t) {
            d = Identity (c)  t = Add (s, s) }> }"""
    constants = {"texts": np.array(["a", "bc"], dtype=object), "numbers": np.array([1.5, 2.5], np.float32)}
    model = _model(text, **constants)
    return intarsia.compile_model(model, target="cpu"), [_weights(5, (3, 4))[0], np.array(2)]


def _dense_layers() -> Subject:
    """Weights that the whole graph reads where a region has them."""
    a, b, x = _weights(7, (20, 50), (50, 9), (1, 20))
    text = "dense (float[1,20] x) => (float[1,9] y) { h = MatMul (x, a) r = Relu (h) y = MatMul (r, b) }"
    return intarsia.compile_model(_model(text, a=a, b=b), target="cpu"), [x]


SUBJECTS: dict[str, Callable[[], Subject]] = {
    "cpu_float": lambda: _network(target="cpu", quantized=False),
    "cpu_int8": lambda: _network(target="cpu", precision="int8", quantized=True),
    "overlay": lambda: _network(target="tiny", quantized=True),
    "both_codes": _both_codes,
    "two_overlay_regions": _two_overlay_regions,
    "checked_indices": _checked_indices,
    "evaluated": _evaluated,
    "weights_stored_once": _dense_layers,
    "by_hand": lambda: (evaluator_artifact(small_graph()), _weights(6, (1, 2, 5, 5))),
}


@cache
def subject_of(name: str) -> Subject:
    """A subject, made once."""
    return SUBJECTS[name]()
