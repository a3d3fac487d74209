"""TIR for recurrent layers: the steps along time of one direction.

A step first adds up what the recurrent weights give for all gates, unit after unit of the old state, with the gates'
units in vectors; then the gates go through their functions, unit by unit.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from intarsia_backends.lowering.kernels import Recurrent
from intarsia_backends.tir.expressions import Term, constant, shared, term
from intarsia_backends.tir.functions import function, parameter
from intarsia_backends.tir.schedule import Schedule, ordered_loops
from intarsia_backends.tir.vectors import add_products


def emit_recurrent(kernel: Recurrent, schedule: Schedule) -> Any:
    """The PrimFunc of a direction."""

    def body() -> None:
        buffers = recurrent_parameters(kernel)
        with ExitStack() as stack:
            time, batch = ordered_loops(stack, (kernel.steps, kernel.batch))
            Step(kernel, buffers, time, batch, schedule.lanes).emit()

    return function(body)


def recurrent_parameters(kernel: Recurrent) -> dict[str, Any]:
    """What a direction is called with, by name."""
    hidden, wide = kernel.hidden, kernel.gates * kernel.hidden
    return {
        "x": parameter("x", kernel.steps * kernel.batch * wide, "float32"),
        "r": parameter("r", hidden * wide, "float32"),
        "bias": parameter("bias", hidden, "float32"),
        "peepholes": parameter("peepholes", 3 * hidden, "float32"),
        "lengths": parameter("lengths", kernel.batch, "int32"),
        "total": parameter("total", wide + hidden, "float32"),
        "h": parameter("h", kernel.batch * hidden, "float32"),
        "c": parameter("c", kernel.batch * hidden, "float32"),
        "y": parameter("y", kernel.elements, "float32"),
    }


class Step:
    """One step of one sequence, by one thread. Who shares it between threads says otherwise how loops over units are
    opened and where threads wait for each other."""

    def __init__(self, kernel: Recurrent, buffers: dict[str, Any], time: Term, batch: Term, lanes: int) -> None:
        self.kernel, self.time, self.batch, self.lanes = kernel, time, batch, lanes
        self.x, self.r, self.bias = buffers["x"], buffers["r"], buffers["bias"]
        self.peepholes, self.lengths = buffers["peepholes"], buffers["lengths"]
        self.total, self.h, self.c, self.y = buffers["total"], buffers["h"], buffers["c"], buffers["y"]
        self.wide = kernel.gates * kernel.hidden
        self.place = self.source()

    # ---- what threads share

    def each(self, count: int) -> AbstractContextManager[Term]:
        """A loop whose steps look at nothing that others of them write."""
        opened: AbstractContextManager[Term] = T.serial(0, count)
        return opened

    def meet(self) -> None:
        """What was written before is read after by another step of a loop."""

    def old(self, unit: Term) -> Term:
        """The state of any unit before this step."""
        return self.h[self.batch * self.kernel.hidden + unit]

    def show(self, unit: Term, state: Term) -> None:
        """The new state of a unit, for the next step."""

    # ---- the step

    def source(self) -> Term:
        """The step of the sequence that is looked at: backwards within its own length."""
        if not self.kernel.backwards:
            return self.time
        if not self.kernel.lengths:
            return self.kernel.steps - 1 - self.time
        length = self.lengths[self.batch]
        return tirx.Select(self.time < length, length - 1 - self.time, self.time)

    def emit(self) -> None:
        kernel, hidden = self.kernel, self.kernel.hidden
        start = (self.place * kernel.batch + self.batch) * self.wide
        with self.each(self.wide) as gate:
            T.buffer_store(self.total, self.x[start + gate], [gate])
        late = kernel.op == "GRU"  # its last gate sees the state after the reset gate
        first = 2 * hidden if late else self.wide
        self.add_recurrent(0, first, 0, self.old)
        self.meet()
        if late:
            self.reset()
        with self.each(hidden) as unit:
            self.update(unit)
        self.meet()

    def add_recurrent(self, place: int, count: int, gate: int, number: Callable[[Term], Term]) -> None:
        """Add what the recurrent weights of `count` gates give for a row of numbers, one of each unit."""
        hidden, wide = self.kernel.hidden, self.wide
        add_products(self.total, place, count, hidden, number, self.r, lambda unit: unit * wide + gate, self.lanes)

    def add(self, place: Term, amount: Term) -> None:
        T.buffer_store(self.total, self.total[place] + amount, [place])

    def gate(self, index: int, function: int, unit: Term, extra: Term | None = None) -> Term:
        """A gate of one unit, through its function."""
        total = self.total[index * self.kernel.hidden + unit]
        return self.activated(function, total if extra is None else total + extra)

    def activated(self, function: int, x: Term, clips: bool = True) -> Term:
        """A function of `kernel.functions`; the cell alone goes to it as it is, whatever the clip."""
        if self.kernel.clip and clips:
            limit = constant("float32", self.kernel.clip)
            x = shared(x, lambda v: tirx.Select(v > limit, limit, tirx.Select(v < -limit, -limit, v)))
        return shared(x, lambda v: term(self.kernel.functions[function], lambda index, further: v, v))

    def reset(self) -> None:
        """GRU: what the last gate gets from the state, in the scratch behind the gates."""
        kernel, hidden, last = self.kernel, self.kernel.hidden, 2 * self.kernel.hidden
        state, aside = self.batch * hidden, self.wide
        with self.each(last) as gate:
            T.buffer_store(self.total, self.activated(0, self.total[gate]), [gate])
        self.meet()
        with self.each(hidden) as unit:
            begin = self.bias[unit] if kernel.linear else self.total[hidden + unit] * self.h[state + unit]
            T.buffer_store(self.total, begin, [aside + unit])
        self.meet()
        if kernel.linear:
            self.add_recurrent(aside, hidden, last, self.old)
        else:
            self.add_recurrent(last, hidden, last, lambda unit: self.total[aside + unit])
        self.meet()
        if kernel.linear:
            with self.each(hidden) as unit:
                self.add(last + unit, self.total[hidden + unit] * self.total[aside + unit])
            self.meet()

    def update(self, unit: Term) -> None:
        kernel, hidden = self.kernel, self.kernel.hidden
        state = self.batch * hidden + unit
        if kernel.op == "RNN":
            self.keep(unit, self.gate(0, 0, unit))
        elif kernel.op == "GRU":
            fresh = self.gate(2, 1, unit)
            update = self.total[unit]
            self.keep(unit, (constant("float32", 1) - update) * fresh + update * self.h[state])
        else:
            self.update_lstm(unit, state)

    def update_lstm(self, unit: Term, state: Term) -> None:
        kernel, hidden = self.kernel, self.kernel.hidden
        one = constant("float32", 1)

        def peep(which: int) -> Term | None:
            return self.peepholes[which * hidden + unit] * self.c[state] if kernel.peepholes else None

        # Gates are stored before the cell changes; the order in ONNX is input, output, forget, cell.
        enter = self.gate(0, 0, unit, peep(0))
        T.buffer_store(self.total, enter, [unit])
        entered = self.total[unit]
        keep = one - entered if kernel.coupled else self.gate(2, 0, unit, peep(2))
        fresh = keep * self.c[state] + entered * self.gate(3, 1, unit)
        T.buffer_store(self.total, fresh, [self.wide + unit])
        cell = self.total[self.wide + unit]
        leave = self.gate(1, 0, unit, self.peepholes[hidden + unit] * cell if kernel.peepholes else None)
        self.keep(unit, leave * self.activated(2, cell, clips=False), cell)

    def keep(self, unit: Term, fresh: Term, cell: Term | None = None) -> None:
        """Write the new state and the output; a sequence that has ended keeps its state and gives zeros."""
        kernel, state = self.kernel, self.batch * self.kernel.hidden + unit
        runs = self.time < self.lengths[self.batch] if kernel.lengths else None
        if cell is not None:
            T.buffer_store(self.c, cell if runs is None else tirx.Select(runs, cell, self.c[state]), [state])
        T.buffer_store(self.h, fresh if runs is None else tirx.Select(runs, fresh, self.h[state]), [state])
        step, image = kernel.y.strides
        target = self.place * step + self.batch * image + unit + kernel.y.offset
        shown = self.h[state] if runs is None else tirx.Select(runs, self.h[state], constant("float32", 0))
        T.buffer_store(self.y, shown, [target])
        self.show(unit, self.h[state])
