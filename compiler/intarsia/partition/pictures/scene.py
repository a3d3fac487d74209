"""What a picture shows: boxes in lanes, and wires between them. Independent of where they stand and how they look.

A lane is a region, in the order of running. Where the model has many ops, a region of many is one box, so that the
picture still shows what it is looked at for: where the work leaves the accelerator, and why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import networkx

    from intarsia.partition.explanation import Explanation

MANY_OPS = 150
"""Above so many ops of the model, regions are boxes."""

MANY_IN_A_REGION = 12
"""And of those the regions with more ops than this."""

NAME_LETTERS = 30


@dataclass(frozen=True)
class Box:
    """One thing of the picture.

    kind     "op", "region" (all ops of one), "input", "output"
    title    what it is: the op, the region's name, the name of the input
    lines    further lines
    place    where it runs; "" for inputs and outputs
    moves    True for what computes nothing
    reasons  why it is not elsewhere, short: names of rules
    tooltip  everything that is known, in lines
    row      index of the explanation's row, for "op"
    """

    kind: str
    title: str
    lines: tuple[str, ...]
    place: str
    moves: bool
    reasons: tuple[str, ...]
    tooltip: str
    row: int | None = None


@dataclass(frozen=True)
class Wire:
    """A value, or several between the same two boxes when one is a region: indices of boxes.

    port   equal for wires that leave their source at one place, as those of one value do
    label  element type and shape
    """

    source: int
    target: int
    port: str
    label: str
    tooltip: str


@dataclass(frozen=True)
class Lane:
    """A region: its name, place, a line about it, and its boxes in order of running."""

    name: str
    place: str
    caption: str
    boxes: tuple[int, ...]


@dataclass(frozen=True)
class Scene:
    """A picture before it is laid out.

    head    the title and a line of sums
    places  with a line each, the wanted target first
    notes   what the reader has to know of the picture
    """

    head: tuple[str, str]
    places: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    boxes: tuple[Box, ...]
    wires: tuple[Wire, ...]
    lanes: tuple[Lane, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def make_scene(explanation: Explanation, *, every_op: bool = False) -> Scene:
    """What to draw of an explanation; `every_op`: however many there are."""
    graph = explanation.to_networkx()
    rows = {("op", row.name): index for index, row in enumerate(explanation.rows)}
    members_of: dict[str, list[Any]] = {str(region["name"]): [] for region in explanation.regions}
    for node, index in rows.items():
        members_of[explanation.rows[index].region].append(node)
    many = len(explanation.rows) > MANY_OPS and not every_op
    folded = {name for name, members in members_of.items() if many and len(members) > MANY_IN_A_REGION}

    boxes: list[Box] = []
    box_of: dict[Any, int] = {}
    lanes = []
    inputs = _add_ports(graph, "input", boxes, box_of)
    for region in explanation.regions:
        name, place = str(region["name"]), str(region["place"])
        members = members_of[name]
        first = len(boxes)
        if name in folded:
            boxes.append(_region_box(name, place, [graph.nodes[node] for node in members]))
            box_of.update((node, first) for node in members)
        else:
            for node in members:
                box_of[node] = len(boxes)
                boxes.append(_op_box(graph.nodes[node], rows[node]))
        lanes.append(Lane(name, place, _caption(place, members, graph), tuple(range(first, len(boxes)))))
    outputs = _add_ports(graph, "output", boxes, box_of)
    notes = ["Filled boxes only move data or change its format. Reasons are in the tooltips."]
    if explanation.assumed:
        notes.append("Ranges of activations were assumed, as no calibration data was given: places hold.")
    if folded:
        notes.append(f"{len(explanation.rows):,} ops: each region of more than {MANY_IN_A_REGION} is drawn as one box.")
    return Scene(
        head=(f"{explanation.model} for {explanation.target}, {explanation.precision}", _sums(explanation)),
        places=_places(explanation),
        notes=tuple(notes),
        boxes=tuple(boxes),
        wires=tuple(_wires(graph, boxes, box_of)),
        lanes=tuple(lanes),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
    )


def _add_ports(graph: networkx.MultiDiGraph, kind: str, boxes: list[Box], box_of: dict[Any, int]) -> list[int]:
    found = []
    for node, facts in graph.nodes(data=True):
        if facts["kind"] != kind:
            continue
        edges = graph.out_edges(node, data=True) if kind == "input" else graph.in_edges(node, data=True)
        type = next(iter(edges))[2]["type"]
        found.append(len(boxes))
        box_of[node] = len(boxes)
        name = facts["name"]
        boxes.append(Box(kind, shortened(name), (type,), "", True, (), f"{kind} '{name}'\n{type}"))
    return found


def _op_box(facts: dict[str, Any], row: int) -> Box:
    tooltip = [f"{facts['op']} '{facts['name']}'", f"place: {facts['place']}, region {facts['region']}"]
    tooltip.append(f"makes {facts['shape']}")
    if facts["macs"]:
        tooltip.append(f"{facts['macs']:,} multiply-accumulates")
    if facts["cycles"]:
        tooltip.append(f"about {facts['cycles']:,} cycles")
    if facts["fallback_seconds"]:
        tooltip.append(f"about {facts['fallback_seconds'] * 1e3:.3g} ms on a board's CPU, not measured")
    if facts["needs_onnx"]:
        tooltip.append("needs the package onnx at run time")
    tooltip += facts["reasons"].splitlines()
    rules = tuple(line.split("):")[0].replace(" refuses (", ": ") for line in facts["reasons"].splitlines())
    lines = (shortened(facts["name"]),)
    return Box("op", facts["op"], lines, facts["place"], not facts["compute"], rules, "\n".join(tooltip), row)


def _region_box(name: str, place: str, members: Sequence[dict[str, Any]]) -> Box:
    kinds = Counter(facts["op"] for facts in members)
    counted = [f"{count} x {op}" for op, count in sorted(kinds.items(), key=lambda item: (-item[1], item[0]))]
    lines = [", ".join(counted[start : start + 3]) for start in range(0, min(len(counted), 9), 3)]
    if len(counted) > 9:
        lines.append(f"and {len(counted) - 9} other kinds")
    rules: Counter[str] = Counter()
    for facts in members:
        rules.update(line.split("):")[0].replace(" refuses (", ": ") for line in facts["reasons"].splitlines())
    reasons = [f"{count} x {rule}" for rule, count in sorted(rules.items(), key=lambda item: (-item[1], item[0]))]
    tooltip = "\n".join([f"region {name}", *counted, *reasons])
    title = f"{len(members)} ops"
    return Box("region", title, tuple(lines), place, False, tuple(reasons[:3]), tooltip)


def _caption(place: str, members: Sequence[Any], graph: networkx.MultiDiGraph) -> str:
    macs = sum(graph.nodes[node]["macs"] for node in members)
    count = "1 op" if len(members) == 1 else f"{len(members)} ops"
    return f"{place}, {count}" + (f", {big(macs)} multiply-accumulates" if macs else "")


def _wires(graph: networkx.MultiDiGraph, boxes: Sequence[Box], box_of: dict[Any, int]) -> Iterable[Wire]:
    merged: dict[tuple[int, int, str], list[dict[str, Any]]] = {}
    for source, target, facts in graph.edges(data=True):
        start, end = box_of[source], box_of[target]
        if start == end:
            continue
        folded = "region" in (boxes[start].kind, boxes[end].kind)
        port = f"to {end}" if folded and boxes[start].kind == "region" else f"value {facts['value']}"
        merged.setdefault((start, end, port), []).append(facts)
    for (start, end, port), values in sorted(merged.items()):
        distinct = {facts["value"]: facts["type"] for facts in values}
        types = list(distinct.values())
        label = types[0] if len(distinct) == 1 else f"{len(distinct)} values"
        yield Wire(start, end, port, label, "\n".join(f"'{name}': {type}" for name, type in distinct.items()))


def _sums(explanation: Explanation) -> str:
    total = explanation.summary
    text = f"{total['compute_ops_on_target']} of {total['compute_ops']} computing ops on {explanation.target}"
    if total["macs"]:
        share = total["macs_on_target"] / total["macs"]
        text += f", {share:.1%} of {big(total['macs'])} multiply-accumulates"
    if total["cycles_estimated"]:
        text += f", about {total['cycles_estimated']:,} cycles"
    return text


def _places(explanation: Explanation) -> tuple[tuple[str, str], ...]:
    counts = Counter(row.place for row in explanation.rows)
    order = sorted(counts, key=lambda place: (place != explanation.target, place == "evaluator", place))
    return tuple((place, f"{counts[place]} op{'s' if counts[place] > 1 else ''}") for place in order)


def big(number: int) -> str:
    """A count for people: 1,234 or 12.3 M."""
    for limit, unit in ((10**9, "G"), (10**6, "M")):
        if number >= limit:
            return f"{number / limit:.3g} {unit}"
    return f"{number:,}"


def shortened(name: str) -> str:
    """A name with at most NAME_LETTERS letters; of longer ones the middle is left out."""
    keep = (NAME_LETTERS - 3) // 2
    return name if len(name) <= NAME_LETTERS else f"{name[:keep]}...{name[-keep:]}"
