"""What `intarsia demo` shows as one HTML page with nothing outside of it, for a phone as for a wide screen."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from intarsia.partition.pictures.escape import xml

if TYPE_CHECKING:
    from intarsia.artifact import Artifact, Report
    from intarsia.artifact.manifest import Tensor
    from intarsia.dtypes import Array

MARK = "<!-- intarsia demo -->\n"
"""What the page begins with; by it a page of an earlier demo is known, and may be replaced."""

SHOWN = 24
"""Pictures on the page."""


@dataclass(frozen=True)
class Found:
    """What the demo found out.

    artifact  that it compiled
    report    its layers, with what one image costs
    devices   what ran each region, by name
    pixels    uint8 [N, H, W]
    scores    float32 [N, classes], of the compiled model
    labels    [N], the right classes
    names     of the classes
    right     images that the compiled model gets right
    float_right
              images that the float model gets right
    clock_mhz that is assumed for the accelerator; None where there is none
    """

    artifact: Artifact
    report: Report
    devices: dict[str, str]
    pixels: Array
    scores: Array
    labels: Array
    names: Sequence[str]
    right: int
    float_right: int
    clock_mhz: float | None


def is_page(place: Path) -> bool:
    """Whether a file is the page of a demo."""
    try:
        with open(place, "rb") as stream:
            return stream.read(len(MARK)) == MARK.encode()
    except OSError:
        return False


def render(found: Found) -> str:
    """The whole page; equal findings give equal text."""
    contents = found.artifact.contents
    title = f"{xml(contents.model_name)} on {xml(contents.target)}"
    return (
        f'{MARK}<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{title}</title><style>\n{_STYLE}</style></head>\n<body><main>\n<h1>{title}</h1>\n"
        f"<p>A small residual network that sorts pictures of clothes, compiled to {xml(contents.precision)}. "
        f"{_engine(found)}</p>\n{_figures(found)}\n<h2>What it says</h2>\n{_pictures(found)}\n"
        f"<h2>Where it runs</h2>\n{_regions(found)}\n<h2>What each layer costs</h2>\n{_layers(found)}\n"
        "<h2>Your own model</h2>\n"
        f"<pre>intarsia explain model.onnx --target {xml(contents.target)}\n"
        f"intarsia compile model.onnx --target {xml(contents.target)} --calibration images.npz\n"
        "intarsia run model.intarsia photo.jpg</pre>\n"
        "<p><small>Pictures: Fashion-MNIST, Zalando SE, MIT licence.</small></p>\n</main></body></html>\n"
    )


def _engine(found: Found) -> str:
    if "pynq" in found.devices.values():
        return "The overlay of this board ran it."
    if "simulator" in found.devices.values():
        return (
            "The simulator ran the very instructions that the overlay will; its cycles are modelled. "
            "No bitstream has been built yet, and no board has run this."
        )
    return "This machine ran it."


def _figures(found: Found) -> str:
    total, count = found.report.summary, len(found.labels)
    tiles = [
        (f"{found.right / count:.1%}", f"right in {found.artifact.contents.precision}, {found.right} of {count}"),
        (f"{found.float_right / count:.1%}", f"right in float, {found.float_right} of {count}"),
    ]
    if total["cycles"]:
        tiles.append((f"{total['cycles']:,.0f}", "cycles an image"))
        if found.clock_mhz:
            milliseconds = total["cycles"] / found.clock_mhz / 1e3
            tiles.append((f"{milliseconds:.3g} ms", f"at {found.clock_mhz:g} MHz, which are assumed"))
    tiles.append((f"{total['artifact_bytes'] / 1e3:,.0f} kB", "artifact"))
    cells = "".join(f"<div><b>{value}</b><span>{xml(text)}</span></div>" for value, text in tiles)
    return f'<div class="tiles">{cells}</div>'


# ---- pictures


def _pictures(found: Found) -> str:
    cells = [_picture(found, index) for index in range(min(SHOWN, len(found.labels)))]
    about = f"The first {len(cells)} of {len(found.labels)}; the bar is the model's share for what it says."
    return f'<div class="pictures">{"".join(cells)}</div>\n<p><small>{about}</small></p>'


def _picture(found: Found, index: int) -> str:
    said, label = int(found.scores[index].argmax()), int(found.labels[index])
    share = _share(found.scores[index], said)
    told = xml(found.names[said])
    kind, below = ("right", "") if said == label else ("wrong", f"<i>is {xml(found.names[label])}</i>")
    return (
        f'<figure class="{kind}"><img alt="{xml(found.names[label])}" src="{_png(found.pixels[index])}">'
        f'<figcaption>{told}{below}<meter value="{share:.2f}"></meter></figcaption></figure>'
    )


def _share(scores: Array, index: int) -> float:
    """The softmax of one class."""
    import numpy as np

    grown = np.exp(scores.astype(np.float64) - float(scores.max()))
    return float(grown[index] / grown.sum())


def _png(pixels: Array) -> str:
    """Grey pixels as the address of a PNG. pixels: uint8 [H, W]."""
    height, width = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    whole = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return f"data:image/png;base64,{base64.b64encode(whole).decode('ascii')}"


# ---- regions and layers


def _regions(found: Found) -> str:
    """A box for each region in the order of running, and between them what they hand on."""
    contents = found.artifact.contents
    parts = [f'<div class="port">{_tensors(contents.inputs)}</div>']
    for region in contents.regions:
        rows = [row for row in found.report.rows if row.region == region.name]
        cycles = sum(row.cycles or 0 for row in rows)
        macs = sum(row.macs or 0 for row in rows)
        ops = sum(placement.get("region") == region.name for placement in contents.placements)
        facts = [f"{ops} op{'s' if ops != 1 else ''}"]
        facts += [f"{macs / 1e6:,.2f} M multiply-accumulates"] if macs else []
        facts += [f"{cycles:,} cycles"] if cycles else []
        device = found.devices.get(region.name, region.kind)
        kind = "board" if region.kind == "overlay" else "host"
        title = f"<b>{xml(region.name)}</b> <span>on {xml(device)}</span>"
        parts.append(f'<div class="region {kind}">{title}<br>{", ".join(facts)}</div>')
        parts.append(f'<div class="wire">{_tensors(region.outputs)}</div>')
    parts[-1] = f'<div class="port">{_tensors(contents.outputs)}</div>'
    return f'<div class="regions">{"".join(parts)}</div>'


def _tensors(tensors: Sequence[Tensor]) -> str:
    shown = []
    for tensor in tensors:
        sizes = "..." if tensor.shape is None else ",".join("?" if size is None else str(size) for size in tensor.shape)
        shown.append(f"{xml(tensor.name)} <code>{tensor.dtype}[{sizes}]</code>")
    return "<br>".join(shown)


def _layers(found: Found) -> str:
    """A bar for each layer: its cycles, or its multiply-accumulates where nothing counts cycles."""
    counted = bool(found.report.summary["cycles"])
    costs = [((row.cycles if counted else row.macs) or 0, row) for row in found.report.rows]
    most = max((cost for cost, _ in costs), default=0) or 1
    rows = [
        f"<tr><td>{xml(row.name)}<small>{xml(row.op)}, {xml(row.place)}</small></td>"
        f'<td class="bar"><span style="width:{100 * cost / most:.1f}%"></span></td>'
        f'<td class="figure">{cost:,}</td></tr>'
        for cost, row in costs
        if cost
    ]
    unit = "cycles" if counted else "multiply-accumulates"
    head = f'<tr><th>layer</th><th></th><th class="figure">{unit}</th></tr>'
    return f"<table><thead>{head}</thead>{''.join(rows)}</table>"


_STYLE = """\
:root { --paper: #fbfaf8; --ink: #1c1917; --soft: #78716c; --line: #e7e5e4; --card: #ffffff; --board: #0f766e;
  --host: #b45309; --wrong: #be123c }
@media (prefers-color-scheme: dark) { :root { --paper: #171513; --ink: #f5f5f4; --soft: #a8a29e; --line: #3b3733;
  --card: #211e1b; --board: #2dd4bf; --host: #fbbf24; --wrong: #fb7185 } }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 ui-sans-serif, system-ui, "Segoe UI", Helvetica, Arial, sans-serif }
main { max-width: 46rem; margin: 0 auto; padding: 1.5rem 1rem 3rem }
h1 { font-size: 1.5rem; line-height: 1.2; margin: 0 0 .5rem; overflow-wrap: anywhere }
h2 { font-size: 1.1rem; margin: 2rem 0 .75rem }
small, .tiles span, .region span { color: var(--soft) }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .6rem }
.tiles div { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .6rem .8rem }
.tiles b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums }
.tiles span { font-size: .8rem; line-height: 1.3; display: block }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(5.2rem, 1fr)); gap: .6rem }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: .6rem; overflow: hidden }
figure.wrong { border-color: var(--wrong) }
figure img { display: block; width: 100%; image-rendering: pixelated; background: #000000 }
figcaption { padding: .3rem .5rem .45rem; font-size: .8rem; line-height: 1.25 }
figcaption i { display: block; font-style: normal; color: var(--wrong) }
meter { display: block; width: 100%; height: .6rem; margin-top: .2rem }
.regions { display: flex; flex-direction: column; align-items: center; font-size: .9rem; text-align: center }
.region { background: var(--card); border: 2px solid var(--host); border-radius: .6rem; padding: .6rem 1rem;
  width: min(100%, 26rem); overflow-wrap: anywhere }
.region.board { border-color: var(--board) }
.port { border: 1px solid var(--line); border-radius: 2rem; padding: .3rem 1rem; background: var(--card);
  max-width: 100%; overflow-wrap: anywhere }
.wire { color: var(--soft); font-size: .8rem; padding: 0 .5rem; max-width: 100%; overflow-wrap: anywhere }
.port + .region, .wire + .region, .region + .port { margin-top: 1.4rem; position: relative }
.wire::before { content: ""; display: block; width: 2px; height: .8rem; margin: 0 auto; background: var(--soft) }
.port + .region::before, .wire + .region::before, .region + .port::before { content: "\\25BC"; position: absolute;
  left: 50%; top: -1.45rem; transform: translateX(-50%); color: var(--soft); font-size: .8rem }
code, pre { font: .85em ui-monospace, "Cascadia Mono", Menlo, Consolas, monospace }
pre { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .8rem; overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-size: .85rem }
th { text-align: left; color: var(--soft); font-weight: 500 }
td, th { padding: .3rem .5rem .3rem 0; border-bottom: 1px solid var(--line) }
td small { display: block; line-height: 1.2 }
td:first-child { overflow-wrap: anywhere }
td.bar { width: 38% }
td.bar span { display: block; height: .7rem; border-radius: .2rem; background: var(--board); min-width: 2px }
.figure { text-align: right; font-variant-numeric: tabular-nums }
"""
