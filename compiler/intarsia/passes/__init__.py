"""Changes of the graph that keep its meaning: passes, the order in which they run, and what can watch them."""

from __future__ import annotations

from intarsia.passes.base import Hook, Pass, Refusal, run_passes

__all__ = ["Hook", "Pass", "Refusal", "all_passes", "fuse_passes", "run_passes", "simplify_passes"]


def all_passes() -> tuple[type[Pass], ...]:
    """Every pass that a pipeline may name: those of the pipelines with everything switched on."""
    steps = (*simplify_passes(prequantized=True), *fuse_passes(prequantized=True, integer=True))
    return tuple(dict.fromkeys(type(step) for step in steps))


def simplify_passes(prequantized: bool = False) -> tuple[Pass, ...]:
    """The pipeline from an imported graph to a simplified one.

    prequantized  keep DequantizeLinear of constants: the model brings scales of its own
    """
    from intarsia.passes import simplify

    return simplify.passes(prequantized)


def fuse_passes(prequantized: bool = False, integer: bool = False) -> tuple[Pass, ...]:
    """The pipeline from a simplified graph to a fused one: biases, `dense`, activations in the ops before them.

    prequantized  the model brings scales of its own
    integer       the graph will be quantized: batch norms that stay become depthwise convolutions
    """
    from intarsia.passes import fuse

    return fuse.passes(prequantized, integer)
