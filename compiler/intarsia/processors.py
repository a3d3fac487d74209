"""How many processors there are to work on."""

from __future__ import annotations

import os


def usable() -> int:
    """Processors that this process may use, at least 1: those of the machine, where the system cannot say."""
    if hasattr(os, "sched_getaffinity"):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
