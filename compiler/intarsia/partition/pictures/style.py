"""Colours of places, in the order of the legend: the wanted target first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from intarsia.artifact.parts import EVALUATOR
from intarsia.partition.pictures.scene import Scene


@dataclass(frozen=True)
class Colours:
    """Of one place: strong for lines and text, pale for what lies behind, soft for ops that only move data."""

    strong: str
    pale: str
    soft: str


_IN_TURN = (
    Colours("#0f766e", "#f0fdfa", "#ccfbf1"),
    Colours("#b45309", "#fffbeb", "#fef3c7"),
    Colours("#4338ca", "#eef2ff", "#e0e7ff"),
    Colours("#7e22ce", "#faf5ff", "#f3e8ff"),
)
_EVALUATOR = Colours("#be123c", "#fff1f2", "#ffe4e6")
_PORT = Colours("#475569", "#f8fafc", "#f1f5f9")


def colours_of(scene: Scene) -> Mapping[str, Colours]:
    """By place; "" for inputs and outputs."""
    named = [place for place, _ in scene.places if place != EVALUATOR]
    found = {place: _IN_TURN[index % len(_IN_TURN)] for index, place in enumerate(named)}
    return {**found, EVALUATOR: _EVALUATOR, "": _PORT}
