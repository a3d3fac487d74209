"""What was not tested, and why: skipped tests by kind, at the end of every run. README.md says what to expect where."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

KINDS = (
    ("shared models", r"shared (models|data)"),
    ("code for ARM", r"qemu|\bneeds arm-|aarch64|armhf|zig"),
    ("GPUs", r"NVIDIA GPU"),
    ("boards", r"pynq|FPGA|is a board|compiled artifacts"),
    ("processor", r"processor|x86|vectors|memory|names the machine"),
    ("package index", r"package index|Python 3\.10"),
    (
        "packages",
        r"not installed|could not import|\bneeds (the package )?\w+.*(pip|package|which|entry points)|pip install",
    ),
    ("tools", r"apt-get|openssl|gcc|clang|-fsanitize|tclsh|/dev/full"),
)
"""Name and what the reason says, the first that fits; all else is of the kind "others"."""

OTHERS = "others"


def kind_of(reason: str) -> str:
    """The kind of a reason."""
    return next((name for name, pattern in KINDS if re.search(pattern, reason)), OTHERS)


def told(reasons: Iterable[str]) -> list[str]:
    """Lines for the end of a run: how many of each kind, and each reason with its count. None without skips."""
    counted = Counter(reason.removeprefix("Skipped: ") for reason in reasons)
    if not counted:
        return []
    by_kind: dict[str, Counter[str]] = {}
    for reason, count in counted.items():
        by_kind.setdefault(kind_of(reason), Counter())[reason] = count
    lines = [f"{sum(counted.values())} tests skipped; README.md says what is expected where"]
    for kind in sorted(by_kind, key=lambda kind: -sum(by_kind[kind].values())):
        found = by_kind[kind]
        lines.append(f"{sum(found.values()):5} {kind}")
        lines += [f"      {count:5} {reason}" for reason, count in found.most_common()]
    return lines
