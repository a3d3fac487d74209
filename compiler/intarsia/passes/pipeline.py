"""A pipeline as text, and back: `fold-constants{keep_dequantize=False}, remove-noops, fuse-activation`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields

from intarsia.arguments import LARGEST, shown
from intarsia.errors import CompileError
from intarsia.passes.base import Pass

_PASS = re.compile(r"\s*(?P<name>[a-z0-9-]+)\s*(?:\{(?P<options>[^{}]*)\})?\s*(?:,|$)")
_OPTION = re.compile(r"\s*(?P<name>[a-z_0-9]+)\s*=\s*(?P<value>'[^']*'|\"[^\"]*\"|\([^()]*\)|[^,]+?)\s*(?:,|$)")

_SHOWN = 2000


def pipeline_text(passes: Iterable[Pass]) -> str:
    """Text that `parse_pipeline` turns into equal passes."""
    return ", ".join(str(step) for step in passes)


def parse_pipeline(text: str, known: Sequence[type[Pass]] | None = None) -> tuple[Pass, ...]:
    """Passes from text; options left out keep their defaults.

    known  the passes that may stand in the text; by default all of `intarsia.passes.all_passes`

    Raises CompileError for an unknown pass or option and for text that is no pipeline.
    """
    if known is None:
        from intarsia.passes import all_passes

        known = all_passes()
    by_name = {kind.name: kind for kind in known}
    passes: list[Pass] = []
    position = 0
    while position < len(text.rstrip()):
        match = _PASS.match(text, position)
        if match is None:
            raise _error(text, f"no pass stands at {text[position : position + 20]!r}", "write name{option=value}, ...")
        kind = by_name.get(match["name"])
        if kind is None:
            raise _error(text, f"no pass is called {match['name']!r}", f"there are: {', '.join(sorted(by_name))}")
        passes.append(_make(kind, match["options"] or "", text))
        position = match.end()
    return tuple(passes)


def _make(kind: type[Pass], options: str, text: str) -> Pass:
    defaults = {field.name: field.default for field in fields(kind) if field.repr}  # what is not printed is no option
    chosen: dict[str, object] = {}
    position = 0
    while position < len(options.rstrip()):
        match = _OPTION.match(options, position)
        if match is None:
            raise _error(text, f"no option stands at {options[position:]!r}", "write option=value")
        name = match["name"]
        if name not in defaults:
            offer = ", ".join(sorted(defaults)) or "none"
            raise _error(text, f"{kind.name} has no option {name!r}", f"its options: {offer}")
        try:
            value = ast.literal_eval(match["value"])
        except (ValueError, SyntaxError, MemoryError, RecursionError):  # the last two for text nested too deeply
            raise _error(
                text, f"{shown(match['value'])} is no value", "write it as Python would: 1, 0.5, True"
            ) from None
        default = defaults[name]
        if isinstance(default, float) and type(value) is int and -LARGEST <= value <= LARGEST:
            value = float(value)
        if default not in (MISSING, None) and type(value) is not type(default):
            what = f"option {name!r} of {kind.name} is {shown(value)}, and {type(default).__name__} is what it takes"
            raise _error(text, what, f"its default is {default!r}")
        if type(value) is int and not -LARGEST <= value <= LARGEST:
            raise _error(text, f"option {name!r} of {kind.name} is {shown(value)}", f"its default is {default!r}")
        chosen[name] = value
        position = match.end()
    return kind(**chosen)


def _error(text: str, what: str, help: str) -> CompileError:
    said = text.strip()
    said = said if len(said) <= _SHOWN else f"{said[: _SHOWN - 3]}..."
    return CompileError(where=f"pipeline '{said}'", what=what, help=help)
