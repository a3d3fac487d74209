"""What exporters write out in small ops is the op that it means: spelled and named, a model gives the same artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from pass_cases import apply, model, ops, random_inputs, refused

import intarsia
from intarsia.driver import lower
from intarsia.dtypes import Array
from intarsia.importer import import_model
from intarsia.ir.evaluate import evaluate
from intarsia.passes.fuse.activation_forms import CanonicalizeActivation
from intarsia.passes.fuse.attention import CanonicalizeAttention
from intarsia.passes.fuse.exponentials import CanonicalizeExponential
from intarsia.passes.fuse.group_norm import CanonicalizeGroupNorm
from intarsia.passes.fuse.norms import CanonicalizeNorm
from intarsia.passes.simplify.noops import RemoveNoOps

NUMBERS = {
    "zero": 0.0, "one": 1.0, "half": 0.5, "two": 2.0, "three": 3.0, "six": 6.0, "n": 16.0, "i": 1 / 16, "e": 1e-5,
    "r2": 2**0.5, "k": 0.044715, "q": (2 / np.pi) ** 0.5, "minus": -1.0, "m5": -0.5,
    "q2": 2 * (2 / np.pi) ** 0.5, "fifth": 0.2,
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
    "layer norm, scale in front": (
        LAYER,
        "m = ReduceMean (x, last) d = Sub (x, m) s = Pow (d, two) v = ReduceMean (s, last) a = Add (v, e) r = Sqrt (a) "
        "h = Mul (g, d) w = Div (h, r) y = Add (w, b)",
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
    "rms norm of jax": (
        RMS,
        "s = Mul (x, x) t = ReduceSum <keepdims=0> (s, last) u = Unsqueeze (t, last) v = Mul (u, i) a = Add (v, e) "
        "f = Pow (a, m5) h = Mul (x, f) y = Mul (h, g)",
    ),
    "layer norm without kept dimensions": (
        LAYER,
        "k0 = ReduceMean <keepdims=0> (x, last) m = Unsqueeze (k0, last) d = Sub (x, m) s = Mul (d, d) "
        "k1 = ReduceMean <keepdims=0> (s, last) v = Reshape (k1, column) a = Add (v, e) r = Sqrt (a) h = Div (d, r) "
        "w = Mul (h, g) y = Add (w, b)",
    ),
    "layer norm by sums": (
        LAYER,
        "m = ReduceMean (x, last) c = Neg (m) d = Add (x, c) s = Mul (d, d) v = ReduceMean (s, last) a = Add (v, e) "
        "f0 = Reciprocal (a) f = Sqrt (f0) h = Mul (d, f) w = Mul (h, g) y = Add (w, b)",
    ),
    "silu by division": ("y = Swish (x)", "c = Neg (x) p = Exp (c) a = Add (one, p) y = Div (x, a)"),
    "silu by tanh": ("y = Swish (x)", "h = Mul (x, half) t = Tanh (h) a = Add (t, one) y = Mul (a, h)"),
    "quick gelu": ("y = Swish <alpha=2.0> (x)", "c = Mul (x, two) s = Sigmoid (c) y = Mul (x, s)"),
    "sigmoid by tanh": ("y = Sigmoid (x)", "h = Mul (x, half) t = Tanh (h) a = Mul (t, half) y = Add (a, half)"),
    "sigmoid by one exponential": ("y = Sigmoid (x)", "p = Exp (x) a = Add (p, one) y = Div (p, a)"),
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
    "mish by exponentials": ("y = Mish (x)", "c = Exp (x) a = Add (one, c) p = Log (a) t = Tanh (p) y = Mul (x, t)"),
    "softmax without a maximum": (
        "y = Softmax <axis=-1> (x)", "p = Exp (x) s = ReduceSum (p, last) y = Div (p, s)",
    ),
    "softmax by a reciprocal": (
        "y = Softmax <axis=-1> (x)",
        "m = ReduceMax (x, last) d = Sub (x, m) p = Exp (d) s = ReduceSum (p, last) f = Reciprocal (s) y = Mul (p, f)",
    ),
    "log softmax": (
        "y = LogSoftmax <axis=-1> (x)",
        "m = ReduceMax (x, last) d = Sub (x, m) p = Exp (d) s = ReduceSum (p, last) f = Log (s) y = Sub (d, f)",
    ),
    "log softmax by one reduction": (
        "y = LogSoftmax <axis=-1> (x)", "s = ReduceLogSumExp (x, last) y = Sub (x, s)",
    ),
    "leaky relu": ("y = LeakyRelu <alpha=0.0625> (x)", "a = Mul (x, i) y = Max (a, x)"),
    "hard sigmoid of torch": (
        "y = HardSigmoid <alpha=0.16666667, beta=0.5> (x)",
        "a = Add (x, three) c = Clip (a, zero, six) y = Div (c, six)",
    ),
    "hard sigmoid by bounds": (
        "y = HardSigmoid <alpha=0.16666667, beta=0.5> (x)",
        "a = Div (x, six) c = Add (a, half) h = Max (c, zero) y = Min (h, one)",
    ),
    "hard sigmoid of keras": (
        "y = HardSigmoid <alpha=0.2, beta=0.5> (x)", "a = Mul (x, fifth) c = Add (half, a) y = Clip (c, zero, one)"
    ),
    "hard swish by a hard sigmoid": ("y = HardSwish (x)", "s = HardSigmoid <alpha=0.16666667> (x) y = Mul (x, s)"),
    "hard swish by a gate": (
        "y = HardSwish (x)", "a = Add (x, three) c = Clip (a, zero, six) s = Div (c, six) y = Mul (s, x)"
    ),
    "hard swish by a line": (
        "y = HardSwish (x)", "a = Div (x, six) s = Add (a, half) c = Clip (s, zero, one) y = Mul (x, c)"
    ),
    "gelu of erfc": (
        "y = Gelu (x)", "c = Neg (x) d = Div (c, r2) p = Erf (d) a = Sub (one, p) m = Mul (x, half) y = Mul (m, a)"
    ),
    "gelu, distributed": (
        "y = Gelu (x)", "h = Mul (x, half) d = Div (x, r2) p = Erf (d) m = Mul (h, p) y = Add (h, m)"
    ),
    "gelu of a normal distribution": (
        "y = Gelu (x)", "d = Div (x, r2) p = Erf (d) a = Mul (p, half) s = Add (half, a) y = Mul (x, s)"
    ),
    "gelu by tanh, factored": (
        'y = Gelu <approximate="tanh"> (x)',
        "s = Mul (x, k) d = Mul (s, x) f = Add (one, d) j = Mul (x, q) u = Mul (j, f) t = Tanh (u) a = Add (one, t) "
        "m = Mul (half, x) y = Mul (m, a)",
    ),
    "gelu by tanh, with a power": (
        'y = Gelu <approximate="tanh"> (x)',
        "s = Pow (x, three) d = Mul (s, k) f = Add (x, d) j = Mul (q, f) t = Tanh (j) a = Add (t, one) "
        "m = Mul (a, half) y = Mul (x, m)",
    ),
    "gelu by sigmoid": (
        'y = Gelu <approximate="tanh"> (x)',
        "s = Pow (x, three) d = Mul (s, k) f = Add (x, d) j = Mul (f, q2) t = Sigmoid (j) y = Mul (x, t)",
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
    text = f"tiny (float[1,8,16] given) => (float[1,8,16] y) {{ x = MatMul (given, weight) {body} }}"
    proto = onnx.parser.parse_model(f'<ir_version: 11, opset_import: ["" : 24]> {text}')
    rng = np.random.default_rng(2)
    constants: dict[str, Any] = {name: np.float32(number) for name, number in NUMBERS.items()}
    constants |= {"g": rng.uniform(0.5, 1.5, 16), "b": rng.uniform(-1, 1, 16), "weight": rng.standard_normal((16, 16))}
    tensors = {name: np.asarray(array, np.float32) for name, array in constants.items()}
    tensors |= {"last": np.array([-1]), "column": np.array([1, 8, 1])}
    used = {name for node in proto.graph.node for name in node.input}
    proto.graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in tensors.items() if name in used
    )
    return proto


ON_MACHINES = ("layer norm of tf2onnx", "rms norm", "silu by division", "softmax", "hard swish", "gelu by tanh")
"""Those that are compiled to code too; that graphs mean what code does, other tests tell."""


def samples() -> Array:
    return np.random.default_rng(3).standard_normal((8, 8, 16)).astype(np.float32)


@pytest.mark.parametrize("case", SPELLINGS)
def test_spelled_and_named_forms_mean_the_same_bytes(case: str) -> None:
    data = samples()
    for options in ({"precision": "float32"}, {"precision": "int8", "calibration": data}):
        found = []
        for body in SPELLINGS[case]:
            graph = lower(spelled(body), target="cpu", **options).graph
            found.append(([node.op for node in graph.nodes], evaluate(graph, {"given": data[:1]})[0].tobytes()))
        assert found[0] == found[1]


@pytest.mark.parametrize("case", ON_MACHINES)
def test_spelled_and_named_forms_give_the_same_bytes(case: str) -> None:
    data = samples()
    for options in ({"precision": "float32"}, {"precision": "int8", "calibration": data}):
        results = []
        for body in SPELLINGS[case]:
            artifact = intarsia.compile_model(spelled(body), target="cpu", **options)
            kept = [(region.name, region.kind) for region in artifact.contents.regions]
            run = intarsia.load(artifact).run(data[:1])[0]
            results.append((kept, run.tobytes()))
        assert results[0] == results[1]


PARTED = (
    "q1 = Reshape (q0, heads) k1 = Reshape (k0, heads) v1 = Reshape (v0, heads) q = Transpose <perm=[0,2,1,3]> (q1) "
    "k = Transpose <perm=[0,2,3,1]> (k1) v = Transpose <perm=[0,2,1,3]> (v1) "
)
MERGED = "i = MatMul (p, v) j = Transpose <perm=[0,2,1,3]> (i) x = Reshape (j, flat)"
NAMED = "x = Attention <q_num_heads=4, kv_num_heads=4{more}> (q0, k0, v0{mask})"
PLAIN = NAMED.format(more="", mask="")
CAUSAL = NAMED.format(more=", is_causal=1", mask="")
BIASED = NAMED.format(more="", mask=", bias")

ATTENTIONS = {
    "attention, divided": (PLAIN, f"{PARTED} s = MatMul (q, k) t = Div (s, root) p = Softmax <axis=-1> (t) {MERGED}"),
    "attention, multiplied": (PLAIN, f"{PARTED} s = MatMul (q, k) t = Mul (by, s) p = Softmax <axis=-1> (t) {MERGED}"),
    "attention of torch, half of the scale on either side": (
        PLAIN, f"{PARTED} a = Mul (q, half) b = Mul (k, half) s = MatMul (a, b) p = Softmax <axis=-1> (s) {MERGED}"
    ),
    "attention of scaled queries": (
        PLAIN,
        PARTED.replace("(q0,", "(qs,").replace("q1", "qs = Mul (q0, by) q1", 1)
        + f"s = MatMul (q, k) p = Softmax <axis=-1> (s) {MERGED}",
    ),
    "attention of scaled keys": (
        PLAIN, f"{PARTED} b = Div (k, root) s = MatMul (q, b) p = Softmax <axis=-1> (s) {MERGED}"
    ),
    "attention, spelled to the Softmax": (
        PLAIN,
        f"{PARTED} s = MatMul (q, k) t = Div (s, root) m = ReduceMax (t, last) d = Sub (t, m) c = Exp (d) "
        f"e = ReduceSum (c, last) p = Div (c, e) {MERGED}",
    ),
    "attention, causal": (
        CAUSAL,
        f"{PARTED} s = MatMul (q, k) t = Div (s, root) m = Add (t, causal) p = Softmax <axis=-1> (m) {MERGED}",
    ),
    "attention with a bias": (
        BIASED, f"{PARTED} s = MatMul (q, k) t = Div (s, root) m = Add (t, bias) p = Softmax <axis=-1> (m) {MERGED}"
    ),
}  # fmt: skip


def attention(body: str) -> onnx.ModelProto:
    text = f"""tiny (float[1,8,16] given) => (float[1,8,16] y) {{
        q0 = MatMul (given, wq) k0 = MatMul (given, wk) v0 = MatMul (given, wv) {body} y = MatMul (x, wo) }}"""
    proto = onnx.parser.parse_model(f'<ir_version: 11, opset_import: ["" : 23]> {text}')
    rng = np.random.default_rng(2)
    reals: dict[str, Any] = {name: rng.standard_normal((16, 16)) * 0.5 for name in ("wq", "wk", "wv", "wo")}
    reals |= {"root": 2.0, "by": 0.5, "half": 0.5**0.5, "bias": rng.standard_normal((8, 8))}
    reals |= {"causal": np.where(np.tril(np.ones((8, 8))), 0, -np.inf)}
    sizes = {"heads": [1, 8, 4, 4], "flat": [1, 8, 16], "last": [-1]}
    tensors = {name: np.asarray(array, np.float32) for name, array in reals.items()}
    tensors |= {name: np.asarray(numbers, np.int64) for name, numbers in sizes.items()}
    used = {name for node in proto.graph.node for name in node.input}
    proto.graph.initializer.extend(numpy_helper.from_array(tensors[name], name) for name in tensors if name in used)
    return proto


@pytest.mark.parametrize("case", ATTENTIONS)
def test_attentions_mean_the_same_bytes(case: str) -> None:
    """The scale costs nothing: it is in the weights of the queries."""
    data = samples()
    for options in ({"precision": "float32"}, {"precision": "int8", "calibration": data}):
        found = []
        for body in ATTENTIONS[case]:
            proto = attention(body)
            graph, feed = lower(proto, target="cpu", **options).graph, {"given": data[:1]}
            result = evaluate(graph, feed)[0]
            wanted = evaluate(import_model(proto), feed)[0]
            limit = 1e-6 if options["precision"] == "float32" else 0.03
            assert np.abs(result - wanted).max() < limit * np.ptp(wanted)
            kinds = sorted(node.op for node in graph.nodes)
            assert not {"Div", "Mul", "lookup", "Attention"} & set(kinds)
            found.append((kinds, result.tobytes()))
        assert found[0] == found[1]


LEFT = {
    "queries share keys": "y = Attention <q_num_heads=4, kv_num_heads=2> (x, z, z)",
    "its mask is computed at run time": "y = Attention <q_num_heads=4, kv_num_heads=4> (x, x, x, m)",
    "its mask leaves nothing of a row": "y = Attention <q_num_heads=4, kv_num_heads=4> (x, x, x, none)",
    "it bounds its scores": "y = Attention <q_num_heads=4, kv_num_heads=4, softcap=2.0> (x, x, x)",
    "it has a past, or gives more": "y, k, v = Attention <q_num_heads=4, kv_num_heads=4> (x, x, x, , p, p)",
}


@pytest.mark.parametrize("reason", LEFT)
def test_attention_that_is_left_to_its_function(reason: str) -> None:
    graph = model(
        "(float[1,8,16] x, float[1,8,8] z, float[8,8] m, float[8,8] none, float[1,4,3,4] p) => (float[1,8,16] y) "
        f"{{ {LEFT[reason]} }}",
        opset=23, none=[-np.inf] * 64,
    )  # fmt: skip
    assert reason in refused(CanonicalizeAttention(), graph)


def test_scales_that_others_read_stay() -> None:
    graph = model(
        "(float[2,4,4] x, float[2,4,4] z, float c) => (float[2,4,4] y, float[2,4,4] t) "
        "{ s = MatMul (x, z) t = Mul (s, c) y = Softmax <axis=-1> (t) }",
        c=0.5,
    )  # fmt: skip
    assert apply(graph, CanonicalizeAttention()) == 0
    graph = model(
        "(float[2,4,4] x, float[2,4,4] z, float c) => (float[2,4,4] y) { s = MatMul (x, z) y = Mul (s, c) }", c=0.5
    )
    assert apply(graph, CanonicalizeAttention()) == 0, "no Softmax reads it"


INSTANCE = "y = InstanceNormalization <epsilon=0.00001> (x, g, b)"
GROUP = "y = GroupNormalization <epsilon=0.00001, num_groups=2> (x, g, b)"

CHANNELS = (
    "t1 = Transpose <perm=[0,2,3,1]> (x) n = LayerNormalization <axis=-1, epsilon=0.00001> (t1, g, b) "
    "y = Transpose <perm=[0,3,1,2]> (n)"
)

IMAGES = {
    "instance norm of torch": (
        INSTANCE, "n = InstanceNormalization <epsilon=0.00001> (x, ones, zeros) w = Mul (n, gc) y = Add (w, bc)"
    ),
    "instance norm by means": (
        INSTANCE,
        "m = ReduceMean (x, space) d = Sub (x, m) s = Mul (d, d) v = ReduceMean (s, space) a = Add (v, e) r = Sqrt (a) "
        "h = Div (d, r) w = Mul (h, gc) y = Add (w, bc)",
    ),
    "instance norm of rows": (
        "r1 = Reshape (x, rows) q = InstanceNormalization <epsilon=0.00001> (r1, g, b) y = Reshape (q, back)",
        "r1 = Reshape (x, rows) m = ReduceMean (r1, last) d = Sub (r1, m) s = Mul (d, d) v = ReduceMean (s, last) "
        "a = Add (v, e) r = Sqrt (a) h = Div (d, r) w = Mul (h, gr) q = Add (w, br) y = Reshape (q, back)",
    ),
    "layer norm of channels": (
        CHANNELS,
        "m = ReduceMean (x, second) d = Sub (x, m) s = Pow (d, two) v = ReduceMean (s, second) a = Add (v, e) "
        "r = Sqrt (a) h = Div (d, r) w = Mul (gc, h) y = Add (w, bc)",
    ),
    "layer norm of channels, scale first": (
        CHANNELS,
        "m = ReduceMean (x, second) d = Sub (x, m) s = Mul (d, d) v = ReduceMean (s, second) a = Add (v, e) "
        "r = Sqrt (a) f = Div (gc, r) h = Mul (d, f) y = Add (h, bc)",
    ),
    "prelu of keras": (
        "y = PRelu (x, gc)", "p = Relu (x) c = Neg (x) n = Relu (c) k = Neg (gc) m = Mul (n, k) y = Add (p, m)"
    ),
    "prelu by the size": (
        "y = PRelu (x, gc)",
        "p = Relu (x) a = Abs (x) d = Sub (x, a) m = Mul (gc, d) w = Mul (m, half) y = Add (p, w)",
    ),
    "prelu by the negative part": (
        "y = PRelu (x, gc)", "p = Relu (x) c = Neg (x) n = Relu (c) m = Mul (n, gc) y = Sub (p, m)"
    ),
    "group norm of torch": (
        GROUP,
        "r = Reshape (x, groups) n = InstanceNormalization <epsilon=0.00001> (r, two_ones, two_zeros) "
        "t = Reshape (n, back) w = Mul (t, gc) y = Add (w, bc)",
    ),
    "group norm by means": (
        GROUP,
        "r0 = Reshape (x, groups) m = ReduceMean (r0, last) d = Sub (r0, m) s = Mul (d, d) v = ReduceMean (s, last) "
        "a = Add (v, e) r = Sqrt (a) h = Div (d, r) t = Reshape (h, back) w = Mul (t, gc) y = Add (w, bc)",
    ),
    "group norm of five axes": (
        GROUP,
        "r0 = Reshape (x, five) m = ReduceMean (r0, inner) d = Sub (r0, m) s = Pow (d, two) v = ReduceMean (s, inner) "
        "a = Add (v, e) r = Sqrt (a) f = Reciprocal (r) h = Mul (d, f) t = Reshape (h, back) w = Mul (t, gc) "
        "y = Add (w, bc)",
    ),
    "group norm without parameters": (
        "y = GroupNormalization <epsilon=0.00001, num_groups=2> (x, ones, zeros)",
        "r = Reshape (x, groups) n = InstanceNormalization <epsilon=0.00001> (r, two_ones, two_zeros) "
        "y = Reshape (n, back)",
    ),
}  # fmt: skip
"""Behind a convolution, x is [1, 4, 6, 5]."""


def image(body: str) -> onnx.ModelProto:
    text = f"tiny (float[1,3,6,5] given) => (float[1,4,6,5] y) {{ x = Conv (given, weight) {body} }}"
    proto = onnx.parser.parse_model(f'<ir_version: 11, opset_import: ["" : 22]> {text}')
    rng = np.random.default_rng(2)
    g, b = rng.uniform(0.5, 1.5, 4), rng.uniform(-1, 1, 4)
    reals = {
        "weight": rng.standard_normal((4, 3, 1, 1)), "g": g, "b": b, "gc": g.reshape(4, 1, 1), "bc": b.reshape(4, 1, 1),
        "gr": g.reshape(4, 1), "br": b.reshape(4, 1), "ones": np.ones(4), "zeros": np.zeros(4), "two_ones": np.ones(2),
        "two_zeros": np.zeros(2), "e": 1e-5, "two": 2.0, "half": 0.5,
    }  # fmt: skip
    sizes = {
        "last": [-1], "second": [1], "space": [2, 3], "inner": [2, 3, 4], "rows": [1, 4, 30], "back": [1, 4, 6, 5],
        "groups": [0, 2, -1], "five": [1, 2, 2, 6, 5],
    }  # fmt: skip
    tensors = {name: np.asarray(array, np.float32) for name, array in reals.items()}
    tensors |= {name: np.asarray(numbers, np.int64) for name, numbers in sizes.items()}
    used = {name for node in proto.graph.node for name in node.input}
    proto.graph.initializer.extend(numpy_helper.from_array(tensors[name], name) for name in tensors if name in used)
    return proto


@pytest.mark.parametrize("case", IMAGES)
def test_norms_of_images_mean_the_same_bytes(case: str) -> None:
    data = np.random.default_rng(3).standard_normal((8, 3, 6, 5)).astype(np.float32)
    for options in ({"precision": "float32"}, {"precision": "int8", "calibration": data}):
        found = []
        for body in IMAGES[case]:
            proto = image(body)
            graph, feed = lower(proto, target="cpu", **options).graph, {"given": data[:1]}
            result = evaluate(graph, feed)[0]
            limit = 1e-5 if options["precision"] == "float32" else 0.15
            assert np.abs(result - evaluate(import_model(proto), feed)[0]).max() < limit
            found.append(([node.op for node in graph.nodes], result.tobytes()))
        assert found[0] == found[1]


def test_group_norm_of_older_opsets() -> None:
    """Opset 18 has a number for each group."""
    graph = model(
        "(float[1,4,3,3] x, float[4] g) => (float[1,4,3,3] y) { y = GroupNormalization <num_groups=2> (x, g, g) }",
        opset=21, g=[1.0] * 4,
    )  # fmt: skip
    node = graph.nodes[0]
    parameters = [
        graph.add_constant(name, np.array([2, number], np.float32))
        for name, number in (("scale", 3.0), ("shift", -1.0))
    ]
    node.opset = 18
    node.set_inputs([node.input(0), *parameters])
    assert apply(graph, CanonicalizeGroupNorm()) == 1
    assert ops(graph) == ["Reshape", "InstanceNormalization", "Reshape", "BatchNormalization"]


def test_the_documents_name_every_spelling() -> None:
    text = (Path(__file__).parents[2] / "docs" / "spellings.md").read_text(encoding="utf-8")
    rows = [row.split(" | ") for row in text.splitlines() if row.startswith("| ") and "---" not in row]
    named = [row[1].strip() for row in rows if row[1].strip() != "case"]
    assert sorted(named) == sorted([*SPELLINGS, *IMAGES, *ATTENTIONS])


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


curves = st.sampled_from(["Tanh", "Erf", "Sigmoid", "HardSigmoid"])
factors = st.sampled_from([-1.0, -0.5, 0.5, 1.0, 2.0, 1 / 6])
slopes = st.sampled_from([-(0.5**0.5), 0.5**0.5, 0.5, -0.5, 1.0, (2 / np.pi) ** 0.5, 2 * (2 / np.pi) ** 0.5, -1.702])
cubics = st.sampled_from([0.0, 0.044715, -0.044715, 0.05])


@settings(max_examples=150)
@given(curve=curves, a=factors, b=st.sampled_from([0.0, 0.5, 1.0, -0.5]), f=factors, slope=slopes, cubic=cubics)
@example(curve="Erf", a=-0.5, b=0.5, f=1.0, slope=-(0.5**0.5), cubic=0.0)
@example(curve="Erf", a=-0.5, b=0.5, f=1.0, slope=0.5**0.5, cubic=0.0)
@example(curve="Tanh", a=0.5, b=0.5, f=-1.0, slope=0.5, cubic=0.0)
def test_whatever_is_multiplied_means_the_same(
    curve: str, a: float, b: float, f: float, slope: float, cubic: float
) -> None:
    """x * f * (a * curve(slope * (x + cubic * x ** 3)) + b), with numbers that make activations up, and others."""
    graph = model(
        "(float[2,40] x, float a, float b, float f, float slope, float cubic, float three) => (float[2,40] y) { "
        "p = Pow (x, three) q = Mul (p, cubic) r = Add (x, q) s = Mul (r, slope) "
        f"t = {curve} (s) u = Mul (t, a) v = Add (u, b) w = Mul (x, f) y = Mul (w, v) }}",
        a=a, b=b, f=f, slope=slope, cubic=cubic, three=3.0,
    )  # fmt: skip
    before = evaluate(graph, inputs := random_inputs(graph))
    RemoveNoOps().run(graph)
    while CanonicalizeActivation().run(graph):
        pass
    assert np.allclose(before[0], evaluate(graph, inputs)[0], rtol=2e-4, atol=1e-4)
