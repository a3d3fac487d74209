"""SECURITY.md lists what a model may ask for, as `intarsia.Limits` has it."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import intarsia

PAGE = Path(__file__).resolve().parents[2] / "SECURITY.md"


def test_the_page_lists_every_limit_with_its_default() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| (\d+) \|$", PAGE.read_text(), re.M)
    assert {name: int(number) for name, number in rows} == asdict(intarsia.Limits())
