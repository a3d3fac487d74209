"""Passes that make a graph smaller and say the same in one way: constants, no-ops, reshapes, transposes, padding."""

from __future__ import annotations

from intarsia.passes.base import Pass

PASSES: tuple[type[Pass], ...] = ()


def passes(prequantized: bool) -> tuple[Pass, ...]:
    """The order in which they run; prequantized keeps DequantizeLinear of constants."""
    return ()
