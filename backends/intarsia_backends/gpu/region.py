"""Regions on a device: inputs in, kernels in order, outputs out. NumPy and the standard library only."""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from typing import Any

import numpy as np

from intarsia.artifact.schema import Entry
from intarsia.dtypes import NATIVE, Array
from intarsia.errors import RunError, warn
from intarsia.runtime.device import HomeResult, LoadedRegion, RegionFiles, RegionResult, Resident
from intarsia_backends.gpu.launches import Check, Copy, Launch, Launches, Place, Step, read_launches

LAUNCHES, WEIGHTS_FILE = "launches.json", "weights.bin"
STORED = "stored_floats"
"""Entry of a region's metadata: "float16" where float32 numbers lie in memory as such."""

AGAIN = "compile the model again with the version of intarsia that is installed here"
_IDLE_LANES = 4
_VALUES = tuple(dtype for dtype in NATIVE if not dtype.startswith("complex"))


class Lane(ABC):
    """An arena and a queue on a device, for one run at a time. All is done in the order in which it is asked for, and
    `read` alone waits.

    Every method raises RunError where the device fails; the lane is not used again then.
    """

    def running(self) -> AbstractContextManager[None]:
        """Held by the thread that asks for anything below."""
        return nullcontext()

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

    def take(self, first: int, steps: Sequence[Launch | Copy]) -> None:
        """Do several steps, the first of which has that number. A device may have ways to do them in one go."""
        for number, step in enumerate(steps, first):
            if isinstance(step, Launch):
                self.launch(number)
            else:
                self.copy(step.source, step.target, step.size_bytes)

    def read_all(self, wanted: Sequence[tuple[int, Array]]) -> None:
        """Several times `read`."""
        for start, data in wanted:
            self.read(start, data)

    def borrow(self, lent: Mapping[int, tuple[Lane, int]]) -> None:
        """In this run, these inputs, named by where they start, stand in arenas of other lanes, from a byte on. Asked
        before all steps, of lanes of regions that have a home."""
        raise NotImplementedError

    def follow(self, other: Lane) -> None:
        """What is asked for from now on is done when all that the other was asked for is done. No one waits for it."""
        raise NotImplementedError

    @abstractmethod
    def close(self) -> None:
        """Let go of the memory, when all is done."""


