"""Rules that make a graph smaller: each fires, and each says why where it does not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from pass_cases import apply, model, ops, refused

from intarsia.ir.graph import Graph
from intarsia.ir.text import text
from intarsia.ir.types import TensorType
from intarsia.passes.simplify.clips import MergeClips
from intarsia.passes.simplify.common_subexpressions import EliminateCommonSubexpressions
from intarsia.passes.simplify.dead_code import EliminateDeadCode
from intarsia.passes.simplify.fold import FoldConstants
from intarsia.passes.simplify.noops import RemoveNoOps
from intarsia.passes.simplify.padding import FusePad
from intarsia.passes.simplify.reshapes import CanonicalizeReshape, MergeReshapes
from intarsia.passes.simplify.shuffles import MergeShuffles
from intarsia.passes.simplify.sums import CanonicalizeSum

# ---- constants


def test_shape_chain_vanishes(golden: Callable[[str], None]) -> None:
    graph = model(
        """(float[2,3,4] x) => (float[2,12] y) {
          s = Shape (x)
          zero = Constant <value_ints = [0]> ()
          minus = Constant <value_ints = [-1]> ()
          n = Gather (s, zero)
          to = Concat <axis = 0> (n, minus)
          y = Reshape (x, to)
        }"""
    )
    assert apply(graph, FoldConstants()) == 3
    golden(text(graph))


def test_size_and_part_of_shape_are_constants() -> None:
    graph = model("(float[2,3,4] x) => (int64 n, int64[2] s) { n = Size (x) s = Shape <start = 1> (x) }")
    apply(graph, FoldConstants())
    assert [None if value.data is None else value.data.tolist() for value in graph.outputs] == [24, [3, 4]]
    assert not graph.nodes


def test_weights_are_computed_now() -> None:
    graph = model("(float[4] x, float[4] w) => (float[4] y) { v = Neg (w) y = Add (x, v) }", random="w")
    assert apply(graph, FoldConstants()) == 1
    assert ops(graph) == ["Add"]


DEQUANTIZED = """(float[2,4] x, int8[4,3] w, float s, int8 z) => (float[2,3] y) {
  v = DequantizeLinear (w, s, z)
  y = MatMul (x, v)
}"""


@pytest.mark.parametrize(("keep", "left"), [(False, ["MatMul"]), (True, ["DequantizeLinear", "MatMul"])])
def test_dequantized_weights_stay_where_asked(keep: bool, left: list[str]) -> None:
    graph = model(DEQUANTIZED, random="w", s=0.25, z=3)
    apply(graph, FoldConstants(keep_dequantize=keep))
    assert ops(graph) == left


def test_random_ops_are_not_folded() -> None:
    graph = model("(float[4] x) => (float[4] y) { r = RandomUniform <shape = [4]> () y = Add (x, r) }")
    assert refused(FoldConstants(), graph) == "RandomUniform 'r': its result is random"


def test_large_results_are_left_to_run_time() -> None:
    graph = model(
        "(float[1] x, int64[1] n, float[1] one) => (float[5000] y) { e = Expand (one, n) y = Add (x, e) }",
        n=[5000],
        one=[1],
    )
    step = FoldConstants(fold_elements=4000)
    assert refused(step, graph) == (
        "Expand 'e': its result is too large for now: it has 4998 elements more than its inputs, "
        "and 4000 are left of fold_elements; "
        "to raise it, --limit fold_elements=N, or Limits(fold_elements=N) in Python"
    )


def test_what_cannot_be_computed_says_so() -> None:
    graph = Graph("broken")
    words = graph.add_constant("words", np.array(["a"], object))
    node = graph.add_node("Frobnicate", [words], [TensorType("string", (1,))], name="f", opset=18)
    graph.outputs = [node.output]
    assert "Frobnicate 'f': it cannot be computed: " in refused(FoldConstants(), graph)


# ---- dead and equal nodes


def test_dead_nodes_go() -> None:
    graph = model("(float[4] x) => (float[4] y) { a = Neg (x) b = Exp (a) y = Abs (x) }")
    assert apply(graph, EliminateDeadCode()) == 2
    assert ops(graph) == ["Abs"]


def test_unread_positions_of_maxima_go() -> None:
    graph = model("(float[1,1,4,4] x) => (float[1,1,2,2] y) { y, i = MaxPool <kernel_shape=[2,2], strides=[2,2]> (x) }")
    assert apply(graph, EliminateDeadCode()) == 1
    assert len(graph.nodes[0].outputs) == 1


def test_equal_nodes_are_computed_once() -> None:
    graph = model(
        """(float[4] x, float[4] c, float[4] d) => (float[4] y) {
          a = Mul (x, c)  b = Mul (x, d)  e = Exp (a)  f = Exp (b)  y = Add (e, f)
        }""",
        c=[1, 2, 3, 4],
        d=[1, 2, 3, 4],
    )
    assert apply(graph, EliminateCommonSubexpressions()) == 2
    assert ops(graph) == ["Mul", "Exp", "Add"]


def test_nodes_of_other_constants_and_random_nodes_stay() -> None:
    graph = model(
        """(float[4] x, float[4] c, float[4] d) => (float[4] y, float[2] r, float[2] s) {
          a = Mul (x, c)  b = Mul (x, d)  y = Add (a, b)
          r = RandomUniform <shape=[2]> ()  s = RandomUniform <shape=[2]> ()
        }""",
        c=[1, 2, 3, 4],
        d=[1, 2, 3, 5],
    )
    assert EliminateCommonSubexpressions().run(graph) == 0


# ---- no-ops

NOOPS = {
    "identity": "z = Identity (x)",
    "dropout": "z = Dropout (x)",
    "cast": "z = Cast <to = 1> (x)",
    "reshape": "s = Constant <value_ints=[1,2,4,4]> () z = Reshape (x, s)",
    "expand": "s = Constant <value_ints=[1,2,4,4]> () z = Expand (x, s)",
    "pad": "s = Constant <value_ints=[0,0,0,0,0,0,0,0]> () z = Pad (x, s)",
    "slice": "s = Constant <value_ints=[0]> () e = Constant <value_ints=[99]> () z = Slice (x, s, e)",
    "transpose": "z = Transpose <perm=[0,1,2,3]> (x)",
    "resize": "s = Constant <value_floats=[1.0,1.0,1.0,1.0]> () z = Resize (x, , s)",
    "concat": "z = Concat <axis=1> (x)",
    "sum": "z = Sum (x)",
    "tile": "s = Constant <value_ints=[1,1,1,1]> () z = Tile (x, s)",
    "add": "s = Constant <value_floats=[0.0]> () z = Add (s, x)",
    "sub": "s = Constant <value_floats=[0.0]> () z = Sub (x, s)",
    "mul": "s = Constant <value_floats=[1.0]> () z = Mul (x, s)",
    "div": "s = Constant <value_floats=[1.0]> () z = Div (x, s)",
    "maxpool": "z = MaxPool <kernel_shape=[1,1]> (x)",
    "clip": "z = Clip (x)",
    "split": "z = Split <axis=1, num_outputs=1> (x)",
}


@pytest.mark.parametrize("name", NOOPS)
def test_noop_goes(name: str) -> None:
    graph = model(f"(float[1,2,4,4] x) => (float[1,2,4,4] y) {{ {NOOPS[name]} y = Neg (z) }}")
    assert apply(graph, RemoveNoOps()) == 1
    assert ops(graph) == ["Neg"]


NOT_NOOPS = {
    "reverse": "s = Constant <value_ints=[3]> () e = Constant <value_ints=[-99]> () a = Constant <value_ints=[3]> () "
    "t = Constant <value_ints=[-1]> () z = Slice (x, s, e, a, t)",
    "sub": "s = Constant <value_floats=[0.0]> () z = Sub (s, x)",
    "pool": "z = MaxPool <kernel_shape=[3,3], pads=[1,1,1,1]> (x)",
    "transpose": "z = Transpose <perm=[0,1,3,2]> (x)",
}


@pytest.mark.parametrize("name", NOT_NOOPS)
def test_what_only_looks_like_a_noop_stays(name: str) -> None:
    graph = model(f"(float[1,2,4,4] x) => (float[1,2,4,4] y) {{ {NOT_NOOPS[name]} y = Neg (z) }}")
    assert apply(graph, RemoveNoOps()) == 0


def test_resize_with_odd_scales_stays() -> None:
    graph = model(
        """(float[1,1,2] x, float[3] s) => (float[1,1,2] y) {
          z = Resize <coordinate_transformation_mode="asymmetric", mode="linear"> (x, , s)  y = Neg (z)
        }""",
        s=[1, 1, 1.25],
    )
    assert refused(RemoveNoOps(), graph) == "Resize 'z': its scales are [1.0, 1.0, 1.25], though no size changes"


def test_dropout_whose_mask_is_read_stays() -> None:
    graph = model("(float[4] x) => (float[4] y, bool[4] m) { d, k = Dropout (x) y = Neg (d) m = Not (k) }")
    assert refused(RemoveNoOps(), graph) == "Dropout 'd': its mask is read"


def test_output_keeps_its_own_name() -> None:
    graph = model("(float[4] x) => (float[4] y) { y = Identity (x) }")
    assert "the output 'y' needs a value of its own: 'x' is an input" in refused(RemoveNoOps(), graph)


def test_output_name_moves_to_the_producer() -> None:
    graph = model("(float[4] x) => (float[4] y) { a = Neg (x) y = Identity (a) }")
    assert apply(graph, RemoveNoOps()) == 1
    assert graph.nodes[0].output.name == "y"


# ---- reshapes


def test_flatten_squeeze_and_unsqueeze_are_reshapes(golden: Callable[[str], None]) -> None:
    graph = model(
        """(float[2,3,1,1] x, int64[1] a) => (float[2,3] y, float[2,1,3,1,1] z, float[2,3,1] v) {
          y = Flatten (x)  z = Unsqueeze (x, a)  v = Squeeze (x, b)  b = Constant <value_ints=[3]> ()
        }""".replace(
            "v = Squeeze (x, b)  b = Constant <value_ints=[3]> ()",
            "b = Constant <value_ints=[3]> ()  v = Squeeze (x, b)",
        ),
        a=[1],
    )
    assert apply(graph, CanonicalizeReshape()) == 3
    golden(text(graph))


def test_transpose_of_unit_axes_is_a_reshape() -> None:
    graph = model("(float[1,5,1,3] x) => (float[1,1,5,3] y) { y = Transpose <perm=[0,2,1,3]> (x) }")
    assert apply(graph, CanonicalizeReshape()) == 1
    assert ops(graph) == ["Reshape"]


def test_mean_over_axes_of_one_is_a_reshape() -> None:
    graph = model("(float[2,3,1,1] x, int64[2] a) => (float[2,3] y) { y = ReduceMean <keepdims=0> (x, a) }", a=[2, 3])
    assert apply(graph, CanonicalizeReshape()) == 1
    assert ops(graph) == ["Reshape"]


def test_empty_shapes_keep_their_zero() -> None:
    graph = model("(float[0,3,1] x) => (float[0,3] y) { y = Flatten (x) }")
    assert apply(graph, CanonicalizeReshape()) == 1
    assert graph.nodes[0].attributes == {"allowzero": 1}


def test_reshape_of_reshape(golden: Callable[[str], None]) -> None:
    graph = model(
        "(float[2,6] x, int64[1] a, int64[2] b) => (float[4,3] y) { s = Reshape (x, a) y = Reshape (s, b) }",
        a=[12],
        b=[4, 3],
    )
    assert apply(graph, MergeReshapes()) == 1
    golden(text(graph))


def test_dequantized_constant_is_reshaped_itself(golden: Callable[[str], None]) -> None:
    graph = model(
        """(float[2,3] x, int8[3,1] w, float[1] s, int8[1] z, int64[1] to) => (float[2,3] y) {
          d = DequantizeLinear (w, s, z)  r = Reshape (d, to)  y = Mul (x, r)
        }""",
        random="w",
        s=[0.5],
        z=[2],
        to=[3],
    )
    assert apply(graph, MergeReshapes()) == 1
    golden(text(graph))


def test_channel_scales_stop_the_reshape_of_a_constant() -> None:
    graph = model(
        """(float[2,3] x, int8[3,1] w, float[3] s, int64[1] to) => (float[2,3] y) {
          d = DequantizeLinear <axis=0> (w, s)  r = Reshape (d, to)  y = Mul (x, r)
        }""",
        random="w s",
        to=[3],
    )
    reason = refused(MergeReshapes(), graph)
    assert reason == "Reshape 'r': 'd' has a scale for each channel, and the channels would move"


# ---- shuffles


def test_channel_shuffle_is_a_gather(golden: Callable[[str], None]) -> None:
    graph = model(
        """(float[1,6,4,4] x, int64[5] a, int64[4] b) => (float[1,6,4,4] y) {
          n = Neg (x)  r = Reshape (n, a)  t = Transpose <perm=[0,2,1,3,4]> (r)  y = Reshape (t, b)
        }""",
        a=[1, 2, 3, 4, 4],
        b=[1, 6, 4, 4],
    )
    assert apply(graph, MergeShuffles()) == 1
    golden(text(graph))


def test_shuffle_and_split_are_two_gathers() -> None:
    graph = model(
        """(float[1,6,4,4] x, int64[3] a, int64[5] b, int64 zero, int64 one) => (float[1,3,4,4] y, float[1,3,4,4] z) {
          n = Neg (x)  r = Reshape (n, a)  t = Transpose <perm=[1,0,2]> (r)  s = Reshape (t, b)
          g = Gather <axis=0> (s, zero)  h = Gather <axis=0> (s, one)  y = Abs (g)  z = Abs (h)
        }""",
        a=[3, 2, 16],
        b=[2, 1, 3, 4, 4],
        zero=0,
        one=1,
    )
    assert apply(graph, MergeShuffles()) == 2
    assert ops(graph) == ["Neg", "Gather", "Gather", "Abs", "Abs"]


def test_slices_in_a_row_are_one_slice(golden: Callable[[str], None]) -> None:
    graph = model(
        """(float[1,6,4] x, int64[1] one, int64[1] five, int64[1] three) => (float[1,2,4] y) {
          s = Slice (x, one, five, one)  y = Slice (s, one, three, one)
        }""",
        one=[1],
        five=[5],
        three=[3],
    )
    assert apply(graph, MergeShuffles()) == 1
    golden(text(graph))


def test_chain_that_moves_nothing_is_a_reshape() -> None:
    graph = model(
        """(float[2,3] x, int64[3] a) => (float[3,2] y) {
          r = Reshape (x, a)  t = Transpose <perm=[2,1,0]> (r)  u = Transpose <perm=[2,1,0]> (t)
          y = Reshape (u, b)  b = Identity (c)
        }""".replace("y = Reshape (u, b)  b = Identity (c)", "c = Constant <value_ints=[3,2]> ()  y = Reshape (u, c)"),
        a=[1, 3, 2],
    )
    assert apply(graph, MergeShuffles()) == 1
    assert ops(graph) == ["Reshape"]


SHUFFLE_REFUSED = {
    "it is no choice along one axis": (
        MergeShuffles(),
        "from 'x' on it is no choice along one axis",
    ),
    "elements": (MergeShuffles(limit_elements=8), "'x' has 24 elements, and 8 are looked at"),
}


@pytest.mark.parametrize("name", SHUFFLE_REFUSED)
def test_chain_that_mixes_axes_stays(name: str) -> None:
    step, reason = SHUFFLE_REFUSED[name]
    graph = model(
        """(float[2,3,4] x, int64[2] a, int64[3] b) => (float[2,3,4] y) {
          r = Reshape (x, a)  t = Transpose (r)  y = Reshape (t, b)
        }""",
        a=[6, 4],
        b=[2, 3, 4],
    )
    assert refused(step, graph) == f"Reshape 'y': {reason}"


# ---- sums


def test_sum_of_three_is_two_adds(golden: Callable[[str], None]) -> None:
    graph = model("(float[2,3] x, float[3] u, float[2,1] v) => (float[2,3] y) { y = Sum (u, v, x) }")
    assert apply(graph, CanonicalizeSum()) == 1
    golden(text(graph))


def test_sum_of_unknown_shapes_stays() -> None:
    graph = model("(float[2,3] x, int64[2] s) => (float[a,b] y) { r = Reshape (x, s) y = Sum (r, x) }")
    assert refused(CanonicalizeSum(), graph) == "Sum 'y': the shapes of its operands are not known"


# ---- clips


def test_min_and_max_are_one_clip(golden: Callable[[str], None]) -> None:
    graph = model(
        "(float[4] x, float lo, float hi) => (float[4] y) { a = Max (x, lo) b = Min (hi, a) y = Neg (b) }", lo=-1, hi=6
    )
    assert apply(graph, MergeClips()) == 2
    golden(text(graph))


def test_clip_of_relu_is_one_clip() -> None:
    graph = model("(float[4] x, float hi) => (float[4] y) { a = Relu (x) y = Clip (a, , hi) }", hi=6)
    apply(graph, MergeClips())
    assert ops(graph) == ["Clip"]


def test_clip_to_positive_is_relu() -> None:
    graph = model("(float[4] x, float lo) => (float[4] y) { y = Max (x, lo) }", lo=0)
    apply(graph, MergeClips())
    assert ops(graph) == ["Relu"]


def test_shared_relu_is_not_merged() -> None:
    graph = model(
        "(float[4] x, float hi) => (float[4] y, float[4] z) { a = Relu (x) y = Clip (a, , hi) z = Neg (a) }", hi=6
    )
    assert refused(MergeClips(), graph) == "Clip 'y': Relu 'a' stays: its value 'a' is also read by Neg 'z'"


def test_crossed_bounds_are_left_alone() -> None:
    graph = model("(float[4] x, float lo, float hi) => (float[4] y) { y = Clip (x, lo, hi) }", lo=3, hi=1)
    assert refused(MergeClips(), graph) == "Clip 'y': its lower bound 3 is above its upper bound 1"


# ---- padding


def padded(
    consumer: str, pads: str = "0,0,1,2,0,0,3,4", value: float = 0.0, mode: str = "constant", before: str = ""
) -> Graph:
    size = "y = Neg (z)"
    return model(
        f"""(float[1,2,9,9] x, int64[8] p, float v, float[3,2,3,3] w) => (float[a,b,c,d] y) {{
          {before or "n = Identity (x)"}
          q = Pad <mode="{mode}"> (n, p, v)
          z = {consumer}
          {size}
        }}""",
        random="w",
        p=[int(item) for item in pads.split(",")],
        v=value,
    )


def test_pad_folds_into_conv(golden: Callable[[str], None]) -> None:
    graph = padded("Conv <pads=[1,1,0,0], strides=[2,1]> (q, w)")
    assert apply(graph, FusePad()) == 1
    golden(text(graph))


def test_pad_folds_into_averagepool_that_then_counts_it() -> None:
    graph = padded("AveragePool <kernel_shape=[5,5]> (q)")
    assert apply(graph, FusePad()) == 1
    assert graph.nodes[1].attributes["count_include_pad"] == 1


def test_pad_of_relu_folds_into_maxpool() -> None:
    graph = padded("MaxPool <kernel_shape=[5,5]> (q)", before="n = Relu (x)")
    assert apply(graph, FusePad()) == 1
    assert graph.nodes[1].attributes["pads"] == (1, 2, 3, 4)


def test_pad_with_the_least_number_folds_into_maxpool() -> None:
    graph = padded("MaxPool <kernel_shape=[5,5]> (q)", value=-np.inf)
    assert apply(graph, FusePad()) == 1


@pytest.mark.parametrize(
    ("padded_graph", "reason"),
    [
        (lambda: padded("Conv (q, w)", value=1.0), "Pad 'q' pads with 1, and a Conv pads with 0"),
        (lambda: padded("Conv (q, w)", mode="reflect"), "Pad 'q' pads by reflect, not with a constant"),
        (lambda: padded("Conv (q, w)", pads="0,0,-1,0,0,0,0,0"), "Pad 'q' crops"),
        (
            lambda: padded("MaxPool <kernel_shape=[2,2]> (q)", pads="1,0,0,0,0,0,0,0"),
            "Pad 'q' pads the batch or the channels",
        ),
        (lambda: padded("MaxPool <kernel_shape=[5,5]> (q)"), "Pad 'q' pads with 0, and 'n' may be less"),
        (
            lambda: padded(
                "MaxPool <kernel_shape=[5,5]> (q)",
                value=2.0,
                before="""low = Constant <value_float=5.0> ()  c = Clip (x, low)
                  n = AveragePool <kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1> (c)""",
            ),
            "Pad 'q' pads with 2, and 'n' may be less",
        ),
        (
            lambda: padded("MaxPool <kernel_shape=[2,2]> (q)", before="n = Relu (x)"),
            "a window of MaxPool 'z' would lie wholly in the padding",
        ),
        (
            lambda: padded("MaxPool <kernel_shape=[3,3], dilations=[3,3]> (q)", before="n = Relu (x)"),
            "a dilated window of MaxPool 'z' may touch nothing but padding",
        ),
        (
            lambda: padded("AveragePool <kernel_shape=[5,5], ceil_mode=1, strides=[3,3]> (q)"),
            "AveragePool 'z' rounds its size up, which counts padding differently",
        ),
        (
            lambda: padded("AveragePool <kernel_shape=[5,5], pads=[1,1,1,1]> (q)"),
            "AveragePool 'z' has padding that it does not count, and would have to count that of Pad 'q'",
        ),
        (
            lambda: padded("AveragePool <kernel_shape=[5,5]> (q)", value=2.0),
            "Pad 'q' pads with 2, and an AveragePool pads with 0",
        ),
    ],
)
def test_pad_stays_and_says_why(padded_graph: Callable[[], Graph], reason: str) -> None:
    graph = padded_graph()
    RemoveNoOps().run(graph)
    assert refused(FusePad(), graph).split(": ", 1)[1].replace("'x' may", "'n' may") == reason
