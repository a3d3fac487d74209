"""RNN, GRU and LSTM in the forms that ONNX's node tests leave out, against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from integer_graphs import node_of

from intarsia.dtypes import Array
from intarsia.errors import CompileError
from intarsia.ir.evaluate import evaluate_node
from intarsia.ir.infer import infer_node
from intarsia.ir.types import TensorType

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
TIME, BATCH, INPUT, HIDDEN = 5, 3, 4, 2


def arrays(op: str, directions: int, *, bias: bool, lengths: bool, states: bool, peepholes: bool) -> list[Array | None]:
    generator = np.random.default_rng(7)

    def normal(*shape: int) -> Array:
        return generator.normal(size=shape).astype(np.float32)

    rows = GATES[op] * HIDDEN
    state = (directions, BATCH, HIDDEN)
    found: list[Array | None] = [
        normal(TIME, BATCH, INPUT),
        normal(directions, rows, INPUT),
        normal(directions, rows, HIDDEN),
        normal(directions, 2 * rows) if bias else None,
        np.array([5, 2, 3], np.int32) if lengths else None,
        normal(*state) if states else None,
    ]
    if op == "LSTM":
        found += [normal(*state) if states else None, normal(directions, 3 * HIDDEN) if peepholes else None]
    return found


def by_onnxruntime(op: str, inputs: Sequence[Array | None], attributes: dict[str, Any], outputs: int) -> list[Array]:
    onnxruntime = pytest.importorskip("onnxruntime")
    from onnx import helper, numpy_helper

    names = [f"i{index}" if array is not None else "" for index, array in enumerate(inputs)]
    results = [f"o{index}" for index in range(outputs)]
    graph = helper.make_graph(
        [helper.make_node(op, names, results, **attributes)],
        "g",
        [],
        [helper.make_tensor_value_info(name, 1, None) for name in results],
        [numpy_helper.from_array(array, name) for name, array in zip(names, inputs) if array is not None],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, {}))


FORMS: list[tuple[str, dict[str, Any]]] = [
    *((op, {"direction": direction}) for op in GATES for direction in ("forward", "reverse", "bidirectional")),
    *((op, {"clip": 0.4}) for op in GATES),
    ("GRU", {"direction": "bidirectional", "linear_before_reset": 1}),
    ("LSTM", {"input_forget": 1}),
]


@pytest.mark.parametrize(("op", "attributes"), FORMS, ids=[f"{op}_{list(given.items())[-1]}" for op, given in FORMS])
@pytest.mark.parametrize("full", [False, True], ids=["bare", "full"])
def test_recurrent_layer(op: str, attributes: dict[str, Any], full: bool) -> None:
    """full: with biases, sequence lengths, first states and peepholes."""
    attributes = {**attributes, "hidden_size": HIDDEN}
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    inputs = arrays(op, directions, bias=full, lengths=full, states=full, peepholes=full)
    outputs = 3 if op == "LSTM" else 2
    node = node_of(op, inputs, attributes)
    node.outputs += [node.output] * (outputs - 1)
    found = evaluate_node(node, inputs)
    wanted = by_onnxruntime(op, inputs, attributes, outputs)
    assert infer_node(node) == [TensorType("float32", result.shape) for result in found]
    for ours, theirs in zip(found, wanted):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_activations_take_their_arguments_in_order() -> None:
    inputs = arrays("LSTM", 1, bias=True, lengths=False, states=False, peepholes=False)
    attributes: dict[str, Any] = {
        "hidden_size": HIDDEN,
        "activations": ("HardSigmoid", "Affine", "ScaledTanh"),
        "activation_alpha": (0.3, 0.5, 0.9),
        "activation_beta": (0.4, 0.1, 1.1),
    }
    (found,) = evaluate_node(node_of("LSTM", inputs, attributes), inputs)
    (wanted,) = by_onnxruntime("LSTM", inputs, attributes, 1)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("index", "shape", "what"),
    [
        (1, (1, 8, 5), "float32[1,8,5] stands where float32[1,8,4] should"),
        (2, (1, 8, 3), "float32[1,8,3] stands where float32[1,8,2] should"),
        (3, (1, 8), "float32[1,8] stands where float32[1,16] should"),
        (5, (1, 2, 2), "float32[1,2,2] stands where float32[1,3,2] should"),
        (0, (5, 4), "has 2 dimensions, not 3"),
    ],
)
def test_weights_that_do_not_fit_are_refused(index: int, shape: tuple[int, ...], what: str) -> None:
    inputs = arrays("LSTM", 1, bias=True, lengths=False, states=True, peepholes=False)
    inputs[index] = np.zeros(shape, np.float32)
    with pytest.raises(CompileError) as caught:
        infer_node(node_of("LSTM", inputs, {"hidden_size": HIDDEN}))
    assert what in str(caught.value)


def test_odd_attributes_are_refused() -> None:
    inputs = arrays("RNN", 1, bias=False, lengths=False, states=False, peepholes=False)
    with pytest.raises(CompileError, match="direction 'sideways'"):
        infer_node(node_of("RNN", inputs, {"direction": "sideways"}))
    with pytest.raises(CompileError, match="no activation is called 'Snake'"):
        infer_node(node_of("RNN", inputs, {"activations": ("Snake",)}))
    with pytest.raises(CompileError, match="2 activations for 1 directions"):
        infer_node(node_of("RNN", inputs, {"activations": ("Tanh", "Relu")}))
