"""Passes that put biases, scales and activations into the op that makes the value."""

from __future__ import annotations

from intarsia.passes.base import Pass

PASSES: tuple[type[Pass], ...] = ()


def passes(prequantized: bool) -> tuple[Pass, ...]:
    """The order in which they run."""
    return ()
