"""What can watch a pipeline: dumps, timing, verification, comparison. All are hooks for `run_passes`."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shutil
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path

import numpy as np

from intarsia.arguments import check_path
from intarsia.dtypes import Array
from intarsia.errors import FOREIGN, CompileError, IntarsiaError, either, said
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph, Value
from intarsia.ir.text import text
from intarsia.passes.base import Hook, Pass
from intarsia.passes.calibration import RANGES_FILE, Calibration
from intarsia.passes.context import Context

_PASSES_LOG = logging.getLogger("intarsia.passes")
_DRIVER_LOG = logging.getLogger("intarsia.driver")


class Hooks(Hook):
    """Several hooks as one, called in order; on failure every one of them hears of it."""

    def __init__(self, *hooks: Hook) -> None:
        self.hooks = hooks

    def start(self, graph: Graph) -> None:
        for hook in self.hooks:
            hook.start(graph)

    def before(self, step: Pass, graph: Graph) -> None:
        for hook in self.hooks:
            hook.before(step, graph)

    def after(self, step: Pass, graph: Graph, changes: int, seconds: float) -> None:
        for hook in self.hooks:
            hook.after(step, graph, changes, seconds)

    def failed(self, step: Pass, graph: Graph, error: Exception) -> None:
        for hook in self.hooks:
            hook.failed(step, graph, error)

    def did(self, what: str, seconds: float) -> None:
        for hook in self.hooks:
            hook.did(what, seconds)


_LISTING = re.compile(r"\d\d+_[a-z-]+\.txt")


def check_dump(folder: str | Path, inputs: Sequence[str | PathLike[str] | None] = ()) -> list[Path]:
    """What a former dump left in a folder; CompileError where it holds anything else, or what the command reads.

    inputs  files that are read by the same command
    """
    place = Path(folder)
    try:
        found = sorted(place.iterdir()) if os.path.lexists(place) else []
    except OSError as error:
        raise _unwritable(place, error) from None
    known = [item for item in found if _LISTING.fullmatch(item.name) or item.name in (RANGES_FILE, "crash")]
    read = [
        item for item in inputs if item is not None and Path(os.path.realpath(item)).is_relative_to(place.resolve())
    ]
    if len(known) != len(found) or read:
        stranger = fspath(read[0]) if read else next(item.name for item in found if item not in known)
        raise CompileError(
            where=f"{either('--dump', 'dump folder')} {place}",
            what=f"'{stranger}' is in that folder, {'which is read' if read else 'and is no listing'}",
            help="give a folder that is new, empty, or holds listings of a former dump alone",
        )
    return known


def _unwritable(place: Path, error: OSError) -> CompileError:
    return CompileError(
        where=f"listing '{place}'",
        what=f"it cannot be written: {error.strerror or error}",
        help="give a folder, new or of former listings, that you may write to",
    )


class Dump(Hook):
    """Writes the graph as text after every pass that changed something: 00_imported.txt, 01_fuse-activation.txt, ...

    What passes leave in the context for others (ranges.json) is written when it is there. When a pass fails, `crash/`
    holds the graph before it (text, and JSON with weights), the context's files, the pass as text and the traceback;
    `replay` runs it again.

    folder   made if need be; what a former dump left in it is removed at the start
    first    what the graph is called before the first pass
    context  of the passes

    Raises CompileError where the folder holds anything else, or cannot be written.
    """

    def __init__(self, folder: str | Path, first: str = "imported", context: Context | None = None) -> None:
        self.folder = Path(folder)
        self.first = first
        self.context = context or Context()
        self._written: dict[str, str] = {}
        self._count = 0
        self._before: Graph | None = None

    def start(self, graph: Graph) -> None:
        if self._count == 0:
            self._clear()
            self.write(self.first, graph)

    def _clear(self) -> None:
        """Take away what a former dump wrote, so that no stale listing stands among the new ones."""
        try:
            for place in check_dump(self.folder):
                if place.is_dir():
                    shutil.rmtree(place)
                else:
                    place.unlink()
        except OSError as error:
            raise _unwritable(self.folder, error) from None

    def before(self, step: Pass, graph: Graph) -> None:
        self._before = graph.copy()

    def after(self, step: Pass, graph: Graph, changes: int, seconds: float) -> None:
        if changes:
            self.write(step.name, graph)
        for name, content in self.context.files().items():
            if self._written.get(name) != content:
                self.folder.mkdir(parents=True, exist_ok=True)
                (self.folder / name).write_text(content)
                self._written[name] = content

    def failed(self, step: Pass, graph: Graph, error: Exception) -> None:
        assert self._before is not None
        folder = self.folder / "crash"
        try:
            self._write_crash(folder, step, error)
        except OSError as trouble:  # the error that is to be told is the pass's
            _DRIVER_LOG.warning("crash folder '%s' cannot be written: %s", folder, trouble.strerror or trouble)

    def _write_crash(self, folder: Path, step: Pass, error: Exception) -> None:
        from intarsia.ir.serialize import to_data

        assert self._before is not None
        folder.mkdir(parents=True, exist_ok=True)
        data, weights = to_data(self._before)
        (folder / "graph.json").write_text(json.dumps(data))
        (folder / "weights.bin").write_bytes(weights)
        (folder / "graph.txt").write_text(text(self._before))
        (folder / "pass.txt").write_text(f"{step}\n")
        (folder / "traceback.txt").write_text("".join(traceback.format_exception(error)))
        for name, content in self.context.files().items():
            (folder / name).write_text(content)

    def write(self, stage: str, graph: Graph) -> None:
        place = self.folder / f"{self._count:02}_{stage}.txt"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            place.write_text(text(graph))
        except OSError as error:
            raise _unwritable(place, error) from None
        self._count += 1


def replay(
    folder: str | PathLike[str],
    *,
    calibration: Calibration | None = None,
    hook: Hook | None = None,
    prepare: Callable[[Pass], Pass] = lambda step: step,
) -> Graph:
    """Run the pass that failed again, on the graph that it failed on; returns the graph if it goes well this time.

    folder       the `crash` folder that `Dump` left
    calibration  the data, where calibrating failed: that is in no crash folder
    prepare      gives a pass made from text what text cannot hold; `driver.replay` knows what that is
    """
    from intarsia.ir.serialize import from_data
    from intarsia.passes.base import run_passes
    from intarsia.passes.pipeline import parse_pipeline

    folder = check_path(CompileError, "crash folder", folder)
    try:
        data = json.loads((folder / "graph.json").read_text())
        weights = (folder / "weights.bin").read_bytes()
        passes = parse_pipeline((folder / "pass.txt").read_text().strip())
        graph = from_data(data, weights)
    except IntarsiaError as error:
        raise CompileError(where=f"crash folder '{folder}', {error.where}", what=error.what, help=error.help) from error
    except FileNotFoundError as error:
        raise CompileError(
            where=f"crash folder '{folder}'",
            what=f"there is no {Path(error.filename).name}",
            help="give the folder 'crash' that a dump left beside the listings",
        ) from None
    except (OSError, AssertionError, *FOREIGN) as error:
        raise CompileError(
            where=f"crash folder '{folder}'",
            what=f"it is damaged: {said(error)}",
            help=f"run the compilation with {either('--dump FOLDER', 'dump=FOLDER')} again",
        ) from error
    steps = [prepare(step) for step in passes]
    run_passes(graph, steps, hook=hook, context=Context.of_folder(folder, calibration))
    return graph


@dataclass(frozen=True)
class Timed:
    """One pass of a pipeline as it ran, or another step of a compilation, which has no changes to count."""

    step: str
    changes: int | None
    seconds: float


class Timing(Hook):
    """Seconds and changes of every pass, and of every other step, in `rows`, in the order of running."""

    def __init__(self) -> None:
        self.rows: list[Timed] = []

    def after(self, step: Pass, graph: Graph, changes: int, seconds: float) -> None:
        self.rows.append(Timed(str(step), changes, seconds))

    def did(self, what: str, seconds: float) -> None:
        self.rows.append(Timed(what, None, seconds))

    def table(self) -> str:
        """The rows as text, slowest first."""
        rows = sorted(self.rows, key=lambda row: -row.seconds)
        counts = ["" if row.changes is None else f"{row.changes} changes" for row in rows]
        return "".join(f"{row.seconds * 1e3:9.1f} ms {count:>14}  {row.step}\n" for row, count in zip(rows, counts))


class Log(Hook):
    """Tells the logger `intarsia.passes` of every pass, and `intarsia.driver` of every other step.

    Passes that changed nothing and took no time are told at level DEBUG, all else at INFO.
    """

    def after(self, step: Pass, graph: Graph, changes: int, seconds: float) -> None:
        level = logging.INFO if changes or seconds > 0.01 else logging.DEBUG
        _PASSES_LOG.log(level, "%s: %d changes, %d nodes, %.1f ms", step, changes, len(graph.nodes), seconds * 1e3)

    def failed(self, step: Pass, graph: Graph, error: Exception) -> None:
        _PASSES_LOG.info("%s failed: %s", step, type(error).__name__)

    def did(self, what: str, seconds: float) -> None:
        _DRIVER_LOG.info("%s: %.1f ms", what, seconds * 1e3)


class VerifyEach(Hook):
    """Checks the whole graph after every pass that changed something.

    stage  what the passes make the graph into, as `ir.verify` names stages
    """

    def __init__(self, stage: str) -> None:
        self.stage = stage

    def after(self, step: Pass, graph: Graph, changes: int, seconds: float) -> None:
        from intarsia.ir.verify import verify

        if changes:
            verify(graph, self.stage)


class Compare(Hook):
    """Evaluates the graph after every pass that changed something and fails at the first value that drifts.

    Values are compared by name: passes see to it that a name stands for the same elements before and after them.

    A pass whose tolerance is infinite makes numbers of another kind, int8 for float: it is not compared, and those
    after it are compared with what it made. How far int8 is from float, `intarsia verify --against MODEL` says, layer
    by layer, in dB.

    inputs   an array for each graph input, by name
    drifts   after the run: for each pass that was compared the largest drift that it caused, relative to the range of
             the value
    """

    def __init__(self, inputs: Mapping[str, Array]) -> None:
        self.inputs = inputs
        self.drifts: dict[str, float] = {}
        self._former: dict[str, Array] = {}

    def start(self, graph: Graph) -> None:
        self._former = self._values(graph)

    def after(self, step: Pass, graph: Graph, changes: int, seconds: float) -> None:
        if not changes:
            return
        values = self._values(graph)
        if math.isinf(step.tolerance):
            self._former = values
            return
        worst = 0.0
        for name, array in values.items():
            former = self._former.get(name)
            if former is None:
                continue
            drift = relative_drift(former, array)
            if drift > step.tolerance:
                raise CompileError(
                    where=f"value '{name}' after pass {step}",
                    what=f"it drifts by {drift:.3g} of its range, and the pass may cause {step.tolerance:.3g}",
                    help="this is a fault of the pass: please report it with the model and the folder of a dump",
                )
            worst = max(worst, drift)
        self.drifts[str(step)] = max(worst, self.drifts.get(str(step), 0.0))
        self._former = values

    def _values(self, graph: Graph) -> dict[str, Array]:
        values: dict[str, Array] = {}

        def observe(value: Value, array: Array) -> None:
            if isinstance(array, np.ndarray):
                values[value.name] = array

        results = evaluate(graph, self.inputs, observe=observe)
        for value, array in zip(graph.outputs, results):
            observe(value, array)
        return values


def relative_drift(before: Array, after: Array) -> float:
    """The largest |after - before|, over the largest finite |before|; 0 where all are equal, inf where shapes differ.

    Equal infinities and NaN in the same place count as no drift. Values all below 1e-6 are measured against 1e-6.
    """
    if before.shape != after.shape or before.dtype != after.dtype:
        return float("inf")
    if before.dtype.kind not in "fc":
        return 0.0 if np.array_equal(before, after) else float("inf")
    if not before.size:
        return 0.0
    finite = np.isfinite(before) & np.isfinite(after)
    rest_equal = np.array_equal(before[~finite], after[~finite], equal_nan=True)
    if not rest_equal:
        return float("inf")
    if not finite.any():
        return 0.0
    first, second = before[finite].astype(np.complex128), after[finite].astype(np.complex128)
    return float(np.abs(second - first).max() / max(float(np.abs(first).max()), 1e-6))
