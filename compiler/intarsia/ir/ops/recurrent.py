"""Recurrent layers: RNN, GRU and LSTM, step by step along time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from intarsia.dtypes import FLOATING, Array
from intarsia.ir.activations import ACTIVATIONS, ARGUMENTS, apply_activation
from intarsia.ir.graph import Node
from intarsia.ir.op import Known, Op, refuse
from intarsia.ir.ops.rules import (
    BAD_MODEL,
    Types,
    fitting,
    given,
    given_or_none,
    of_rank,
    optional,
    same_dtype,
    tensor,
    wide,
)
from intarsia.ir.types import Dimension, TensorType

Function = Callable[[Array], Array]

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
"""Rows of weights that each unit has, by op."""

_DEFAULTS = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
_ARGUMENTS: dict[str, tuple[float | None, float | None]] = {
    "Affine": (1.0, 0.0),
    "ScaledTanh": (1.0, 1.0),
    **{
        name: (ARGUMENTS[name]["alpha"], ARGUMENTS[name].get("beta"))
        for name in ("HardSigmoid", "LeakyRelu", "ThresholdedRelu", "Elu")
    },
}
"""Defaults of alpha and beta, for the activations that have them."""


def _directions(node: Node) -> int:
    direction = node.attributes.get("direction", "forward")
    if direction not in ("forward", "reverse", "bidirectional"):
        raise refuse(node, f"direction {direction!r} is none of forward, reverse, bidirectional", BAD_MODEL)
    return 2 if direction == "bidirectional" else 1


# ---- shapes


def _infer(node: Node, types: Types, known: Known) -> list[TensorType]:
    x, w, r = (tensor(node, types, index, FLOATING) for index in range(3))
    same_dtype(node, x, w, r)
    gates, directions, batch_first = GATES[node.op], _directions(node), bool(node.attributes.get("layout", 0))
    _functions(node)
    for type in (x, w, r):
        of_rank(node, type, 3, 3)
    hidden = _hidden(node, r)
    _check_weight(node, w, (directions, _times(gates, hidden), None if x.shape is None else x.shape[2]))
    _check_weight(node, r, (directions, _times(gates, hidden), hidden))
    bias = optional(types, 3)
    if bias is not None:
        _check_weight(node, bias, (directions, _times(2 * gates, hidden)))
    time, batch = (None, None) if x.shape is None else (x.shape[1], x.shape[0]) if batch_first else x.shape[:2]
    state: tuple[Dimension, ...] = (batch, directions, hidden) if batch_first else (directions, batch, hidden)
    for index in (5, 6):
        start = optional(types, index)
        if start is not None:
            _check_weight(node, start, state)
    sequence = (batch, time, directions, hidden) if batch_first else (time, directions, batch, hidden)
    outputs = [TensorType(x.dtype, sequence), *[TensorType(x.dtype, state)] * (2 if node.op == "LSTM" else 1)]
    return outputs[: max(len(node.outputs), 1)]


def _hidden(node: Node, r: TensorType) -> Dimension:
    """hidden_size, or the last size of the recurrent weights where the attribute is left out."""
    size = node.attributes.get("hidden_size")
    return int(size) if size is not None else None if r.shape is None else r.shape[2]


def _times(count: int, size: Dimension) -> Dimension:
    return None if size is None else count * size


def _check_weight(node: Node, type: TensorType, wanted: Sequence[Dimension]) -> None:
    if type.shape is None:
        return
    if len(type.shape) != len(wanted) or not all(map(fitting, type.shape, wanted)):
        spelled = TensorType(type.dtype, tuple(wanted))
        raise refuse(node, f"{type} stands where {spelled} should", "check hidden_size, direction and the weights")


# ---- activations


def _functions(node: Node) -> list[Function]:
    """The activations of each gate, direction after direction."""
    names = node.attributes.get("activations") or _DEFAULTS[node.op] * _directions(node)
    alphas, betas = (iter(node.attributes.get(f"activation_{name}") or ()) for name in ("alpha", "beta"))
    if len(names) != len(_DEFAULTS[node.op]) * _directions(node):
        raise refuse(node, f"{len(names)} activations for {_directions(node)} directions", BAD_MODEL)
    return [_function(node, str(name), alphas, betas) for name in names]


def _function(node: Node, name: str, alphas: Iterator[float], betas: Iterator[float]) -> Function:
    """One activation by its name in any case; alphas and betas go to those that take them, in order."""
    spelled = {known.lower(): known for known in (*ACTIVATIONS, *_ARGUMENTS)}.get(name.lower())
    if spelled is None:
        raise refuse(node, f"no activation is called {name!r}", BAD_MODEL)
    alpha, beta = _ARGUMENTS.get(spelled, (None, None))
    alpha = None if alpha is None else next(alphas, alpha)
    beta = None if beta is None else next(betas, beta)
    if spelled == "Affine":
        return lambda x: np.asarray(x * x.dtype.type(alpha) + x.dtype.type(beta))
    if spelled == "ScaledTanh":
        return lambda x: np.asarray(x.dtype.type(alpha) * np.tanh(x * x.dtype.type(beta)))
    arguments = [item for item in (alpha, beta) if item is not None]
    return lambda x: apply_activation(x, spelled, arguments)


# ---- steps


@dataclass(frozen=True)
class _Layer:
    """One direction: weights w [G*H,I], r [G*H,H], biases of both [G*H], peepholes [3,H]."""

    node: Node
    w: Array
    r: Array
    w_bias: Array
    r_bias: Array
    peepholes: Array
    functions: Sequence[Function]

    @property
    def hidden(self) -> int:
        return int(self.r.shape[1])

    def clipped(self, x: Array) -> Array:
        limit = self.node.attributes.get("clip")
        return x if not limit else np.clip(x, x.dtype.type(-limit), x.dtype.type(limit))

    def step(self, from_x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        """States after one step; from_x = x @ w.T + w_bias, [N,G*H]."""
        return {"RNN": self.rnn, "GRU": self.gru, "LSTM": self.lstm}[self.node.op](from_x, h, c)

    def rnn(self, from_x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        (f,) = self.functions
        return f(self.clipped(from_x + h @ self.r.T + self.r_bias)), c

    def gru(self, from_x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        f, g = self.functions
        size = 2 * self.hidden
        gates = f(self.clipped(from_x[:, :size] + h @ self.r[:size].T + self.r_bias[:size]))
        update, reset = gates[:, : self.hidden], gates[:, self.hidden :]
        if self.node.attributes.get("linear_before_reset", 0):
            recurrent = reset * (h @ self.r[size:].T + self.r_bias[size:])
        else:
            recurrent = (reset * h) @ self.r[size:].T + self.r_bias[size:]
        fresh = g(self.clipped(from_x[:, size:] + recurrent))
        return (1 - update) * fresh + update * h, c

    def lstm(self, from_x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        f, g, last = self.functions
        total = from_x + h @ self.r.T + self.r_bias
        i, o, forget, cell = (total[:, gate * self.hidden : (gate + 1) * self.hidden] for gate in range(4))
        peep_i, peep_o, peep_f = self.peepholes
        i = f(self.clipped(i + peep_i * c))
        forget = 1 - i if self.node.attributes.get("input_forget", 0) else f(self.clipped(forget + peep_f * c))
        c = forget * c + i * g(self.clipped(cell))
        o = f(self.clipped(o + peep_o * c))
        return o * last(c), c

    def run(self, x: Array, lengths: Array, h: Array, c: Array) -> tuple[Array, Array, Array]:
        """All steps over x [T,N,I]: outputs [T,N,H], zero beyond a sequence's length, and the last states [N,H]."""
        outputs = np.zeros((*x.shape[:2], self.hidden), x.dtype)
        from_x = x @ self.w.T + self.w_bias
        for time in range(x.shape[0]):
            new_h, new_c = self.step(from_x[time], h, c)
            runs = (time < lengths)[:, np.newaxis]
            h, c = np.where(runs, new_h, h), np.where(runs, new_c, c)
            outputs[time] = np.where(runs, h, 0)
        return outputs, h, c


