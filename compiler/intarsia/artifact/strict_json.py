"""JSON from a file that anyone may have written: what it may take is known before it becomes objects."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from intarsia.errors import RunError

VALUES_LIMIT = 2_000_000
"""Values in one text, counted by its commas and opening brackets. Objects take up to some 250 bytes each."""

DEPTH_LIMIT = 64
DIGITS_LIMIT = 40

_HALF_CHARACTER = re.compile(rb"\\u[dD][89abAB]|\\u[dD][c-fC-F]")


def parse_json(text: bytes, where: str, limit_bytes: int) -> Any:
    """What a text of JSON spells, in plain objects.

    text         ASCII, as intarsia writes it
    where        how errors name the file
    limit_bytes  longest text that is looked at

    Raises RunError for longer texts, more than VALUES_LIMIT values, lists in lists deeper than DEPTH_LIMIT, whole
    numbers of more than DIGITS_LIMIT digits, numbers that are not finite, names that stand twice in one object, and
    halves of characters, none of which intarsia writes.
    """
    if len(text) > limit_bytes:
        raise _broken(where, f"it has {len(text)} bytes, at most {limit_bytes}")
    values = text.count(b",") + text.count(b"[") + text.count(b"{")
    if values > VALUES_LIMIT:
        raise _broken(where, f"it holds about {values} values, at most {VALUES_LIMIT}")
    try:
        data = json.loads(
            text.decode("ascii"),
            object_pairs_hook=_object,
            parse_int=_whole,
            parse_float=_number,
            parse_constant=_no_number,
        )
        _check(data, halves=_HALF_CHARACTER.search(text) is not None)
    except RecursionError as error:
        raise _broken(where, f"lists and objects stand in each other more than {DEPTH_LIMIT} deep") from error
    except ValueError as error:
        kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
        raise _broken(where, f"it is not JSON as intarsia writes it: {kind}{error}") from error
    return data


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the entry {twice[:80]!r} stands twice in one object")
    return made


def _whole(digits: str) -> int:
    if len(digits) > DIGITS_LIMIT:
        raise ValueError(f"a whole number has {len(digits)} digits, at most {DIGITS_LIMIT}")
    return int(digits)


def _number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits[:40]} is too large")
    return value


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _check(data: Any, *, halves: bool) -> None:
    """Depth, level by level, and characters; a deeper text than Python reads has ended in RecursionError before."""
    level, depth = [data], 0
    while level:
        if depth > DEPTH_LIMIT:
            raise RecursionError
        deeper: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                deeper.extend(item.values())
                if halves:
                    deeper.extend(item)
            elif isinstance(item, list):
                deeper.extend(item)
            elif halves and isinstance(item, str):
                item.encode("utf-8")  # UnicodeEncodeError is a ValueError
        level, depth = deeper, depth + 1


def _broken(where: str, what: str) -> RunError:
    return RunError(where=where, what=what, help="the artifact was not written by intarsia; compile the model again")