def _is_finite(value: Array | Resident) -> bool:
    """Whether an array has neither NaN nor an infinity; values that are on the device are not looked at."""
    return isinstance(value, Resident) or value.dtype.kind != "f" or bool(np.isfinite(value).all())


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
    home       lanes of regions with the same home borrow from each other; None for lanes that cannot
    closed     called when the region is closed, after its idle lanes
    """

    def __init__(
        self,
        region: RegionFiles,
        launches: Launches,
        text: str,
        open_lane: Callable[[], Lane],
        *,
        home: Hashable | None = None,
        closed: Callable[[], None] | None = None,
    ) -> None:
        self.home = home
        self._name, self._text, self._open_lane, self._closed = region.name, text, open_lane, closed
        self._launches = launches
        self._outputs = [(shape, np.dtype(dtype)) for _, dtype, shape in region.outputs]
        # Nothing else stands where an input does, so that its indices are looked at before anything runs.
        self._of_inputs = {
            number: launches.inputs.index(step.place.start)
            for number, step in enumerate(launches.steps)
            if isinstance(step, Check) and step.place.start in launches.inputs
        }
        self._stretches = _stretches(launches.steps)
        # A warning once; threads that come together may each give it.
        self._may_overflow = region.metadata.get(STORED) == "float16"
        self._is_open = True
        self._lanes: list[Lane] = [open_lane()]

    def listing(self) -> str:
        """The text of the kernels."""
        return self._text

    def run(self, inputs: Sequence[Array]) -> RegionResult:
        """Run all steps; RunError where a check fails or the device does."""
        outputs, counters = self.run_at_home(inputs, [False] * len(self._outputs))
        return RegionResult([output for output in outputs if isinstance(output, np.ndarray)], counters)

    def run_at_home(self, inputs: Sequence[Array | Resident], kept: Sequence[bool]) -> HomeResult:
        """Run all steps; what is kept stays in the lane, which is not used before all of that is released."""
        started = time.perf_counter()
        self._look_at(inputs)
        lane = self._idle_lane()
        try:
            outputs, loan = self._run_on(lane, inputs, kept)
        except BaseException:
            with suppress(RunError):  # what went wrong first is told
                lane.close()
            raise
        if not loan.values:
            self._give_back(lane)
        if self._may_overflow:
            self._look_for_overflows(inputs, outputs)
        return HomeResult(outputs, {"seconds": time.perf_counter() - started})

    def _look_at(self, inputs: Sequence[Array | Resident]) -> None:
        for number, index in self._of_inputs.items():
            step, value = self._launches.steps[number], inputs[index]
            assert isinstance(step, Check)
            array = value.array() if isinstance(value, Resident) else value
            self._look(step, array.reshape(-1).view(step.dtype)[: step.count])

    def _look_for_overflows(self, inputs: Sequence[Array | Resident], outputs: Sequence[Array | Resident]) -> None:
        """Warn where infinities or NaN come out, and none went in."""
        if all(map(_is_finite, outputs)) or not all(map(_is_finite, inputs)):
            return
        self._may_overflow = False
        warn(
            f"region '{self._name}' gives infinite numbers or NaN: it keeps floats as float16, which ends at 65504 and "
            "has nothing between 0 and 6e-8; if the model would not give them in float32, compile it with precision "
            "float32; this is said once"
        )

    def _run_on(
        self, lane: Lane, inputs: Sequence[Array | Resident], kept: Sequence[bool]
    ) -> tuple[list[Array | Resident], _Loan]:
        loan = _Loan(lane, self._give_back)
        outputs: list[Array | Resident] = []
        reads: list[tuple[int, Array]] = []
        for start, (shape, dtype), stays in zip(self._launches.outputs, self._outputs, kept):
            if stays and 0 not in shape:
                outputs.append(loan.value(self.home, start, dtype, shape))
                continue
            array = np.empty(shape, dtype)
            outputs.append(array)
            if array.size:
                reads.append((start, array))
        lent: dict[int, tuple[Lane, int]] = {}
        with lane.running():
            for start, value in zip(self._launches.inputs, inputs):
                if isinstance(value, _Kept):
                    lent[start] = value.lane, value.start
                    continue
                assert not isinstance(value, Resident), "sessions hand on what regions of this home have kept"
                if value.size:
                    lane.write(start, value)
            lenders = list({id(lender): lender for lender, _ in lent.values()}.values())
            if self.home is not None:
                lane.borrow(lent)
            for lender in lenders:
                lane.follow(lender)
            self._take_steps(lane)
            if reads:
                lane.read_all(reads)
            else:
                for lender in lenders:  # none of them is written to before this lane has read
                    lender.follow(lane)
        return outputs, loan

    def _take_steps(self, lane: Lane) -> None:
        for first, steps in self._stretches:
            step = steps[0]
            if not isinstance(step, Check):
                lane.take(first, [each for each in steps if not isinstance(each, Check)])
            elif first not in self._of_inputs and step.count:
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

    def _idle_lane(self) -> Lane:
        try:
            return self._lanes.pop()  # one step for all threads of Python, as is append: a lock would hang forks
        except IndexError:
            return self._open_lane()

    def _give_back(self, lane: Lane) -> None:
        if len(self._lanes) < _IDLE_LANES:
            self._lanes.append(lane)
        else:
            lane.close()
        if not self._is_open:
            self._close_idle()

    def close(self) -> None:
        """Let go of the memory on the device."""
        self._is_open = False
        with ExitStack() as closing:  # all of it, whatever one of them says
            if self._closed is not None:
                closing.callback(self._closed)
            closing.callback(self._close_idle)

    def _close_idle(self) -> None:
        with ExitStack() as closing:
            while self._lanes:
                closing.callback(self._lanes.pop().close)


def _stretches(steps: Sequence[Step]) -> list[tuple[int, list[Step]]]:
    """Steps between checks, and each check alone, with the number of the first."""
    found: list[tuple[int, list[Step]]] = []
    for number, step in enumerate(steps):
        if isinstance(step, Check) or not found or isinstance(found[-1][1][0], Check):
            found.append((number, [step]))
        else:
            found[-1][1].append(step)
    return found


class _Loan:
    """A lane whose arena holds values that are kept.

    give_back  called with the lane when the last of them is released
    """

    def __init__(self, lane: Lane, give_back: Callable[[Lane], None]) -> None:
        self.lane, self._back = lane, give_back
        self.values = 0
        self.failed = False

    def value(self, home: Hashable, start: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> _Kept:
        """One more value, that starts at a byte of the arena."""
        self.values += 1
        return _Kept(self, home, start, dtype, shape)

    def release(self) -> None:
        """One value fewer."""
        self.values -= 1
        if self.values == 0:
            with suppress(RunError):  # the run is over, or its own letter is on the way
                self.lane.close() if self.failed else self._back(self.lane)


class _Kept(Resident):
    """A value in the arena of a lane."""

    def __init__(self, loan: _Loan, home: Hashable, start: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self.lane, self.home, self.start, self.dtype, self.shape = loan.lane, home, start, dtype, shape
        self._loan: _Loan | None = loan
        self._array: Array | None = None

    def array(self) -> Array:
        """The value, read when first asked for."""
        if self._array is None:
            assert self._loan is not None, "it is released"
            array = np.empty(self.shape, self.dtype)
            self._loan.failed = True
            with self.lane.running():
                self.lane.read(self.start, array)
            self._loan.failed = False
            self._array = array
        return self._array

    def release(self) -> None:
        """The lane is free when nothing of it is kept any more."""
        loan, self._loan = self._loan, None
        if loan is not None:
            loan.release()
