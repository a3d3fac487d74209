"""What `explain` says of a model is what `compile_model` does with it: places, and refusals word by word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import intarsia
from generated_graphs import examples
from intarsia.cli.commands import intarsia as command
from intarsia.dtypes import Array
from intarsia.runtime.vectors import verify_vectors

BOARD = "pynq-z2+cpu"
"""The overlay, and beside it this machine's processor, for which code is made sooner than for the board's."""


class Chain:
    """A model that grows op by op behind a convolution; every value is float32 [1, C, H, W]."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.shape = [1, 3, 8, 8]
        self.last = "x"

    def weight(self, data: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(data), name))
        return name

    def floats(self, *shape: int) -> str:
        return self.weight(self.rng.standard_normal(shape).astype(np.float32))

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name

    def model(self) -> onnx.ModelProto:
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
        y = onnx.ValueInfoProto(name=self.last)
        graph = helper.make_graph(self.nodes, "g", [x], [y], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    # ---- steps

    def conv(self) -> None:
        channels = int(self.rng.integers(1, 20))
        size = int(self.rng.choice([1, 3])) if min(self.shape[2:]) > 1 else 1
        weight = self.floats(channels, self.shape[1], size, size)
        self.last = self.add("Conv", self.last, weight, pads=[size // 2] * 4)
        self.shape[1] = channels

    def activation(self) -> None:
        self.last = self.add(str(self.rng.choice(["Relu", "Sigmoid", "HardSwish", "Tanh", "Erf", "Abs"])), self.last)

    def prelu(self) -> None:
        self.last = self.add("PRelu", self.last, self.floats(self.shape[1], 1, 1))

    def pool(self) -> None:
        if min(self.shape[2:]) > 1:
            op = str(self.rng.choice(["MaxPool", "AveragePool"]))
            self.last = self.add(op, self.last, kernel_shape=[2, 2], strides=[2, 2])
            self.shape[2:] = [size // 2 for size in self.shape[2:]]

    def product(self) -> None:
        """A matrix product of the last axis."""
        columns = int(self.rng.integers(1, 12))
        self.last = self.add("MatMul", self.last, self.floats(self.shape[3], columns))
        self.shape[3] = columns

    def transposed(self) -> None:
        self.last = self.add("Transpose", self.last, perm=[0, 1, 3, 2])
        self.shape[2:] = self.shape[:1:-1]

    def doubled(self) -> None:
        self.last = self.add("Concat", self.last, self.last, axis=int(self.rng.integers(1, 4)))
        axis = self.nodes[-1].attribute[0].i
        self.shape[axis] *= 2

    def tokens(self) -> None:
        """Rows of pixels, a layer on them, and back."""
        count, channels = self.shape[2] * self.shape[3], self.shape[1]
        rows = self.add("Reshape", self.last, self.weight([1, channels, count]))
        rows = self.add("Transpose", rows, perm=[0, 2, 1])
        rows = self.add("Add", self.add("MatMul", rows, self.floats(channels, channels)), self.floats(channels))
        rows = self.add("Transpose", rows, perm=[0, 2, 1])
        self.last = self.add("Reshape", rows, self.weight(self.shape))

    def branches(self) -> None:
        """An If on the mean of what there is; now and then with something in it that only onnx can run."""
        self.last = self.add("Sigmoid", self.last)
        mean = self.add("ReduceMean", self.last, keepdims=0)
        condition = self.add("Greater", mean, self.weight(np.float32(0)))
        op = str(self.rng.choice(["Neg", "Relu", "Bernoulli"]))
        made = []
        for name, inner in (("then", op), ("else", "Abs")):
            result = f"{name}{len(self.nodes)}"
            info = helper.make_tensor_value_info(result, TensorProto.FLOAT, self.shape)
            made.append(helper.make_graph([helper.make_node(inner, [self.last], [result])], name, [], [info]))
        self.last = self.add("If", condition, then_branch=made[0], else_branch=made[1])

    def rounds(self) -> None:
        body = helper.make_graph(
            [
                helper.make_node("Identity", ["on"], ["on2"]),
                helper.make_node("Mul", ["was", "half"], ["is"]),
            ],
            "round",
            [
                helper.make_tensor_value_info("i", TensorProto.INT64, []),
                helper.make_tensor_value_info("on", TensorProto.BOOL, []),
                helper.make_tensor_value_info("was", TensorProto.FLOAT, self.shape),
            ],
            [
                helper.make_tensor_value_info("on2", TensorProto.BOOL, []),
                helper.make_tensor_value_info("is", TensorProto.FLOAT, self.shape),
            ],
            [numpy_helper.from_array(np.float32(0.5), "half")],
        )
        self.last = self.add("Loop", self.weight(np.int64(3)), "", self.last, body=body)

    def largest(self) -> None:
        rows = self.add("Reshape", self.last, self.weight([-1]))
        name = self.add("TopK", rows, self.weight([1]))
        self.nodes[-1].output.append(name + "_at")
        self.last = self.add("Mul", self.last, name)

    def noisy(self) -> None:
        self.last = self.add("Bernoulli", self.add("Sigmoid", self.last))

    def drawn(self) -> None:
        drawn = self.add("RandomUniformLike", self.last)
        self.last = self.add("Add", self.last, drawn)


STEPS = [
    name for name, value in vars(Chain).items() if callable(value) and name not in ("weight", "floats", "add", "model")
]
STEPS = [name for name in STEPS if not name.startswith("_")]


@given(st.integers(0, 1 << 30), st.lists(st.sampled_from(STEPS), min_size=1, max_size=6))
@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_places_and_refusals_agree(seed: int, steps: list[str]) -> None:
    chain = Chain(seed)
    for step in steps:
        getattr(chain, step)()
    model = chain.model()
    told = intarsia.explain(model, target=BOARD)
    samples = chain.rng.standard_normal((6, 3, 8, 8)).astype(np.float32)
    try:
        # Places are what is compared: the board's own code would double the time.
        made = intarsia.compile_model(model, target=BOARD, calibration=samples, host_only=True)
    except intarsia.CompileError as error:
        assert told.refusal is not None and str(told.refusal.error) == str(error)
        refused = [row for row in told.rows if row.name in told.refusal.nodes]
        assert refused and all(told.refusal.what in [reason.reason for reason in row.reasons] for row in refused)
        assert not any("nothing needs to change" in reason.fix for row in refused for reason in row.reasons)
        return
    assert told.refusal is None
    # explain assumes ranges; where measured ones lie far from 0, they decide, and compile's notes say so.
    assume(not any("where int8 would have" in text for _, text in made.contents.metadata["notes"]))
    placed = [(row["name"], row["op"], row["place"]) for row in made.contents.placements]
    assert [(row.name, row.op, row.place) for row in told.rows] == placed
    device = "simulator" if any(region.kind == "overlay" for region in made.contents.regions) else None
    with intarsia.load(made, device=device) as session:
        assert all(result.ok for result in verify_vectors(session))


# ---- what only onnx can run


def refused_model() -> onnx.ModelProto:
    chain = Chain(0)
    chain.conv()
    chain.noisy()
    return chain.model()


def test_the_command_says_what_compile_would(golden: Callable[[str], None], tmp_path: Any) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(refused_model(), path)
    told = CliRunner().invoke(command, ["explain", str(path), "--target", "pynq-z2"])
    assert told.exit_code == 0
    np.save(tmp_path / "x.npy", np.zeros((2, 3, 8, 8), np.float32))
    arguments = ["compile", str(path), "--target", "pynq-z2", "--calibration", str(tmp_path / "x.npy")]
    refused = CliRunner().invoke(command, [*arguments, "-o", str(tmp_path / "a.intarsia")])
    assert refused.exit_code == 2
    words = refused.stderr.removeprefix("error: ").strip()
    assert words in told.stdout
    golden(words + "\n")
    as_json = CliRunner().invoke(command, ["explain", str(path), "--target", "pynq-z2", "--json"])
    assert '"rule": "needs-onnx"' in as_json.stdout


def test_a_branch_names_what_stands_in_it() -> None:
    chain = Chain(3)
    chain.conv()
    while True:
        chain.branches()
        if any("Bernoulli" in str(attribute) for attribute in chain.nodes[-1].attribute):
            break
    told = intarsia.explain(chain.model(), target="pynq-z2")
    assert told.refusal is not None and told.refusal.where.startswith("Bernoulli 'then")
    assert intarsia.explain(chain.model(), target="cpu").refusal is None


# ---- a detector with its own suppression, whole on a board


def detector(limits: tuple[int, ...]) -> tuple[onnx.ModelProto, Array]:
    """Boxes and scores by convolutions, suppression, and a Loop and an If behind it; limits made at run time."""
    rng = np.random.default_rng(5)
    weights = {
        "w": rng.standard_normal((8, 3, 3, 3)) * 0.3,
        "wb": rng.standard_normal((4, 8, 1, 1)),
        "ws": rng.standard_normal((2, 8, 1, 1)),
        "third": np.full(limits, 0.3),
        "none": np.zeros(()),
    }
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[1,3,8,8] x) => (float[1,k,4] chosen, int64[n] count, float[1,4,64] boxes) {
      t = Conv <pads = [1,1,1,1]> (x, w)  r = Relu (t)
      bt = Conv (r, wb)  bs = Sigmoid (bt)  st = Conv (r, ws)  ss = Sigmoid (st)
      boxes = Reshape (bs, box_shape)  rows = Transpose <perm = [0, 2, 1]> (boxes)  scores = Reshape (ss, score_shape)
      overlap = Add (third, third)
      picked = NonMaxSuppression (rows, scores, most, overlap, third)
      index = Gather <axis = 1> (picked, two)  flat = Squeeze (index, one)  some = Gather <axis = 1> (rows, flat)
      count = Shape (picked)
      mean = ReduceMean <keepdims = 0> (some)  c = Greater (mean, none)
      chosen = If (c) <then_branch = t () => (float[1,m,4] p) { p = Identity (some) },
                       else_branch = e () => (float[1,m,4] q) { q = Neg (some) }>
    }"""
    model = onnx.parser.parse_model(text)
    for name, data in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(data.astype(np.float32), name))
    whole = {"box_shape": [1, 4, 64], "score_shape": [1, 2, 64], "two": [2], "one": [1]}
    whole_numbers: dict[str, Any] = {**whole, "most": np.full(limits, 3)}
    for name, data in whole_numbers.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(data, np.int64), name))
    return model, rng.standard_normal((6, 1, 3, 8, 8)).astype(np.float32)


@pytest.mark.parametrize("limits", [(), (1,)], ids=["scalars", "lists"])
def test_a_detector_is_deployed_whole(limits: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    from intarsia.runtime import evaluator

    model, images = detector(limits)
    float_session = intarsia.load(intarsia.compile_model(model, target="cpu", precision="float32"))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    theirs = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for image in images:
        for ours, wanted in zip(float_session.run(image), theirs.run(None, {"x": image})):
            assert ours.dtype == wanted.dtype and ours.shape == wanted.shape
            np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=1e-5)
    made = intarsia.compile_model(model, target=BOARD, calibration=images[:, 0])
    places = {row["op"]: row["place"] for row in made.contents.placements}
    assert places["qconv"] == "pynq-z2" and places["NonMaxSuppression"] == places["If"] == "evaluator"
    monkeypatch.setattr(evaluator, "_has_onnx", lambda: False)
    with intarsia.load(made, device="simulator") as session:
        assert all(result.ok for result in verify_vectors(session))
        for image in images:
            np.testing.assert_allclose(session.run(image)[2], theirs.run(None, {"x": image})[2], atol=0.1)
