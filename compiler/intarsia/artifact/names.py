"""Names of files inside an artifact: relative, portable, and unable to leave the folder that they are unpacked into."""

from __future__ import annotations

import re
from collections.abc import Iterable

LENGTH_LIMIT = 240

_PART = re.compile(r"[A-Za-z0-9_+\-][A-Za-z0-9_.+\-]*")


def complaint(name: str) -> str | None:
    """Why `name` may not be a file of an artifact; None where it may.

    Allowed are parts of ASCII letters, digits and _ . + - that do not begin with a dot, joined by slashes. That rules
    out "..", absolute paths, drive letters, hidden files and names that some file system would change.
    """
    if len(name) > LENGTH_LIMIT:
        return f"it has {len(name)} characters, at most {LENGTH_LIMIT}"
    for part in name.split("/"):
        if not _PART.fullmatch(part):
            return f"the part {part!r} is not made of ASCII letters, digits and _ . + - with no dot in front"
    return None


def clash(names: Iterable[str]) -> tuple[str, str] | None:
    """Two names that one file system cannot hold: equal but for case, or one the folder of the other."""
    seen: dict[str, str] = {}
    for name in sorted(names):
        folded = name.lower()
        if folded in seen:
            return seen[folded], name
        seen[folded] = name
    for folded, name in seen.items():
        parts = folded.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if folder in seen:
                return seen[folder], name
    return None
