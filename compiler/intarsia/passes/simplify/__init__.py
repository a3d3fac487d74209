"""Passes that make a graph smaller and say the same in one way: constants, no-ops, reshapes, transposes, padding."""

from __future__ import annotations

from intarsia.passes.base import Pass
from intarsia.passes.simplify.clips import MergeClips
from intarsia.passes.simplify.flatten import AbsorbTranspose
from intarsia.passes.simplify.fold import DropDead, FoldConstants, MergeEqual
from intarsia.passes.simplify.noops import RemoveNoOps
from intarsia.passes.simplify.padding import FusePad
from intarsia.passes.simplify.reshapes import MergeReshapes, SpellReshape
from intarsia.passes.simplify.shuffles import MergeShuffles
from intarsia.passes.simplify.sums import SpellSum
from intarsia.passes.simplify.transposes import MoveTransposes

PASSES: tuple[type[Pass], ...] = (
    DropDead,
    FoldConstants,
    RemoveNoOps,
    MergeEqual,
    MergeClips,
    SpellSum,
    SpellReshape,
    MoveTransposes,
    AbsorbTranspose,
    FusePad,
    MergeReshapes,
    MergeShuffles,
)


def passes(prequantized: bool) -> tuple[Pass, ...]:
    """The order in which they run; prequantized keeps DequantizeLinear of constants."""
    return (
        DropDead(),
        FoldConstants(keep_dequantize=prequantized),
        RemoveNoOps(),
        MergeEqual(),
        MergeClips(),
        SpellSum(),
        SpellReshape(transposes=False),
        MoveTransposes(),
        AbsorbTranspose(),
        SpellReshape(),
        MergeReshapes(),
        MergeShuffles(),
        FusePad(),
        RemoveNoOps(),
        DropDead(),
    )
