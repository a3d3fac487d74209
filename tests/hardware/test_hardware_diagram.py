"""The block diagram of the core names what there is."""

from __future__ import annotations

import re
from pathlib import Path

import intarsia_hw

README = Path(__file__).parents[2] / "hw" / "README.md"


def diagram() -> str:
    """The section of hw/README.md."""
    return README.read_text().split("## The core as a block diagram")[1].split("\n## ")[0]


def test_every_module_has_its_place_and_every_place_a_module() -> None:
    table = diagram().split("```")[2]
    named = {name.removesuffix(".v") for name in re.findall(r"`([a-z_]+(?:\.v)?)`", table)}
    there = {path.stem.removeprefix("ia_") for path in intarsia_hw.RTL.glob("ia_*.*v")}
    assert named == there - {"core"}


def test_blocks_are_what_the_core_is_made_of() -> None:
    made = set(re.findall(r"^  (ia_\w+) (?:#\(|u_)", (intarsia_hw.RTL / "ia_core.sv").read_text(), re.MULTILINE))
    drawn = set(re.findall(r"\[\"[^\"]*?(ia_\w+)", diagram()))
    assert made == drawn and len(made) == 14
