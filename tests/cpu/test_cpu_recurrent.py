"""RNN, GRU and LSTM in every form against their NumPy meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cpu_regions import Layers, load

from intarsia.errors import RunError

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def add(
    made: Layers, op: str, parts: str = "", *, constants: bool = True, steps: int = 5, hidden: int = 4, **facts: Any
) -> None:
    """A layer with three sequences; `parts`: letters of the optional inputs: b(ias), l(engths), h, c, p(eepholes)."""
    directions = 2 if facts.get("direction") == "bidirectional" else 1
    gates, batch, features = GATES[op] * hidden, 3, 6
    state = (batch, directions, hidden) if facts.get("layout") else (directions, batch, hidden)
    inputs: list[Any] = [
        made.floats(batch, steps, features) if facts.get("layout") else made.floats(steps, batch, features),
        made.floats(directions, gates, features),
        made.floats(directions, gates, hidden),
        made.floats(directions, 2 * gates) if "b" in parts else None,
        np.array([steps, 1, 3], np.int32) if "l" in parts else None,
        made.floats(*state) if "h" in parts else None,
    ]
    if op == "LSTM":
        inputs += [made.floats(*state) if "c" in parts else None]
        inputs += [made.floats(directions, 3 * hidden) if "p" in parts else None]
    while inputs[-1] is None:
        inputs.pop()
    if "activations" in facts:  # without bounds, states would grow from step to step
        inputs = [None if data is None else data * np.float32(0.3) for data in inputs]
    known = (1, 2, 3, 7) if constants else ()
    outputs = 3 if op == "LSTM" else 2
    made.add(op, inputs, {"hidden_size": hidden, **facts}, constants=known, outputs=outputs, opset=14)


@pytest.mark.parametrize("op", GATES)
def test_every_form(op: str) -> None:
    made = Layers()
    for direction in ("forward", "reverse", "bidirectional"):
        for parts in ("", "b", "blh", "blhcp"):
            add(made, op, parts, direction=direction)
        add(made, op, "blhcp", constants=False, direction=direction)
        add(made, op, "blhcp", direction=direction, layout=1)
    add(made, op, "bh", clip=0.3)
    add(made, op, "bhc", hidden=37, steps=2)
    if op == "GRU":
        for parts in ("", "b", "blh"):
            add(made, op, parts, linear_before_reset=1)
            add(made, op, parts, linear_before_reset=1, constants=False, direction="bidirectional")
    if op == "LSTM":
        add(made, op, "bhcp", input_forget=1)
    made.check()


@pytest.mark.parametrize("op", GATES)
def test_activations(op: str) -> None:
    made = Layers()
    count = {"RNN": 1, "GRU": 2, "LSTM": 3}[op]
    for name in ("Relu", "tanh", "SIGMOID", "Softsign", "Softplus", "HardSigmoid", "LeakyRelu", "Elu", "Affine"):
        add(made, op, "b", activations=(name,) * count)
    alpha, beta = (0.3,) * count, (0.6,) * count
    for name in ("HardSigmoid", "ScaledTanh", "Affine", "ThresholdedRelu"):
        add(made, op, "b", activations=(name,) * count, activation_alpha=alpha, activation_beta=beta)
    made.check()


def test_a_sequence_longer_than_the_input_is_an_error() -> None:
    made = Layers()
    add(made, "GRU", "l")
    region = load(made.graph)
    inputs = [np.array([6, 1, 1], np.int32) if array.dtype == np.int32 else array for array in made.inputs]
    with pytest.raises(RunError, match="outside of 0 to 5"):
        region.run(inputs)
