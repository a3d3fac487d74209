"""The whole journey, from a model to an artifact: the one file that knows all rooms and the order of the passes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from intarsia.artifact import Artifact
from intarsia.artifact.parts import EVALUATOR, WHOLE_GRAPH, constant_output, graph_files, tensor, vector
from intarsia.errors import CompileError, RunError
from intarsia.importer import import_model
from intarsia.ir.evaluate import evaluate
from intarsia.ir.facts import needs_onnx
from intarsia.ir.graph import Graph
from intarsia.ir.verify import verify
from intarsia.partition import Partition, Region, partition, targets_of
from intarsia.partition.explanation import Explanation, explain_partition
from intarsia.passes import fuse_passes, simplify_passes
from intarsia.passes.base import Hook, Pass, run_passes
from intarsia.passes.instruments import Compare, Dump, Hooks, VerifyEach
from intarsia.passes.quantize import assumed_ranges, calibrate, is_prequantized, lower_qdq, quantize, require_measured
from intarsia.passes.quantize.samples import read_samples
from intarsia.targets import Blob, Progress, Target, find_target
from intarsia.vectors import pick_inputs, tolerance_of, why_none

Model = Any
"""A path (str or Path), the bytes of an ONNX file, or an onnx.ModelProto."""

Calibration = Any
"""Whatever `passes.quantize.samples` reads: an array [N, ...], a mapping from input name to array, an iterable of such
mappings, or the path of a .npy or .npz file or of a folder of images."""


@dataclass(frozen=True)
class Options:
    """Everything that decides what a compilation makes, save the model and the target.

    precision    "float32" or "int8"; None takes the target's first
    batch        size bound to symbolic first axes
    dimensions   sizes for other symbolic axes, by name
    shapes       whole shapes for inputs, by name, in place of those that the model declares
    values       elements for inputs, by name, that are fixed for ever: branches that they decide are chosen
    calibrator   "minmax" or "percentile" (with `percentile` in per cent)
    images       how a folder of images becomes samples; see `passes.quantize.samples.ImageOptions`
    dump         folder for the graph after every pass that changed something
    compare      evaluate after every pass on this machine and fail at the first value that drifts
    tune         seconds to search for faster code by timing it on this machine; None takes what the targets' rules say
    """

    precision: str | None = None
    batch: int = 1
    dimensions: Mapping[str, int] = field(default_factory=dict)
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    calibrator: str = "minmax"
    percentile: float = 99.99
    images: Any = None
    dump: Path | None = None
    compare: bool = False
    tune: float | None = None
    progress: Progress | None = None


@dataclass(frozen=True)
class Lowered:
    """A graph on its way, and what the stages so far have to tell.

    outputs  public names of the outputs: passes may make several the same value, or an input, or a constant
    stage    the stage that it stands at
    targets  the target and the hosts beside it, in the order in which they are asked
    notes    (node, text) pairs for the user
    assumed  True when activation ranges were assumed instead of measured: never compiled
    """

    model: str
    graph: Graph
    outputs: tuple[str, ...]
    stage: str
    targets: tuple[Target, ...]
    precision: str
    notes: tuple[tuple[str, str], ...] = ()
    assumed: bool = False


def compile_model(
    model: Model,
    *,
    target: str,
    calibration: Calibration | None = None,
    precision: str | None = None,
    batch: int = 1,
    **options: Any,
) -> Artifact:
    """Compile a model for a target.

    model        path, bytes or ModelProto of an ONNX model, opsets 7 to 23
    target       a name of `available_targets()`
    calibration  real inputs, for int8: an array [N, ...] for a model with one input, a mapping from input name to
                 array, an iterable of such mappings, or the path of a .npy or .npz file or of a folder of images
    precision    "float32" or "int8"; by default what the target needs
    batch        size bound to symbolic first axes
    options      further fields of `Options`

    Raises CompileError, with where, what and help, for anything that the model, the data or this machine brings.
    """
    chosen = Options(precision=precision, batch=batch, **options)
    if chosen.tune is not None and not 0 < chosen.tune < math.inf:
        raise CompileError(
            where=f"tune {chosen.tune!r}", what="it is no number of seconds above 0", help="give a budget such as 20.0"
        )
    return emit(lower(model, target, chosen, calibration=calibration), chosen, calibration)


def explain(model: Model, *, target: str, precision: str | None = None, batch: int = 1, **options: Any) -> Explanation:
    """Where every op would run, and why not on the accelerator, without generating code.

    No calibration data is needed: where a model has no scales of its own, ranges are assumed, since places depend on
    structure alone. Arguments and errors are those of `compile_model`.
    """
    chosen = Options(precision=precision, batch=batch, **options)
    lowered = lower(model, target, chosen, assume=True)
    parts = partition(lowered.graph, lowered.targets)
    return explain_lowered(lowered, parts)


def explain_lowered(lowered: Lowered, parts: Partition) -> Explanation:
    """The explanation of a graph that is lowered and partitioned already."""
    return explain_partition(
        parts,
        lowered.targets,
        model=lowered.model,
        precision=lowered.precision,
        notes=lowered.notes,
        assumed=lowered.assumed,
        outputs=lowered.outputs,
    )


def lower(
    model: Model,
    target: str,
    options: Options,
    *,
    calibration: Calibration | None = None,
    assume: bool = False,
    until: str = "quantized",
) -> Lowered:
    """Take a model from ONNX to the graph that is partitioned.

    assume  assume activation ranges where there is nothing to measure them on (the graph must not be compiled then)
    until   the last stage to reach, of `STAGES` up to "quantized"; "quantized" of a float32 compilation is "fused"
    """
    targets = targets_of(find_target(target))
    precision = _precision(targets[0], options)
    graph = import_model(
        model,
        batch=options.batch,
        dimensions=options.dimensions,
        shapes=options.shapes,
        values=options.values,
    )
    public = tuple(value.name for value in graph.outputs)
    lowered = Lowered(_model_name(model, graph), graph, public, "imported", targets, precision)
    if lowered.stage == until:
        return lowered
    prequantized = precision == "int8" and is_prequantized(graph)
    if precision == "int8" and until == "quantized" and not (prequantized or assume) and calibration is None:
        raise CompileError(
            where="int8",
            what="the model has no scales of its own, and no calibration data was given",
            help="give 100 or more real inputs: --calibration images.npz, or calibration=array in Python; "
            "intarsia never calibrates on random numbers",
        )
    hooks = _hooks(graph, options)
    fusing = fuse_passes(prequantized, integer=precision == "int8")
    for stage, passes in (("simplified", simplify_passes(prequantized)), ("fused", fusing)):
        _run(graph, passes, stage, hooks)
        lowered = replace(lowered, stage=stage)
        if stage == until:
            return lowered
    if precision == "int8":
        lowered = _quantized(lowered, options, calibration, assume, prequantized, hooks)
    verify(graph, lowered.stage)
    return lowered


def _precision(target: Target, options: Options) -> str:
    precision = options.precision or target.precisions[0]
    if precision not in target.precisions:
        raise CompileError(
            where=f"precision '{precision}'",
            what=f"target '{target.name}' computes in {' or '.join(target.precisions)}",
            help="leave --precision out to get what the target needs",
        )
    return precision


def _model_name(model: Model, graph: Graph) -> str:
    if isinstance(model, (str, PathLike)):
        return Path(fspath(model)).stem
    return graph.name or "model"


def _hooks(graph: Graph, options: Options) -> list[Hook]:
    hooks: list[Hook] = []
    if options.dump is not None:
        hooks.append(Dump(options.dump))
    if options.compare:
        hooks.append(Compare(pick_inputs(graph, None, 1)[0]))
    return hooks


def _run(graph: Graph, passes: Sequence[Pass], stage: str, hooks: Sequence[Hook]) -> None:
    run_passes(graph, passes, hook=Hooks(*hooks, VerifyEach(stage)) if hooks else None)
    verify(graph, stage)


def _quantized(
    lowered: Lowered,
    options: Options,
    calibration: Calibration | None,
    assume: bool,
    prequantized: bool,
    hooks: Sequence[Hook],
) -> Lowered:
    graph = lowered.graph
    if prequantized:
        outcome, assumed = lower_qdq(graph), False
    else:
        if calibration is None:
            ranges = assumed_ranges(graph)
        else:
            samples = read_samples(graph, calibration, options.images)
            step = None if options.progress is None else _counting(options.progress, "calibrating", samples.total)
            ranges = calibrate(graph, samples, method=options.calibrator, percentile=options.percentile, progress=step)
        if not assume:
            require_measured(ranges)
        outcome, assumed = quantize(graph, ranges), ranges.assumed
    for hook in hooks:
        if isinstance(hook, Dump):
            hook.write("quantized", graph)
    reasons = tuple((refusal.node.name, f"stays float: {refusal.reason}") for refusal in outcome.refusals)
    return replace(lowered, stage="quantized", notes=(*outcome.notes, *reasons), assumed=assumed)


def _counting(progress: Progress, what: str, total: int) -> Callable[[int], None]:
    return lambda done: progress(what, done, total)


# ---- from regions to an artifact


def emit(lowered: Lowered, options: Options, calibration: Calibration | None = None) -> Artifact:
    """Compile every region and put the artifact together.

    calibration  the first samples become inputs of the artifact's test vectors; without them they are pseudo-random
    """
    assert not lowered.assumed, "assumed ranges tell places and are never compiled"
    parts = partition(lowered.graph, lowered.targets)
    _refuse_onnx_on_boards(lowered, parts)
    by_name, tuning_notes = _tuned(lowered, parts, options)
    files: dict[str, bytes] = {}
    regions = []
    for index, region in enumerate(parts.regions):
        if options.progress is not None:
            options.progress("compiling", index, len(parts.regions))
        blob = _compile(region, by_name)
        files.update({f"regions/{region.name}/{name}": data for name, data in blob.files.items()})
        regions.append(_region_entry(region, blob))
    if options.progress is not None:
        options.progress("compiling", len(parts.regions), len(parts.regions))
    files.update({f"{WHOLE_GRAPH}/{name}": data for name, data in graph_files(lowered.graph).items()})
    outputs = _outputs(lowered, files)
    vectors, absence = _vectors(lowered, options, calibration, files)
    notes = [
        *lowered.notes,
        *(("tune", text) for text in tuning_notes),
        *([("test vectors", f"none: {absence}")] if absence else []),
    ]
    explanation = explain_lowered(lowered, parts)
    owner = {node.name: region.name for region in parts.regions for node in region.graph.nodes}
    placements = [{**row, "region": owner[row["name"]]} for row in explanation.to_dict()["rows"]]
    manifest = {
        "model_name": lowered.model,
        "target": lowered.targets[0].name,
        "precision": lowered.precision,
        "batch": options.batch,
        "inputs": [tensor(value) for value in lowered.graph.inputs],
        "outputs": outputs,
        "regions": regions,
        "placements": placements,
        "vectors": vectors,
        "metadata": {
            "facts": dict(lowered.targets[0].facts()),
            "notes": [list(note) for note in notes],
            "host_code": {"target": lowered.targets[-1].name, **lowered.targets[-1].facts()},
        },
    }
    return Artifact(manifest, files)


def _refuse_onnx_on_boards(lowered: Lowered, parts: Partition) -> None:
    """A board has NumPy alone: what only onnx.reference can run is refused, with its reason, except on a plain CPU."""
    if len(lowered.targets) == 1:
        return
    bad = [placement for placement in parts.placements if placement.place == EVALUATOR and needs_onnx(placement.node)]
    if bad:
        names = ", ".join(placement.node.where for placement in bad[:8]) + (", ..." if len(bad) > 8 else "")
        raise CompileError(
            where=names,
            what=f"no code can be made for {'it' if len(bad) == 1 else 'them'} yet, and a board has no onnx package "
            "to fall back to",
            help="compile for target 'cpu', where the fallback works, or take the op out of the model",
        )


def _tuned(lowered: Lowered, parts: Partition, options: Options) -> tuple[dict[str, Target], list[str]]:
    """The targets by name, those that found something faster in the place of those that were asked, and notes."""
    by_name = {target.name: target for target in lowered.targets}
    if options.tune is None:
        return by_name, []
    notes: list[str] = []
    end = time.monotonic() + options.tune
    for name, target in by_name.items():
        regions = [region.graph for region in parts.regions if region.place == name]
        found = target.tuned(regions, end - time.monotonic(), options.progress) if regions else None
        if found is not None:
            by_name[name] = found.target
            notes += found.notes
    return by_name, notes or ["no part of the model runs on a target that has something to time on this machine"]


def _compile(region: Region, targets: Mapping[str, Target]) -> Blob:
    if region.place != EVALUATOR:
        return targets[region.place].compile(region.graph)
    helpless = [node.where for node in region.graph.nodes if needs_onnx(node)]
    layers = tuple({"name": node.name, "op": node.op} for node in region.graph.nodes)
    return Blob(EVALUATOR, graph_files(region.graph), {"needs_onnx": helpless}, layers)


def _region_entry(region: Region, blob: Blob) -> dict[str, Any]:
    return {
        "name": region.name,
        "kind": blob.device,
        "inputs": [tensor(value) for value in region.graph.inputs],
        "outputs": [tensor(value) for value in region.graph.outputs],
        "files": sorted(blob.files),
        "metadata": dict(blob.metadata),
        "layers": [dict(layer) for layer in blob.layers],
    }


def _outputs(lowered: Lowered, files: dict[str, bytes]) -> list[dict[str, Any]]:
    entries = []
    for index, (name, value) in enumerate(zip(lowered.outputs, lowered.graph.outputs)):
        if value.data is None:
            entries.append(tensor(value, name))
            continue
        entry, more = constant_output(name, index, value.data)
        entries.append(entry)
        files.update(more)
    return entries


def _vectors(
    lowered: Lowered, options: Options, calibration: Calibration | None, files: dict[str, bytes]
) -> tuple[list[dict[str, Any]], str | None]:
    """Inputs and expected outputs, as `evaluate` gives them, for `intarsia verify`; or none, and why not."""
    reason = why_none(lowered.graph)
    if reason is not None:
        return [], reason
    entries = []
    samples = None
    if calibration is not None and not hasattr(calibration, "__next__"):  # an iterator is used up by calibration
        samples = read_samples(lowered.graph, calibration, options.images)
    for index, inputs in enumerate(pick_inputs(lowered.graph, samples, 2)):
        try:
            outputs = evaluate(lowered.graph, inputs)
        except (CompileError, RunError) as error:  # made-up shapes, axes or indices need not fit
            return [], f"no inputs are known that the model runs on: {error.where}: {error.what}"
        entry, more = vector(
            index,
            [inputs[value.name] for value in lowered.graph.inputs],
            outputs,
            absolute_tolerance=tolerance_of(lowered.graph, outputs),
        )
        entries.append((entry, more))
    for _, more in entries:
        files.update(more)
    return [entry for entry, _ in entries], None
