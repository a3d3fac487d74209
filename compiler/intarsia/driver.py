"""The whole journey, from a model to an artifact: the one file that knows all rooms and the order of the passes."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from intarsia.arguments import check_path, check_text
from intarsia.artifact import Artifact
from intarsia.artifact.assemble import Compilation, CompiledRegion, assemble
from intarsia.artifact.parts import EVALUATOR, graph_files, stored_constants
from intarsia.errors import CompileError, either, warn
from intarsia.faults import tells_faults
from intarsia.images.presets import Given, preprocess_of
from intarsia.importer import Limits, import_model
from intarsia.ir.facts import needs_onnx
from intarsia.ir.graph import Graph
from intarsia.ir.stages import STAGES
from intarsia.ir.verify import verify
from intarsia.ir.work import allow
from intarsia.partition import Partition, Region, partition, targets_of
from intarsia.partition.advice import advised
from intarsia.partition.explanation import Explanation, explain_partition
from intarsia.partition.refusal import refusal_of
from intarsia.passes import fuse_passes, quantize_passes, simplify_passes, stage_passes
from intarsia.passes.base import Hook, Outcome, Pass, run_passes
from intarsia.passes.calibration import PERCENTILE, SUSPICION, Calibration, Ranges, check_place, measured_before
from intarsia.passes.choices import check_choices, check_steps, check_tune, check_used, choose_precision, keeping_float
from intarsia.passes.context import Context
from intarsia.passes.decompose import Decompose, FlattenRows, Kept
from intarsia.passes.instruments import Compare, Dump, Hooks, Log, VerifyEach, check_dump
from intarsia.passes.instruments import replay as replay_pass
from intarsia.passes.pipeline import parse_pipeline
from intarsia.passes.pixels import take_pixels
from intarsia.passes.quantize import (
    Calibrate,
    ImageOptions,
    is_prequantized,
    read_samples,
    require_measured,
)
from intarsia.passes.simplify.fold import FoldConstants
from intarsia.runtime.evaluator import NEEDS_ONNX
from intarsia.targets import Blob, Progress, Target, find_target
from intarsia.vectors import Vector, make_vectors, pick_inputs

if TYPE_CHECKING:
    import onnx
    from numpy.typing import ArrayLike

_LOG = logging.getLogger("intarsia.driver")

Model: TypeAlias = "str | PathLike[str] | bytes | onnx.ModelProto"
"""The path of an ONNX file, its bytes, or what onnx makes of it."""

VECTORS = 2
"""Test vectors in an artifact."""


@dataclass(frozen=True)
class Lowered:
    """A graph on its way, and what the stages so far have to tell.

    outputs      public names of the outputs: passes may make several the same value, or an input, or a constant
    stage        the stage that it stands at
    passes       the whole pipeline, whether it has run or not
    targets      the target and the hosts beside it, in the order in which they are asked
    batch        size bound to symbolic first axes
    calibration  as it was given; real inputs become those of test vectors too
    images       how a folder of images becomes samples
    notes        (node, text) pairs for the user
    assumed      True when activation ranges were assumed instead of measured: never compiled
    meaning      the graph before ops were taken apart, where some were: what test vectors are evaluated on
    kept         by name of a node, why it is not made of parts that the targets take
    limits       what the model may ask for
    host_only    whether code for a board's own processor is left out
    """

    model: str
    graph: Graph
    outputs: tuple[str, ...]
    stage: str
    passes: tuple[Pass, ...]
    targets: tuple[Target, ...]
    precision: str
    batch: int = 1
    calibration: Calibration | None = None
    images: ImageOptions | None = None
    notes: tuple[tuple[str, str], ...] = ()
    assumed: bool = False
    meaning: Graph | None = None
    kept: Mapping[str, Kept] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    host_only: bool = False


@tells_faults
def compile_model(
    model: Model,
    *,
    target: str,
    calibration: Calibration | None = None,
    precision: str | None = None,
    batch: int = 1,
    dimensions: Mapping[str, int] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    values: Mapping[str, ArrayLike] | None = None,
    limits: Limits | None = None,
    calibrator: str = "minmax",
    percentile: float | None = None,
    keep_float: Sequence[str] = (),
    images: ImageOptions | None = None,
    preprocess: Given | None = None,
    save_calibration: str | PathLike[str] | None = None,
    pipeline: str | Sequence[Pass] | None = None,
    tune: float | None = None,
    dump: str | PathLike[str] | None = None,
    compare: bool = False,
    progress: Progress | None = None,
    hook: Hook | None = None,
    host_only: bool = False,
) -> Artifact:
    """Compile a model for a target.

    model             path, bytes or ModelProto of an ONNX model, opsets 7 to 23
    target            one of `available_targets()`, with options and a host where these are chosen: "pynq-z2",
                      "cpu{strict=true}", "pynq-z2+cpu-armv7"
    calibration       real inputs, for int8: an array [N, ...] for a model with one input, a mapping from input name to
                      array, an iterable of such mappings, or the path of a .npy or .npz file or of a folder of images;
                      or ranges measured before, as they are or as the path of their .json file. Of real inputs, the
                      first become test vectors; with ranges these have pseudo-random inputs
    precision         "float32", "int8" or, where the target offers it, "bfloat16" for products of floats, or
                      "float16" for floats in memory; by default
                      int8 where there is calibration data, else what the target needs
    batch             size bound to symbolic first axes; or, where all inputs are written for one row, to those, if
                      running the model shows that rows then give what they give alone
    dimensions        sizes for other symbolic axes, by name
    shapes            whole shapes for inputs, by name, in place of those that the model declares
    values            elements for inputs, by name, that are fixed for ever: branches that they decide are chosen
    limits            what the model may ask for, in memory and in work at compile time
    calibrator        how ranges are chosen from what is seen: "minmax", or "percentile"
    percentile        per cent of the numbers that stay inside, for that one; by default 99.99
    keep_float        names of ops, as explanations and tables of noise have them, that stay float beside int8
    images            how a folder of images becomes samples; the artifact keeps it for `intarsia run photo.jpg`
    preprocess        how the model takes pictures as part of the artifact, whose input is then uint8 [N, H, W, C]: a
                      name of `images.presets.PRESETS`, a .json file, or ImageOptions in place of `images`
    save_calibration  path for the measured ranges: a .json file to give as `calibration` another time
    pipeline          passes to run in place of `default_passes`: as text, or as they are
    tune              seconds to search for faster code by timing it on this machine, about 3 at least; None takes what
                      rules say
    dump              folder for the graph after every pass that changed something
    compare           evaluate after every pass on this machine and fail at the first value that drifts
    progress          called with (what, done, total)
    hook              called between passes, such as `passes.instruments.Timing`
    host_only         of a board, leave out code for its own processor: what its overlay does not take gets code for the
                      machine that compiles alone, as the artifact says

    Raises CompileError, with where, what and help, for anything that the model, the data or this machine brings, and
    for options that nothing would come of. Data that look like no real inputs bring an IntarsiaWarning, and a note in
    the artifact.
    """
    check_tune(tune)
    for item in _targets(target, host_only):
        item.ready()
    lowered = lower(
        model,
        target=target,
        calibration=calibration,
        precision=precision,
        batch=batch,
        dimensions=dimensions,
        shapes=shapes,
        values=values,
        limits=limits,
        calibrator=calibrator,
        percentile=percentile,
        keep_float=keep_float,
        images=images,
        preprocess=preprocess,
        save_calibration=save_calibration,
        pipeline=pipeline,
        dump=dump,
        compare=compare,
        progress=progress,
        hook=hook,
        host_only=host_only,
    )
    return emit(lowered, tune=tune, progress=progress, hook=hook)


@tells_faults
def explain(
    model: Model,
    *,
    target: str,
    precision: str | None = None,
    batch: int = 1,
    dimensions: Mapping[str, int] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    values: Mapping[str, ArrayLike] | None = None,
    limits: Limits | None = None,
    keep_float: Sequence[str] = (),
    hook: Hook | None = None,
    host_only: bool = False,
) -> Explanation:
    """Where every op would run, and why not on the accelerator, without generating code.

    No calibration data is needed: where a model has no scales of its own, ranges are assumed, since places depend on
    structure alone. Arguments and errors are those of `compile_model`.
    """
    lowered = lower(
        model,
        target=target,
        precision=precision,
        batch=batch,
        dimensions=dimensions,
        shapes=shapes,
        values=values,
        limits=limits,
        keep_float=keep_float,
        hook=hook,
        host_only=host_only,
        assume=True,
    )
    return explain_lowered(lowered, partition(lowered.graph, lowered.targets))


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
        kept=lowered.kept,
        host_only=lowered.host_only,
    )


# ---- from ONNX to the graph that is partitioned


def default_passes(
    precision: str,
    *,
    prequantized: bool = False,
    calibrate: Calibrate | None = None,
    targets: Sequence[str] = (),
) -> tuple[Pass, ...]:
    """The order of the passes, which stands nowhere else.

    precision     "int8", or a float; for float16, models of float16 are computed in float32 too, whose numbers the
                  target rounds
    prequantized  the model is compiled to int8 with scales that it brings
    calibrate     how ranges of activations are measured, where they are; None where they are assumed
    targets       names of those that are asked what they take before an op is made of simpler ones
    """
    integer = precision == "int8"
    return (
        *simplify_passes(prequantized, wide=integer or precision == "float16"),
        *fuse_passes(prequantized, integer=integer),
        *(quantize_passes(prequantized, calibrate) if integer else ()),
        *((FlattenRows(tuple(targets)),) if integer and len(targets) > 1 else ()),
        Decompose(tuple(targets)),
    )


@tells_faults
def lower(
    model: Model,
    *,
    target: str,
    calibration: Calibration | None = None,
    precision: str | None = None,
    batch: int = 1,
    dimensions: Mapping[str, int] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    values: Mapping[str, ArrayLike] | None = None,
    limits: Limits | None = None,
    calibrator: str = "minmax",
    percentile: float | None = None,
    keep_float: Sequence[str] = (),
    images: ImageOptions | None = None,
    preprocess: Given | None = None,
    save_calibration: str | PathLike[str] | None = None,
    pipeline: str | Sequence[Pass] | None = None,
    dump: str | PathLike[str] | None = None,
    compare: bool = False,
    progress: Progress | None = None,
    hook: Hook | None = None,
    host_only: bool = False,
    assume: bool = False,
    until: str = "decomposed",
) -> Lowered:
    """Take a model from ONNX to the graph that is partitioned. Arguments and errors are those of `compile_model`, and

    assume  assume activation ranges where there is nothing to measure them on (the graph must not be compiled then)
    until   the last stage to reach, of STAGES up to "decomposed"; a float32 compilation is never "quantized"
    """
    targets = _targets(target, host_only)
    check_choices(calibrator, percentile, images, pipeline, hook, progress, until)
    chosen = choose_precision(targets[0].name, targets[0].precisions, precision, calibration is not None)
    targets = tuple(item.for_precision(chosen) for item in targets)
    check_used(chosen if pipeline is None else "int8", calibration, images, calibrator, percentile)
    for name, place in (("dump", dump), ("save_calibration", save_calibration)):
        if place is not None:
            check_path(CompileError, name, place)
    if isinstance(calibration, (str, PathLike)):
        check_path(CompileError, "calibration", calibration)
    read = [item for item in (model, calibration) if isinstance(item, (str, PathLike))]
    if dump is not None:
        check_dump(fspath(dump), read)
    if save_calibration is not None:
        check_place(save_calibration, read)  # before anybody waits for the measurement
    given = measured_before(calibration) or calibration
    watching = hook or Hook()
    bounds = limits or Limits()
    with _step("import", watching):
        notes: list[tuple[str, str]] = []
        graph = import_model(
            model, batch=batch, dimensions=dimensions, shapes=shapes, values=values, notes=notes, limits=bounds
        )
        if preprocess is not None:
            if images is not None:
                raise CompileError(
                    where=either("--preprocess", "preprocess"),
                    what="it says how pixels become numbers, and so does something else",
                    help=either("leave out --mean, --scale, --colour and --fit", "leave out images"),
                )
            images = take_pixels(graph, preprocess_of(preprocess)).reading
    public = tuple(value.name for value in graph.outputs)
    passes = _passes(
        graph, chosen, targets, pipeline, None if assume else Calibrate(calibrator, percentile or PERCENTILE), bounds
    )
    passes = keeping_float(passes, keep_float, pipeline is not None)
    lowered = Lowered(
        _model_name(model, graph),
        graph,
        public,
        "imported",
        passes,
        targets,
        chosen,
        batch,
        given,
        images,
        tuple(notes),
        host_only=host_only,
    )
    context = Context(lowered.model, given, images, progress)
    kept: dict[str, Kept] = {}
    asking = [advised(step, targets, kept.__setitem__) for step in passes]
    staged = [(stage, steps) for stage, steps in _staged(asking) if STAGES.index(stage) <= STAGES.index(until)]
    whole = STAGES.index(until) >= STAGES.index("quantized")
    check_steps(staged, context, chosen if whole and pipeline is not None else None, save_calibration)
    instruments = _instruments(graph, context, dump, compare)
    checking = bool(instruments)
    if _LOG.isEnabledFor(logging.INFO):
        instruments.append(Log())
    for stage, steps in staged:
        # Explanations have no test vectors, and need no graph to evaluate them on.
        before = graph.copy() if stage == "decomposed" and not assume else None
        outcome = _run(graph, steps, stage, Hooks(*instruments, watching), checking, context)
        lowered = replace(lowered, stage=stage, notes=(*lowered.notes, *outcome.notes))
        for topic, text in outcome.notes:
            if topic == SUSPICION:  # as soon as it is known, and not only in what the artifact tells
                warn(f"{topic}: {text}")
        if outcome.changes:
            lowered = replace(lowered, meaning=before)
    if context.ranges is not None and not assume:
        require_measured(context.ranges)
        if save_calibration is not None:
            context.ranges.save(save_calibration)
    return replace(lowered, kept=kept, limits=bounds, assumed=context.ranges is not None and context.ranges.assumed)


def _targets(name: str, host_only: bool) -> tuple[Target, ...]:
    found = find_target(check_text(CompileError, "target", name, "name one, such as 'cpu'"))
    return targets_of(found, host_only=host_only)


def _model_name(model: Model, graph: Graph) -> str:
    if isinstance(model, (str, PathLike)):
        return Path(fspath(model)).stem
    return graph.name or "model"


def _passes(
    graph: Graph,
    precision: str,
    targets: Sequence[Target],
    pipeline: str | Sequence[Pass] | None,
    calibrate: Calibrate | None,
    limits: Limits,
) -> tuple[Pass, ...]:
    """What will run on an imported graph."""
    if isinstance(pipeline, str):
        return parse_pipeline(pipeline)
    if pipeline is not None:
        return tuple(pipeline)
    prequantized = precision == "int8" and is_prequantized(graph)
    names = [target.name for target in targets]
    passes = default_passes(precision, prequantized=prequantized, calibrate=calibrate, targets=names)
    folding = {name: getattr(limits, name) for name in ("fold_elements", "fold_work", "fold_bytes")}
    return tuple(replace(step, **folding) if isinstance(step, FoldConstants) else step for step in passes)


def _staged(passes: Sequence[Pass]) -> list[tuple[str, list[Pass]]]:
    """Passes by the stage at which the graph stands after them: the last one of which any pass up to there is.

    A pass of none of the rooms leaves the graph at the stage that it finds.
    """
    stage_of = {kind: stage for stage, kinds in stage_passes().items() for kind in kinds}
    groups: list[tuple[str, list[Pass]]] = []
    stage = next(iter(stage_passes()))
    for step in passes:
        stage = max(stage, stage_of.get(type(step), stage), key=STAGES.index)
        if not groups or groups[-1][0] != stage:
            groups.append((stage, []))
        groups[-1][1].append(step)
    return groups


def _instruments(graph: Graph, context: Context, dump: str | PathLike[str] | None, compare: bool) -> list[Hook]:
    hooks: list[Hook] = []
    if dump is not None:
        hooks.append(Dump(fspath(dump), context=context))
    if compare:
        hooks.append(Compare(pick_inputs(graph, None, 1)[0]))
    return hooks


def _run(graph: Graph, passes: Sequence[Pass], stage: str, hooks: Hooks, checking: bool, context: Context) -> Outcome:
    """Run the passes of a stage.

    checking  check the graph after every pass, not only at the end
    """
    hook = Hooks(hooks, VerifyEach(stage)) if checking else hooks
    outcome = run_passes(graph, passes, hook=hook, context=context)
    verify(graph, stage)
    return outcome


def replay(folder: str | PathLike[str], *, calibration: Calibration | None = None, hook: Hook | None = None) -> Graph:
    """Run the pass that failed again; see `passes.instruments.replay`. Passes that ask targets find them by name."""
    return replay_pass(folder, calibration=calibration, hook=hook, prepare=advised)


@contextmanager
def _step(what: str, hook: Hook) -> Iterator[None]:
    """A step of the journey that is no pass: its time is told when it ends well."""
    started = time.perf_counter()
    yield
    seconds = time.perf_counter() - started
    hook.did(what, seconds)
    Log().did(what, seconds)


# ---- from the graph to an artifact


@tells_faults
def emit(
    lowered: Lowered, *, tune: float | None = None, progress: Progress | None = None, hook: Hook | None = None
) -> Artifact:
    """Partition a graph, compile every region and put the artifact together. Arguments are those of `compile_model`."""
    assert not lowered.assumed, "assumed ranges tell places and are never compiled"
    watching = hook or Hook()
    with _step("partition", watching):
        parts = partition(lowered.graph, lowered.targets)
    _LOG.info("%d regions: %s", len(parts.regions), ", ".join(region.name for region in parts.regions) or "none")
    refusal = refusal_of(parts, lowered.targets)
    if refusal is not None:
        raise refusal.error
    by_name, tuning_notes = _tuned(lowered, parts, tune, progress, watching)
    regions, remarks = [], list[tuple[str, str]]()
    for index, region in enumerate(parts.regions):
        if progress is not None:
            progress("compiling", index, len(parts.regions))
        with _step(f"compile region {region.name}", watching):
            blob = _compile(region, by_name)
        size = sum(map(len, blob.files.values()))
        _LOG.info(
            "region %s: %d nodes, %d files, %d bytes", region.name, len(region.graph.nodes), len(blob.files), size
        )
        remarks += [(f"region {region.name}", text) for text in blob.notes]
        facts = blob.metadata, blob.layers, blob.constants
        regions.append(CompiledRegion(region.name, blob.device, region.graph, blob.files, *facts))
    if progress is not None:
        progress("compiling", len(parts.regions), len(parts.regions))
    with _step("make test vectors", watching):
        vectors, absence = _vectors(lowered)
    target, code = lowered.targets[0], lowered.targets[-1]
    told = explain_lowered(lowered, parts)
    board = code.beside if len(told.codes) > 1 else None
    made = Compilation(
        model=lowered.model,
        target=target.name,
        precision=lowered.precision,
        batch=lowered.batch,
        graph=lowered.graph,
        outputs=lowered.outputs,
        regions=regions,
        placements=told.to_dict()["rows"],
        vectors=vectors,
        notes=[
            *lowered.notes,
            *(("tune", text) for text in tuning_notes),
            *remarks,
            *([("test vectors", f"{len(vectors) or 'none'}: {absence}")] if absence else []),
        ],
        facts=_facts(target),
        host_code={"target": code.name, **_facts(code)},
        images=lowered.images,
        board_code=None if board is None else {"target": board.name, **_facts(board)},
        left_out=told.left_out,
    )
    with _step("assemble", watching):
        return assemble(made)


def _facts(target: Target) -> dict[str, object]:
    """What a target says of itself, and the options that were chosen, where it has any."""
    return {**target.facts(), **({"options": target.settings} if target.options else {})}


def _tuned(
    lowered: Lowered, parts: Partition, tune: float | None, progress: Progress | None, hook: Hook
) -> tuple[dict[str, Target], list[str]]:
    """The targets by name, those that found something faster in the place of those that were asked, and notes."""
    by_name = {target.name: target for target in lowered.targets}
    if tune is None:
        return by_name, []
    notes: list[str] = []
    end = time.monotonic() + tune
    for name, target in by_name.items():
        regions = [region.graph for region in parts.regions if region.place == name]
        if not regions:
            continue
        with _step(f"tune {name}", hook):
            found = target.tuned(regions, end - time.monotonic(), progress)
        if found is not None:
            by_name[name] = found.target
            notes += found.notes
    for note in notes:
        _LOG.info("tune: %s", note)
    return by_name, notes or ["no part of the model runs on a target that has something to time on this machine"]


def _compile(region: Region, targets: Mapping[str, Target]) -> Blob:
    if region.place != EVALUATOR:
        return targets[region.place].compile(region.graph)
    helpless = [node.where for node in region.graph.nodes if needs_onnx(node)]
    layers = tuple({"name": node.name, "op": node.op} for node in region.graph.nodes)
    files = graph_files(region.graph)
    return Blob(EVALUATOR, files, {NEEDS_ONNX: helpless}, layers, stored_constants(files))


def _vectors(lowered: Lowered) -> tuple[list[Vector], str | None]:
    """Test vectors, on the first samples where real inputs were given; or none, and why not."""
    samples, graph = None, lowered.meaning or lowered.graph
    given = lowered.calibration
    # An iterator is used up by calibration, and ranges hold no inputs.
    if given is not None and not isinstance(given, Ranges) and not hasattr(given, "__next__"):
        samples = read_samples(graph, given, lowered.images)
    limits = lowered.limits
    products = lowered.targets[0].products
    budget = allow(graph, limits.vector_work, limits.vector_bytes, "vector")
    return make_vectors(graph, samples, VECTORS, budget, products)
