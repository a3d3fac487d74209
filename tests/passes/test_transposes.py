"""Channels-last exports: Transposes around every convolution vanish, save the one that the model's input needs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pass_cases import apply, model, ops, reasons, refused

from intarsia.ir.text import text
from intarsia.passes import fuse_passes, simplify_passes
from intarsia.passes.simplify.flatten import AbsorbTranspose
from intarsia.passes.simplify.transposes import MoveTransposes

TO_NCHW, TO_NHWC = "Transpose <perm=[0,3,1,2]>", "Transpose <perm=[0,2,3,1]>"


def test_inverse_transposes_cancel() -> None:
    graph = model(f"(float[1,4,5,3] x) => (float[1,4,5,3] y) {{ a = {TO_NCHW} (x) b = {TO_NHWC} (a) y = Neg (b) }}")
    assert apply(graph, MoveTransposes()) >= 1
    assert ops(graph) == ["Neg"]


def test_transposes_in_a_row_are_one(golden: Callable[[str], None]) -> None:
    graph = model(
        f"(float[1,4,5,3] x) => (float[5,1,3,4] y) {{ a = {TO_NCHW} (x) y = Transpose <perm=[3,0,1,2]> (a) }}"
    )
    assert apply(graph, MoveTransposes()) == 1
    golden(text(graph))


def test_cancelled_pair_between_input_and_output_leaves_an_identity() -> None:
    graph = model(f"(float[1,4,5,3] x) => (float[1,4,5,3] y) {{ a = {TO_NCHW} (x) y = {TO_NHWC} (a) }}")
    apply(graph, MoveTransposes())
    assert ops(graph) == ["Identity"]


BETWEEN = {
    "relu": "b = Relu (a)",
    "clip": "lo = Constant <value_float=0.0> () hi = Constant <value_float=6.0> () b = Clip (a, lo, hi)",
    "bias": "b = Add (a, c)",
    "scale": "b = Mul (c, a)",
    "number": "b = Mul (a, one)",
    "prelu": "b = PRelu (a, c)",
    "softmax": "b = Softmax <axis=-1> (a)",
    "mean": "i = Constant <value_ints=[1,2]> () m = ReduceMean (a, i) b = Sub (a, m)",
    "concat": "b = Concat <axis=3> (a, a)",
    "split": "l, r = Split <axis=3, num_outputs=2> (a) b = Concat <axis=3> (r, l)",
    "pad": "p = Constant <value_ints=[0,1,2,0,0,3,4,0]> () b = Pad (a, p)",
    "slice": "s = Constant <value_ints=[1,0]> () e = Constant <value_ints=[4,3]> () i = Constant <value_ints=[2,3]> () "
    "b = Slice (a, s, e, i)",
    "resize": "s = Constant <value_floats=[1.0,2.0,3.0,1.0]> () b = Resize <mode='nearest'> (a, , s)",
    "tile": "r = Constant <value_ints=[1,2,1,3]> () b = Tile (a, r)",
    "gate": "g = Sigmoid (a) b = Mul (a, g)",
    "argmax": "m = ArgMax <axis=3> (a) f = Cast <to=1> (m) b = Add (a, f)",
}


@pytest.mark.parametrize("name", BETWEEN)
def test_op_between_transposes_works_in_the_other_order(name: str) -> None:
    body = BETWEEN[name].replace("'", '"')
    graph = model(
        f"""(float[1,4,5,6] x, float[4] c, float[1] one) => (float[a,b,h,w] y) {{
          t = Neg (x)  a = {TO_NHWC} (t)  {body}  d = {TO_NCHW} (b)  y = Abs (d)
        }}""".replace("float[4] c", "float[4] c"),
        random="c one",
    )
    apply(graph, MoveTransposes())
    assert "Transpose" not in ops(graph)


def test_quantizers_between_transposes_move_their_axis(golden: Callable[[str], None]) -> None:
    graph = model(
        """(float[1,4,5,6] x, float[4] s, int8[4] z) => (float[1,4,5,6] y) {
          a = Transpose <perm=[0,2,3,1]> (x)
          q = QuantizeLinear <axis=3> (a, s, z)
          d = DequantizeLinear <axis=3> (q, s, z)
          b = Transpose <perm=[0,3,1,2]> (d)
          y = Abs (b)
        }""",
        random="s",
        z=[0, 1, 2, 3],
    )
    apply(graph, MoveTransposes())
    golden(text(graph))


def test_dequantized_weight_is_transposed_itself(golden: Callable[[str], None]) -> None:
    graph = model(
        """(float[2,4] x, int8[3,4] w, float[3] s, int8[3] z) => (float[2,3] y) {
          d = DequantizeLinear <axis=0> (w, s, z)  t = Transpose <perm=[1,0]> (d)  y = MatMul (x, t)
        }""",
        random="w s z",
    )
    apply(graph, MoveTransposes())
    golden(text(graph))


def test_channels_last_network_keeps_one_transpose(golden: Callable[[str], None]) -> None:
    graph = model(
        f"""(float[1,8,8,3] x, float[4,3,3,3] w1, float[4] b1, float[4,4,3,3] w2, float[4] b2, float[4,10] w3,
             float[1,8,8,1] gate) => (float[1,10] y) {{
          a = {TO_NCHW} (x)   c1 = Conv <pads=[1,1,1,1]> (a, w1)   c1t = {TO_NHWC} (c1)
          s1 = Add (c1t, b1)  r1 = Relu (s1)
          b = {TO_NCHW} (r1)  c2 = Conv <pads=[1,1,1,1]> (b, w2)   c2t = {TO_NHWC} (c2)
          s2 = Mul (c2t, b2)  s3 = Add (s2, r1)  r2 = Relu (s3)
          cc = Concat <axis=-1> (r1, r2)
          sl0 = Constant <value_ints=[4]> ()  sl1 = Constant <value_ints=[8]> ()  ax = Constant <value_ints=[3]> ()
          r3 = Slice (cc, sl0, sl1, ax)
          axes = Constant <value_ints=[1,2]> ()
          m = ReduceMean <keepdims=0> (r3, axes)
          y = MatMul (m, w3)
        }}""",
        random="w1 b1 w2 b2 w3 gate",
    )
    apply(graph, *simplify_passes())
    assert ops(graph).count("Transpose") == 1
    golden(text(graph))


def test_flatten_after_a_global_pool_lets_the_transpose_go() -> None:
    graph = model(
        f"""(float[1,4,5,6] x, int64[2] to, int64[2] axes) => (float[1,4] y) {{
          t = Neg (x)  a = {TO_NHWC} (t)  m = ReduceMean (a, axes)  y = Reshape (m, to)
        }}""",
        to=[1, -1],
        axes=[1, 2],
    )
    apply(graph, MoveTransposes())
    assert ops(graph) == ["Neg", "ReduceMean", "Reshape"]


def test_flatten_that_mixes_axes_keeps_the_transpose() -> None:
    graph = model(
        f"""(float[1,4,5,6] x, int64[2] to) => (float[1,120] y) {{
          t = Neg (x)  a = {TO_NHWC} (t)  r = Relu (a)  y = Reshape (r, to)
        }}""",
        to=[1, -1],
    )
    assert apply(graph, MoveTransposes()) == 0
    assert "1 ops beside it" in reasons(MoveTransposes(), graph)


def test_island_that_would_need_more_transposes_stays() -> None:
    graph = model(
        f"""(float[1,4,5,6] x, float[1,5,6,4] u, float[1,5,6,4] v) => (float[1,5,6,4] y) {{
          a = {TO_NHWC} (x)  b = Add (a, u)  y = Mul (b, v)
        }}"""
    )
    assert apply(graph, MoveTransposes()) == 0


def test_transpose_of_itself_does_not_run_for_ever() -> None:
    graph = model(
        "(float[4,4] x) => (float[4,4] y) { t = Transpose (x) s = Add (x, t) u = Transpose (s) y = Add (u, s) }"
    )
    apply(graph, MoveTransposes())


FLATTEN = "to = Constant <value_ints=[2,-1]> ()"


def test_channels_last_flatten_moves_into_the_weight(golden: Callable[[str], None]) -> None:
    graph = model(
        f"""(float[2,4,2,3] x, float[24,5] w) => (float[2,5] y) {{
          {FLATTEN}  a = {TO_NHWC} (x)  r = Relu (a)  f = Reshape (r, to)  y = MatMul (f, w)
        }}""",
        random="w",
    )
    assert apply(graph, AbsorbTranspose()) == 1
    golden(text(graph))


@pytest.mark.parametrize("axis", [0, 1])
def test_flatten_moves_into_a_dequantized_weight(axis: int) -> None:
    graph = model(
        f"""(int8[2,4,2,3] x, float sx, int8 zx, int8[5,24] w, float[5] sw, float s1) => (float[2,5] y) {{
          {FLATTEN}  a = {TO_NHWC} (x)  f = Reshape (a, to)  d = DequantizeLinear (f, sx, zx)
          e = DequantizeLinear <axis=0> (w, {"sw" if axis == 0 else "s1"})
          y = Gemm <transB=1> (d, e)
        }}""",
        random="w sw sx s1",
        zx=3,
    )
    assert apply(graph, AbsorbTranspose()) == 1
    assert "Transpose" not in ops(graph)


ABSORB_REFUSED = {
    "shared": ("f = Reshape (a, to) y = MatMul (f, w) z = Neg (a)", "float[2,5] y, float[2,2,3,4] z"),
    "run time": ("f = Reshape (a, to) y = MatMul (f, v)", "float[2,5] y"),
}


@pytest.mark.parametrize("name", ABSORB_REFUSED)
def test_flatten_keeps_its_transpose_and_says_why(name: str, golden: Callable[[str], None]) -> None:
    body, outputs = ABSORB_REFUSED[name]
    graph = model(
        f"""(float[2,4,2,3] x, float[24,5] w, float[24,5] v) => ({outputs}) {{
          {FLATTEN}  a = {TO_NHWC} (x)  {body}
        }}""",
        random="w",
    )
    golden(refused(AbsorbTranspose(), graph))


def test_product_from_the_other_side_is_no_near_match() -> None:
    graph = model(
        f"""(float[2,4,2,3] x, float[1,2] v, int64[2] to) => (float[1,24] y) {{
          a = {TO_NHWC} (x)  f = Reshape (a, to)  y = MatMul (v, f)
        }}""",
        to=[2, -1],
        random="v",
    )
    assert apply(graph, AbsorbTranspose()) == 0
    assert reasons(AbsorbTranspose(), graph) == ""


def test_quantized_channels_last_network_keeps_one_transpose(golden: Callable[[str], None]) -> None:
    graph = model(
        f"""(int8[1,4,4,2] x, float s, int8 z, int8[3,2,3,3] w, float[3] sw, int32[3] b, float[3] sb, int8[48,5] v,
             float sv) => (int8[1,5] y) {{
          d = DequantizeLinear (x, s, z)  a = {TO_NCHW} (d)
          dw = DequantizeLinear <axis=0> (w, sw)  db = DequantizeLinear <axis=0> (b, sb)
          c = Conv <pads=[1,1,1,1]> (a, dw, db)  t = {TO_NHWC} (c)  r = Relu (t)
          q = QuantizeLinear (r, s, z)  e = DequantizeLinear (q, s, z)
          to = Constant <value_ints=[1,-1]> ()  f = Reshape (e, to)
          dv = DequantizeLinear (v, sv)  m = MatMul (f, dv)  y = QuantizeLinear (m, s, z)
        }}""",
        random="w b v sw sb sv",
        s=0.5,
        z=0,
    )
    apply(graph, *simplify_passes(True), *fuse_passes(True))
    golden(text(graph))


def test_transpose_moves_bytes_rather_than_floats() -> None:
    graph = model(
        f"""(int8[1,4,4,2] x, float s) => (int8[1,4,4,2] y) {{
          d = DequantizeLinear (x, s)  a = {TO_NCHW} (d)  p = AveragePool <kernel_shape=[1,3], pads=[0,1,0,1]> (a)
          t = {TO_NHWC} (p)  y = QuantizeLinear <output_dtype=3> (t, s)
        }}""",
        opset=21,
        s=0.5,
    )
    apply(graph, MoveTransposes())
    assert ops(graph) == ["Transpose", "DequantizeLinear", "AveragePool", "QuantizeLinear", "Transpose"]
