"""Running an artifact: regions in order on the devices that are here. NumPy and the standard library only."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import numpy as np

from intarsia.artifact import Artifact
from intarsia.artifact.arrays import from_npy
from intarsia.artifact.manifest import Region, Tensor
from intarsia.artifact.parts import EVALUATOR
from intarsia.dtypes import Array, dtype_name, numpy_dtype
from intarsia.errors import RunError
from intarsia.runtime.arguments import TensorInfo, batch_of, bind, check_array
from intarsia.runtime.counters import add, whole_model
from intarsia.runtime.device import LoadedRegion, RegionFiles
from intarsia.runtime.devices import choose_devices
from intarsia.runtime.evaluator import EvaluatorRegion

__all__ = ["Session", "TensorInfo", "load"]


def load(artifact: str | os.PathLike[str] | Artifact, *, device: str | None = None) -> Session:
    """Make an artifact ready to run.

    artifact  a path of a zip or a folder, or an Artifact
    device    name of the device that runs the regions it can, e.g. "simulator"; by default, for every kind of region,
              the device of highest priority among those that are present

    Raises RunError where the artifact is damaged or newer, or no device here runs one of its regions. Hashes guard
    against accidents, not against intent: regions for a CPU are machine code, so load what you trust.
    """
    return Session(artifact if isinstance(artifact, Artifact) else Artifact.read(artifact), device=device)


class Session:
    """An artifact on the devices of this machine. `run` may be called from several threads at once.

    artifact  what it runs
    inputs    name, dtype and shape of each input, in order
    outputs   the same of each output
    devices   by region name, the device that runs it
    """

    def __init__(self, artifact: Artifact, *, device: str | None = None) -> None:
        contents = artifact.contents
        self.artifact = artifact
        self.inputs = tuple(TensorInfo(item.name, item.dtype, item.shape) for item in contents.inputs)
        self.outputs = tuple(TensorInfo(item.name, item.dtype, item.shape) for item in contents.outputs)
        self.devices: dict[str, str] = {}
        self._last = threading.local()
        self._regions: list[tuple[Region, LoadedRegion]] | None = []
        where = f"'{contents.model_name}'"
        chosen = choose_devices({item.kind for item in contents.regions} - {EVALUATOR}, device, where)
        for region in contents.regions:
            files = _region_files(artifact, region)
            found = None if region.kind == EVALUATOR else chosen[region.kind].device
            self.devices[region.name] = EVALUATOR if found is None else found.name
            self._regions.append((region, EvaluatorRegion(files) if found is None else found.load(files)))
        self._constants = {
            item.name: from_npy(artifact.files[item.file], item.dtype, f"file '{item.file}'")
            for item in contents.outputs
            if item.file is not None
        }
        self._drops = _last_uses(contents.regions, contents.outputs)

    def run(self, *arrays: Any, **named: Any) -> list[Array]:
        """Run the model.

        arrays, named  an array for each input, in order or by name, of the input's dtype and shape. Where the artifact
                       was compiled for a batch of 1 the first axes may be longer, all equally: it then runs image by
                       image. (A batch of N takes multiples of N.)
        returns        the outputs, in order; fresh arrays

        Raises RunError where an input does not fit; nothing is converted silently.
        """
        regions = self._regions
        if regions is None:
            raise RunError(where="run()", what="the session is closed", help="load the artifact again")
        given = bind(self.inputs, arrays, named)
        checked = [check_array(info, item) if info.is_tensor else item for info, item in zip(self.inputs, given)]
        batch = self.artifact.contents.batch
        repeats = batch_of(self.inputs, checked, batch)
        if repeats is None:
            outputs, counted = self._run_once(regions, checked)
            self._last.counters = whole_model(batch, counted)
            return outputs
        self._check_batchable(batch)
        collected: list[list[Array]] = []
        counted = [{"name": region.name, "device": self.devices[region.name]} for region, _ in regions]
        for index in range(repeats):
            part = [array[index * batch : (index + 1) * batch] for array in checked]
            outputs, figures = self._run_once(regions, part)
            collected.append(outputs)
            counted = figures if index == 0 else add(counted, figures)
        self._last.counters = whole_model(repeats * batch, counted)
        if not collected:
            return [self._empty(info) for info in self.outputs]
        return [np.concatenate(pieces) for pieces in zip(*collected)]

    def _run_once(
        self, regions: Sequence[tuple[Region, LoadedRegion]], inputs: Sequence[Array]
    ) -> tuple[list[Array], list[dict[str, Any]]]:
        live = {info.name: array for info, array in zip(self.inputs, inputs)}
        counted: list[dict[str, Any]] = []
        for index, (region, loaded) in enumerate(regions):
            result = loaded.run([_contiguous(live[item.name]) for item in region.inputs])
            if len(result.outputs) != len(region.outputs):
                raise _bad_device(self.devices[region.name], region, f"{len(result.outputs)} outputs")
            for item, array in zip(region.outputs, result.outputs):
                _check_output(self.devices[region.name], region, item, array)
                live[item.name] = array
            counted.append({**result.counters, "name": region.name, "device": self.devices[region.name]})
            for name in self._drops[index]:
                live.pop(name, None)
        given = {id(array) for array in inputs}
        outputs = []
        for item in self.artifact.contents.outputs:
            array = live[item.value] if item.file is None else self._constants[item.name]
            # One value may be two outputs, and an input may be an output: the caller gets arrays of his own.
            again = item.file is not None or id(array) in given
            outputs.append(array.copy() if again and isinstance(array, np.ndarray) else array)
            given.add(id(array))
        return outputs, counted

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
        counters: dict[str, Any] = getattr(self._last, "counters", {})
        return counters

    @property
    def expected(self) -> dict[str, Any]:
        """Figures of one run as far as the devices know them without running, in the form of `counters`."""
        regions = [
            {**loaded.counters, "name": region.name, "device": self.devices[region.name]}
            for region, loaded in self._regions or ()
        ]
        return whole_model(self.artifact.contents.batch, regions)

    def listing(self, region: str) -> str:
        """The program of one region as text; "" where its device writes none. KeyError for an unknown name."""
        return {item.name: loaded for item, loaded in self._regions or ()}[region].listing()

    def close(self) -> None:
        """Let go of the devices. Runs in other threads finish first where a device needs that."""
        regions, self._regions = self._regions, None
        for _, loaded in regions or ():
            loaded.close()

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


def _last_uses(regions: Sequence[Region], outputs: Sequence[Tensor]) -> list[list[str]]:
    """For each region the values that nobody reads after it."""
    kept = {item.value for item in outputs if item.file is None}
    last: dict[str, int] = {}
    for index, region in enumerate(regions):
        last.update({item.name: index for item in (*region.inputs, *region.outputs)})
    drops: list[list[str]] = [[] for _ in regions]
    for name, index in last.items():
        if name not in kept:
            drops[index].append(name)
    return drops


def _contiguous(array: Any) -> Any:
    if isinstance(array, np.ndarray) and not array.flags.c_contiguous:
        return np.ascontiguousarray(array)
    return array


def _check_output(device: str, region: Region, item: Tensor, array: Any) -> None:
    if not isinstance(array, np.ndarray):
        if isinstance(array, (list, type(None))):
            return
        raise _bad_device(device, region, f"{type(array).__name__} for '{item.name}'")
    shape = array.shape if item.shape is None else item.shape
    fits = len(shape) == array.ndim and all(size in (None, found) for size, found in zip(shape, array.shape))
    if dtype_name(array.dtype) != item.dtype or not fits:
        raise _bad_device(device, region, f"{array.dtype}{list(array.shape)} for '{item.name}'")


def _bad_device(device: str, region: Region, what: str) -> RunError:
    return RunError(
        where=f"region '{region.name}' on device '{device}'",
        what=f"the device gave {what}, which is not what the artifact says",
        help="this is a fault of the device's package: please report it with the artifact",
    )
