"""What exporters write out in small ops is the op that it means: spelled and named, a model gives the same artifact."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from pass_cases import apply, model, ops

import intarsia
from intarsia.passes.fuse.canonicalize import CanonicalizeActivation
from intarsia.passes.fuse.exponentials import CanonicalizeExponential
from intarsia.passes.fuse.norms import CanonicalizeNorm, FuseNormParameters

NUMBERS = {
    "zero": 0.0, "one": 1.0, "half": 0.5, "two": 2.0, "three": 3.0, "six": 6.0, "n": 16.0, "i": 1 / 16, "e": 1e-5,
    "r2": 2**0.5, "k": 0.044715, "q": (2 / np.pi) ** 0.5, "minus": -1.0, "m5": -0.5,
}  # fmt: skip

LAYER = "y = LayerNormalization <axis=-1, epsilon=0.00001> (x, g, b)"
RMS = "y = RMSNormalization <axis=-1, epsilon=0.00001> (x, g)"

SPELLINGS = {
    "layer norm of torch": (
        LAYER,
        "m = ReduceMean (x, last) d = Sub (x, m) s = Pow (d, two) v = ReduceMean (s, last) a = Add (v, e) r = Sqrt (a) "
        "h = Div (d, r) w = Mul (h, g) y = Add (w, b)",
    ),
    "layer norm of tf2onnx": (
        LAYER,
        "t = ReduceSum (x, last) m = Mul (t, i) o = Mul (x, x) p = ReduceSum (o, last) z = Mul (p, i) c = Mul (m, m) "
        "v = Sub (z, c) a = Add (v, e) r = Sqrt (a) f = Reciprocal (r) d = Sub (x, m) h = Mul (d, f) w = Mul (h, g) "
        "y = Add (b, w)",
    ),
    "layer norm of flax": (
        LAYER,
        "t = ReduceSum (x, last) m = Div (t, n) o = Mul (x, x) p = ReduceSum (o, last) z = Div (p, n) c = Mul (m, m) "
        "l = Sub (z, c) v = Max (l, zero) a = Add (v, e) r = Sqrt (a) f = Div (one, r) j = Mul (f, g) d = Sub (x, m) "
        "w = Mul (d, j) y = Add (w, b)",
    ),
    "layer norm of keras": (
        LAYER,
        "m = ReduceMean (x, last) d = Sub (x, m) s = Mul (d, d) v = ReduceMean (s, last) a = Add (v, e) r = Sqrt (a) "
        "f = Reciprocal (r) j = Mul (f, g) w = Mul (x, j) c = Mul (m, j) z = Sub (b, c) y = Add (w, z)",
    ),
    "layer norm by a power": (
        LAYER,
        "m = ReduceMean (x, last) d = Sub (x, m) v0 = ReduceSumSquare (d, last) v = Div (v0, n) a = Add (v, e) "
        "f = Pow (a, m5) h = Mul (f, d) w = Mul (g, h) y = Add (w, b)",
    ),
    "rms norm": (
        RMS,
        "s = Pow (x, two) v = ReduceMean (s, last) a = Add (v, e) r = Sqrt (a) f = Reciprocal (r) h = Mul (x, f) "
        "y = Mul (h, g)",
    ),
    "rms norm, divided": (
        RMS, "s = Mul (x, x) v = ReduceMean (s, last) a = Add (v, e) r = Sqrt (a) h = Div (x, r) y = Mul (g, h)"
    ),
    "silu": ("y = Swish (x)", "s = Sigmoid (x) y = Mul (x, s)"),
    "silu by exponentials": (
        "y = Swish (x)", "c = Neg (x) p = Exp (c) a = Add (p, one) s = Reciprocal (a) y = Mul (x, s)"
    ),
    "sigmoid": ("y = Sigmoid (x)", "c = Mul (x, minus) p = Exp (c) a = Add (one, p) y = Div (one, a)"),
    "softplus": ("y = Softplus (x)", "p = Exp (x) a = Add (p, one) y = Log (a)"),
    "mish": ("y = Mish (x)", "p = Softplus (x) t = Tanh (p) y = Mul (x, t)"),
    "softmax": (
        "y = Softmax <axis=-1> (x)",
        "m = ReduceMax (x, last) d = Sub (x, m) p = Exp (d) s = ReduceSum (p, last) y = Div (p, s)",
    ),
    "hard swish": ("y = HardSwish (x)", "a = Add (x, three) c = Clip (a, zero, six) m = Mul (x, c) y = Div (m, six)"),
    "gelu": ("y = Gelu (x)", "d = Div (x, r2) p = Erf (d) a = Add (p, one) m = Mul (x, a) y = Mul (m, half)"),
    "gelu by tanh": (
        'y = Gelu <approximate="tanh"> (x)',
        "s = Mul (x, x) c = Mul (x, s) d = Mul (c, k) f = Add (x, d) j = Mul (f, q) t = Tanh (j) a = Add (t, one) "
        "m = Mul (x, half) y = Mul (m, a)",
    ),
}  # fmt: skip


def spelled(body: str) -> onnx.ModelProto:
    """A product of integers, and behind it what is spelled."""
    text = f"tiny (float[1,8,16] u) => (float[1,8,16] y) {{ x = MatMul (u, weight) {body} }}"
    proto = onnx.parser.parse_model(f'<ir_version: 11, opset_import: ["" : 24]> {text}')
    rng = np.random.default_rng(2)
    constants: dict[str, Any] = {name: np.float32(number) for name, number in NUMBERS.items()}
    constants |= {"g": rng.uniform(0.5, 1.5, 16), "b": rng.uniform(-1, 1, 16), "weight": rng.standard_normal((16, 16))}
    tensors = {name: np.asarray(array, np.float32) for name, array in constants.items()} | {"last": np.array([-1])}
    proto.graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in tensors.items() if f"{name}" in body or name == "weight"
    )
    return proto


@pytest.mark.parametrize("case", SPELLINGS)
def test_spelled_and_named_forms_give_the_same_bytes(case: str) -> None:
    named, written = SPELLINGS[case]
    data = np.random.default_rng(3).standard_normal((8, 1, 8, 16)).astype(np.float32)
    x = data[:2, 0]
    for options in ({"precision": "float32"}, {"precision": "int8", "calibration": data[:, 0]}):
        results = []
        for body in (named, written):
            artifact = intarsia.compile_model(spelled(body), target="cpu", **options)
            kept = [(region.name, region.kind) for region in artifact.contents.regions]
            run = intarsia.load(artifact).run(x[:1])[0]
            results.append((kept, run.tobytes()))
        assert results[0] == results[1]


def test_instance_norm_over_an_image() -> None:
    graph = model(
        "(float[2,3,6,5] x, float e, int64[2] ax, float[3,1,1] g, float[3,1,1] b) => (float[2,3,6,5] y) { "
        "m = ReduceMean (x, ax) d = Sub (x, m) s = Mul (d, d) v = ReduceMean (s, ax) a = Add (v, e) r = Sqrt (a) "
        "h = Div (d, r) w = Mul (h, g) y = Add (w, b) }",
        e=1e-5, ax=[2, 3], g=[1.0, 2.0, 3.0], b=[0.5, 0.0, -1.0],
    )  # fmt: skip
    assert apply(graph, CanonicalizeNorm(), FuseNormParameters()) == 3
    assert ops(graph) == ["InstanceNormalization"]


WRONG = {
    "an uncentred square": "m = ReduceMean (x, other) d = Sub (x, m) s = Mul (x, x) v = ReduceMean (s, last)",
    "another number": "m = ReduceMean (x, last) d = Sub (x, m) s = Mul (d, d) t = ReduceSum (s, last) v = Mul (t, e)",
    "a cube": "m = ReduceMean (x, last) d = Sub (x, m) s = Pow (d, three) u = ReduceMean (s, last) v = Abs (u)",
}


@pytest.mark.parametrize("case", WRONG)
def test_what_only_looks_like_a_norm_stays(case: str) -> None:
    graph = model(
        "(float[2,6,16] x, float e, float three, int64[1] last, int64[1] other) => (float[2,6,16] y) { "
        f"{WRONG[case]} a = Add (v, e) r = Sqrt (a) y = Div (d, r) }}",
        e=1e-5, three=3.0, last=[-1], other=[1],
    )  # fmt: skip
    assert apply(graph, CanonicalizeNorm()) == 0
    assert CanonicalizeExponential().run(graph) == CanonicalizeActivation().run(graph) == 0
