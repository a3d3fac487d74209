"""Regions on a device: inputs in, kernels in order, outputs out. NumPy and the standard library only."""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np

from intarsia.artifact.schema import Entry
from intarsia.dtypes import NATIVE, Array
from intarsia.errors import RunError
from intarsia.runtime.device import LoadedRegion, RegionFiles, RegionResult
from intarsia_backends.gpu.launches import Check, Copy, Launch, Launches, Place, read_launches

LAUNCHES, WEIGHTS_FILE = "launches.json", "weights.bin"
AGAIN = "compile the model again with the version of intarsia that is installed here"
_IDLE_LANES = 4
_VALUES = tuple(dtype for dtype in NATIVE if not dtype.startswith("complex"))


class Lane(ABC):
    """An arena and a queue on a device, for one run at a time. All is done in the order in which it is asked for, and
    `read` alone waits.

    Every method raises RunError where the device fails; the lane is not used again then.
    """

    @abstractmethod
    def write(self, start: int, data: Array) -> None:
        """Bring an array, C-contiguous, to the arena, from a byte on. It may change once the next `read` is done."""

    @abstractmethod
    def read(self, start: int, data: Array) -> None:
        """Fill an array, C-contiguous, from the arena, from a byte on, when all before is done."""

    @abstractmethod
    def copy(self, source: Place, target: Place, size_bytes: int) -> None:
        """Copy bytes on the device, which do not overlap."""

    @abstractmethod
    def launch(self, step: int) -> None:
        """Launch what stands at that number among the steps of the launches."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the memory, when all is done."""


def with_mark(text: str, launches: bytes) -> str:
    """The text of kernels with a first line that says which file of launches it was made with.

    Kernels write where these say; with other ones they might write anywhere.
    """
    return f"// {LAUNCHES}: {hashlib.sha256(launches).hexdigest()}\n{text}"


def read_region(region: RegionFiles, source: str) -> tuple[Launches, str]:
    """The launches and the text of the kernels, checked.

    source  name of the file that holds the text

    Raises RunError that names the file which is wrong.
    """
    where = f"region '{region.name}'"
    for name in (source, LAUNCHES, WEIGHTS_FILE):
        if name not in region.files:
            raise RunError(where=where, what=f"it lacks '{name}'", help=AGAIN)
    for name, dtype, _ in (*region.inputs, *region.outputs):
        if dtype not in _VALUES:
            raise RunError(
                where=f"{where} in manifest.json", what=f"'{name}' is {dtype}, which no kernel has", help=AGAIN
            )
    launches = read_launches(region.files[LAUNCHES], f"{where}, file '{LAUNCHES}'", region.inputs, region.outputs)
    size_bytes = len(region.files[WEIGHTS_FILE])
    if size_bytes != launches.weights_bytes:
        entry = Entry({}, f"{where}, file '{LAUNCHES}'")
        entry.refuse(f"'weights_bytes' is {launches.weights_bytes}, '{WEIGHTS_FILE}' has {size_bytes} bytes")
    try:
        first, _, text = region.files[source].decode("ascii").partition("\n")
    except UnicodeDecodeError as error:
        raise RunError(where=f"{where}, file '{source}'", what=f"it is no text: {error}", help=AGAIN) from None
    if with_mark("", region.files[LAUNCHES]).rstrip() != first:
        raise RunError(where=f"{where}, file '{source}'", what=f"it was not made with this '{LAUNCHES}'", help=AGAIN)
    return launches, text


class GpuRegion(LoadedRegion):
    """A region whose kernels are on a device; runs of several threads have a lane each.

    open_lane  gives a new one, and raises RunError where there is no memory for it
    text       of the kernels, for people
    """

    def __init__(self, region: RegionFiles, launches: Launches, text: str, open_lane: Callable[[], Lane]) -> None:
        self._name, self._text, self._open_lane = region.name, text, open_lane
        self._launches = launches
        self._outputs = [(shape, np.dtype(dtype)) for _, dtype, shape in region.outputs]
        # Nothing else stands where an input does, so that its indices are looked at before anything runs.
        self._of_inputs = {
            number: launches.inputs.index(step.place.start)
            for number, step in enumerate(launches.steps)
            if isinstance(step, Check) and step.place.start in launches.inputs
        }
        self._lanes: list[Lane] = [open_lane()]

    def listing(self) -> str:
        """The text of the kernels."""
        return self._text

    def run(self, inputs: Sequence[Array]) -> RegionResult:
        """Run all steps; RunError where a check fails or the device does."""
        outputs = [np.empty(shape, dtype) for shape, dtype in self._outputs]
        started = time.perf_counter()
        for number, index in self._of_inputs.items():
            step = self._launches.steps[number]
            assert isinstance(step, Check)
            self._look(step, inputs[index].reshape(-1).view(step.dtype)[: step.count])
        try:
            lane = self._lanes.pop()  # one step for all threads of Python, as is append: a lock would hang forks
        except IndexError:
            lane = self._open_lane()
        done = False
        try:
            for start, array in zip(self._launches.inputs, inputs):
                if array.size:
                    lane.write(start, array)
            self._take_steps(lane)
            for start, array in zip(self._launches.outputs, outputs):
                if array.size:
                    lane.read(start, array)
            done = True
        finally:
            if done and len(self._lanes) < _IDLE_LANES:
                self._lanes.append(lane)
            else:
                lane.close()
        return RegionResult(outputs, {"seconds": time.perf_counter() - started})

    def _take_steps(self, lane: Lane) -> None:
        for number, step in enumerate(self._launches.steps):
            if isinstance(step, Launch):
                lane.launch(number)
            elif isinstance(step, Copy):
                lane.copy(step.source, step.target, step.size_bytes)
            elif number not in self._of_inputs and step.count:
                numbers = np.empty(step.count, step.dtype)
                lane.read(step.place.start, numbers)
                self._look(step, numbers)

    def _look(self, check: Check, numbers: Array) -> None:
        if numbers.size and (numbers.min() < check.low or numbers.max() > check.high):
            raise RunError(
                where=f"region '{self._name}'",
                what=check.text,
                help="look at the values that reach it, such as indices and lengths made at run time",
            )

    def close(self) -> None:
        """Let go of the memory on the device."""
        while self._lanes:
            self._lanes.pop().close()
