"""One HTML page with nothing outside of it: the picture, whose boxes lead to a table of all ops with their reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from intarsia.partition.pictures.escape import xml
from intarsia.partition.pictures.scene import make_scene
from intarsia.partition.pictures.style import colours_of
from intarsia.partition.pictures.svg import draw

if TYPE_CHECKING:
    from intarsia.partition.explanation import Explanation, Row

_STYLE = """
body { font: 14px/1.45 ui-sans-serif, system-ui, "Segoe UI", Helvetica, Arial, sans-serif; margin: 24px }
.picture { overflow: auto; max-height: 85vh; border: 1px solid #e2e8f0; border-radius: 8px }
.picture svg { display: block; margin: 0 auto }
.picture a:hover rect { stroke-width: 3 }
table { border-collapse: collapse; margin: 24px 0; font-size: 13px }
th, td { padding: 4px 12px 4px 0; text-align: left; vertical-align: top; border-bottom: 1px solid #e2e8f0 }
th { position: sticky; top: 0; background: #ffffff }
td.figure, th.figure { text-align: right; font-variant-numeric: tabular-nums }
td.name { overflow-wrap: anywhere; max-width: 28em }
tr:target { background: #fef9c3 }
small { color: #64748b }
"""

_TITLES = ("op", "name", "place", "region", "makes", "macs", "cycles", "fallback ms", "reasons")
_FIGURES = ("macs", "cycles", "fallback ms")


def render(explanation: Explanation) -> str:
    """The whole page."""
    scene = make_scene(explanation)
    colours = colours_of(scene)
    heads = "".join(f"<th{_class(title)}>{title}</th>" for title in _TITLES)
    rows = [_row(index, row, colours[row.place].strong) for index, row in enumerate(explanation.rows)]
    notes = [f"<p>note: {xml(name)}: {xml(text)}</p>" for name, text in explanation.notes]
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            f'<head><meta charset="utf-8"><title>{xml(scene.head[0])}</title><style>{_STYLE}</style></head>',
            "<body>",
            f'<div class="picture">{draw(scene, links=True)}</div>',
            f"<table><thead><tr>{heads}</tr></thead>",
            "<tbody>",
            *rows,
            "</tbody></table>",
            *notes,
            "<p><small>Times off the accelerator are estimates for a board's CPU, not measured.</small></p>",
            "</body></html>",
            "",
        ]
    )


def _class(title: str) -> str:
    return ' class="figure"' if title in _FIGURES else ' class="name"' if title == "name" else ""


def _row(index: int, row: Row, colour: str) -> str:
    reasons = "<br>".join(xml(str(reason)) for reason in row.reasons)
    fallback = f"{row.fallback_seconds * 1e3:.3g}" if row.fallback_seconds else ""
    place = f'<span style="color: {colour}; font-weight: 600">{xml(row.place)}</span>'
    cells = [
        xml(row.op),
        xml(row.name),
        place,
        xml(row.region),
        xml(row.shape),
        f"{row.macs:,}" if row.macs else "",
        f"{row.cycles:,}" if row.cycles else "",
        fallback,
        reasons,
    ]
    shown = "".join(f"<td{_class(title)}>{cell}</td>" for title, cell in zip(_TITLES, cells))
    return f'<tr id="op-{index}">{shown}</tr>'
