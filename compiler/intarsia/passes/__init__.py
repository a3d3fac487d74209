"""Changes of the graph that keep its meaning: passes, the order in which they run, and what can watch them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from intarsia.passes.base import Hook, Pass, Refusal, run_passes

if TYPE_CHECKING:
    from intarsia.passes.quantize import Calibrate

__all__ = [
    "Hook",
    "Pass",
    "Refusal",
    "all_passes",
    "fuse_passes",
    "quantize_passes",
    "run_passes",
    "simplify_passes",
    "stage_passes",
]


def stage_passes() -> dict[str, tuple[type[Pass], ...]]:
    """The passes by stage, in order: a graph stands at the last stage of which a pass has run."""
    from intarsia.passes import decompose, quantize

    kinds = {
        "simplified": tuple(type(step) for step in simplify_passes(prequantized=True, wide=True)),
        "fused": tuple(type(step) for step in fuse_passes(prequantized=True, integer=True)),
        "quantized": quantize.PASSES,
        "decomposed": decompose.PASSES,
    }
    # What tidies up runs at several stages: the first one has it.
    first = {kind: stage for stage, every in reversed(kinds.items()) for kind in every}
    return {
        stage: tuple(kind for kind in dict.fromkeys(every) if first[kind] == stage) for stage, every in kinds.items()
    }


def all_passes() -> tuple[type[Pass], ...]:
    """Every pass that a pipeline may name."""
    return tuple(kind for kinds in stage_passes().values() for kind in kinds)


def simplify_passes(prequantized: bool = False, wide: bool = False) -> tuple[Pass, ...]:
    """The pipeline from an imported graph to a simplified one.

    prequantized  keep DequantizeLinear of constants: the model brings scales of its own
    wide          what is computed in float16 or bfloat16 is computed in float32
    """
    from intarsia.passes import simplify

    return simplify.passes(prequantized, wide)


def fuse_passes(prequantized: bool = False, integer: bool = False) -> tuple[Pass, ...]:
    """The pipeline from a simplified graph to a fused one: biases, `dense`, activations in the ops before them.

    prequantized  the model brings scales of its own
    integer       the graph will be quantized: batch norms that stay become depthwise convolutions
    """
    from intarsia.passes import fuse

    return fuse.passes(prequantized, integer)


def quantize_passes(prequantized: bool = False, calibrate: Calibrate | None = None) -> tuple[Pass, ...]:
    """The pipeline from a fused graph to a quantized one.

    prequantized  the model brings scales of its own
    calibrate     how ranges are measured; None where they are assumed, which tells places and is never compiled
    """
    from intarsia.passes import quantize

    return quantize.passes(prequantized, calibrate)
