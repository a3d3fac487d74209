"""Regions: as few as possible groups of nodes with one place each, such that no region waits for itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from intarsia.ir.extract import extract
from intarsia.ir.graph import Graph, Node

__all__ = ["Region", "extract", "group_nodes"]


@dataclass(frozen=True)
class Region:
    """Nodes that one target compiles together.

    name   unique; says the order of running and the place: "0_cpu"
    place  see Placement.place
    graph  the nodes alone; its inputs and outputs have the names of the values that cross the border
    """

    name: str
    place: str
    graph: Graph


def group_nodes(graph: Graph, places: Mapping[Node, str]) -> list[list[Node]]:
    """Groups of equal place, in an order in which they can run.

    A node joins a group of its place unless some other group that it waits for waits for that group in turn: then the
    group would have to run both before and after it. Groups that make its inputs come first, then the latest one.
    """
    groups = _Groups()
    group_of: dict[Node, int] = {}
    for node in graph.nodes:
        needed = {group_of[value.producer] for value in node.inputs if value is not None and value.producer}
        index = groups.choose(places[node], needed)
        groups.join(index, node, places[node], needed)
        group_of[node] = index
    return [groups.members[index] for index in groups.order()]


class _Groups:
    """Groups under way, by number. Sets of groups are integers with a bit for each, since there may be thousands.

    waits   for each group all groups that must run before it, also those that others before it wait for
    behind  for each group those that wait for it at once
    """

    def __init__(self) -> None:
        self.members: list[list[Node]] = []
        self.waits: list[int] = []
        self.behind: list[set[int]] = []
        self.at: dict[str, int] = {}
        """By place the groups there."""

    def choose(self, place: str, needed: set[int]) -> int:
        """The group that a node of a place joins which waits for those; a number that no group has for a new one."""
        mine = self.at.get(place, 0)
        for index in sorted(needed, reverse=True):
            if mine >> index & 1 and not any(self.waits[other] >> index & 1 for other in needed if other != index):
                return index
        free = mine & ~self._before(needed)
        return free.bit_length() - 1 if free else len(self.members)

    def _before(self, needed: set[int]) -> int:
        before = 0
        for index in needed:
            before |= self.waits[index] | 1 << index
        return before

    def join(self, index: int, node: Node, place: str, needed: set[int]) -> None:
        """Put a node that waits for the needed groups into a group, which may be new."""
        if index == len(self.members):
            self.members.append([])
            self.waits.append(0)
            self.behind.append(set())
            self.at[place] = self.at.get(place, 0) | 1 << index
        self.members[index].append(node)
        for other in needed - {index}:
            self.behind[other].add(index)
        gained = self._before(needed) & ~(1 << index)
        stack = [index] if gained & ~self.waits[index] else []
        while stack:
            later = stack.pop()
            self.waits[later] |= gained
            stack += [after for after in self.behind[later] if gained & ~self.waits[after]]

    def order(self) -> Iterator[int]:
        """Every group after all those that it waits for, level by level."""
        waiting = [0] * len(self.members)
        for behind in self.behind:
            for after in behind:
                waiting[after] += 1
        level = list(self._first())
        while level:
            yield from level
            following = []
            for index in level:
                for after in sorted(self.behind[index]):
                    waiting[after] -= 1
                    if not waiting[after]:
                        following.append(after)
            level = following

    def _first(self) -> Iterator[int]:
        """Groups that wait for none, in the order in which groups speak of themselves and of those before them."""
        free = 0
        for index, waits in enumerate(self.waits):
            free |= 0 if waits else 1 << index
        for index, waits in enumerate(self.waits):
            told = free & (waits | 1 << index)
            free &= ~told
            while told:
                lowest = told & -told
                yield lowest.bit_length() - 1
                told ^= lowest
