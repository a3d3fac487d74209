"""Ops of float32, and of whole numbers that are moved or compared, as StableHLO, against their meaning in NumPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from xla_regions import Layers, load, tpu_target

from intarsia.dtypes import ELEMENT_NUMBERS, Array
from intarsia.errors import RunError
from intarsia.ir.activations import ACTIVATIONS, ARGUMENTS
from intarsia.ir.graph import Graph
from intarsia.ir.types import TensorType
from intarsia_backends.tpu.ops.elementwise import ALL
from intarsia_backends.tpu.region import EMITTERS
from onnx_cases import inputs_of, node_attributes, one_node_cases, opset_of

PARTS = 6


def cases_by_op() -> dict[str, list[Any]]:
    """ONNX's node cases of the ops that we write, save those of our own."""
    found: dict[str, list[Any]] = {}
    for case in one_node_cases():
        op = case.model.graph.node[0].op_type
        if op in EMITTERS:
            found.setdefault(op, []).append(case)
    return found


def test_onnx_node_cases() -> None:
    """All that the target takes, side by side, some hundred at a time; and few ops of ONNX's without one."""
    taken: dict[str, int] = {}
    for part in range(PARTS):
        side = Layers(part)
        for op, cases in list(cases_by_op().items())[part::PARTS]:
            taken[op] = sum(add_case(side, case) for case in cases)
        side.check(tolerance=2e-5)
    without = {op for op in EMITTERS if op[0].isupper()} - {op for op, count in taken.items() if count}
    assert without == {"Cast", "CastLike", "LayerNormalization"}, "these have tests of their own below"
    assert sum(taken.values()) > 500


def add_case(side: Layers, case: Any) -> bool:
    """Add the node of a case, unless the target refuses it."""
    proto, arrays = case.model.graph.node[0], inputs_of(case, 0)
    data = [arrays[name] if name else None for name in proto.input]
    if any(array is not None and array.dtype.kind not in "fiub" for array in data):
        return False
    facts: Any = {
        "constants": EMITTERS[proto.op_type].constants,
        "outputs": len(proto.output),
        "opset": opset_of(case),
    }
    arguments = proto.op_type, data, node_attributes(proto)
    if not tpu_target().supports(Layers().add(*arguments, **facts)).ok:
        return False
    side.add(*arguments, **facts)
    return True


def test_activations_that_other_ops_carry() -> None:
    side = Layers(1)
    x = np.concatenate([side.floats(400) * 3, [0.0, -0.0, 20.0, -20.0, 90.0, -90.0]]).astype(np.float32)
    for name in sorted(ACTIVATIONS):
        arguments = (-0.5, 1.25) if name == "Clip" else tuple(ARGUMENTS.get(name, {}).values())
        carried = {"activation": name, "activation_arguments": arguments}
        side.add("Add", [x, np.full(1, 0.25, np.float32)], carried)
        side.add("dense", [side.floats(5, 7), side.floats(7, 6), side.floats(6)], carried, constants=(1, 2))
    side.add("Add", [x, x], {"activation": "Gelu", "activation_arguments": (1.0,)})
    side.add("Add", [x, x], {"activation": "Clip", "activation_arguments": (-math.inf, 1.0)})
    side.add("MaxPool", [side.floats(1, 2, 6, 6)], {"kernel_shape": (2, 2), "activation": "Relu"})
    side.check(tolerance=2e-6)


def test_casts() -> None:
    """Whole numbers wrap, floats lose their fraction, and only 0 is false."""
    side = Layers(8)
    for source in ALL:
        x = (side.floats(40) * 50).astype(source) if source == "float32" else side.random.integers(0, 256, 40)
        for target in ALL:
            within = np.clip(x, 0, 127) if source == "float32" and target.startswith("u") else x
            side.add("Cast", [within.astype(source)], {"to": ELEMENT_NUMBERS[target]})
            side.add("CastLike", [within.astype(source), np.zeros(1, target)])
    side.check(exact=True)


def test_erf_is_near() -> None:
    side = Layers(2)
    side.add("Erf", [np.linspace(-6, 6, 20001, dtype=np.float32)])
    side.check(tolerance=5e-7)


