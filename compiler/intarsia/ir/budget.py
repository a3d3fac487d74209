"""How much work evaluating may be: a file of a few bytes can ask for hours, and for any amount of memory.

While a budget is open, every node that is evaluated pays first for what it will take (`ir.work`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from intarsia.errors import RunError, either
from intarsia.ir.graph import Node

STEP = 1_500_000
"""Multiply-adds of a matrix product that take about as long as onnx.reference takes for one node of a loop's body."""

Price = Callable[[Node, Sequence[Any]], tuple[int, int]]
"""Multiply-adds, or what takes as long, and bytes that a node takes on its inputs: `ir.work.work_of`."""


def raising(limit: str, *, kept: bool = False) -> str:
    """How a user raises a limit, to stand behind "raise it:".

    kept  whether the text goes into an artifact, which says the same wherever it was made
    """
    option, argument = f"--limit {limit}=N", f"Limits({limit}=N)"
    return f"{option}, or {argument} in Python" if kept else either(option, f"limits={argument}")


class OverBudget(RunError):
    """What is to be evaluated would take more than the budget has; `limit` names the one."""

    limit = ""


@dataclass
class Budget:
    """What may still be spent.

    work   multiply-adds, or what takes as long
    bytes  that one node may hold for itself, its results included
    owner  how the names of its limits begin: "fold" for fold_work and fold_bytes
    price  what a node takes; handed in, since it asks the op table, some of whose rows pay
    """

    work: int
    bytes: int
    owner: str
    price: Price

    def check(self, where: str, work: int, size_bytes: int = 0) -> None:
        """Raise OverBudget where that is more than there is."""
        for limit, need, left, what in (
            (f"{self.owner}_bytes", size_bytes, self.bytes, "hold {} bytes, and {} are what {} allows"),
            (f"{self.owner}_work", work, self.work, "take {} multiply-adds or as much, and {} are left of {}"),
        ):
            if need > left:
                error = OverBudget(
                    where=where,
                    what=f"it would {what.format(need, left, limit)}",
                    help=f"if the model is meant to be so large, raise it: {raising(limit)}",
                )
                error.limit = limit
                raise error

    def spend(self, where: str, work: int, size_bytes: int = 0) -> None:
        """Take off what a node takes; raises OverBudget where there is not so much."""
        self.check(where, work, size_bytes)
        self.work -= work


_OPEN: ContextVar[Budget | None] = ContextVar("budget", default=None)


@contextmanager
def spending(budget: Budget | None) -> Iterator[None]:
    """While it is open, whatever is evaluated is paid from the budget; None for no limit."""
    token = _OPEN.set(budget)
    try:
        yield
    finally:
        _OPEN.reset(token)


def pay(node: Node, inputs: Sequence[Any]) -> None:
    """Spend what a node takes on these inputs, where a budget is open. Raises OverBudget."""
    budget = _OPEN.get()
    if budget is not None:
        budget.spend(node.where, *budget.price(node, inputs))


def pay_step(where: str, count: int = 1) -> None:
    """Spend what steps of a loop take, whatever is done in them. Raises OverBudget.

    Nodes outside of loops pay nothing beside what their sizes ask for: there are no more of them than the model brings.
    """
    budget = _OPEN.get()
    if budget is not None:
        budget.spend(where, count * STEP)


def pay_for(where: str, work: int, size_bytes: int) -> None:
    """Spend what something else than a node takes: tables that a pass makes. Raises OverBudget."""
    budget = _OPEN.get()
    if budget is not None:
        budget.spend(where, work, size_bytes)


def open_budget() -> Budget | None:
    """The budget that is open."""
    return _OPEN.get()
