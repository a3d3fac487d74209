"""Pictures of an explanation: SVG and HTML to look at, DOT for Graphviz. networkx is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from intarsia.errors import CompileError

if TYPE_CHECKING:
    from intarsia.partition.explanation import Explanation

_WRITERS = {
    ".svg": "intarsia.partition.pictures.svg",
    ".html": "intarsia.partition.pictures.html",
    ".dot": "intarsia.partition.pictures.dot",
}
"""By ending: the module whose `render(explanation)` gives the file as text."""

SUFFIXES = tuple(_WRITERS)


def save_picture(explanation: Explanation, path: str | PathLike[str]) -> None:
    """Draw a model: ops coloured by place, region by region in the order of running, reasons as tooltips.

    path  a name that ends with .svg, .html (with a table of all ops) or .dot (for Graphviz, with every op). Equal
          explanations give equal bytes. In SVG, models of many ops have one box for each large region

    Raises CompileError where the name has another ending or the file cannot be written.
    """
    place = check_name(path)
    render: Callable[[Explanation], str] = import_module(_WRITERS[place.suffix]).render
    content = render(explanation).encode()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    except OSError as error:
        raise CompileError(
            where=f"picture {place}",
            what=f"it cannot be written: {error.strerror or error}",
            help="check the folder and its permissions",
        ) from error


def check_name(path: str | PathLike[str]) -> Path:
    """The path of a picture. CompileError where its ending is none of SUFFIXES."""
    place = Path(fspath(path))
    if place.suffix not in SUFFIXES:
        raise CompileError(
            where=f"picture {place}",
            what=f"no picture can be made with the ending '{place.suffix}'",
            help=f"give a name that ends with {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}",
        )
    return place
