"""Who reads a value, also behind ops that only pass it on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from intarsia.ir.graph import Node, Value


def readers(value: Value, through: Callable[[Node], bool]) -> Iterator[tuple[Node, Value]]:
    """Nodes that read a value, each beside what it reads, and those that read what some of them make of it.

    through  whether readers of what such a node makes count too; asked after the node was given

    Each value is visited once, however many ways lead to it: in a row of Splits and Concats these are 2 to the power of
    its length.
    """
    waiting, seen = [value], {value}
    while waiting:
        read = waiting.pop()
        for user in read.users:
            yield user, read
            if through(user):
                made = [item for item in user.outputs if item is not None and item not in seen]
                seen.update(made)
                waiting += made
