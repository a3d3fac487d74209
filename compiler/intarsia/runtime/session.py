"""Running an artifact: regions in order on the devices that are here. NumPy and the standard library only."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any

import numpy as np

from intarsia.arguments import check_text, shown
from intarsia.artifact import Artifact
from intarsia.artifact.arrays import from_npy
from intarsia.artifact.manifest import Manifest, Region, Tensor
from intarsia.artifact.parts import EVALUATOR, whole_graph
from intarsia.artifact.signatures import TrustedKeys
from intarsia.dtypes import Array
from intarsia.errors import RunError, warn
from intarsia.ir.graph import Graph
from intarsia.processors import usable
from intarsia.runtime.arguments import TensorInfo, bind, check_array
from intarsia.runtime.batches import batch_at, batches_of, check_outputs, join_batches, split_batches
from intarsia.runtime.counters import add, whole_model
from intarsia.runtime.device import LoadedRegion, Processors, RegionFiles
from intarsia.runtime.devices import Picks, choose_devices
from intarsia.runtime.evaluator import EvaluatorRegion, part_of
from intarsia.runtime.limits import CancellationToken, Limit, limit_of
from intarsia.runtime.nonfinite import Nonfinite
from intarsia.runtime.pace import OneGo, Pace
from intarsia.runtime.result import RunResult
from intarsia.runtime.steps import Step, as_array, exact, is_exact, kept_at_home, last_uses, release
from intarsia.runtime.submissions import RunFuture, Submissions, check_ahead, in_order

__all__ = ["RunResult", "Session", "TensorInfo", "load"]

Progress = Callable[[str, int, int], None]
"""Called with (what, done, total)."""

_Counted = tuple[list[Array], int, Sequence[Mapping[str, Any]]]
"""Outputs, images, and for each region what its device counted."""


def load(
    artifact: str | os.PathLike[str] | Artifact,
    *,
    device: str | None = None,
    threads: int | None = None,
    pin: Sequence[int] | None = None,
    native: bool = True,
    trusted_keys: TrustedKeys | None = None,
) -> Session:
    """Make an artifact ready to run.

    artifact  a path of a zip or a folder, or an Artifact
    device    name of the device that runs the regions it can, e.g. "simulator"; by default, for every kind of region,
              the device of highest priority among those that are present
    threads   threads of this machine's CPU for one run, the calling one among them; by default INTARSIA_THREADS, else
              one for every processor that the process may use. Sessions share threads and do not add them up
    pin       processors that the threads stay on, one for each save the calling one, which is the caller's to place
    native    False runs regions of machine code by the evaluator instead, in NumPy: slow, and nothing of the artifact
              is executed that cannot be checked. It needs neither the processor nor the system that the code is for
    trusted_keys
              public keys, as a file, a folder or several of those: an artifact that none of them has signed, or that
              was changed since, is refused before anything of it is used. See `intarsia sign`

    Raises RunError where the artifact is damaged or newer, or no device here runs one of its regions. Hashes guard
    against accidents, not against intent: regions for a CPU are machine code. SECURITY.md says what is checked.

    Regions whose code is for other processors are run by the evaluator, and an IntarsiaWarning says so, as it does
    where the simulator takes the place of a board that is here; `Session.notes` keeps what was said.
    """
    if not isinstance(artifact, Artifact):
        opened = Artifact.read(artifact, trusted_keys=trusted_keys)
    else:
        opened = artifact if trusted_keys is None else artifact.trusted(trusted_keys)
    session = Session(opened, device=device, threads=threads, pin=pin, native=native)
    for note in session.notes:
        warn(note)
    return session


class Session:
    """An artifact on the devices of this machine. `run` and `execute` may be called from several threads at once.

    artifact  what it runs
    inputs    name, dtype and shape of each input, in order
    outputs   the same of each output
    devices   by region name, the device that runs it
    notes     what runs otherwise than one might think, and what to do about it; `load` warns of each
    measures  whether one of them counts cycles of hardware, which its model's are compared with

    An int8 model takes NaN for 0, and infinities for the ends of the range; `nonfinite` counts both. The first brings
    an IntarsiaWarning.
    """

    def __init__(
        self,
        artifact: Artifact,
        *,
        device: str | None = None,
        threads: int | None = None,
        pin: Sequence[int] | None = None,
        native: bool = True,
    ) -> None:
        processors = Processors(threads, _numbers(pin))
        if device is not None:
            check_text(RunError, "device", device, "give the name of one, such as 'simulator'")
        contents = artifact.contents
        self.artifact = artifact
        self.inputs = tuple(TensorInfo(item.name, item.dtype, item.shape) for item in contents.inputs)
        self.outputs = tuple(TensorInfo(item.name, item.dtype, item.shape) for item in contents.outputs)
        self.devices: dict[str, str] = {}
        self.measures = False
        kinds = {item.kind for item in contents.regions} - {EVALUATOR}
        picks = Picks(choose_devices(kinds, device, f"'{contents.model_name}'", native=native), device)
        loaded: list[LoadedRegion] = []
        try:
            self._load(picks, processors, loaded)
        except BaseException:
            for each in loaded:
                with suppress(RunError):  # the first one is told
                    each.close()
            raise
        drops, kept = last_uses(contents.regions, contents.outputs), kept_at_home(contents.regions, loaded)
        self._steps: list[Step] | None = [
            Step(region, each, self.devices[region.name], dropped, stays)
            for region, each, dropped, stays in zip(contents.regions, loaded, drops, kept)
        ]
        self._keeps = any(any(stays) for stays in kept if stays is not None)
        self.notes = picks.notes()
        self._names = tuple(info.name for info in self.inputs)
        self._output_names = tuple(info.name for info in self.outputs)
        self._exact = tuple(exact(info.dtype, info.shape) for info in self.inputs)
        self._nonfinite = Nonfinite(self.inputs) if contents.precision == "int8" else None
        self._given_back = _given_back(artifact)
        self._batch = contents.batch
        self._is_one_region = (
            len(self._steps) == 1
            and not any(copied for _, _, copied in self._given_back)
            and self._steps[0].is_all(self._names, [value for value, _, _ in self._given_back])
        )
        self._one_go = OneGo(self._steps[0], self._batch) if self._is_one_region else None
        self._submissions = Submissions(_workers(self.devices.values(), threads))

    def _load(self, picks: Picks, processors: Processors, loaded: list[LoadedRegion]) -> None:
        """Every region on its device, in order, added to `loaded` one by one."""
        contents = self.artifact.contents
        whole: Graph | None = None
        for region in contents.regions:
            files = _region_files(self.artifact, region)
            found = None if region.kind == EVALUATOR else picks.device_for(files)
            if found is not None and found.device is not None:
                self.devices[region.name] = found.name
                self.measures |= found.device.measures
                found.device.processors = processors
                loaded.append(found.device.load(files))
                continue
            self.devices[region.name] = EVALUATOR
            replaced = None
            if region.kind != EVALUATOR:
                whole = whole or whole_graph(self.artifact.files)
                replaced = _part(whole, files, contents)
            loaded.append(EvaluatorRegion(files, replaced))

    def run(
        self,
        *arrays: Any,
        timeout: float | None = None,
        cancellation: CancellationToken | None = None,
        **named: Any,
    ) -> list[Array]:
        """Run the model; `execute` says also what the run counted.

        arrays, named  an array for each input, in order or by name, of the input's dtype and shape. Where the artifact
                       was compiled for a batch of 1 the first axes may be longer, all equally: it then runs for every
                       image, whose bytes do not depend on the others. (A batch of N takes multiples of N.)
        timeout        seconds after which no further region begins
        cancellation   a token: once it is cancelled, by another thread, no further region begins
        returns        the outputs, in order; fresh arrays

        Raises RunError where an input does not fit; nothing is converted silently. RunTimeout and RunCancelled name the
        region that was not reached: both limits are looked at between regions, and a region that has begun is not
        interrupted, except by a device that can give up waiting, and by the evaluator between ops and rounds of loops.
        The next run works as usual.
        """
        steps = self._steps
        if (
            self._is_one_region
            and timeout is None
            and cancellation is None
            and not named
            and steps is not None
            and len(arrays) == len(self._exact)
        ):
            one = all(map(is_exact, arrays, self._exact))
            images = 0 if one or self._one_go is None else self._one_go.takes(arrays)
            if (one or images) and self._nonfinite is not None:
                self._nonfinite.look(arrays)
            if one:
                return steps[0].outputs_of(arrays).outputs  # what a small model takes is mostly the way to its kernels
            if images and self._one_go is not None:
                return self._one_go.run(arrays, images)
        return self._run(arrays, named, limit_of(timeout, cancellation))[0]

    def execute(
        self,
        inputs: Mapping[str, Any] | Sequence[Any],
        *,
        timeout: float | None = None,
        cancellation: CancellationToken | None = None,
        pad_last: bool = False,
        progress: Progress | None = None,
    ) -> RunResult:
        """Run the model: outputs and what was counted, in one object of this run's own.

        inputs                 an array for each input, by name or in order; see `run`, as for the errors
        timeout, cancellation  see `run`
        pad_last               take any number of samples: the last batch is filled up by repeating its last sample.
                               What comes of those is left out; the time and the cycles that they cost are counted
        progress               called before every batch and after the last with ("running", batches done, batches)
        """
        started = time.perf_counter()
        _check_listed("execute()", inputs)
        named = inputs if isinstance(inputs, Mapping) else {}
        arrays = () if isinstance(inputs, Mapping) else inputs
        limit = limit_of(timeout, cancellation)
        outputs, images, counted = self._run(arrays, named, limit, pad_last=pad_last, progress=progress)
        regions = tuple((*item, figures) for item, figures in zip(self.devices.items(), counted))
        return RunResult(outputs, self._output_names, images, time.perf_counter() - started, regions)

    # ---- runs that are not waited for

    @property
    def workers(self) -> int:
        """How many submitted requests run at a time: one for each device, or for as many of this machine's processors
        as `threads` of a run go into."""
        return self._submissions.workers

    def submit(
        self,
        *arrays: Any,
        timeout: float | None = None,
        cancellation: CancellationToken | None = None,
        **named: Any,
    ) -> RunFuture:
        """Have the model run on a thread of the session's own; a `concurrent.futures.Future` of what `run` gives.

        arrays, named          see `run`. They are read when the run begins: leave them as they are until it is done
        timeout, cancellation  see `run`; the time that the request waits for its turn counts, and is looked at then

        `workers` requests run at a time, in the order in which they came, each with its own outputs or its own error.
        While one waits for an overlay, another one's regions have the processor. The future can be cancelled while it
        runs, too: its next region does not begin. Raises RunError when the session is closed; closing it waits for
        requests that have begun, and those that have not fail.
        """
        return self._submissions.submit(lambda limit: self._run(arrays, named, limit)[0], timeout, cancellation)

    async def run_async(
        self,
        *arrays: Any,
        timeout: float | None = None,
        cancellation: CancellationToken | None = None,
        **named: Any,
    ) -> list[Array]:
        """`run` for who awaits it; see `submit`. A task that is cancelled takes its request along."""
        import asyncio  # most who run a model, on a small board too, do without

        return await asyncio.wrap_future(self.submit(*arrays, timeout=timeout, cancellation=cancellation, **named))

    def map(
        self,
        items: Iterable[Any],
        *,
        in_flight: int | None = None,
        timeout: float | None = None,
        cancellation: CancellationToken | None = None,
    ) -> Iterator[list[Array]]:
        """What `run` gives for each item, in their order; see `submit`.

        items      for a model of one input arrays; else mappings by name, or sequences with an array for each input
        in_flight  items that are drawn before the first of them is given: at most so many are held at a time. By
                   default twice as many as run at a time
        timeout    seconds for each item, from when it is drawn

        Ends with the error of the first item that has one; what was drawn behind it is cancelled.
        """
        ahead = 2 * self.workers if in_flight is None else check_ahead(in_flight)

        def submit(item: Any) -> RunFuture:
            if isinstance(item, Mapping):
                return self.submit(timeout=timeout, cancellation=cancellation, **item)
            arrays = item if isinstance(item, (list, tuple)) and len(self.inputs) != 1 else (item,)
            return self.submit(*arrays, timeout=timeout, cancellation=cancellation)

        return in_order(submit, items, ahead)

    def _run(
        self,
        arrays: Sequence[Any],
        named: Mapping[str, Any],
        limit: Limit | None,
        *,
        pad_last: bool = False,
        progress: Progress | None = None,
    ) -> _Counted:
        steps, batch = self._steps, self._batch
        if steps is None:
            raise RunError(where="run()", what="the session is closed", help="load the artifact again")
        if not named and len(arrays) == len(self._exact) and all(map(is_exact, arrays, self._exact)):
            return self._run_once(steps, arrays, limit)
        checked, repeats = self._checked(arrays, named, pad_last)
        if repeats is None:
            return self._run_once(steps, checked, limit)
        check_outputs(self.outputs, batch)
        samples = len(checked[0])
        collected: list[list[Array]] = []
        counted: Any = [{} for _ in steps]
        pace = Pace(steps, watched=limit is not None or progress is not None)
        index = 0
        while index < repeats:
            if progress is not None:
                progress("running", index, repeats)
            count = pace.images((samples // batch) - index)
            first, last = index * batch + 1, min((index + count) * batch, samples)
            if limit is not None:
                place = f"sample {first}" if first == last else f"samples {first} to {last}"
                limit.position = f" ({place} of {samples})"
            if count > 1:
                outputs, figures = self._run_images(steps, [array[first - 1 : last] for array in checked], count, limit)
                pace.done(count)
            else:
                outputs, _, figures = self._run_once(steps, batch_at(checked, first - 1, batch), limit)
            collected.append(outputs)
            counted = figures if index == 0 else add(counted, figures)
            index += count
        if progress is not None:
            progress("running", repeats, repeats)
        return join_batches(self.outputs, collected, samples), samples, counted

    def _run_once(self, steps: Sequence[Step], inputs: Sequence[Any], limit: Limit | None) -> _Counted:
        if self._nonfinite is not None:
            self._nonfinite.look(inputs)
        live = dict(zip(self._names, inputs))
        try:
            counted = [step.run(live, limit) for step in steps]
            outputs = []
            for value, constant, copied in self._given_back:
                array = as_array(live[value]) if constant is None else constant
                outputs.append(array.copy() if copied and isinstance(array, np.ndarray) else array)
        finally:
            if self._keeps:
                for value in live.values():
                    release(value)
        return outputs, self._batch, counted

    def _run_images(
        self, steps: Sequence[Step], inputs: Sequence[Array], images: int, limit: Limit | None
    ) -> tuple[list[Array], Sequence[Mapping[str, Any]]]:
        """The same for several batches in one go: outputs and figures of all."""
        if self._nonfinite is not None:
            self._nonfinite.look(inputs)
        live: dict[str, Any] = {
            name: array.reshape(images, self._batch, *array.shape[1:]) for name, array in zip(self._names, inputs)
        }
        counted = [step.run_images(live, images, limit) for step in steps]
        outputs = []
        for value, constant, copied in self._given_back:
            if constant is not None:
                outputs.append(np.concatenate([constant] * images))
                continue
            array = live[value]
            whole = array.reshape(images * self._batch, *array.shape[2:])
            outputs.append(whole.copy() if copied else whole)
        return outputs, counted

    def _checked(
        self, arrays: Sequence[Any], named: Mapping[str, Any], pad_last: bool = False
    ) -> tuple[list[Any], int | None]:
        """The inputs in order, and for how many batches they are; None for one, as they are."""
        given = bind(self.inputs, arrays, named)
        checked = [check_array(info, item) if info.is_tensor else item for info, item in zip(self.inputs, given)]
        return checked, batches_of(self.inputs, checked, self._batch, pad_last=pad_last)

    def batches(self, inputs: Mapping[str, Any] | Sequence[Any]) -> list[dict[str, Any]]:
        """Inputs of any number of samples as those of one run after another, by name; views. Errors as from `run`."""
        _check_listed("batches()", inputs)
        named = inputs if isinstance(inputs, Mapping) else {}
        checked, repeats = self._checked(() if isinstance(inputs, Mapping) else inputs, named)
        runs = [checked] if repeats is None else split_batches(checked, self._batch)
        return [dict(zip(self._names, run)) for run in runs]

    @property
    def nonfinite(self) -> dict[str, dict[str, int]]:
        """NaN and infinite numbers in the inputs of all runs so far, {input: {"nan": count, "infinite": count}}; inputs
        that had none are left out, and so are models that compute in float."""
        return {} if self._nonfinite is None else {name: dict(item) for name, item in self._nonfinite.counts.items()}

    @property
    def expected(self) -> dict[str, Any]:
        """Figures of one run as far as the devices know them without running, in the form of `RunResult.counters`."""
        steps = self._steps or ()
        named = [{**step.loaded.counters, "name": step.region.name, "device": step.device} for step in steps]
        return whole_model(self._batch, named)

    def listing(self, region: str) -> str:
        """The program of one region as text; "" where its device writes none. KeyError for an unknown name."""
        return {step.region.name: step.loaded for step in self._steps or ()}[region].listing()

    def close(self) -> None:
        """Let go of the devices. Submitted runs finish first, others where a device needs that."""
        self._submissions.close()
        steps, self._steps = self._steps, None
        with ExitStack() as closing:  # all of them, whatever one says
            for step in reversed(steps or ()):
                closing.callback(step.loaded.close)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        inputs, outputs = ", ".join(map(str, self.inputs)), ", ".join(map(str, self.outputs))
        return f"<Session {self.artifact.contents.model_name!r} ({inputs}) -> ({outputs})>"


def _check_listed(where: str, inputs: Any) -> None:
    if not isinstance(inputs, (Mapping, list, tuple)):
        raise RunError(
            where=where,
            what=f"a {type(inputs).__name__} was given, where inputs are listed",
            help=f"give a list with an array for each input, or a mapping by name: session.{where[:-2]}([array])",
        )


def _workers(devices: Iterable[str], threads: int | None) -> int:
    """Requests that may run at a time: what several devices can do at once, or several runs of a few threads each."""
    here = usable()
    return max(1, len(set(devices)), here // (threads or here))


def _numbers(pin: Any) -> tuple[Any, ...] | None:
    """What was given for processors, as a tuple; its elements are looked at by `Processors`."""
    if pin is None or (isinstance(pin, Sequence) and not isinstance(pin, (str, bytes))):
        return None if pin is None else tuple(pin)
    raise RunError(where="pin", what=f"{shown(pin)} is no list of processors", help="give their numbers from 0")


def _part(whole: Graph, region: RegionFiles, contents: Manifest) -> Graph:
    """The nodes of a region that a device would have run."""
    names = {placement["name"] for placement in contents.placements if placement.get("region") == region.name}
    return part_of(whole, region, names)


def _region_files(artifact: Artifact, region: Region) -> RegionFiles:
    return RegionFiles(
        region.name,
        region.kind,
        tuple((item.name, item.dtype, _static(region, item)) for item in region.inputs),
        tuple((item.name, item.dtype, _static(region, item)) for item in region.outputs),
        {name: artifact.files[region.path(name)] for name in region.files},
        region.metadata,
        region.layers,
    )


def _static(region: Region, item: Tensor) -> tuple[int, ...]:
    """The shape for a device. The evaluator reads no shapes, so that unknown ones may be left out for it."""
    shape = item.shape or ()
    if region.kind != EVALUATOR and (item.shape is None or None in shape):
        raise RunError(
            where=f"region '{region.name}' in manifest.json",
            what=f"the value '{item.name}' has no known shape, and devices of the kind '{region.kind}' need one",
            help="the artifact was not written by intarsia; compile the model again",
        )
    return tuple(size for size in shape if size is not None)


def _given_back(artifact: Artifact) -> tuple[tuple[str, Array | None, bool], ...]:
    """For each output: the value, the array where it is a constant, and whether the caller gets a copy.

    Copied is what the caller has already, as an input or an earlier output, and what later runs need, constants.
    """
    had = {item.name for item in artifact.contents.inputs}
    rows: list[tuple[str, Array | None, bool]] = []
    for item in artifact.contents.outputs:
        if item.file is not None:
            constant = from_npy(artifact.files[item.file], item.dtype, f"file '{item.file}'", item.shape)
            rows.append((item.value, constant, True))
            continue
        rows.append((item.value, None, item.value in had))
        had.add(item.value)
    return tuple(rows)
