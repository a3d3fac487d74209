"""TPUs as targets: a region becomes one module of StableHLO, which XLA compiles where it is loaded."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

from intarsia.artifact.elsewhere import Elsewhere, Piece
from intarsia.dtypes import Array, dtype_name
from intarsia.errors import CompileError
from intarsia.ir.facts import macs
from intarsia.ir.graph import Graph, Node
from intarsia.targets import Blob, OptionValue, Support, Target, TargetOption
from intarsia_backends.tpu import blob
from intarsia_backends.tpu.ahead import Limits, compile_ahead
from intarsia_backends.tpu.portable import VERSION, installed, to_bytes
from intarsia_backends.tpu.region import supported, write_region
from intarsia_backends.tpu.stablehlo import INLINE_BYTES

GENERATIONS = ("v2", "v3", "v4", "v5e", "v5p", "v6e", "tpu7x")

_GENERATION = TargetOption(
    "generation", "v5e", "which TPU a compilation ahead of time is for; the artifact runs on all", GENERATIONS
)
_AHEAD = TargetOption("ahead", True, "whether it is also compiled ahead of time, where libtpu is installed")
_AHEAD_GIB = TargetOption("ahead_gib", 8, "address space that this may take, in GiB")
_AHEAD_SECONDS = TargetOption("ahead_seconds", 600, "time that this may take for each region")


_MOST = 1 << 20


def held(region: Graph, weights: Sequence[Array]) -> dict[str, Elsewhere]:
    """By the name of a constant, where it lies in the file of weights, so that the artifact has it once."""
    offsets: dict[tuple[str, tuple[int, ...], bytes], int] = {}
    end = 0
    for array in weights:
        offsets.setdefault((dtype_name(array.dtype), array.shape, array.tobytes()), end)
        end += array.nbytes
    found = {}
    for value in region.constants():
        assert value.data is not None
        data, shape = value.data, value.data.shape
        offset = offsets.get((dtype_name(data.dtype), shape, data.tobytes())) if data.nbytes > INLINE_BYTES else None
        if offset is not None:
            steps = [math.prod(shape[axis + 1 :]) for axis in range(data.ndim)]
            axes = tuple(((size, step),) for size, step in zip(shape, steps))
            piece = Piece((0,) * data.ndim, shape, 0, axes)
            found[value.name] = Elsewhere(blob.WEIGHTS, offset, dtype_name(data.dtype), (piece,))
    return found


class TpuTarget(Target):
    """StableHLO for any TPU, and for XLA on any machine."""

    name = "tpu"
    description = "Cloud TPUs by XLA; the same artifact runs on XLA's CPU"
    host = "cpu"
    precisions = ("float32", "bfloat16", "int8")
    options = (_GENERATION, _AHEAD, _AHEAD_GIB, _AHEAD_SECONDS)

    def for_precision(self, precision: str) -> TpuTarget:
        made = copy.copy(self)
        made.products = "bfloat16" if precision == "bfloat16" else "float32"
        return made

    def with_options(self, chosen: Mapping[str, OptionValue]) -> Target:
        for name in ("ahead_gib", "ahead_seconds"):
            if not 1 <= int(chosen.get(name, 1)) <= _MOST:
                raise CompileError(
                    where=f"target '{self.name}'",
                    what=f"{name} is {chosen[name]}, not a whole number from 1 to {_MOST}",
                    help="leave it out, or tpu{ahead=false} to do without",
                )
        return super().with_options(chosen)

    def supports(self, node: Node) -> Support:
        return supported(node)

    def ready(self) -> None:
        """Raises CompileError where jaxlib is missing."""
        if installed("jaxlib") is None:
            raise CompileError(
                where=f"target '{self.name}'",
                what="the package jaxlib, which writes StableHLO, is not installed",
                help="pip install 'intarsia[tpu]' (Python 3.11 or newer)",
            )

    def compile(self, region: Graph) -> Blob:
        """One module and one file of weights. Raises CompileError where XLA refuses the module."""
        module = write_region(region, self.products == "bfloat16")
        code = to_bytes(module.text)
        facts = {**blob.metadata(module.weights, module.guards), "stablehlo": VERSION}
        figures, notes = self._ahead(code, region.name)
        layers = tuple({"name": node.name, "op": node.op, "macs": macs(node)} for node in region.nodes)
        files = {blob.CODE: code, blob.WEIGHTS: blob.pack(module.weights)}
        return Blob(blob.KIND, files, {**facts, **figures}, layers, held(region, module.weights), notes)

    def _ahead(self, code: bytes, name: str) -> tuple[dict[str, Any], tuple[str, ...]]:
        """What a compilation ahead of time finds out, as metadata, and what the user is told about it."""
        settings = self.settings
        if not settings["ahead"]:
            return {}, ()
        generation = str(settings["generation"])
        limits = Limits(int(settings["ahead_gib"]) << 30, int(settings["ahead_seconds"]))
        figures, why_not = compile_ahead(code, generation, limits, f"region '{name}'")
        if not figures:
            return {}, (why_not,)
        return {"figures": {"compiled_for": generation, **figures}}, ()

    def facts(self) -> Mapping[str, Any]:
        return {"stablehlo": VERSION}
