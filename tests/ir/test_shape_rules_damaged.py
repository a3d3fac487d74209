"""Damaged nodes: whatever stands in a model, a shape rule answers with sensible types or with a letter to the user."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from intarsia.dtypes import Array
from intarsia.errors import CompileError
from intarsia.ir.graph import Node
from intarsia.ir.infer import infer_node
from intarsia.ir.ops import OPS
from intarsia.ir.types import TensorType
from onnx_cases import graph_of, inputs_of, one_node_cases

Known = list[Array | None]


def damage(node: Node, known: Known, dice: random.Random) -> None:
    """Change one thing: a size, a rank, a type, an attribute, an input, the elements of an input, the outputs."""
    present = [index for index, value in enumerate(node.inputs) if value is not None]
    if not present:
        return
    index = dice.choice(present)
    value, array = node.input(index), known[index]
    what = dice.choice(["size", "rank", "type", "attribute", "attribute", "drop", "hide", "elements", "outputs"])
    if what in ("size", "rank") and value.type.shape is not None:
        sizes = list(value.type.shape)
        if what == "rank" and sizes and dice.random() < 0.5:
            sizes.pop()
        elif what == "rank":
            sizes.insert(0, dice.choice([1, 2, None]))
        elif sizes:
            sizes[dice.randrange(len(sizes))] = dice.choice([0, 1, 2, 3, 5, None])
        value.type, known[index] = TensorType(value.dtype, tuple(sizes)), None
    elif what == "type":
        value.type = TensorType(dice.choice(["float32", "int8", "int64", "bool", "string", "uint4"]), value.type.shape)
    elif what == "attribute" and node.attributes:
        name = dice.choice(sorted(node.attributes))
        node.attributes[name] = damaged_attribute(node.attributes[name], dice)
        if dice.random() < 0.2:
            del node.attributes[name]
    elif what == "drop":
        node.set_inputs([None if place == index else item for place, item in enumerate(node.inputs)])
        known[index] = None
    elif what == "hide":
        value.type, known[index] = TensorType(value.dtype, None), None
    elif what == "elements" and array is not None and array.ndim <= 1 and array.dtype.kind in "iuf":
        numbers = [dice.choice([-100, -3, -1, 0, 1, 2, 4]) for _ in range(dice.randrange(5))]
        known[index] = np.array(numbers).astype(array.dtype)
        value.type = TensorType(value.dtype, (len(numbers),))
    elif what == "outputs":
        node.outputs.append(node.outputs[-1])


def damaged_attribute(given: Any, dice: random.Random) -> Any:
    if isinstance(given, str):
        return dice.choice(["", "x"])
    if isinstance(given, float):
        return dice.choice([-1.0, 0.0, float("inf")])
    if isinstance(given, tuple):
        changed = [damaged_attribute(item, dice) if dice.random() < 0.5 else item for item in given]
        return tuple(changed[: dice.choice([len(changed), len(changed) - 1])])
    return dice.choice([-5, -1, 0, 1, 2, 99]) if isinstance(given, int) else given


@pytest.mark.parametrize("seed", range(4))
def test_damaged_nodes(seed: int) -> None:
    dice, refused, accepted = random.Random(seed), 0, 0
    for case in one_node_cases():
        if case.model.graph.node[0].op_type not in OPS:
            continue
        node = graph_of(case).nodes[0]
        arrays = inputs_of(case, 0)
        known: Known = [None if value is None else arrays[value.name] for value in node.inputs]
        for _ in range(dice.choice([1, 1, 2, 3])):
            damage(node, known, dice)
        try:
            types = infer_node(node, known)
        except CompileError as error:
            assert error.where == node.where and error.what and error.help
            refused += 1
            continue
        assert types is not None
        for type in types:
            assert type.shape is None or all(size is None or size >= 0 for size in type.shape), f"{case.name}: {type}"
        accepted += 1
    assert refused > 200 and accepted > 200
