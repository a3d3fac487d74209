"""Passes that make what no target takes out of simpler ops: rows, half precision, our expansions, ONNX's functions."""

from __future__ import annotations

from intarsia.passes.base import Pass
from intarsia.passes.decompose.decomposition import Advice, Answer, Decompose
from intarsia.passes.decompose.parts import Kept
from intarsia.passes.decompose.rows import FlattenRows

__all__ = ["PASSES", "Advice", "Answer", "Decompose", "FlattenRows", "Kept"]

PASSES: tuple[type[Pass], ...] = (FlattenRows, Decompose)
