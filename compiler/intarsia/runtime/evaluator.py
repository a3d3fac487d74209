"""Regions that no code generator takes: the session runs them by the NumPy meaning of each op."""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from intarsia.artifact.parts import read_graph
from intarsia.dtypes import Array
from intarsia.errors import RunError
from intarsia.ir.evaluate import evaluate
from intarsia.ir.text import text
from intarsia.runtime.device import LoadedRegion, RegionFiles, RegionResult

NEEDS_ONNX = "needs_onnx"
"""Entry of the region's metadata: names of the ops, e.g. "Loop 'again'", whose meaning is onnx.reference's."""


class EvaluatorRegion(LoadedRegion):
    """A region as a graph.

    Raises RunError where an op needs the package onnx and this machine does not have it.
    """

    def __init__(self, region: RegionFiles) -> None:
        self.where = f"region '{region.name}'"
        named = region.metadata.get(NEEDS_ONNX, ())
        self.needs_onnx = tuple(map(str, named)) if isinstance(named, (list, tuple)) else ()
        if self.needs_onnx and not _has_onnx():
            raise self.onnx_is_missing()
        self.graph = read_graph(region.files, self.where)
        self.outputs = [name for name, _, _ in region.outputs]
        names = [value.name for value in self.graph.inputs]
        if names != [name for name, _, _ in region.inputs] or self.outputs != [v.name for v in self.graph.outputs]:
            raise RunError(
                where=self.where,
                what="its graph has other inputs or outputs than the manifest says",
                help="the artifact was not written by intarsia; compile the model again",
            )

    def run(self, inputs: Sequence[Array]) -> RegionResult:
        feed, started = {value.name: array for value, array in zip(self.graph.inputs, inputs)}, time.perf_counter()
        outputs = evaluate(self.graph, feed)
        given = [*inputs]
        for index, output in enumerate(outputs):
            outputs[index] = _fresh(output, given)
            given.append(outputs[index])
        return RegionResult(outputs, {"seconds": time.perf_counter() - started})

    def listing(self) -> str:
        return text(self.graph)

    def onnx_is_missing(self) -> RunError:
        ops = ", ".join(self.needs_onnx) or "one of its ops"
        return RunError(
            where=self.where,
            what=f"the package onnx gives the meaning of {ops}, and it is not installed here",
            help="pip install onnx (there is none for 32-bit ARM), or replace these ops in the model",
        )


def _has_onnx() -> bool:
    try:
        return find_spec("onnx") is not None
    except (ImportError, ValueError):
        return False


def _fresh(output: Any, given: Sequence[Array]) -> Any:
    """An array of its own: the caller may write to it, and it may be a view (Reshape), or be an input, a constant, or
    another output (Identity)."""
    if not isinstance(output, np.ndarray):
        return output
    shared = not output.flags.owndata or any(output is array for array in given) or not output.flags.writeable
    return output.copy() if shared else output
