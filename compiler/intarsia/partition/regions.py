"""Regions: as few as possible groups of nodes with one place each, such that no region waits for itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter

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
    members: list[list[Node]] = []
    place_of: list[str] = []
    waits: list[set[int]] = []  # for each group all groups that must run before it
    group_of: dict[Node, int] = {}

    for node in graph.nodes:
        needed = {group_of[value.producer] for value in node.inputs if value is not None and value.producer}
        before = needed.union(*(waits[index] for index in needed)) if needed else set()
        candidates = sorted(needed, reverse=True) + sorted(set(range(len(members))) - needed, reverse=True)
        for index in candidates:
            others = needed - {index}
            if place_of[index] == places[node] and not any(index in waits[other] for other in others):
                break
        else:
            index = len(members)
            members.append([])
            place_of.append(places[node])
            waits.append(set())
        members[index].append(node)
        group_of[node] = index
        gained = before - {index} - waits[index]
        if gained:
            waits[index] |= gained
            for later in waits:
                if index in later:
                    later |= gained
    # Not by networkx: importing it would take a fifth of the second that `explain` may take.
    order = TopologicalSorter(dict(enumerate(waits)))
    return [members[index] for index in order.static_order()]
