"""SVG, with nothing outside of the file: a lane a region, boxes with tooltips, wires with element type and shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from intarsia.partition.pictures.escape import xml
from intarsia.partition.pictures.layout import MARGIN, Layout, Path, Place, lay_out
from intarsia.partition.pictures.scene import Box, Scene, make_scene
from intarsia.partition.pictures.style import Colours, colours_of

if TYPE_CHECKING:
    from intarsia.partition.explanation import Explanation

_FONT = "ui-sans-serif, system-ui, 'Segoe UI', Helvetica, Arial, sans-serif"
_TITLE_LETTER, _LINE_LETTER, _LABEL_LETTER = 8.0, 6.4, 5.9
"""Widths of a letter in pixels, on the wide side: an SVG cannot ask how wide its text is."""
_LABEL_ROOM = 110.0
_LEAST_WIDTH, _LEGEND_HEIGHT = 560.0, 62.0


def render(explanation: Explanation) -> str:
    """The whole file."""
    return draw(make_scene(explanation), links=False)


def draw(scene: Scene, *, links: bool) -> str:
    """A scene as one <svg> element. links: whether boxes lead to "#op-ROW", for a page that has such rows."""
    colours = colours_of(scene)
    head = _LEGEND_HEIGHT + 18.0 * len(scene.notes) + MARGIN
    longest = max(map(len, scene.head)) * 7.2
    legend = sum(len(place) + len(count) + 6 for place, count in scene.places) * 7.0
    captions = max((len(lane.name) + len(lane.caption) + 4 for lane in scene.lanes), default=0) * 7.0
    widest = max(longest, legend, captions, *(len(note) * 6.6 for note in scene.notes), 0.0)
    ports: dict[int, dict[str, None]] = {}
    for wire in scene.wires:
        ports.setdefault(wire.source, {})[wire.port] = None
    sizes = [_size(box, len(ports.get(index, ()))) for index, box in enumerate(scene.boxes)]
    layout = lay_out(scene, sizes, head, max(_LEAST_WIDTH, widest + 2 * MARGIN))
    width, height = _number(layout.width), _number(layout.height)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="{_FONT}" role="img">',
        f"<title>{xml(scene.head[0])}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        *_legend(scene, colours),
    ]
    for lane, (top, tall) in zip(scene.lanes, layout.lanes):
        tints = colours[lane.place]
        parts.append(
            f'<rect x="{_number(MARGIN / 2)}" y="{_number(top)}" width="{_number(layout.width - MARGIN)}" '
            f'height="{_number(tall)}" rx="10" fill="{tints.pale}" stroke="{tints.strong}" stroke-opacity="0.35"/>'
        )
    parts.append(
        '<marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
        '<path d="M0 0.8 8 4 0 7.2z" fill="#64748b"/></marker>'
    )
    parts.append('<g fill="none" stroke="#64748b" stroke-width="1.4">')
    for wire, path in zip(scene.wires, layout.wires):
        parts.append(f'<path d="{_path(path)}" marker-end="url(#arrow)"><title>{xml(wire.tooltip)}</title></path>')
    parts.append("</g>")
    for lane, (top, _) in zip(scene.lanes, layout.lanes):
        tints = colours[lane.place]
        parts.append(
            f'<text x="{_number(MARGIN)}" y="{_number(top + 19)}" font-size="12" fill="{tints.strong}" '
            f'stroke="{tints.pale}" stroke-width="4" paint-order="stroke">'
            f'<tspan font-weight="700">{xml(lane.name)}</tspan> <tspan dx="6">{xml(lane.caption)}</tspan></text>'
        )
    for box, place in zip(scene.boxes, layout.boxes):
        drawn = _box(box, place, colours[box.place])
        parts.append(f'<a href="#op-{box.row}">{drawn}</a>' if links and box.row is not None else drawn)
    parts += _labels(scene, layout, ports)
    parts.append("</svg>\n")
    return "\n".join(parts)


def _size(box: Box, ports: int) -> tuple[float, float]:
    """Width and height of a box, so that its text and the labels of what leaves it have room."""
    texts = [len(box.title) * _TITLE_LETTER, *(len(line) * _LINE_LETTER for line in (*box.lines, *box.reasons))]
    width = max(120.0, max(texts) + 34.0, min(ports, 4) * (_LABEL_ROOM + 10.0) if ports > 1 else 0.0)
    return width, 26.0 + 15.0 * (len(box.lines) + len(box.reasons))


def _legend(scene: Scene, colours: Mapping[str, Colours]) -> list[str]:
    left = _number(MARGIN)
    parts = [
        f'<text x="{left}" y="30" font-size="17" font-weight="700" fill="#0f172a">{xml(scene.head[0])}</text>',
        f'<text x="{left}" y="50" font-size="12" fill="#334155">{xml(scene.head[1])}</text>',
    ]
    x = MARGIN
    for place, count in scene.places:
        tints, text = colours[place], f"{place}, {count}"
        parts.append(
            f'<rect x="{_number(x)}" y="61" width="14" height="14" rx="3" fill="{tints.soft}" stroke="{tints.strong}"/>'
            f'<text x="{_number(x + 20)}" y="72" font-size="12" fill="{tints.strong}">{xml(text)}</text>'
        )
        x += 34 + len(text) * 6.6
    for number, note in enumerate(scene.notes):
        y = _number(92 + 18 * number)
        parts.append(f'<text x="{left}" y="{y}" font-size="11" fill="#64748b">{xml(note)}</text>')
    return parts


def _box(box: Box, place: Place, tints: Colours) -> str:
    left, top = place.x - place.width / 2, place.y - place.height / 2
    port = box.kind in ("input", "output")
    fill = tints.soft if box.moves else "#ffffff"
    radius = _number(place.height / 2 if port else 7.0)
    parts = [
        f"<g><title>{xml(box.tooltip)}</title>",
        f'<rect x="{_number(left)}" y="{_number(top)}" width="{_number(place.width)}" '
        f'height="{_number(place.height)}" rx="{radius}" fill="{fill}" stroke="{tints.strong}" '
        f'stroke-width="{"1" if box.moves else "1.6"}"/>',
    ]
    texts = [(box.title, 13, "700", "#0f172a")]
    texts += [(line, 11, "400", "#475569") for line in box.lines]
    texts += [(line, 11, "600", tints.strong) for line in box.reasons]
    for number, (text, size, weight, colour) in enumerate(texts):
        y = top + 18 + 15 * number
        parts.append(
            f'<text x="{_number(place.x)}" y="{_number(y)}" text-anchor="middle" font-size="{size}" '
            f'font-weight="{weight}" fill="{colour}">{xml(text)}</text>'
        )
    return "".join([*parts, "</g>"])


def _labels(scene: Scene, layout: Layout, ports: Mapping[int, Mapping[str, None]]) -> list[str]:
    """Element type and shape where a value leaves its box, once for all its readers; where there is room."""
    parts = []
    told = set()
    for wire in scene.wires:
        key = (wire.source, wire.port)
        count, width = len(ports[wire.source]), layout.boxes[wire.source].width
        room = width / count if count > 1 else _LABEL_ROOM
        if key in told or scene.boxes[wire.source].kind == "input" or room < _LABEL_ROOM - 1:
            continue
        told.add(key)
        x, y = layout.ports[key]
        parts.append(
            f'<text x="{_number(x + 6)}" y="{_number(y + 13)}" font-size="10" fill="#475569" stroke="#ffffff" '
            f'stroke-width="3" stroke-opacity="0.75" paint-order="stroke">{xml(wire.label)}</text>'
        )
    return parts


def _path(path: Path) -> str:
    """Straight within a row, swinging between rows."""
    (x, y), *rest = path.points
    steps = [f"M{_number(x)} {_number(y)}"]
    for next_x, next_y in rest:
        if next_x == x:
            steps.append(f"V{_number(next_y)}")
        else:
            middle = _number((y + next_y) / 2)
            steps.append(f"C{_number(x)} {middle} {_number(next_x)} {middle} {_number(next_x)} {_number(next_y)}")
        x, y = next_x, next_y
    return " ".join(steps)


def _number(value: float) -> str:
    """To a tenth of a pixel, the same on every machine."""
    return f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")
