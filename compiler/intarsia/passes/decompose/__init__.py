"""Passes that make what no target takes out of simpler ops: half precision, our expansions, the functions of ONNX."""

from __future__ import annotations

from intarsia.passes.base import Pass
from intarsia.passes.decompose.decomposition import Advice, Answer, Decompose
from intarsia.passes.decompose.parts import Kept

__all__ = ["PASSES", "Advice", "Answer", "Decompose", "Kept"]

PASSES: tuple[type[Pass], ...] = (Decompose,)
