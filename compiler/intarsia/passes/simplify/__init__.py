"""Passes that make a graph smaller and say the same in one way: constants, no-ops, reshapes, transposes, padding."""

from __future__ import annotations

from intarsia.passes.base import Pass
from intarsia.passes.simplify.clips import MergeClips
from intarsia.passes.simplify.common_subexpressions import EliminateCommonSubexpressions
from intarsia.passes.simplify.dead_code import EliminateDeadCode
from intarsia.passes.simplify.flatten import AbsorbTranspose
from intarsia.passes.simplify.fold import FoldConstants
from intarsia.passes.simplify.noops import RemoveNoOps
from intarsia.passes.simplify.padding import FusePad
from intarsia.passes.simplify.reshapes import CanonicalizeReshape, MergeReshapes
from intarsia.passes.simplify.shuffles import MergeShuffles
from intarsia.passes.simplify.sums import CanonicalizeSum
from intarsia.passes.simplify.transposes import MoveTransposes
from intarsia.passes.simplify.widen import WidenFloats


def passes(prequantized: bool, wide: bool = False) -> tuple[Pass, ...]:
    """The order in which they run.

    prequantized  keep DequantizeLinear of constants
    wide          what is computed in float16 or bfloat16 is computed in float32
    """
    return (
        *((WidenFloats(),) if wide else ()),
        EliminateDeadCode(),
        FoldConstants(keep_dequantize=prequantized),
        RemoveNoOps(),
        EliminateCommonSubexpressions(),
        MergeClips(),
        CanonicalizeSum(),
        CanonicalizeReshape(transposes=False),
        MoveTransposes(),
        AbsorbTranspose(),
        CanonicalizeReshape(),
        MergeReshapes(),
        MergeShuffles(),
        FusePad(),
        RemoveNoOps(),
        EliminateDeadCode(),
    )
