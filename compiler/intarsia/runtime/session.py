"""Running an artifact: regions in order on the devices that are here. NumPy and the standard library only."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from intarsia.artifact import Artifact
from intarsia.artifact.arrays import from_npy
from intarsia.artifact.manifest import Region, Tensor
from intarsia.artifact.parts import EVALUATOR
from intarsia.dtypes import Array, numpy_dtype
from intarsia.errors import RunError
from intarsia.runtime.arguments import TensorInfo, batch_of, bind, check_array
from intarsia.runtime.counters import add, whole_model
from intarsia.runtime.device import Processors, RegionFiles
from intarsia.runtime.devices import choose_devices
from intarsia.runtime.evaluator import EvaluatorRegion
from intarsia.runtime.steps import Step, exact, is_exact, last_uses

__all__ = ["Session", "TensorInfo", "load"]


def load(
    artifact: str | os.PathLike[str] | Artifact,
    *,
    device: str | None = None,
    threads: int | None = None,
    pin: Sequence[int] | None = None,
) -> Session:
    """Make an artifact ready to run.

    artifact  a path of a zip or a folder, or an Artifact
    device    name of the device that runs the regions it can, e.g. "simulator"; by default, for every kind of region,
              the device of highest priority among those that are present
    threads   threads of this machine's CPU for one run, the calling one among them; by default INTARSIA_THREADS, else
              one for every processor that the process may use. Sessions share threads and do not add them up
    pin       processors that the threads stay on, one for each save the calling one, which is the caller's to place

    Raises RunError where the artifact is damaged or newer, or no device here runs one of its regions. Hashes guard
    against accidents, not against intent: regions for a CPU are machine code, so load what you trust.
    """
    opened = artifact if isinstance(artifact, Artifact) else Artifact.read(artifact)
    return Session(opened, device=device, threads=threads, pin=pin)


class Session:
    """An artifact on the devices of this machine. `run` may be called from several threads at once.

    artifact  what it runs
    inputs    name, dtype and shape of each input, in order
    outputs   the same of each output
    devices   by region name, the device that runs it
    measures  whether one of them counts cycles of hardware, which its model's are compared with
    """

    def __init__(
        self,
        artifact: Artifact,
        *,
        device: str | None = None,
        threads: int | None = None,
        pin: Sequence[int] | None = None,
    ) -> None:
        processors = Processors(threads, None if pin is None else tuple(pin))
        contents = artifact.contents
        self.artifact = artifact
        self.inputs = tuple(TensorInfo(item.name, item.dtype, item.shape) for item in contents.inputs)
        self.outputs = tuple(TensorInfo(item.name, item.dtype, item.shape) for item in contents.outputs)
        self.devices: dict[str, str] = {}
        self.measures = False
        self._last = threading.local()
        self._steps: list[Step] | None = []
        chosen = choose_devices(
            {item.kind for item in contents.regions} - {EVALUATOR}, device, f"'{contents.model_name}'"
        )
        for region, drops in zip(contents.regions, last_uses(contents.regions, contents.outputs)):
            files = _region_files(artifact, region)
            found = None if region.kind == EVALUATOR else chosen[region.kind].device
            self.devices[region.name] = EVALUATOR if found is None else found.name
            self.measures |= found is not None and found.measures
            if found is not None:
                found.processors = processors
            loaded = EvaluatorRegion(files) if found is None else found.load(files)
            self._steps.append(Step(region, loaded, self.devices[region.name], drops))
        self._names = tuple(info.name for info in self.inputs)
        self._exact = tuple(exact(info.dtype, info.shape) for info in self.inputs)
        self._given_back = _given_back(artifact)
        self._batch = contents.batch
        self._is_one_region = (
            len(self._steps) == 1
            and not any(copied for _, _, copied in self._given_back)
            and self._steps[0].is_all(self._names, [value for value, _, _ in self._given_back])
        )

    def run(self, *arrays: Any, **named: Any) -> list[Array]:
        """Run the model.

        arrays, named  an array for each input, in order or by name, of the input's dtype and shape. Where the artifact
                       was compiled for a batch of 1 the first axes may be longer, all equally: it then runs image by
                       image. (A batch of N takes multiples of N.)
        returns        the outputs, in order; fresh arrays

        Raises RunError where an input does not fit; nothing is converted silently.
        """
        steps = self._steps
        if steps is None:
            raise RunError(where="run()", what="the session is closed", help="load the artifact again")
        batch = self._batch
        if not named and len(arrays) == len(self._exact) and all(map(is_exact, arrays, self._exact)):
            if not self._is_one_region:
                return self._run_once(steps, arrays, batch)
            result = steps[0].outputs_of(arrays)  # what a small model takes is mostly the way to its kernels
            self._last.counted = (batch, (result.counters,))
            return result.outputs
        given = bind(self.inputs, arrays, named)
        checked = [check_array(info, item) if info.is_tensor else item for info, item in zip(self.inputs, given)]
        repeats = batch_of(self.inputs, checked, batch)
        if repeats is None:
            return self._run_once(steps, checked, batch)
        self._check_batchable(batch)
        collected: list[list[Array]] = []
        counted: list[Any] = [{} for _ in steps]
        for index in range(repeats):
            collected.append(
                self._run_once(steps, [array[index * batch : (index + 1) * batch] for array in checked], batch)
            )
            figures = self._last.counted[1]
            counted = figures if index == 0 else add(counted, figures)
        self._last.counted = (repeats * batch, counted)
        if not collected:
            return [self._empty(info) for info in self.outputs]
        return [np.concatenate(pieces) for pieces in zip(*collected)]

    def _run_once(self, steps: Sequence[Step], inputs: Sequence[Any], images: int) -> list[Array]:
        live = dict(zip(self._names, inputs))
        self._last.counted = (images, [step.run(live) for step in steps])
        outputs = []
        for value, constant, copied in self._given_back:
            array = live[value] if constant is None else constant
            outputs.append(array.copy() if copied and isinstance(array, np.ndarray) else array)
        return outputs

    def _check_batchable(self, batch: int) -> None:
        for info in self.outputs:
            if not info.is_tensor or not info.shape or info.shape[0] != batch:
                raise RunError(
                    where="run()",
                    what=f"the inputs hold more samples than the {batch} compiled for, and the output "
                    f"'{info}' has no batch axis to collect results along",
                    help=f"call run() once for every {'sample' if batch == 1 else f'{batch} samples'}",
                )

    def _empty(self, info: TensorInfo) -> Array:
        rest = (info.shape or ())[1:]
        return np.zeros((0, *(0 if size is None else size for size in rest)), numpy_dtype(info.dtype))

    @property
    def counters(self) -> dict[str, Any]:
        """Figures of the calling thread's last run, summed over its images; {} before the first.

        {"images": int, "cycles": int, ..., "regions": [{"name", "device", what the device counts}]}
        """
        images, counted = getattr(self._last, "counted", (0, None))
        return {} if counted is None else self._whole(images, counted)

    @property
    def expected(self) -> dict[str, Any]:
        """Figures of one run as far as the devices know them without running, in the form of `counters`."""
        steps = self._steps or ()
        return self._whole(self.artifact.contents.batch, [step.loaded.counters for step in steps])

    def _whole(self, images: int, counted: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        devices = self.devices.items()
        named = [{**figures, "name": name, "device": device} for figures, (name, device) in zip(counted, devices)]
        return whole_model(images, named)

    def listing(self, region: str) -> str:
        """The program of one region as text; "" where its device writes none. KeyError for an unknown name."""
        return {step.region.name: step.loaded for step in self._steps or ()}[region].listing()

    def close(self) -> None:
        """Let go of the devices. Runs in other threads finish first where a device needs that."""
        steps, self._steps = self._steps, None
        for step in steps or ():
            step.loaded.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        inputs, outputs = ", ".join(map(str, self.inputs)), ", ".join(map(str, self.outputs))
        return f"<Session {self.artifact.contents.model_name!r} ({inputs}) -> ({outputs})>"


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
            where=f"region '{region.name}'",
            what=f"the value '{item.name}' has no known shape, and devices need one",
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
            rows.append((item.value, from_npy(artifact.files[item.file], item.dtype, f"file '{item.file}'"), True))
            continue
        rows.append((item.value, None, item.value in had))
        had.add(item.value)
    return tuple(rows)
