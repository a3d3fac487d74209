"""Rules that put scales, biases and activations into the op before them: each fires, and each says why it does not."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from pass_cases import apply, model, ops, reasons, refused

from intarsia.ir.graph import Graph
from intarsia.ir.text import text
from intarsia.passes.fuse.activation import FuseActivation
from intarsia.passes.fuse.activation_forms import CanonicalizeActivation
from intarsia.passes.fuse.affine import FuseBatchNorm, FuseBatchNormForward, FuseQuantizedBias
from intarsia.passes.fuse.batchnorm import CanonicalizeBatchNorm
from intarsia.passes.fuse.dense import MakeDense
from intarsia.passes.fuse.global_pool import CanonicalizeGlobalPool

# ---- batch norm and its kin

CONV = "c = Conv <pads=[1,1,1,1]> (x, w)"


def conv(rest: str, outputs: str = "float[1,4,6,6] y", **options: Any) -> Graph:
    options.setdefault("random", "w b g h m v k s")
    return model(
        f"""(float[1,2,6,6] x, float[4,2,3,3] w, float[4] b, float[4] g, float[4] h, float[4] m, float[4] v,
             float[4,1,1] k, float[1] s) => ({outputs}) {{ {rest} }}""",
        **options,
    )


def test_batchnorm_folds_into_conv(golden: Callable[[str], None]) -> None:
    graph = conv(f"{CONV} y = BatchNormalization (c, g, h, m, v)")
    assert apply(graph, FuseBatchNorm()) == 1
    golden(text(graph))


def test_chain_of_scales_and_shifts_folds_into_conv() -> None:
    graph = conv(
        f"{CONV} a = Add (k, c) d = Mul (a, k) e = Sub (d, s) f = Div (e, k) y = BatchNormalization (f, g, h, m, v)"
    )
    assert apply(graph, FuseBatchNorm()) == 5
    assert ops(graph) == ["Conv"]


def test_scales_after_a_batchnorm_that_stays_fold_into_it(golden: Callable[[str], None]) -> None:
    graph = conv(
        "c = Concat <axis=1> (x, x) n = BatchNormalization (c, g, h, m, v) d = Mul (n, k) y = Add (d, k)",
        "float[1,4,6,6] y",
    )
    assert apply(graph, FuseBatchNorm()) == 2
    assert ops(graph) == ["Concat", "BatchNormalization"]
    golden(text(graph))


def test_batchnorm_of_run_time_numbers_takes_nothing_up() -> None:
    graph = conv("c = Concat <axis=1> (x, x) n = BatchNormalization (c, g, h, m, v) y = Mul (n, k)", random="k h m v")
    assert refused(FuseBatchNorm(), graph) == (
        "Mul 'y': BatchNormalization 'n' stays as it is: its scale, bias, mean or variance is not constant"
    )


def test_batchnorm_that_stays_is_a_depthwise_conv(golden: Callable[[str], None]) -> None:
    graph = conv("c = Concat <axis=1> (x, x) n = BatchNormalization (c, g, h, m, v) y = Relu (n)")
    assert apply(graph, CanonicalizeBatchNorm()) == 1
    golden(text(graph))


SPELL_BATCHNORM_REFUSED = {
    "flat": ("float[2,3] x", "it normalises float32[2,3], and a Conv needs a spatial axis"),
    "run time": ("float[2,3,4] x", "its scale, bias, mean or variance is not constant"),
}


@pytest.mark.parametrize("name", SPELL_BATCHNORM_REFUSED)
def test_batchnorm_that_is_no_conv_says_why(name: str) -> None:
    x, reason = SPELL_BATCHNORM_REFUSED[name]
    graph = model(
        f"({x}, float[3] g, float[3] b) => ({x.replace('x', 'y')}) {{ y = BatchNormalization (x, g, b, b, g) }}",
        random="b",
    )
    assert refused(CanonicalizeBatchNorm(), graph) == f"BatchNormalization 'y': {reason}"


def test_constant_minus_conv_turns_the_sign() -> None:
    graph = conv("c = Conv <pads=[1,1,1,1]> (x, w, b) y = Sub (k, c)")
    assert apply(graph, FuseBatchNorm()) == 1


@pytest.mark.parametrize("group", [1, 2])
def test_batchnorm_folds_into_convtranspose(group: int) -> None:
    graph = model(
        f"""(float[1,4,5,5] x, float[4,3,3,3] w, float[{3 * group}] g, float[{3 * group}] b, float[{3 * group}] m,
             float[{3 * group}] v) => (float[1,{3 * group},7,7] y) {{
          c = ConvTranspose <group={group}> (x, w)  y = BatchNormalization (c, g, b, m, v)
        }}""",
        random="w g b m v",
    )
    assert apply(graph, FuseBatchNorm()) == 1


def test_bias_folds_into_dense() -> None:
    graph = model(
        "(float[3,4] x, float[4,5] w, float[5] b) => (float[3,5] y) { c = MatMul (x, w) y = Add (c, b) }", random="w b"
    )
    apply(graph, MakeDense(), FuseBatchNorm())
    assert ops(graph) == ["dense"]
    assert len(graph.nodes[0].inputs) == 3


BATCHNORM_REFUSED = {
    "shared": (f"{CONV} y = BatchNormalization (c, g, h, m, v) z = Neg (c)", "float[1,4,6,6] y, float[1,4,6,6] z"),
    "output": (f"{CONV} y = BatchNormalization (c, g, h, m, v)", "float[1,4,6,6] y, float[1,4,6,6] c"),
    "spatial": (f"r = Relu (x) {CONV} y = Mul (c, col)", "float[1,4,6,6] y"),
    "reciprocal": (f"{CONV} y = Div (k, c)", "float[1,4,6,6] y"),
    "infinite": (f"{CONV} zero = Constant <value_float=0.0> () y = Div (c, zero)", "float[1,4,6,6] y"),
    "broadcast": (f"{CONV} y = Mul (c, wide)", "float[2,4,6,6] y"),
}


@pytest.mark.parametrize("name", BATCHNORM_REFUSED)
def test_batchnorm_stays_and_says_why(name: str, golden: Callable[[str], None]) -> None:
    body, outputs = BATCHNORM_REFUSED[name]
    graph = model(
        f"""(float[1,2,6,6] x, float[4,2,3,3] w, float[4] g, float[4] h, float[4] m, float[4] v, float[4,1,1] k,
             float[6] col, float[2,4,1,1] wide) => ({outputs}) {{ {body} }}""",
        random="w g h m v k col wide",
    )
    golden(refused(FuseBatchNorm(), graph))


def test_weights_known_only_at_run_time_stop_batchnorm() -> None:
    graph = model(
        "(float[1,2,6,6] x, float[4,2,3,3] w, float s) => (float[1,4,4,4] y) { c = Conv (x, w) y = Mul (c, s) }", s=2
    )
    assert refused(FuseBatchNorm(), graph) == "Mul 'y': the weight 'w' of Conv 'c' is not a float constant"


def test_bias_known_only_at_run_time_stops_batchnorm() -> None:
    graph = model(
        """(float[1,2,6,6] x, float[4,2,3,3] w, float[4] b, float s) => (float[1,4,4,4] y) {
          c = Conv (x, w, b)  y = Mul (c, s)
        }""",
        random="w",
        s=2,
    )
    assert refused(FuseBatchNorm(), graph) == "Mul 'y': the bias 'b' of Conv 'c' is not a float constant"


def test_activation_in_between_stops_batchnorm() -> None:
    graph = conv(f"{CONV} r = Relu (c) y = BatchNormalization (r, g, h, m, v)")
    FuseActivation().run(graph)
    assert refused(FuseBatchNorm(), graph) == "BatchNormalization 'y': Conv 'c' applies Relu first"


def test_batchnorm_of_run_time_numbers_stays() -> None:
    graph = conv(f"{CONV} y = BatchNormalization (c, g, h, m, v)", random="w h m v")
    assert refused(FuseBatchNorm(), graph) == (
        "BatchNormalization 'y': its scale, bias, mean or variance is not constant"
    )


def test_batchnorm_over_another_axis_than_dense_makes_stays() -> None:
    graph = model(
        """(float[2,3,4] x, float[4,5] w, float[3] g) => (float[2,3,5] y) {
          c = MatMul (x, w)  y = BatchNormalization (c, g, g, g, g)
        }""",
        random="w g",
    )
    apply(graph, MakeDense())
    assert refused(FuseBatchNorm(), graph).endswith("it normalises axis 1, which is not the axis of the channels")


def test_residual_add_is_no_near_match() -> None:
    graph = model(
        "(float[1,2,4,4] x, float[2,2,1,1] w) => (float[1,2,4,4] y) { c = Conv (x, w) y = Add (c, x) }", random="w"
    )
    assert reasons(FuseBatchNorm(), graph) == ""


# ---- scales before the op


def test_normalisation_of_the_input_folds_into_conv(golden: Callable[[str], None]) -> None:
    graph = model(
        """(float[1,2,6,6] x, float[2,1,1] mean, float s, float[4,1,3,3] w, float[4] b) => (float[1,4,4,4] y) {
          a = Sub (x, mean)  n = Div (a, s)  y = Conv <group=2> (n, w, b)
        }""",
        random="mean w b",
        s=4,
    )
    assert apply(graph, FuseBatchNormForward()) == 2
    golden(text(graph))


def test_scale_without_shift_folds_in_spite_of_padding() -> None:
    graph = conv("n = Mul (x, s) y = Conv <pads=[1,1,1,1]> (n, w)")
    assert apply(graph, FuseBatchNormForward()) == 1


def test_scale_before_dense_folds() -> None:
    graph = model(
        """(float[3,4] x, float[4] s, float[4,5] w) => (float[3,5] y) {
          n = Mul (x, s)  m = Add (n, s)  y = MatMul (m, w)
        }""",
        random="s w",
    )
    apply(graph, MakeDense(), FuseBatchNormForward())
    assert ops(graph) == ["dense"]


def test_padding_stops_a_shift() -> None:
    graph = conv("n = Add (x, s) y = Conv <pads=[1,1,1,1]> (n, w)")
    assert refused(FuseBatchNormForward(), graph) == "Conv 'y': it pads with 0 after the shift of Add 'n'"


def test_shared_scale_stays() -> None:
    graph = conv("n = Mul (x, s) y = Conv <pads=[1,1,1,1]> (n, w) z = Neg (n)", "float[1,4,6,6] y, float[1,2,6,6] z")
    assert refused(FuseBatchNormForward(), graph) == (
        "Conv 'y': Mul 'n' must stay: its value 'n' is also read by Neg 'z'"
    )


def test_scale_before_weights_known_at_run_time_stays() -> None:
    graph = conv("n = Mul (x, s) y = Conv <pads=[1,1,1,1]> (n, w)", random="s")
    assert refused(FuseBatchNormForward(), graph) == "Conv 'y': its weight or bias is not a float constant"


# ---- dense


def gemm(attributes: str = "alpha=1.0", w: str = "4,5", c: str = "5", random: str = "w c", x: str = "3,4") -> Graph:
    return model(
        f"(float[{x}] x, float[{w}] w, float[{c}] c) => (float[3,5] y) {{ y = Gemm <{attributes}> (x, w, c) }}",
        random=random,
    )


def test_gemm_is_dense(golden: Callable[[str], None]) -> None:
    graph = gemm("alpha=0.5, beta=2.0, transB=1", w="5,4", c="1,5")
    assert apply(graph, MakeDense()) == 1
    golden(text(graph))


@pytest.mark.parametrize("c", ["5", "1", "1,1", "1,5"])
def test_gemm_bias_of_every_spelling(c: str) -> None:
    assert apply(gemm(c=c), MakeDense()) == 1


def test_matmul_with_leading_ones_is_dense() -> None:
    graph = model("(float[2,3,4] x, float[1,4,5] w) => (float[2,3,5] y) { y = MatMul (x, w) }", random="w")
    assert apply(graph, MakeDense()) == 1


DENSE_REFUSED: dict[str, tuple[Callable[[], Graph], str]] = {
    "transA": (lambda: gemm("transA=1", x="4,3"), "it transposes its left operand (transA)"),
    "rows": (lambda: gemm(c="3,1"), "its bias float32[3,1] is not one number for each of the 5 columns"),
    "bias": (lambda: gemm(random="w"), "its bias 'c' is not constant"),
    "left": (
        lambda: model("(float[4,3] x, float[5,4] w) => (float[5,3] y) { y = MatMul (w, x) }", random="w"),
        "its left operand 'w' is the constant",
    ),
    "vector": (
        lambda: model("(float[4] x, float[4,3] w) => (float[3] y) { y = MatMul (x, w) }", random="w"),
        "its left operand float32[4] is a vector",
    ),
    "batch": (
        lambda: model("(float[2,3,4] x, float[2,4,5] w) => (float[2,3,5] y) { y = MatMul (x, w) }", random="w"),
        "its weight float32[2,4,5] is not a matrix",
    ),
    "integers": (
        lambda: model("(int32[3,4] x, int32[4,5] w) => (int32[3,5] y) { y = MatMul (x, w) }", random="w"),
        "it multiplies int32[3,4], and dense takes floats of a known shape",
    ),
}


@pytest.mark.parametrize("name", DENSE_REFUSED)
def test_product_stays_and_says_why(name: str) -> None:
    graph, reason = DENSE_REFUSED[name]
    assert refused(MakeDense(), graph()).split(": ", 1)[1] == reason


def test_product_of_two_activations_is_no_near_match() -> None:
    graph = model("(float[3,4] x, float[4,5] w) => (float[3,5] y) { y = MatMul (x, w) }")
    assert reasons(MakeDense(), graph) == ""


QDQ_GEMM = """(int8[2,4] x, float sx, int8 zx, int8[3,4] w, float[3] sw, int8[3] zw, int32[{c}] b, float[3] sb)
  => (float[2,3] y) {{
  dx = DequantizeLinear (x, sx, zx)
  dw = DequantizeLinear <axis=0> (w, sw, zw)
  db = DequantizeLinear <axis={a}> (b, sb)
  y = Gemm <{attributes}> (dx, dw, db)
}}"""


def test_gemm_of_dequantized_weight_is_dense(golden: Callable[[str], None]) -> None:
    graph = model(QDQ_GEMM.format(c="3", a=0, attributes="transB=1"), random="sx w sw b sb", zx=3, zw=[0, 0, 0])
    assert apply(graph, MakeDense()) == 1
    golden(text(graph))


def test_gemm_of_dequantized_row_of_biases_is_dense() -> None:
    graph = model(QDQ_GEMM.format(c="1,3", a=1, attributes="transB=1"), random="sx w sw b sb", zx=3, zw=[0, 0, 0])
    assert apply(graph, MakeDense()) == 1


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ("transB=1, alpha=2.0", "its weight is quantized and alpha is 2"),
        ("transB=1, beta=2.0", "its bias is quantized and beta is 2"),
    ],
)
def test_factors_stop_dequantized_weights(attributes: str, reason: str) -> None:
    graph = model(QDQ_GEMM.format(c="3", a=0, attributes=attributes), random="sx w sw b sb", zx=3, zw=[0, 0, 0])
    assert refused(MakeDense(), graph) == f"Gemm 'y': {reason}"


def qdq_bias(
    weighted: str, bias: str, rest: str = "y = Add (c, db)", outputs: str = "float[2,3] y", axis: int = 0
) -> Graph:
    return model(
        f"""(float[2,4] x, float[2,4,5,5] img, float[4,3] w, float[3,4,1,1] k, int32[{bias}] b, float[3] sb,
             float[3] fb) => ({outputs}) {{
          db = DequantizeLinear <axis={axis}> (b, sb)  {weighted}  {rest}
        }}""",
        random="w k b sb fb",
    )


def test_dequantized_bias_of_matmul_goes_into_dense(golden: Callable[[str], None]) -> None:
    graph = qdq_bias("c = MatMul (x, w)", "3")
    assert apply(graph, MakeDense(), FuseQuantizedBias()) == 2
    golden(text(graph))


def test_dequantized_bias_of_conv_is_reshaped(golden: Callable[[str], None]) -> None:
    graph = qdq_bias("c = Conv (img, k)", "3,1,1", outputs="float[2,3,5,5] y")
    assert apply(graph, FuseQuantizedBias()) == 1
    golden(text(graph))


QUANTIZED_BIAS_REFUSED = {
    "second": ("c = Conv (img, k, fb)", "3,1,1", "y = Add (c, db)"),
    "shared": ("c = Conv (img, k)", "3,1,1", "n = Neg (c) m = Add (c, db) y = Add (m, n)"),
}


@pytest.mark.parametrize("name", QUANTIZED_BIAS_REFUSED)
def test_dequantized_bias_stays_and_says_why(name: str, golden: Callable[[str], None]) -> None:
    graph = qdq_bias(*QUANTIZED_BIAS_REFUSED[name], outputs="float[2,3,5,5] y")
    golden(refused(FuseQuantizedBias(), graph))


def test_dequantized_plane_is_no_bias() -> None:
    graph = model(
        """(float[2,4,3,3] x, float[5,4,1,1] w, int32[3] b, float s) => (float[2,5,3,3] y) {
          d = DequantizeLinear (b, s)  c = Conv (x, w)  y = Add (c, d)
        }""",
        random="w b s",
    )
    assert refused(FuseQuantizedBias(), graph) == "Add 'y': its constant [3] is not one number for each channel"


# ---- activations

ACTIVATIONS = {
    "Relu": ("y = Relu (c)", ()),
    "Clip": ("y = Clip (c, lo, hi)", (0.0, 6.0)),
    "Clip open": ("y = Clip (c, , hi)", (-math.inf, 6.0)),
    "LeakyRelu": ("y = LeakyRelu <alpha=0.125> (c)", (0.125,)),
    "Sigmoid": ("y = Sigmoid (c)", ()),
    "Tanh": ("y = Tanh (c)", ()),
    "HardSigmoid": ("y = HardSigmoid (c)", (0.2, 0.5)),
    "HardSwish": ("y = HardSwish (c)", ()),
    "Elu": ("y = Elu (c)", (1.0,)),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_folds_into_conv(name: str) -> None:
    body, arguments = ACTIVATIONS[name]
    graph = model(
        f"""(float[1,2,6,6] x, float[4,2,3,3] w, float lo, float hi) => (float[1,4,4,4] y) {{
          c = Conv (x, w) {body} }}""",
        random="w",
        lo=0,
        hi=6,
    )
    assert apply(graph, FuseActivation()) == 1
    (node,) = graph.nodes
    assert node.attributes["activation"] == name.split()[0]
    assert node.attributes["activation_arguments"] == pytest.approx(arguments)


@pytest.mark.parametrize(("form", "arguments"), [("none", ()), ("tanh", (1.0,))])
def test_gelu_folds_into_dense(form: str, arguments: tuple[float, ...]) -> None:
    graph = model(
        f'(float[3,4] x, float[4,5] w) => (float[3,5] y) {{ c = MatMul (x, w) y = Gelu <approximate="{form}"> (c) }}',
        opset=20,
        random="w",
    )
    apply(graph, MakeDense(), FuseActivation())
    assert ops(graph) == ["dense+Gelu"]
    assert graph.nodes[0].attributes["activation_arguments"] == arguments


CARRIERS = {
    "Add": "c = Add (x, x)",
    "Mul": "c = Mul (x, u)",
    "Sub": "c = Sub (x, u)",
    "MaxPool": "c = MaxPool <kernel_shape=[3,3], pads=[1,1,1,1]> (x)",
    "AveragePool": "c = AveragePool <kernel_shape=[3,3], pads=[1,1,1,1]> (x)",
    "GlobalAveragePool": "c = GlobalAveragePool (x)",
    "GlobalMaxPool": "c = GlobalMaxPool (x)",
    "MatMul": "c = MatMul (x, u)",
    "ConvTranspose": "c = ConvTranspose (x, w)",
}


@pytest.mark.parametrize("name", CARRIERS)
def test_carrier_takes_the_activation(name: str) -> None:
    graph = model(
        f"""(float[1,2,6,6] x, float[1,2,6,6] u, float[2,2,1,1] w) => (float[a,b,h,v] y) {{
          {CARRIERS[name]} y = Relu (c) }}""",
        random="w",
    )
    assert apply(graph, FuseActivation()) == 1
    assert ops(graph) == [f"{name}+Relu"]


def test_residual_block_carries_its_activations(golden: Callable[[str], None]) -> None:
    graph = model(
        """(float[1,2,6,6] x, float[2,2,1,1] w) => (float[1,2,6,6] y) {
          a = Conv (x, w)  b = Relu (a)  c = Conv (b, w)  d = Add (c, x)  y = Relu (d)
        }""",
        random="w",
    )
    assert apply(graph, FuseActivation()) == 2
    golden(text(graph))


ACTIVATION_REFUSED = {
    "shared": "c = Conv (x, w) y = Relu (c) z = Neg (c)",
    "output": "z = Conv (x, w) y = Relu (z)",
    "second": "c = Conv (x, w) d = Relu (c) y = Tanh (d) z = Neg (y)",
    "bounds": "c = Conv (x, w) hi = ReduceMax <keepdims=0> (x) y = Clip (c, , hi) z = Neg (y)",
    "positions": "c, i = MaxPool <kernel_shape=[1,1]> (x) y = Relu (c) z = Cast <to=1> (i)",
}


@pytest.mark.parametrize("name", ACTIVATION_REFUSED)
def test_activation_stays_and_says_why(name: str, golden: Callable[[str], None]) -> None:
    graph = model(
        f"""(float[1,2,6,6] x, float[2,2,1,1] w) => (float[1,2,6,6] y, float[1,2,6,6] z) {{
          {ACTIVATION_REFUSED[name]} }}""",
        random="w",
    )
    FuseActivation().run(graph)
    golden(refused(FuseActivation(), graph))


def test_activation_of_integers_stays() -> None:
    graph = model("(int32[4] x) => (int32[4] y) { c = Add (x, x) y = Relu (c) }")
    assert apply(graph, FuseActivation()) == 0


# ---- spelled-out ops

SPELLED = {
    "swish": ("s = Sigmoid (x) y = Mul (x, s)", "Swish"),
    "scaled swish": ("n = Mul (x, two) s = Sigmoid (n) y = Mul (s, x)", "Swish"),
    "hardswish": ("s = HardSigmoid <alpha=0.16666667, beta=0.5> (x) y = Mul (x, s)", "HardSwish"),
    "hardswish by clip": ("a = Add (x, three) c = Clip (a, zero, six) m = Mul (x, c) y = Div (m, six)", "HardSwish"),
    "hardswish by gate": ("a = Add (x, three) c = Clip (a, zero, six) g = Div (c, six) y = Mul (x, g)", "HardSwish"),
    "gelu of torch": ("d = Div (x, r2) e = Erf (d) a = Add (e, one) m = Mul (x, a) y = Mul (m, half)", "Gelu"),
    "gelu of tensorflow": ("d = Mul (x, i2) e = Erf (d) a = Add (one, e) m = Mul (a, half) y = Mul (m, x)", "Gelu"),
    "gelu by tanh": (
        "p = Pow (x, three) c = Mul (cubic, p) s = Add (x, c) d = Mul (tau, s) t = Tanh (d) a = Add (t, one) "
        "h = Mul (x, half) y = Mul (h, a)",
        "Gelu",
    ),
    "gelu of keras": ("h = Mul (half, x) d = Div (x, r2) e = Erf (d) a = Add (e, one) y = Mul (h, a)", "Gelu"),
}
NUMBERS: dict[str, Any] = {
    "two": 2,
    "three": 3,
    "zero": 0,
    "six": 6,
    "one": 1,
    "half": 0.5,
    "r2": math.sqrt(2),
    "i2": math.sqrt(0.5),
}
NUMBERS |= {"cubic": 0.044715, "tau": math.sqrt(2 / math.pi)}


def spelled(body: str, outputs: str = "float[2,5] y") -> Graph:
    inputs = ", ".join(f"float {name}" for name in NUMBERS)
    return model(f"(float[2,5] x, {inputs}) => ({outputs}) {{ {body} }}", **NUMBERS)


@pytest.mark.parametrize("name", SPELLED)
def test_spelled_out_activation_is_one_op(name: str) -> None:
    body, op = SPELLED[name]
    graph = spelled(body)
    assert apply(graph, CanonicalizeActivation()) in (1, 2), "a gate may be an op of its own first"
    assert ops(graph) == [op]


def test_alpha_of_swish() -> None:
    graph = spelled(SPELLED["scaled swish"][0])
    CanonicalizeActivation().run(graph)
    assert graph.nodes[0].attributes == {"alpha": 2.0}


@pytest.mark.parametrize(
    "body",
    [
        "s = Sigmoid (x) y = Div (x, s)",
        "s = Sigmoid (x) m = Mul (x, s) y = Mul (m, half)",
        "d = Div (x, two) e = Erf (d) a = Add (e, one) m = Mul (x, a) y = Mul (m, half)",
        "a = Add (x, two) c = Clip (a, zero, six) m = Mul (x, c) y = Div (m, six)",
        "n = Neg (x) s = Sigmoid (n) y = Mul (x, s)",
    ],
)
def test_what_only_looks_like_an_activation_stays(body: str) -> None:
    graph = spelled(body)
    before = ops(graph)
    apply(graph, CanonicalizeActivation())
    assert "Gelu" not in ops(graph) and "HardSwish" not in ops(graph)
    assert "Swish" in ops(graph) or ops(graph) == before


def test_shared_gate_stays() -> None:
    graph = spelled("s = Sigmoid (x) y = Mul (x, s) z = Neg (s)", "float[2,5] y, float[2,5] z")
    assert refused(CanonicalizeActivation(), graph) == (
        "Mul 'y': it is Swish, but Sigmoid 's' must stay: its value 's' is also read by Neg 'z'"
    )


@pytest.mark.parametrize(("op", "pool"), [("ReduceMean", "GlobalAveragePool"), ("ReduceMax", "GlobalMaxPool")])
@pytest.mark.parametrize("keep", [0, 1])
def test_reduction_of_space_is_a_global_pool(op: str, pool: str, keep: int) -> None:
    shape = "2,3,1,1" if keep else "2,3"
    graph = model(
        f"(float[2,3,4,5] x, int64[2] a) => (float[{shape}] y) {{ y = {op} <keepdims={keep}> (x, a) }}", a=[-1, 2]
    )
    assert apply(graph, CanonicalizeGlobalPool()) == 1
    assert ops(graph) == [pool] + ([] if keep else ["Reshape"])


def test_reduction_of_other_axes_stays() -> None:
    graph = model("(float[2,3,4,5] x, int64[2] a) => (float[2,1,1,5] y) { y = ReduceMean (x, a) }", a=[1, 2])
    assert refused(CanonicalizeGlobalPool(), graph) == (
        "ReduceMean 'y': it reduces the axes [1, 2], and a global pool reduces [2, 3]"
    )


def test_reduction_of_axes_known_at_run_time_stays() -> None:
    graph = model("(float[2,3,4,5] x, int64[2] a) => (float[p,q,r,s] y) { y = ReduceMean (x, a) }")
    assert refused(CanonicalizeGlobalPool(), graph) == "ReduceMean 'y': its axes are not constant"