def _reversed(x: Array, lengths: Array) -> Array:
    """Each sequence of [T,N,...] backwards within its own length."""
    time = np.arange(x.shape[0])[:, np.newaxis]
    index = np.where(time < lengths, lengths - 1 - time, time)
    return np.asarray(x[index, np.arange(x.shape[1])])


def _evaluate(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, w, r = wide(given(inputs, 0)), wide(given(inputs, 1)), wide(given(inputs, 2))
    batch_first, gates, directions = bool(node.attributes.get("layout", 0)), GATES[node.op], _directions(node)
    x = x.swapaxes(0, 1) if batch_first else x
    batch, hidden = x.shape[1], r.shape[2]
    given_lengths = given_or_none(inputs, 4)
    lengths = np.full(batch, x.shape[0]) if given_lengths is None else given_lengths.astype(np.int64)
    biases = _or_zeros(given_or_none(inputs, 3), (directions, 2 * gates * hidden), x)
    peepholes = _or_zeros(given_or_none(inputs, 7), (directions, 3 * hidden), x).reshape(directions, 3, hidden)
    starts = []
    for index in (5, 6):
        start = given_or_none(inputs, index)
        start = start.swapaxes(0, 1) if start is not None and batch_first else start
        starts.append(_or_zeros(start, (directions, batch, hidden), x))
    functions, count = _functions(node), len(_DEFAULTS[node.op])
    sequences, states_h, states_c = [], [], []
    for index in range(directions):
        backwards = index == 1 or node.attributes.get("direction") == "reverse"
        w_bias, r_bias = np.split(biases[index], 2)
        own = functions[index * count : (index + 1) * count]
        layer = _Layer(node, w[index], r[index], w_bias, r_bias, peepholes[index], own)
        source = _reversed(x, lengths) if backwards else x
        outputs, h, c = layer.run(source, lengths, starts[0][index], starts[1][index])
        sequences.append(_reversed(outputs, lengths) if backwards else outputs)
        states_h.append(h)
        states_c.append(c)
    sequence, state_h, state_c = np.stack(sequences, axis=1), np.stack(states_h), np.stack(states_c)
    if batch_first:
        sequence = sequence.transpose(2, 0, 1, 3)
        state_h, state_c = state_h.swapaxes(0, 1), state_c.swapaxes(0, 1)
    results = [sequence, state_h, state_c][: max(len(node.outputs), 1)]
    return [np.ascontiguousarray(result).astype(given(inputs, 0).dtype, copy=False) for result in results]


def _or_zeros(data: Array | None, shape: tuple[int, ...], like: Array) -> Array:
    return np.zeros(shape, like.dtype) if data is None else data.astype(like.dtype, copy=False)


OPS = tuple(Op(name, _infer, _evaluate, {"direction": "forward", "layout": 0}, optional_outputs=True) for name in GATES)
