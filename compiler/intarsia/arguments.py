"""What callers of the Python interface give, held against what is meant before anything is done with it.

Each check gives the argument back in its usual type, or raises the error kind that it is told: CompileError or
RunError, with the argument's name as the place.
"""

from __future__ import annotations

import difflib
import errno
import operator
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from intarsia.errors import IntarsiaError

LARGEST = (1 << 63) - 1
"""Sizes and counts are no larger: ONNX holds them in 64 bits."""

_SHOWN = 100


def shown(value: Any) -> str:
    """A value as a message shows it: numbers and texts as Python writes them, long ones cut; the type of all others."""
    if isinstance(value, int) and not -LARGEST <= value <= LARGEST:
        return "a number of more than 64 bits"
    if not isinstance(value, (bool, int, float, complex, str, bytes, type(None))):
        return f"an object of type {type(value).__name__}"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def near(name: str, known: Iterable[str], *, cutoff: float = 0.75) -> str:
    """`; did you mean 'x'?` where a known name looks like the unknown one, else nothing.

    cutoff  how alike names are, from 0 to 1; short words of a short list may differ by more
    """
    matches = difflib.get_close_matches(name, list(known), n=2, cutoff=cutoff)
    return f"; did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""


def check_whole(kind: type[IntarsiaError], where: str, value: Any, *, least: int = 0) -> int:
    """A whole number from `least` on: an int, or one of NumPy's; no float that happens to be whole, no truth value."""
    try:
        if isinstance(value, bool) or type(value).__name__ == "bool_":
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise kind(
            where=where, what=f"{shown(value)} is no whole number", help=f"give a whole number from {least} on"
        ) from None
    if not least <= number <= LARGEST:
        what = f"{shown(number)} is " + ("too large" if number > 0 else "not positive" if least == 1 else "negative")
        raise kind(where=where, what=what, help=f"give a whole number from {least} on")
    return number


def check_number(kind: type[IntarsiaError], where: str, value: Any, help: str) -> float:
    """A number as a float, be it an int or one of NumPy's; no truth value, no text, nothing that overflows."""
    try:
        if isinstance(value, (bool, str, bytes, bytearray)) or getattr(value, "shape", ()) != ():
            raise TypeError
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise kind(where=where, what=f"{shown(value)} is no number", help=help) from None


def check_text(kind: type[IntarsiaError], where: str, value: Any, help: str) -> str:
    """A text."""
    if not isinstance(value, str):
        raise kind(where=where, what=f"{shown(value)} is no text", help=help)
    return value


def check_mapping(kind: type[IntarsiaError], where: str, value: Any, help: str) -> Mapping[str, Any]:
    """A mapping whose keys are texts; None is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise kind(where=where, what=f"{shown(value)} is no mapping", help=help)
    for key in value:
        check_text(kind, where, key, help)
    return value


def check_path(kind: type[IntarsiaError], where: str, value: Any) -> Path:
    """A path that this system can name: no null characters, no parts that are too long, no lone surrogates."""
    help = "give a path as text or as a pathlib.Path"
    if not isinstance(value, (str, os.PathLike)) or not isinstance(os.fspath(value), str):
        raise kind(where=where, what=f"{shown(value)} is no path", help=help)
    text = os.fspath(value)
    if not text:
        raise kind(where=where, what="the path is empty", help=help)
    try:
        os.lstat(text)
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise kind(where=where, what=f"{shown(text)} names no file: {error.strerror}", help=help) from None
    except ValueError:  # a null character, or what the file system's encoding does not have
        raise kind(
            where=where, what=f"{shown(text)} names no file: it holds letters that no name may", help=help
        ) from None
    return Path(text)
