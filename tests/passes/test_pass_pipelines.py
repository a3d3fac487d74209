"""Random small networks, in both orders of axes, through the whole pipeline: the meaning stays."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pass_cases import random_inputs

from generated_graphs import examples
from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.infer import infer_node
from intarsia.ir.types import TensorType
from intarsia.ir.verify import verify
from intarsia.passes import fuse_passes, run_passes, simplify_passes
from intarsia.passes.instruments import Compare, Hooks, VerifyEach

UNARY = ("Relu", "Sigmoid", "Tanh", "HardSwish", "LeakyRelu", "Identity", "Neg", "Abs", "Softmax")


class Network:
    """A graph that grows by one random op after another, around 4-D values [N,C,H,W] or [N,H,W,C]."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.graph = Graph("generated")
        self.rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        self.values = [self.graph.add_input("x", TensorType("float32", (1, *draw(SIZES))))]

    def pick(self, options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def constant(self, data: Any, dtype: str = "float32") -> Value:
        return self.graph.add_constant(self.graph.fresh_name("const"), np.asarray(data, dtype))

    def random(self, *shape: int) -> Value:
        return self.constant(self.rng.uniform(0.25, 1.0, shape))

    def add(self, op: str, inputs: list[Value | None], attributes: dict[str, Any] | None = None) -> Value:
        """Append a node whose output type the op table gives."""
        twin = Node(op, "twin", inputs, attributes or {}, 18, "")
        types = infer_node(twin)
        twin.set_inputs(())
        assert types is not None
        value = self.graph.add_node(op, inputs, list(types), attributes, opset=18).output
        self.values.append(value)
        return value

    def grow(self) -> None:
        x = self.pick(self.values[-3:])
        getattr(self, self.pick(STEPS))(x)

    def conv(self, x: Value) -> Value:
        group = self.pick((1, x.shape[1]))
        outputs = group * self.pick((1, 2)) if group > 1 else self.pick((1, 3, 4))
        size = self.pick((1, 3))
        attributes = {
            "kernel_shape": (size, size),
            "pads": (size // 2,) * 4,
            "strides": self.pick(((1, 1), (2, 1))),
            "dilations": (1, 1),
            "group": group,
        }
        weight = self.random(outputs, x.shape[1] // group, size, size)
        return self.add("Conv", [x, weight, *([self.random(outputs)] if self.pick((0, 1)) else [])], attributes)

    def channels_last_conv(self, x: Value) -> None:
        self.add("Transpose", [self.conv(self.add("Transpose", [x], {"perm": (0, 3, 1, 2)}))], {"perm": (0, 2, 3, 1)})

    def unary(self, x: Value) -> None:
        self.add(self.pick(UNARY), [x])

    def gate(self, x: Value) -> None:
        self.add("Mul", [x, self.add(self.pick(("Sigmoid", "HardSigmoid")), [x])])

    def clip(self, x: Value) -> None:
        self.add("Clip", [x, self.constant(self.pick((-1, 0))), self.constant(6)])

    def bounded(self, x: Value) -> None:
        self.add(self.pick(("Min", "Max")), [x, self.constant([1.5])])

    def batchnorm(self, x: Value) -> None:
        self.add("BatchNormalization", [x, *(self.random(x.shape[1]) for _ in range(4))], {"epsilon": 1e-3})

    def channelwise(self, x: Value) -> None:
        shape = self.pick(((), (1,), (x.shape[3],), (x.shape[1], 1, 1)))
        operands: list[Value | None] = [x, self.random(*shape)]
        op = self.pick(("Add", "Mul", "Sub", "Div"))
        self.add(op, operands[::-1] if op in ("Add", "Mul", "Sub") and self.pick((0, 1)) else operands)

    def residual(self, x: Value) -> None:
        same = [value for value in self.values if value.shape == x.shape]
        self.add(self.pick(("Add", "Mul", "Sub")), [x, self.pick(same)])

    def concat(self, x: Value) -> None:
        self.add("Concat", [x, self.pick([value for value in self.values if value.shape == x.shape])], {"axis": 1})

    def transpose(self, x: Value) -> None:
        self.add("Transpose", [x], {"perm": tuple(self.draw(st.permutations(range(4))))})

    def pad(self, x: Value) -> None:
        widths = [0, 0, *self.draw(st.tuples(*[st.integers(0, 2)] * 2))] * 2
        value = self.constant(self.pick((0.0, 0.0, 1.0)))
        self.add("Pad", [x, self.constant(widths, "int64"), value], {"mode": "constant"})

    def pool(self, x: Value) -> None:
        if min(x.shape[2:]) < 2:
            return
        op = self.pick(("MaxPool", "AveragePool"))
        counts = {"count_include_pad": self.pick((0, 1))} if op == "AveragePool" else {}
        pads = self.pick(((0, 0, 0, 0), (1, 1, 1, 1)))
        attributes = {"kernel_shape": (2, 2), "strides": (1, 1), "pads": pads, "dilations": (1, 1), **counts}
        self.add(op, [x], {**attributes, "ceil_mode": 0})

    def mean(self, x: Value) -> None:
        axes = self.pick(((2, 3), (1, 2), (1,)))
        self.add("ReduceMean", [x, self.constant(axes, "int64")], {"keepdims": 1})

    def reshape(self, x: Value) -> None:
        n, c, h, w = x.shape
        shape = self.pick(((n, c, w, h), (n, h, c, w), (c, n, h, w)))
        self.add("Reshape", [x, self.constant(shape, "int64")])

    def sliced(self, x: Value) -> None:
        numbers = [self.constant([number], "int64") for number in (0, 2, self.pick((1, 2, 3)), 1)]
        self.add("Slice", [x, *numbers])

    def shuffle(self, x: Value) -> None:
        n, c, h, w = x.shape
        split = 2 if c % 2 == 0 else 1
        r = self.add("Reshape", [x, self.constant((n, split, c // split, h, w), "int64")])
        t = self.add("Transpose", [r], {"perm": (0, 2, 1, 3, 4)})
        self.values.remove(r)
        self.values.remove(t)
        self.add("Reshape", [t, self.constant((n, c, h, w), "int64")])

    def head(self) -> None:
        """A classifier at the end, or none."""
        x = self.values[-1]
        form = self.pick(("none", "matmul", "gemm"))
        if form == "none":
            return
        flat = self.add("Flatten", [x], {"axis": 1})
        depth = flat.shape[1]
        if form == "matmul":
            self.add("Add", [self.add("MatMul", [flat, self.random(depth, 3)]), self.random(3)])
        else:
            attributes = {"alpha": self.pick((1.0, 0.5)), "beta": self.pick((1.0, 2.0)), "transB": 1, "transA": 0}
            self.add("Gemm", [flat, self.random(3, depth), self.random(*self.pick(((3,), (1, 3), (1,))))], attributes)
        if self.pick((0, 1)):
            self.add("Relu", [self.values[-1]])


SIZES = st.tuples(st.sampled_from((1, 2, 4)), st.sampled_from((3, 4)), st.sampled_from((2, 4, 5)))

STEPS = (
    *("conv", "channels_last_conv", "channels_last_conv", "unary", "unary", "gate", "clip", "bounded", "batchnorm"),
    *("channelwise", "channelwise", "residual", "concat", "transpose", "pad", "pool", "mean", "reshape", "sliced"),
    "shuffle",
)


@st.composite
def networks(draw: Any) -> Graph:
    network = Network(draw)
    for _ in range(draw(st.integers(1, 10))):
        if max(network.values[-1].shape) * network.values[-1].type.elements < 40_000:
            network.grow()
    network.head()
    graph = network.graph
    graph.outputs = [network.values[-1]]
    others = [value for value in network.values[1:-1] if value.type.rank == 4]
    if others and draw(st.booleans()):
        graph.outputs.append(draw(st.sampled_from(others)))
    return graph


@settings(
    max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(networks(), st.booleans())
def test_every_pass_keeps_the_meaning(graph: Graph, integer: bool) -> None:
    verify(graph, "imported")
    names = [value.name for value in graph.outputs]
    transposes = sum(node.op == "Transpose" for node in graph.nodes)
    inputs = random_inputs(graph)
    run_passes(graph, simplify_passes(), hook=Hooks(VerifyEach("simplified"), Compare(inputs)))
    run_passes(graph, fuse_passes(integer=integer), hook=Hooks(VerifyEach("fused"), Compare(inputs)))
    assert [value.name for value in graph.outputs] == names
    assert sum(node.op == "Transpose" for node in graph.nodes) <= transposes
