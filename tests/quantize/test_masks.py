"""Attention with masks of every size and spelling, in int8: scores keep their steps, masked places get exactly 0."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import intarsia
from intarsia import CompileError
from intarsia.driver import lower
from intarsia.dtypes import Array
from intarsia.importer import import_model
from intarsia.ir.evaluate import evaluate

LENGTH, DEPTH = 12, 16
LOWS = {"lowest": float(np.finfo(np.float32).min), "-inf": -np.inf, "-1e9": -1e9, "-10000": -1e4, "-100": -100.0}
CAUSAL = np.tril(np.ones((LENGTH, LENGTH), bool))

MASKED = {
    "added": "m = Add (s, mask) p = Softmax <axis=-1> (m)",
    "added by the other side": "m = Add (mask, s) p = Softmax <axis=-1> (m)",
    "subtracted": "n = Neg (mask) m = Sub (s, n) p = Softmax <axis=-1> (m)",
    "chosen": "m = Where (keep, s, low) p = Softmax <axis=-1> (m)",
    "chosen by what is left out": "d = Not (keep) m = Where (d, low, s) p = Softmax <axis=-1> (m)",
    "bounded below": "f = Add (s, mask) m = Max (f, least) p = Softmax <axis=-1> (m)",
    "reshaped on the way": "f = Add (s, mask) r = Reshape (f, flat) g = Softmax <axis=-1> (r) p = Reshape (g, whole)",
    "logarithms": "m = Add (s, mask) l = LogSoftmax <axis=-1> (m) p = Exp (l)",
    "spelled out": "m = Add (s, mask) h = ReduceMax (m, last) d = Sub (m, h) x1 = Exp (d) u = ReduceSum (x1, last) "
    "p = Div (x1, u)",
    "spelled out without a maximum": "m = Add (s, mask) x1 = Exp (m) u = ReduceSum (x1, last) p = Div (x1, u)",
}
"""How masked weights `p` are made of scores `s`; a mask is a constant of 0 and a low number, 0 where `keep` is true."""

AT_RUN_TIME = {
    "an input that is added": ("float[1,12,12] given", "m = Add (s, given)"),
    "an input of ones and zeros": (
        "float[1,1,12] given", "i = Sub (one, given) b = Mul (i, far) m = Add (s, b)"
    ),
    "whole numbers": (
        "int64[1,12] given",
        "u = Unsqueeze (given, second) f = Cast <to=1> (u) i = Sub (one, f) b = Mul (i, far) m = Add (s, b)",
    ),
    "an input that is compared": (
        "int64[1,12] given", "u = Unsqueeze (given, second) z = Equal (u, none) m = Where (z, infinite, s)"
    ),
    "a product and a difference": (
        "float[1,1,12] given",
        "e = Mul (s, given) i = Sub (one, given) b = Mul (i, near) m = Sub (e, b)",
    ),
    "beside a constant": (
        "float[1,1,12] given",
        "f = Add (s, mask) i = Sub (one, given) b = Mul (i, far) m = Add (f, b)",
    ),
    "both before the scores": (
        "float[1,1,12] given",
        "i = Sub (one, given) b = Mul (i, far) c = Add (mask, b) m = Add (s, c)",
    ),
}  # fmt: skip


def attention(masking: str, inputs: str = "", low: float = -1e4) -> onnx.ModelProto:
    """x [1, L, D] to weights p [1, L, L] and output y [1, L, D]."""
    rng = np.random.default_rng(1)
    heads = ", ".join(["float[1,12,16] x", *([inputs] if inputs else [])])
    text = f"""<ir_version: 9, opset_import: ["" : 18]> net ({heads}) => (float[1,12,12] p, float[1,12,16] y) {{
        q = MatMul (x, wq) k = MatMul (x, wk) v = MatMul (x, wv) t = Transpose <perm=[0,2,1]> (k)
        a = MatMul (q, t) s = Mul (a, quarter) {masking} o = MatMul (p, v) y = MatMul (o, wo) }}"""
    proto = onnx.parser.parse_model(text)
    constants: dict[str, Any] = {
        **{name: rng.standard_normal((DEPTH, DEPTH)).astype(np.float32) * 0.35 for name in ("wq", "wk", "wv", "wo")},
        "quarter": np.float32(0.25), "one": np.float32(1), "far": np.float32(-1e4), "near": np.float32(1e4),
        "mask": np.where(CAUSAL, 0, low).astype(np.float32)[None], "keep": CAUSAL[None], "low": np.float32(low),
        "least": np.finfo(np.float32).min, "last": np.array([-1]), "second": np.array([1]), "none": np.array(0),
        "infinite": np.float32(-np.inf), "flat": np.array([LENGTH, LENGTH]), "whole": np.array([1, LENGTH, LENGTH]),
    }  # fmt: skip
    used = {name for node in proto.graph.node for name in node.input}
    proto.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items() if name in used
    )
    return proto


def decibels(wanted: Array, got: Array) -> float:
    noise = ((wanted - got.astype(np.float64)) ** 2).sum()
    return float(10 * np.log10((wanted.astype(np.float64) ** 2).sum() / max(noise, 1e-20)))


def check(proto: onnx.ModelProto, feeds: list[dict[str, Array]], dropped: list[Array], low: float = -1e4) -> None:
    """What int8 means is near the float model, and exactly 0 where a mask is that float32 rounds to 0.

    dropped  bool [1, L, L] for each feed
    """
    graph = import_model(proto)
    lowered = lower(proto, target="cpu", precision="int8", calibration=feeds).graph
    for feed, gone in zip(feeds, dropped):
        weights, result = evaluate(lowered, feed)
        assert weights[np.broadcast_to(gone, weights.shape)].max(initial=0.0) <= (0.0 if low < -104 else 1e-38)
        assert decibels(evaluate(graph, feed)[1], result) >= 28.0


def inputs(count: int = 6) -> list[Array]:
    rng = np.random.default_rng(4)
    return [rng.standard_normal((1, LENGTH, DEPTH)).astype(np.float32) for _ in range(count)]


@pytest.mark.parametrize("low", LOWS)
@pytest.mark.parametrize("case", MASKED)
def test_masks_that_are_constants(case: str, low: str) -> None:
    feeds = [{"x": x} for x in inputs()]
    check(attention(MASKED[case], low=LOWS[low]), feeds, [~CAUSAL[None]] * len(feeds), LOWS[low])


@pytest.mark.parametrize("target", ["cpu", "pynq-z2"])
@pytest.mark.parametrize("low", ["lowest", "-inf"])
def test_what_runs_is_what_is_meant(low: str, target: str) -> None:
    feeds = [{"x": x} for x in inputs()]
    proto = attention(MASKED["chosen" if low == "-inf" else "added"], low=LOWS[low])
    artifact = intarsia.compile_model(proto, target=target, precision="int8", calibration=feeds)
    weights, result = intarsia.load(artifact).run(feeds[0]["x"])
    wanted = evaluate(lower(proto, target=target, precision="int8", calibration=feeds).graph, feeds[0])
    assert not weights[~CAUSAL[None]].any()
    assert np.allclose(weights, wanted[0], atol=1e-6) and decibels(wanted[1], result) > 40


@pytest.mark.parametrize("masked", [True, False], ids=["seen", "never seen"])
@pytest.mark.parametrize("case", AT_RUN_TIME)
def test_masks_that_are_made_at_run_time(case: str, masked: bool) -> None:
    """Also where no calibration sample had anything to mask."""
    declared, masking = AT_RUN_TIME[case]
    rng, feeds, dropped = np.random.default_rng(2), [], []
    for x in inputs():
        keep = np.arange(LENGTH) < (rng.integers(4, LENGTH) if masked else LENGTH)
        shape = (1, LENGTH) if declared.startswith("int64") else (1, 1, LENGTH)
        given: Array = np.broadcast_to(keep, shape).astype(np.int64 if declared.startswith("int64") else np.float32)
        gone = np.broadcast_to(~keep, (1, LENGTH, LENGTH))
        if case == "an input that is added":
            given = np.where(gone, -np.inf, 0).astype(np.float32)
        feeds.append({"x": x, "given": given})
        dropped.append(gone if "mask" not in masking else gone | ~CAUSAL[None])
    check(attention(f"{masking} p = Softmax <axis=-1> (m)", declared), feeds, dropped)


# ---- where no mask is, and where numbers are not finite


def placed(body: str, feeds: list[dict[str, Array]], **values: Any) -> list[str]:
    """The ops of the quantized graph."""
    proto = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 18]> net {body}')
    proto.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(array, np.float32), name) for name, array in values.items()
    )
    return [node.op for node in lower(proto, target="cpu", precision="int8", calibration=feeds).graph.nodes]


def test_masked_classes_of_a_classifier() -> None:
    """A mask that could be the bias of a product is none."""
    rng = np.random.default_rng(0)
    feeds = [{"x": rng.standard_normal((1, 16)).astype(np.float32)} for _ in range(4)]
    for low in (-1e9, -np.inf):
        mask, weight = np.where(np.arange(8) < 5, 0, low), rng.standard_normal((16, 8)) * 0.3
        body = (
            "(float[1,16] x) => (float[1,8] p) { s = MatMul (x, weight) m = Add (s, mask) p = Softmax <axis=-1> (m) }"
        )
        assert placed(body, feeds, weight=weight, mask=mask) == ["quantize", "qmatmul", "dequantize", "Add", "Softmax"]


def test_masked_logits_that_nobody_reads() -> None:
    rng = np.random.default_rng(0)
    feeds = [{"x": rng.standard_normal((1, 16)).astype(np.float32)} for _ in range(4)]
    weight = rng.standard_normal((16, 8)) * 0.3
    body = "(float[1,16] x) => (float[1,8] p) { s = MatMul (x, weight) p = Add (s, mask) }"
    ops = placed(body, feeds, weight=weight, mask=np.where(np.arange(8) < 5, 0, -1e9))
    assert ops == ["quantize", "qmatmul", "dequantize", "Add"]


def test_an_ordinary_bias_before_a_softmax_is_no_mask() -> None:
    rng = np.random.default_rng(0)
    feeds = [{"x": rng.standard_normal((1, 8, 16)).astype(np.float32) * 4} for _ in range(4)]
    body = "(float[1,8,16] x) => (float[1,8,16] p) { s = Add (x, bias) p = Softmax <axis=-1> (s) }"
    ops = placed(body, feeds, bias=rng.uniform(-25, 5, (8, 16)))
    assert ops == ["quantize", "qadd", "qsoftmax", "dequantize"]


def test_far_numbers_that_a_product_reads_are_no_mask() -> None:
    rng = np.random.default_rng(0)
    feeds = [{"x": rng.standard_normal((1, 8, 16)).astype(np.float32)} for _ in range(4)]
    body = "(float[1,8,16] x) => (float[1,8,16] y) { s = Add (x, far) y = MatMul (s, weight) }"
    ops = placed(body, feeds, far=np.where(np.eye(8, 16), -5000, 0), weight=rng.standard_normal((16, 16)))
    assert ops == ["quantize", "qadd", "qmatmul", "dequantize"]


def test_rows_of_nothing_but_masked_places() -> None:
    """Softmax gives NaN there, and what guards against it is no more refused than what it guards."""
    body = """(float[1,4,16] x, float[1,4,4] given) => (float[1,4,16] y) { t = Transpose <perm=[0,2,1]> (x)
        s = MatMul (x, t) m = Add (s, given) p = Softmax <axis=-1> (m) n = IsNaN (p) z = Where (n, zero, p)
        o = MatMul (z, x) y = MatMul (o, weight) }"""
    rng = np.random.default_rng(0)
    given = np.where(np.tril(np.ones((4, 4)), -1), 0, -np.inf).astype(np.float32)[None]
    feeds = [{"x": rng.standard_normal((1, 4, 16)).astype(np.float32), "given": given} for _ in range(4)]
    assert "qmatmul" in placed(body, feeds, zero=0.0, weight=rng.standard_normal((16, 16)))


def test_infinity_stays_in_float_and_a_product_of_it_is_refused() -> None:
    rng = np.random.default_rng(0)
    feeds = [{"x": rng.uniform(0, 1, (1, 4, 16)).astype(np.float32)} for _ in range(4)]
    feeds[2]["x"][0, 0, 0] = 0.0
    head = "(float[1,4,16] x) => (float[1,4,16] y)"
    weight = rng.standard_normal((16, 16))
    body = f"{head} {{ l = Log (x) c = Max (l, low) y = MatMul (c, weight) }}"
    assert placed(body, feeds, low=-8.0, weight=weight) == ["Log", "Clip", "quantize", "qmatmul", "dequantize"]
    with pytest.raises(CompileError, match="value 'l' in calibration sample 2: it holds NaN or infinity"):
        placed(f"{head} {{ l = Log (x) y = MatMul (l, weight) }}", feeds, weight=weight)
    feeds[1]["x"][0, 0, 0] = np.nan
    with pytest.raises(CompileError, match="value 'x' in calibration sample 1: it holds NaN or infinity"):
        placed(f"{head} {{ y = Tanh (x) }}", feeds)