def test_convolutions() -> None:
    side = Layers(3)
    for rank in (1, 2, 3):
        size = (9, 8, 7)[:rank]
        for group, strides, dilations, pads in ((1, 1, 1, 0), (2, 2, 1, 1), (4, 1, 2, 2), (1, 3, 2, 1)):
            facts: dict[str, Any] = {
                "group": group,
                "strides": (strides,) * rank,
                "dilations": (dilations,) * rank,
                "pads": (pads,) * (2 * rank),
            }
            w = side.floats(8, 4 // group, *(3,) * rank)
            side.add("Conv", [side.floats(2, 4, *size), w, side.floats(8)], facts)
            turned = side.floats(4, 6 // group, *(3,) * rank) if 6 % group == 0 else side.floats(4, 2, *(3,) * rank)
            side.add("ConvTranspose", [side.floats(2, 4, *size), turned], facts)
    for mode in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        side.add("Conv", [side.floats(1, 3, 8, 7), side.floats(4, 3, 3, 3)], {"auto_pad": mode, "strides": (2, 2)})
    extra = {"strides": (3, 2), "pads": (1, 0, 2, 1), "output_padding": (2, 1)}
    side.add("ConvTranspose", [side.floats(1, 3, 5, 4), side.floats(3, 2, 3, 3), side.floats(2)], extra)
    side.check(tolerance=2e-6)


def test_products() -> None:
    side = Layers(4)
    shapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        ((5,), (5,)),
        ((3, 5), (5,)),
        ((5,), (2, 5, 4)),
        ((2, 3, 5), (5, 4)),
        ((2, 1, 3, 5), (3, 5, 4)),
        ((3, 5), (1, 1, 5, 4)),
        ((7, 3, 5), (7, 5, 4)),
    ]
    for left, right in shapes:
        side.add("MatMul", [side.floats(*left), side.floats(*right)])
    side.check(tolerance=1e-6)


def test_normalizations() -> None:
    side = Layers(5)
    x = side.floats(2, 6, 5) * 3 + 1
    side.add("LayerNormalization", [x, side.floats(5), side.floats(5)], {"axis": -1})
    side.add("LayerNormalization", [x, side.floats(6, 5)], {"axis": 1})
    side.add("RMSNormalization", [x, side.floats(5)], {"axis": -1}, opset=23)
    side.add("InstanceNormalization", [x, side.floats(6), side.floats(6)])
    side.add("GroupNormalization", [x, side.floats(3), side.floats(3)], {"num_groups": 3})
    side.add("GroupNormalization", [x, side.floats(6), side.floats(6)], {"num_groups": 3}, opset=21)
    for op in ("Softmax", "LogSoftmax"):
        side.add(op, [x], {"axis": 1})
        side.add(op, [x], {"axis": 1}, opset=11)
    side.check(tolerance=2e-6)


def test_slices_backwards_and_beyond_the_ends() -> None:
    side, x = Layers(6), np.arange(60, dtype=np.int64).reshape(5, 12)
    for start, stop, axis, step in ((-1, -99, 1, -1), (9, 2, 1, -3), (0, 99, 0, 2), (-2, 99, -1, 1), (3, -6, 0, -2)):
        bounds = [np.array([number]) for number in (start, stop, axis, step)]
        side.add("Slice", [x, *bounds], constants=(1, 2, 3, 4))
    side.check(exact=True)


def gather() -> Graph:
    graph = Graph("gather")
    x, i = graph.add_input("x", TensorType("float32", (4, 3))), graph.add_input("i", TensorType("int64", (2,)))
    node = graph.add_node("Gather", [x, i], [TensorType("float32", (2, 3))], {"axis": 0}, name="rows", opset=18)
    graph.outputs = [node.output]
    return graph


def test_indices_made_at_run_time_are_checked() -> None:
    """XLA would take the nearest row."""
    region, x = load(gather()), np.arange(12, dtype=np.float32).reshape(4, 3)

    def rows(*places: int) -> Array:
        return region.run([x, np.array(places)]).outputs[0]

    np.testing.assert_array_equal(rows(-4, 3), x[[0, 3]])
    for places in ((0, 4), (-5, 0), (1 << 40, 0)):
        with pytest.raises(RunError) as caught:
            rows(*places)
        assert caught.value.where == "region 'gather'"
        assert caught.value.what == "Gather 'rows': 'i': an index is outside an axis of 4"
    np.testing.assert_array_equal(rows(1, 1), x[[1, 1]])


def test_products_of_float32_are_exact_and_those_of_bfloat16_are_not() -> None:
    """Without a word a TPU would multiply float32 as bfloat16."""
    side = Layers(7)
    side.add("MatMul", [side.floats(8, 64), side.floats(64, 8)])
    text = load(side.graph).listing()
    assert "precision = [HIGHEST, HIGHEST]" in text
    side.check(tolerance=1e-6)
