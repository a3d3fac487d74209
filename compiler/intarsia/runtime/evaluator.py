"""Regions that no code generator takes: the session runs them by the NumPy meaning of each op."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from intarsia.artifact.parts import read_graph
from intarsia.artifact.schema import Entry
from intarsia.dtypes import Array
from intarsia.errors import FOREIGN, RunError, said
from intarsia.ir.deadline import LateError, within
from intarsia.ir.evaluate import evaluate
from intarsia.ir.extract import extract
from intarsia.ir.graph import Graph, Value
from intarsia.ir.text import text
from intarsia.runtime.device import LoadedRegion, RegionFiles, RegionResult
from intarsia.runtime.limits import RunTimeout

NEEDS_ONNX = "needs_onnx"
"""Entry of the region's metadata: names of the ops, e.g. "Loop 'again'", whose meaning is onnx.reference's."""


class EvaluatorRegion(LoadedRegion):
    """A region as a graph.

    graph  its nodes; by default those of its own files

    Raises RunError where the graph has other ends than the manifest says, and where an op needs the package onnx and
    this machine does not have it.
    """

    def __init__(self, region: RegionFiles, graph: Graph | None = None) -> None:
        self.name, self.where = region.name, f"region '{region.name}'"
        self.needs_onnx = Entry(region.metadata, f"{self.where}, metadata in manifest.json").optional_texts(NEEDS_ONNX)
        if self.needs_onnx and not _has_onnx():
            raise self.onnx_is_missing()
        self.graph = read_graph(region.files, self.where) if graph is None else graph
        self.outputs = [name for name, _, _ in region.outputs]
        _check_ends("inputs", self.graph.inputs, region.inputs, self.where)
        _check_ends("outputs", self.graph.outputs, region.outputs, self.where)

    def run(self, inputs: Sequence[Array]) -> RegionResult:
        feed, started = {value.name: array for value, array in zip(self.graph.inputs, inputs)}, time.perf_counter()
        try:
            outputs = evaluate(self.graph, feed)
        except RunError as error:
            where = f"{error.where} in graph.json of {self.where}"
            raise RunError(where=where, what=error.what, help=error.help) from error
        except (AssertionError, *FOREIGN) as error:  # what no check of the graph foresees: attributes of odd kinds, say
            raise RunError(
                where=self.where,
                what=f"its graph (graph.json) cannot be evaluated: {said(error)}",
                help="compile the model again; if it was, please report this with the model",
            ) from error
        given = [*inputs]
        for index, output in enumerate(outputs):
            outputs[index] = _fresh(output, given)
            given.append(outputs[index])
        return RegionResult(outputs, {"seconds": time.perf_counter() - started})

    def run_within(self, inputs: Sequence[Array], seconds: float) -> RegionResult:
        """Run once; RunTimeout between two ops, or two rounds of a loop, when the time is over."""
        try:
            with within(seconds):
                return self.run(inputs)
        except LateError:
            raise RunTimeout(
                where=self.where,
                what=f"the {seconds:.3g} s that were left to the run were over before it ended",
                help="give the run more time; where its loops have no end, look at the model and its inputs",
                region=self.name,
            ) from None

    def listing(self) -> str:
        return text(self.graph)

    def onnx_is_missing(self) -> RunError:
        ops = ", ".join(self.needs_onnx) or "one of its ops"
        return RunError(
            where=self.where,
            what=f"the package onnx gives the meaning of {ops}, and it is not installed here",
            help="pip install onnx (there is none for 32-bit ARM), or replace these ops in the model",
        )


def part_of(whole: Graph, region: RegionFiles, names: Collection[str]) -> Graph:
    """The nodes of a region out of the whole model's graph, with the region's inputs and outputs.

    names  of the nodes

    Raises RunError where they do not make the region.
    """
    part = extract(whole, [node for node in whole.nodes if node.name in names], region.name)
    ends = {value.name: value for value in (*part.inputs, *part.outputs)}
    wanted = [[name for name, _, _ in tensors] for tensors in (region.inputs, region.outputs)]
    if set(wanted[0]) != {value.name for value in part.inputs} or not set(wanted[1]) <= set(ends):
        raise RunError(
            where=f"region '{region.name}'",
            what="the nodes that it has by 'placements' of manifest.json read or make other values in graph/graph.json",
            help="the artifact was not written by intarsia; compile the model again",
        )
    part.inputs = [ends[name] for name in wanted[0]]
    part.outputs = [ends[name] for name in wanted[1]]
    return part


def _check_ends(
    which: str, values: Sequence[Value], declared: Sequence[tuple[str, str, tuple[int, ...]]], where: str
) -> None:
    """Names, element types and the sizes that are known."""
    found = [(value.name, value.dtype, _known(value.type.shape)) for value in values]
    if found != list(declared):
        raise RunError(
            where=where,
            what="its graph has other inputs or outputs than the manifest says: "
            f"the {which} are {_listed(found)}, not {_listed(declared)}",
            help="the artifact was not written by intarsia; compile the model again",
        )


def _known(shape: Sequence[int | None] | None) -> tuple[int, ...]:
    return tuple(size for size in shape or () if size is not None)


def _listed(tensors: Sequence[tuple[str, str, tuple[int, ...]]]) -> str:
    shown = ", ".join(f"{name[:40]}: {dtype}[{','.join(map(str, shape))}]" for name, dtype, shape in tensors)
    return shown[:200] or "none"


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
