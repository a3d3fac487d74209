"""Ranges of activations, measured on samples in one pass, with memory that does not grow with their number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np

from intarsia.dtypes import Array
from intarsia.errors import CompileError, RunError, either
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph, Value
from intarsia.passes.base import DataPass, Outcome
from intarsia.passes.calibration import METHODS, PERCENTILE, SUSPICION, Ranges, digest_of, give_data, measured_before
from intarsia.passes.context import Context
from intarsia.passes.quantize.extremes import Extremes, lone_sample
from intarsia.passes.quantize.histogram import Histogram
from intarsia.passes.quantize.samples import read_samples
from intarsia.passes.quantize.split import split_activations
from intarsia.passes.quantize.suspicion import Watch


@dataclass(frozen=True)
class Calibrate(DataPass):
    """Measure the ranges of activations on the context's data, for `quantize`; the graph stays as it is.

    Where the context has ranges that were measured before, these are taken, whatever the options say.

    method      "minmax": all that was seen; "percentile": without the rarest numbers at both ends
    percentile  per cent of the numbers that stay inside, for "percentile"
    """

    name: ClassVar[str] = "calibrate"
    method: str = "minmax"
    percentile: float = PERCENTILE

    def check(self, context: Context) -> None:
        _check(self.method, self.percentile)
        if context.calibration is None:
            raise CompileError(
                where="int8",
                what="the model has no scales of its own, and no calibration data was given",
                help=f"give 100 or more real inputs: {either('--calibration images.npz', 'calibration=array')}; "
                "intarsia never calibrates on random numbers",
            )

    def apply(self, graph: Graph, context: Context) -> Outcome:
        self.check(context)
        assert context.calibration is not None
        before = measured_before(context.calibration)
        if before is not None:
            before.check(graph)
            _check_names(before, graph)
            context.ranges = before
            return Outcome(0)
        samples = read_samples(graph, context.calibration, context.images)
        progress = None
        if context.progress is not None:
            progress = partial(_tell, context.progress, samples.total)
        told: list[str] = []
        watch = Watch(graph, context.trained)
        ranges = calibrate(
            graph,
            watch.passing(samples),
            method=self.method,
            percentile=self.percentile,
            progress=progress,
            tell=told.append,
        )
        context.ranges = replace(ranges, model=context.model, graph_sha256=digest_of(graph))
        notes = [(SUSPICION, text) for text in watch.suspicions()]
        return Outcome(0, notes=(*notes, *(("calibration", text) for text in (*watch.remarks(), *told))))


def _check_names(ranges: Ranges, graph: Graph) -> None:
    """Raise CompileError where a range is that of no value."""
    graph = graph.copy()
    split_activations(graph)
    values = {value.name for value in graph.values()}
    help = f"measure them on this model: {give_data()}"
    for name in ranges.bounds:
        if name not in values:
            what = f"there is a range for '{name}', and the graph has no value of that name"
            raise CompileError(where="calibration", what=what, help=help)


@dataclass(frozen=True)
class AssumeRanges(DataPass):
    """Assume a range of [-1, 1] for every activation: enough to say what would run where, never to compile."""

    name: ClassVar[str] = "assume-ranges"

    def apply(self, graph: Graph, context: Context) -> Outcome:
        context.ranges = assumed_ranges(graph)
        return Outcome(0)


def _tell(progress: Callable[[str, int, int], None], total: int, done: int) -> None:
    progress("calibrating", done, total)


def calibrate(
    graph: Graph,
    samples: Iterable[Mapping[str, Array]],
    *,
    method: str = "minmax",
    percentile: float = PERCENTILE,
    progress: Callable[[int], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Ranges:
    """Run a float graph on samples and note the range of every float value.

    graph       fused stage; it is left alone
    samples     arrays for all inputs, by name, one mapping a run; see `samples.read_samples`
    method      "minmax": all that was seen; "percentile": without the rarest numbers at both ends
    percentile  per cent of the numbers that stay inside, for "percentile"
    progress    called after each sample with the number done
    tell        called with what the user should know of the samples: one that is unlike all others

    A value that is NaN or infinite in some sample has no range; `quantize` says whether it needs one.

    Raises CompileError where there is no sample, or where the graph cannot run on one.
    """
    _check(method, percentile)
    graph = graph.copy()
    split_activations(graph)
    seen = _MinMax() if method == "minmax" else _Percentile(percentile)
    inputs = [value for value in graph.inputs if value.dtype == "float32"]
    infinite: dict[str, int] = {}
    extremes: dict[str, Extremes] = {}
    count = 0

    def observe(value: Value, array: Array) -> None:
        if value.dtype != "float32" or not array.size or value.name in infinite:
            return
        low, high = float(array.min()), float(array.max())
        if np.isfinite(low) and np.isfinite(high):
            seen.add(value.name, array, low, high)
            extremes.setdefault(value.name, Extremes()).add(count, low, high)
        else:
            infinite[value.name] = count

    for sample in samples:
        for value in inputs:
            observe(value, np.asarray(sample[value.name]))
        try:
            evaluate(graph, sample, observe=observe)
        except RunError as error:
            raise CompileError(
                where=f"{error.where}, on calibration sample {count}",
                what=error.what,
                help="the model must run on every sample: look at the values that reach this op",
            ) from error
        count += 1
        if progress is not None:
            progress(count)
    if not count:
        raise CompileError(
            where="calibration",
            what="there is no sample in the data",
            help="give at least one input; 100 to 500 are usual",
        )
    bounds = {name: pair for name, pair in seen.bounds().items() if name not in infinite}
    lone = lone_sample(extremes, bounds, count)
    if tell is not None and lone is not None:
        tell(lone)
    return Ranges(
        bounds,
        count,
        method=method,
        percentile=percentile if method == "percentile" else None,
        infinite=infinite,
    )


def assumed_ranges(graph: Graph) -> Ranges:
    """Ranges of [-1, 1] for every float value, for telling what would run where, without data."""
    graph = graph.copy()
    split_activations(graph)
    return Ranges({value.name: (-1.0, 1.0) for value in graph.values() if value.dtype == "float32"}, assumed=True)


def _check(method: str, percentile: float) -> None:
    if method not in METHODS:
        raise CompileError(
            where=f"calibration method '{method}'", what="it is not known", help=f"choose one of {', '.join(METHODS)}"
        )
    if not 50.0 < percentile <= 100.0:
        raise CompileError(
            where="calibration", what=f"the percentile {percentile} is not above 50 and at most 100", help="try 99.99"
        )


class _MinMax:
    def __init__(self) -> None:
        self._bounds: dict[str, tuple[float, float]] = {}

    def add(self, name: str, array: Array, low: float, high: float) -> None:
        known = self._bounds.get(name, (low, high))
        self._bounds[name] = (min(known[0], low), max(known[1], high))

    def bounds(self) -> dict[str, tuple[float, float]]:
        return self._bounds


class _Percentile:
    def __init__(self, percentile: float) -> None:
        self._percentile = percentile
        self._histograms: dict[str, Histogram] = {}

    def add(self, name: str, array: Array, low: float, high: float) -> None:
        self._histograms.setdefault(name, Histogram()).add(array, low, high)

    def bounds(self) -> dict[str, tuple[float, float]]:
        return {name: histogram.central(self._percentile) for name, histogram in self._histograms.items()}
