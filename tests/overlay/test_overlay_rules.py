"""Every refusal names its rule, the value against the limit, and a way out; what is accepted compiles."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from overlay_graphs import Net

from intarsia.ir.graph import Node, Value
from intarsia.ir.types import TensorType
from intarsia_backends.overlay.compiler.rules import CHANNELS_MAX
from intarsia_backends.overlay.compiler.target import kv260, pynq_z2, tiny


def last(net: Net) -> Node:
    return net.graph.nodes[-1]


def _transpose(net: Net, x: Value) -> None:
    net.graph.add_node(
        "Transpose", [x], [TensorType("int8", x.shape[::-1])], {"perm": (3, 2, 1, 0)}, name="t", opset=13
    )


def _float(net: Net, x: Value) -> None:
    y = net.graph.add_input("f", TensorType("float32", (1, 4)))
    net.graph.add_node("Softmax", [y], [y.type], {"axis": 1}, name="softmax", opset=13)


def _unknown_size(net: Net, x: Value) -> None:
    y = net.graph.add_input("u", TensorType("int8", (1, None, 4, 4)))
    net.graph.add_node("requantize", [y], [y.type], {}, name="scale")


def _batch(net: Net, x: Value) -> None:
    net.requantize(net.graph.add_input("b", TensorType("int8", (2, 4, 3, 3))))


def _axes(net: Net, x: Value) -> None:
    net.requantize(net.graph.add_input("v", TensorType("int8", (1, 4, 3, 3, 3))))


def _huge(net: Net, x: Value) -> None:
    net.requantize(net.graph.add_input("h", TensorType("int8", (1, 4, 20000, 3))))


def _channels(net: Net, x: Value) -> None:
    net.requantize(net.graph.add_input("c", TensorType("int8", (1, 20000, 1, 1))))


def _resize_linear(net: Net, x: Value) -> None:
    net.resize(x).producer.attributes["mode"] = "linear"  # type: ignore[union-attr]


def _resize_corners(net: Net, x: Value) -> None:
    net.resize(x).producer.attributes["nearest_mode"] = "ceil"  # type: ignore[union-attr]


def _resize_three(net: Net, x: Value) -> None:
    out = TensorType("int8", (1, 32, 24, 24))
    net.graph.add_node("Resize", [x], [out], {"mode": "nearest"}, name="resize", opset=18)


def _concat_rows(net: Net, x: Value) -> None:
    net.graph.add_node("Concat", [x, x], [TensorType("int8", (1, 32, 16, 8))], {"axis": 2}, name="concat", opset=13)


def _pool_dilated(net: Net, x: Value) -> None:
    net.max_pool(x).producer.attributes["dilations"] = (2, 2)  # type: ignore[union-attr]


def _pool_unsigned(net: Net, x: Value) -> None:
    y = net.graph.add_input("u", TensorType("uint8", (1, 4, 8, 8)))
    node = net.max_pool(y).producer
    assert node is not None
    node.output.type = TensorType("uint8", node.output.shape)


def _matrix_rank(net: Net, x: Value) -> None:
    y = net.graph.add_input("m", TensorType("int8", (1, 5, 6)))
    net.matmul(y, 3)


def _flat_pool(net: Net, x: Value) -> None:
    net.concat(net.flatten(x), net.flatten(x))


def _half_broadcast(net: Net, x: Value) -> None:
    net.add(x, net.graph.add_constant("row", np.zeros((1, 1, 1, 8), np.int8)))


def _flat_and_not(net: Net, x: Value) -> None:
    net.add(net.flatten(x), net.graph.add_input("row", TensorType("int8", (1, 2048))))


REFUSED: dict[str, Callable[[Net, Value], object]] = {
    "transpose": _transpose,
    "float": _float,
    "unknown size": _unknown_size,
    "batch": _batch,
    "five axes": _axes,
    "huge": _huge,
    "channels": _channels,
    "stride": lambda net, x: net.conv(x, 16, 1, 20),
    "dilation": lambda net, x: net.conv(x, 16, (1, 2), (1, 1), (0, 0, 90, 90), (1, 70)),
    "depthwise kernel": lambda net, x: net.conv(x, 32, (1, 80), 1, (0, 40, 0, 40), group=32),
    "pool stride": lambda net, x: net.max_pool(x, 2, 300),
    "pool dilated": _pool_dilated,
    "pool unsigned": _pool_unsigned,
    "max pool": lambda net, x: net.max_pool(net.graph.add_input("l", TensorType("int8", (1, 4, 40, 40))), 40, 1),
    "resize linear": _resize_linear,
    "resize corners": _resize_corners,
    "resize three": _resize_three,
    "concat rows": _concat_rows,
    "reshape": lambda net, x: net.reshape(x, 1, 64, 8, 4),
    "matrix rank": _matrix_rank,
    "concat flat": _flat_pool,
    "broadcast": _half_broadcast,
    "layouts": _flat_and_not,
}


def test_refusals(golden: Callable[[str], None]) -> None:
    lines = []
    for name, build in REFUSED.items():
        net = Net()
        build(net, net.input(1, 32, 8, 8))
        answer = tiny().supports(last(net))
        assert not answer.ok, name
        assert answer.rule and answer.reason and answer.fix, name
        lines.append(f"{name}: [{answer.rule}] {answer.reason}\n    fix: {answer.fix}\n")
    golden("".join(lines))


def test_as_many_channels_as_a_load_has_fields_for() -> None:
    net = Net()
    x = net.input(1, CHANNELS_MAX, 1, 1)
    net.output(net.requantize(x))
    assert kv260().supports(last(net)).ok and kv260().compile(net.graph).files
    more = Net()
    more.requantize(more.input(1, CHANNELS_MAX + 1, 1, 1))
    assert kv260().supports(last(more)).rule == "channels"


@pytest.mark.parametrize("make", [pynq_z2, kv260, tiny])
def test_targets_describe_themselves(make: Callable[[], object]) -> None:
    target = make()
    assert target.host == "cpu" and target.precisions == ("int8",)  # type: ignore[attr-defined]
    facts = target.facts()  # type: ignore[attr-defined]
    assert facts["clock_mhz_assumption"] > 0 and facts["macs_per_cycle"] >= 512


def test_cost_follows_the_work() -> None:
    net = Net()
    x = net.input(1, 64, 56, 56)
    net.conv(x, 64)
    ideal = 64 * 64 * 9 * 56 * 56 // 512
    assert ideal <= pynq_z2().cost(last(net)).cycles <= 1.1 * ideal
    net.conv(x, 64, 3, group=64, name="depthwise")
    assert 4 * 56 * 56 <= pynq_z2().cost(last(net)).cycles <= 1.1 * 4 * 56 * 56
    net.flatten(x)
    assert pynq_z2().cost(last(net)).cycles == 0
