"""RNN, GRU and LSTM: one product for the inputs of all steps, then the steps, direction after direction."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Node, Value
from intarsia.ir.ops.recurrent import GATES
from intarsia.targets import YES, Support
from intarsia_backends.lowering.access import Access, row_major
from intarsia_backends.lowering.builder import Builder
from intarsia_backends.lowering.expressions import Accumulator, Cast, Constant, Expression, Input, apply
from intarsia_backends.lowering.kernels import Recurrent, nest
from intarsia_backends.lowering.multiplication import Multiplication
from intarsia_backends.lowering.ops.activations import unary
from intarsia_backends.lowering.ops.movement import copy
from intarsia_backends.lowering.ops.table import PLACES, Lowering, attribute, refused
from intarsia_backends.lowering.program import Buffer
from intarsia_backends.lowering.views import View

_DEFAULTS = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
_ARGUMENTS: dict[str, tuple[float, ...]] = {
    "affine": (1.0, 0.0),
    "scaledtanh": (1.0, 1.0),
    "hardsigmoid": (0.2, 0.5),
    "leakyrelu": (0.01,),
    "thresholdedrelu": (1.0,),
    "elu": (1.0,),
}
"""Defaults of alpha and beta, for the activations that have them."""

_PLAIN = ("Tanh", "Sigmoid", "Relu", "Softsign", "Softplus")
_SPELLINGS = {name.lower(): name for name in (*_PLAIN, "HardSigmoid", "LeakyRelu", "ThresholdedRelu", "Elu")}
_ACC = Accumulator()


def _functions(node: Node) -> list[Expression | None]:
    """The functions of all directions; None for one that is not known here."""
    directions = 2 if attribute(node, "direction", "forward") == "bidirectional" else 1
    names = attribute(node, "activations", ()) or _DEFAULTS[node.op] * directions
    alphas, betas = (iter(attribute(node, f"activation_{kind}", ()) or ()) for kind in ("alpha", "beta"))
    return [_function(str(name).lower(), alphas, betas) for name in names]


def _function(name: str, alphas: Iterator[float], betas: Iterator[float]) -> Expression | None:
    defaults = _ARGUMENTS.get(name, ())
    arguments = [float(next(given, default)) for given, default in zip((alphas, betas), defaults)]
    constants: list[Expression] = [Constant("float32", argument) for argument in arguments]
    if name == "affine":
        return _ACC * constants[0] + constants[1]
    if name == "scaledtanh":
        return constants[0] * apply("tanh", _ACC * constants[1])
    spelled = _SPELLINGS.get(name)
    return None if spelled is None else unary(spelled, arguments, _ACC, "float32")


def _check(node: Node) -> Support:
    if None in _functions(node):
        return refused("activation", f"one of the activations {list(attribute(node, 'activations', ()))}")
    lengths = node.optional_input(4)
    if lengths is not None and lengths.dtype not in PLACES:
        return refused("element-type", f"lengths are {lengths.dtype}")
    return YES


class _Layer:
    """What all directions share: sizes, and where inputs and outputs lie."""

    def __init__(self, builder: Builder, node: Node) -> None:
        self.builder, self.node = builder, node
        self.batch_first = bool(attribute(node, "layout", 0))
        x = node.input(0)
        self.steps, self.batch = (x.shape[1], x.shape[0]) if self.batch_first else x.shape[:2]
        self.features, self.hidden = x.shape[2], node.input(2).shape[2]
        self.gates = GATES[node.op]
        self.wide = self.gates * self.hidden
        kind = attribute(node, "direction", "forward")
        self.directions = 2 if kind == "bidirectional" else 1
        self.reverse = kind == "reverse"

    def lower(self) -> None:
        builder, node = self.builder, self.node
        sequence, elements = self.sequence()
        count = len(_DEFAULTS[node.op])
        functions = [function for function in _functions(node) if function is not None]
        for direction in range(self.directions):
            h, c = self.state(5, direction), self.state(6, direction)
            lengths = node.optional_input(4)
            kernel = Recurrent(
                op=node.op,
                steps=self.steps,
                batch=self.batch,
                hidden=self.hidden,
                functions=tuple(functions[direction * count : (direction + 1) * count]),
                clip=float(attribute(node, "clip", 0.0) or 0.0),
                linear=bool(attribute(node, "linear_before_reset", 0)),
                coupled=bool(attribute(node, "input_forget", 0)),
                peepholes=node.optional_input(7) is not None,
                backwards=self.reverse or direction == 1,
                lengths=lengths is not None,
                y=self.walk(direction),
                elements=elements,
            )
            operands = [self.inputs(direction), self.recurrent(direction), self.last_bias(direction)]
            operands += [self.peepholes(direction), self.lengths()]
            scratch = builder.scratch((self.gates + 1) * self.hidden, "float32")
            builder.call(kernel, operands, scratch, h, c, sequence)
            for index, state in ((1, h), (2, c)):
                if index < len(node.outputs) and node.outputs[index] is not None:
                    self.keep_state(index, direction, state)

    # ---- outputs

    def sequence(self) -> tuple[Buffer, int]:
        """Where the outputs of all steps go, and how many there are."""
        value, elements = self.node.outputs[0], self.steps * self.batch * self.directions * self.hidden
        if value is not None:
            return self.builder.result(value), elements
        return self.builder.scratch(elements, "float32"), elements

    def walk(self, direction: int) -> Access:
        """Steps and sequences of the outputs [T,D,N,H], or [N,T,D,H] where the batch stands first."""
        row = self.hidden
        if self.batch_first:
            strides = (self.directions * row, self.steps * self.directions * row)
            return Access("float32", strides, direction * row)
        return Access("float32", (self.directions * self.batch * row, row), direction * self.batch * row)

    def keep_state(self, index: int, direction: int, state: Buffer) -> None:
        value = self.node.outputs[index]
        assert value is not None
        target = self.builder.result(value) if direction == 0 else self.builder.read(value)
        strides, offset = self.state_walk(direction)
        extents = (self.batch, self.hidden)
        copy(self.builder, state, target, "float32", extents, row_major(extents), strides, 0, offset)

    def state_walk(self, direction: int) -> tuple[tuple[int, int], int]:
        """Strides and start in [D,N,H], or [N,D,H] where the batch stands first."""
        if self.batch_first:
            return (self.directions * self.hidden, 1), direction * self.hidden
        return (self.hidden, 1), direction * self.batch * self.hidden

    # ---- inputs

    def state(self, index: int, direction: int) -> Buffer:
        """A fresh state, holding the initial one."""
        value, extents = self.node.optional_input(index), (self.batch, self.hidden)
        state = self.builder.scratch(self.batch * self.hidden, "float32")
        if value is None:
            kernel = nest(extents, [], Access("float32", row_major(extents)), Constant("float32", 0.0))
            self.builder.call(kernel, [], state)
        else:
            strides, offset = self.state_walk(direction)
            source = self.builder.read(value)
            copy(self.builder, source, state, "float32", extents, strides, row_major(extents), offset)
        return state

    def turned(self, value: Value, direction: int, rows: int, columns: int) -> Buffer:
        """Weights [directions, rows, columns] of one direction as [columns, rows]."""
        if value.data is not None:
            return self.builder.weight(np.ascontiguousarray(value.data[direction].T))
        target, extents = self.builder.scratch(rows * columns, "float32"), (columns, rows)
        reads, offset = (1, columns), direction * rows * columns
        copy(self.builder, self.builder.read(value), target, "float32", extents, reads, row_major(extents), offset)
        return target

    def recurrent(self, direction: int) -> Buffer:
        return self.turned(self.node.input(2), direction, self.wide, self.hidden)

    def part(self, index: int, direction: int, start: int, count: int) -> Buffer:
        """Part of a parameter [directions, n] in memory of its own; zeros where it is left out."""
        value = self.node.optional_input(index)
        if value is None:
            return self.builder.weight(np.zeros(count, np.float32))
        if value.data is not None:
            return self.builder.weight(np.asarray(value.data)[direction, start : start + count])
        target = self.builder.scratch(count, "float32")
        offset = direction * value.shape[1] + start
        copy(self.builder, self.builder.read(value), target, "float32", (count,), (1,), (1,), offset)
        return target

    def last_bias(self, direction: int) -> Buffer:
        return self.part(3, direction, 2 * self.wide - self.hidden, self.hidden)

    def peepholes(self, direction: int) -> Buffer:
        return self.part(7, direction, 0, 3 * self.hidden)

    def lengths(self) -> Buffer:
        value = self.node.optional_input(4)
        if value is None:
            return self.builder.weight(np.full(self.batch, self.steps, np.int32))
        if value.data is not None:
            return self.builder.weight(np.asarray(value.data, np.int32))
        self.builder.guard(value, 0, self.steps, self.node.where)
        target = self.builder.scratch(self.batch, "int32")
        body = Cast("int32", Input(0))
        kernel = nest((self.batch,), [Access(value.dtype, (1,))], Access("int32", (1,)), body)
        self.builder.call(kernel, [self.builder.read(value)], target)
        return target

    def inputs(self, direction: int) -> Buffer:
        """x times the weights, plus the biases that go there: [steps, batch, gates * hidden]."""
        builder, node = self.builder, self.node
        value, row = node.input(1), self.features
        weights: View | Array
        if value.data is not None:
            weights = np.ascontiguousarray(np.asarray(value.data)[direction].T)
        else:
            weights = View(self.turned(value, direction, self.wide, row), "float32", (0, self.wide, 1))
        walk = (row, self.steps * row) if self.batch_first else (self.batch * row, row)
        x = View(builder.read(node.input(0)), "float32", (*walk, 1))
        extents = (self.steps, self.batch, self.wide)
        epilogue: Expression = _ACC
        biases: list[Buffer] = []
        for start in () if node.optional_input(3) is None else (0, self.wide):
            epilogue = epilogue + (Input(len(biases)))
            biases.append(self.input_bias(direction, start))
        result = builder.scratch(self.steps * self.batch * self.wide, "float32")
        product = Multiplication(
            extents=extents,
            depth=row,
            products="float32",
            x=x,
            w=weights,
            bias=None,
            further=tuple(View(bias, "float32", (0, 0, 1)) for bias in biases),
            y=View(result, "float32", row_major(extents)),
            epilogue=epilogue,
        )
        builder.multiply(product)
        return result

    def input_bias(self, direction: int, start: int) -> Buffer:
        """One of the two biases; without the part that the GRU adds before its reset gate."""
        whole = self.part(3, direction, start, self.wide)
        if start == 0 or not (self.node.op == "GRU" and attribute(self.node, "linear_before_reset", 0)):
            return whole
        value = self.node.input(3)
        if value.data is not None:
            data: Array = np.array(value.data[direction, start : start + self.wide])
            data[2 * self.hidden :] = 0
            return self.builder.weight(data)
        kernel = nest((self.hidden,), [], Access("float32", (1,), 2 * self.hidden), Constant("float32", 0.0))
        self.builder.call(kernel, [], whole)
        return whole


def _lower(builder: Builder, node: Node) -> None:
    _Layer(builder, node).lower()


LOWERINGS = {name: Lowering(_lower, constants=(), places=(4,), outputs=3, check=_check) for name in GATES}
