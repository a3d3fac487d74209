"""Partition: each node's place, regions of one place each, and the reasons told to the user."""

from __future__ import annotations

from dataclasses import dataclass, replace

from intarsia.artifact.parts import EVALUATOR
from intarsia.errors import CompileError, either
from intarsia.ir.graph import Graph, Node
from intarsia.partition.placement import Placement, place_nodes
from intarsia.partition.regions import Region, extract, group_nodes
from intarsia.targets import Target, find_target, no, settled

__all__ = ["Partition", "Placement", "Region", "partition", "targets_of"]


@dataclass(frozen=True)
class Partition:
    """A graph, its regions in an order in which they can run, and a placement for each of its nodes, in its order."""

    graph: Graph
    regions: tuple[Region, ...]
    placements: tuple[Placement, ...]


def targets_of(target: Target, *, host_only: bool = False) -> tuple[Target, ...]:
    """A target and the hosts beside it, in the order in which they are asked.

    host_only  of a board, leave out the code for its own processor, and make that for the building machine alone

    CompileError where that is asked of a target which makes no code for two machines.
    """
    found = [target]
    while found[-1].host is not None:
        found.append(find_target(found[-1].host))
    host, own = found[-1], target.processor
    if host_only and (own is None or host.foreign):
        raise CompileError(
            where=either("--host-only", "host_only"),
            what=f"'{target.name}' has no processor of its own that code would be left out for"
            if own is None
            else f"'{host.name}' is named, which makes code for the board alone",
            help="leave it out" if own is None else f"leave one of the two out: '{target.name}' alone has both codes",
        )
    if own is not None and not host.foreign and not host_only:
        found[-1] = host.together(find_target(own)) or host
    return tuple(found)


def partition(graph: Graph, targets: tuple[Target, ...]) -> Partition:
    """Place every node of a graph and cut it into regions. The graph is left as it is."""
    with settled(targets):
        placements = {placement.node: placement for placement in place_nodes(graph, targets)}
    groups = group_nodes(graph, {node: placement.place for node, placement in placements.items()})
    idle = [node for group in groups if _is_idle(group, placements, targets) for node in group]
    if idle:
        for node in idle:
            placements[node] = _demoted(placements[node], targets)
        groups = group_nodes(graph, {node: placement.place for node, placement in placements.items()})
    regions = []
    for index, group in enumerate(groups):
        place = placements[group[0]].place
        name = f"{index}_{place}"
        regions.append(Region(name, place, extract(graph, group, name)))
    return Partition(graph, tuple(regions), tuple(placements[node] for node in graph.nodes))


def _is_idle(group: list[Node], placements: dict[Node, Placement], targets: tuple[Target, ...]) -> bool:
    """An accelerator region that would only move data."""
    on_accelerator = len(targets) > 1 and placements[group[0]].place == targets[0].name
    return on_accelerator and not any(placements[node].compute for node in group)


def _demoted(placement: Placement, targets: tuple[Target, ...]) -> Placement:
    answer = no(
        "nothing-to-compute", "it only moves data, between ops that run elsewhere", "nothing: moving it gains time"
    )
    for target in targets[1:]:
        if target.supports(placement.node).ok:
            return replace(placement, place=target.name, refused=((targets[0].name, answer),))
    return replace(placement, place=EVALUATOR, refused=((targets[0].name, answer),))
