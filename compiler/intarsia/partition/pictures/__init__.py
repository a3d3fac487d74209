"""Pictures of an explanation: SVG and HTML to look at, DOT for Graphviz. networkx is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from intarsia.errors import CompileError
from intarsia.outputs import check_output, write_output

if TYPE_CHECKING:
    from intarsia.partition.explanation import Explanation

_WRITERS = {
    ".svg": "intarsia.partition.pictures.svg",
    ".html": "intarsia.partition.pictures.html",
    ".dot": "intarsia.partition.pictures.dot",
}
"""By ending: the module whose `render(explanation)` gives the file as text."""

SUFFIXES = tuple(_WRITERS)


_MARKS = {
    ".svg": "<!-- intarsia explain -->\n",
    ".html": "<!-- intarsia explain -->\n",
    ".dot": "// intarsia explain\n",
}
"""By ending: the comment that a file begins with; by it pictures are known, and may be replaced by others."""


def save_picture(explanation: Explanation, path: str | PathLike[str], *, overwrite: bool = False) -> None:
    """Draw a model: ops coloured by place, region by region in the order of running, reasons as tooltips.

    path       a name that ends with .svg, .html (with a table of all ops) or .dot (for Graphviz, with every op). Equal
               explanations give equal bytes. In SVG, models of many ops have one box for each large region
    overwrite  replace a regular file that is no picture of this kind, too

    Raises CompileError where the name has another ending, the file cannot be written, or another one would be lost.
    """
    place = check_place(path, overwrite=overwrite)
    render: Callable[[Explanation], str] = import_module(_WRITERS[place.suffix]).render
    write_output(place, "picture", (_MARKS[place.suffix] + render(explanation)).encode())


def check_place(
    path: str | PathLike[str], *, inputs: Sequence[str | PathLike[str] | None] = (), overwrite: bool = False
) -> Path:
    """The path of a picture.

    inputs     files that the same command reads: none of them is written over
    overwrite  replace any other regular file

    Raises CompileError where its ending is none of SUFFIXES, or nothing can be written there without a loss.
    """
    place = Path(fspath(path))
    if place.suffix not in SUFFIXES:
        raise CompileError(
            where=f"picture {place}",
            what=f"no picture can be made with the ending '{place.suffix}'",
            help=f"give a name that ends with {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}",
        )
    check_output(place, "picture", inputs=inputs, ours=_is_picture, kind="such a picture", overwrite=overwrite)
    return place


def _is_picture(place: Path) -> bool:
    try:
        with open(place, "rb") as stream:
            return stream.read(64).startswith(_MARKS[place.suffix].encode())
    except OSError:
        return False
