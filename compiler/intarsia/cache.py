"""Where this program keeps what it would otherwise make again. Standard library only."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """The folder for one kind of thing: in INTARSIA_CACHE, else in the user's cache folder. It need not exist."""
    chosen = os.environ.get("INTARSIA_CACHE")
    if chosen:
        return Path(chosen) / name
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "intarsia" / name
