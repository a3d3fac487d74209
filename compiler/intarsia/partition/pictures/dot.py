"""DOT, the language of Graphviz: every op, a cluster a region."""

from __future__ import annotations

from typing import TYPE_CHECKING

from intarsia.partition.pictures.escape import dot
from intarsia.partition.pictures.scene import Box, make_scene
from intarsia.partition.pictures.style import Colours, colours_of

if TYPE_CHECKING:
    from intarsia.partition.explanation import Explanation


def render(explanation: Explanation) -> str:
    """The whole file."""
    scene = make_scene(explanation, every_op=True)
    colours = colours_of(scene)
    lines = [
        f"digraph {dot(explanation.model)} {{",
        f"  graph [label={dot(chr(10).join(scene.head))}, labelloc=t, fontname=Helvetica, rankdir=TB];",
        '  node [shape=box, style="rounded,filled", fontname=Helvetica, fontsize=11];',
        '  edge [fontname=Helvetica, fontsize=9, color="#64748b"];',
    ]
    for box in scene.inputs:
        lines.append(f"  {_node(box, scene.boxes[box], colours[''])}")
    for number, lane in enumerate(scene.lanes):
        tints = colours[lane.place]
        lines.append(f"  subgraph cluster_{number} {{")
        lines.append(f"    label={dot(f'{lane.name}: {lane.caption}')};")
        lines.append(f'    style="rounded,filled"; color="{tints.strong}"; fillcolor="{tints.pale}";')
        lines += [f"    {_node(box, scene.boxes[box], tints)}" for box in lane.boxes]
        lines.append("  }")
    for box in scene.outputs:
        lines.append(f"  {_node(box, scene.boxes[box], colours[''])}")
    for wire in scene.wires:
        facts = f"label={dot(wire.label)}, tooltip={dot(wire.tooltip)}"
        lines.append(f"  n{wire.source} -> n{wire.target} [{facts}];")
    return "\n".join([*lines, "}", ""])


def _node(index: int, box: Box, tints: Colours) -> str:
    label = "\n".join([box.title, *box.lines, *box.reasons])
    fill = tints.soft if box.moves else "#ffffff"
    shape = ", shape=ellipse" if box.kind in ("input", "output") else ""
    facts = f'label={dot(label)}, tooltip={dot(box.tooltip)}, color="{tints.strong}", fillcolor="{fill}"{shape}'
    return f"n{index} [{facts}];"
