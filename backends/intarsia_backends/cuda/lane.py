"""An arena and a stream on a GPU: steps between two looks of the host are one CUDA graph, made once and replayed."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any

import numpy as np

from intarsia.dtypes import Array
from intarsia.errors import RunError
from intarsia_backends.cuda.held import Held
from intarsia_backends.cuda.program import Program
from intarsia_backends.gpu.launches import ARENA, Check, Copy, Launch, Launches, Place
from intarsia_backends.gpu.region import Lane

_GRAPHS_LIMIT = 16
"""Graphs of a lane: one for each stretch of steps, and once more for each set of arenas that inputs are read from."""

_ALIGNMENT_BYTES = 64


class CudaLane(Lane):
    """Arrays go through memory of the host that the GPU reads and writes by itself, so that copies wait for nobody.

    inputs, outputs  bytes of each
    """

    def __init__(self, program: Program, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        self._program, self._driver, self._launches = program, program.driver, program.launches
        self._held = Held(self._driver, program.current)
        program.enter()
        try:
            with program.current:
                self._open(_staged(program.launches, inputs, outputs))
        except BaseException:
            _let_go(self._held, program)
            raise
        self._inputs = tuple(zip(program.launches.inputs, inputs))
        self._borrowed: dict[int, int] = {}
        self._graphs: dict[tuple[Any, ...], Any] = {}
        self._is_reading = False
        self._finalizer = weakref.finalize(self, _let_go, self._held, program)
        self._finalizer.atexit = False

    def _open(self, staged: Mapping[int, int]) -> None:
        driver, held = self._driver, self._held
        flags, events = driver.CUstream_flags, driver.CUevent_flags
        self._arena = int(held.keep(driver("cuMemAlloc", max(1, self._launches.arena_bytes)), "cuMemFree"))
        starts, end = {}, 0
        for start, size_bytes in staged.items():
            starts[start] = end
            end += -(-size_bytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
        memory = int(held.keep(driver("cuMemHostAlloc", max(1, end), 0), "cuMemFreeHost"))
        self._host = {start: memory + offset for start, offset in starts.items()}
        self._staged = {
            start: np.ctypeslib.as_array((ctypes.c_uint8 * size_bytes).from_address(self._host[start]))
            for start, size_bytes in staged.items()
        }
        self._done = held.keep(driver("cuEventCreate", events.CU_EVENT_DISABLE_TIMING), "cuEventDestroy")
        self._stream = held.keep(driver("cuStreamCreate", flags.CU_STREAM_NON_BLOCKING), "cuStreamDestroy")
        held.keep(self._stream, "cuStreamSynchronize")  # first of all that is given back

    def running(self) -> AbstractContextManager[None]:
        return self._program.current

    def write(self, start: int, data: Array) -> None:
        if self._is_reading:  # an earlier run that nobody waited for
            self._wait()
        self._staged[start][: data.nbytes] = data.reshape(-1).view(np.uint8)
        self._is_reading = True
        self._driver("cuMemcpyHtoDAsync", self._arena + start, self._host[start], data.nbytes, self._stream)

    def read(self, start: int, data: Array) -> None:
        self.read_all([(start, data)])

    def read_all(self, wanted: Sequence[tuple[int, Array]]) -> None:
        for start, data in wanted:
            self._driver("cuMemcpyDtoHAsync", self._host[start], self._arena + start, data.nbytes, self._stream)
        self._wait()
        for start, data in wanted:
            data.reshape(-1).view(np.uint8)[:] = self._staged[start][: data.nbytes]

    def _wait(self) -> None:
        self._driver("cuStreamSynchronize", self._stream)
        self._is_reading = False

    def borrow(self, lent: Mapping[int, tuple[Lane, int]]) -> None:
        self._borrowed = {}
        for start, (lender, place) in lent.items():
            assert isinstance(lender, CudaLane)
            self._borrowed[start] = lender._arena + place

    def follow(self, other: Lane) -> None:
        assert isinstance(other, CudaLane)
        self._driver("cuEventRecord", other._done, other._stream)
        self._driver("cuStreamWaitEvent", self._stream, other._done, 0)

    def take(self, first: int, steps: Sequence[Launch | Copy]) -> None:
        key = (first, *sorted(self._borrowed.items()))
        if key not in self._graphs:
            if len(self._graphs) >= _GRAPHS_LIMIT:
                self._wait()
                self._held.drop(self._graphs.pop(next(iter(self._graphs))))
            self._graphs[key] = self._graph(steps)
        self._driver("cuGraphLaunch", self._graphs[key], self._stream)

    def _graph(self, steps: Sequence[Launch | Copy]) -> Any:
        """Ready to be launched. What else the process does with the GPU meanwhile is no part of it."""
        driver, stream = self._driver, self._stream
        driver("cuStreamBeginCapture", stream, driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED)
        try:
            for step in steps:
                if isinstance(step, Launch):
                    self._launch(step)
                else:
                    self.copy(step.source, step.target, step.size_bytes)
        except BaseException:
            with suppress(RunError):
                driver("cuGraphDestroy", driver("cuStreamEndCapture", stream))
            raise
        graph = driver("cuStreamEndCapture", stream)
        try:
            return self._held.keep(driver("cuGraphInstantiate", graph, 0), "cuGraphExecDestroy")
        finally:
            driver("cuGraphDestroy", graph)

    def launch(self, step: int) -> None:
        found = self._launches.steps[step]
        assert isinstance(found, Launch)
        self._launch(found)

    def _launch(self, step: Launch) -> None:
        facts = self._launches.kernels[step.kernel]
        if 0 in facts.grid:
            return
        values: list[ctypes.c_uint64 | ctypes.c_int32] = []
        for place, parameter in zip(step.places, facts.parameters):
            memory, start = self._address(place)
            values += [ctypes.c_uint64(memory), ctypes.c_int32(start // np.dtype(parameter.dtype).itemsize)]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        function = self._program.functions[step.kernel]
        self._driver(
            "cuLaunchKernel", function, *facts.grid, *facts.block, 0, self._stream, ctypes.addressof(pointers), 0
        )

    def copy(self, source: Place, target: Place, size_bytes: int) -> None:
        if size_bytes:
            addresses = [sum(self._address(place)) for place in (target, source)]
            self._driver("cuMemcpyDtoDAsync", *addresses, size_bytes, self._stream)

    def _address(self, place: Place) -> tuple[int, int]:
        """Where a memory begins on the GPU, and how many bytes after that the place does."""
        if place.memory != ARENA:
            return int(self._program.weights), place.start
        if self._borrowed:
            for start, size_bytes in self._inputs:
                if start in self._borrowed and start <= place.start < start + size_bytes:
                    return self._borrowed[start], place.start - start
        return self._arena, place.start

    def close(self) -> None:
        if self._finalizer.detach() is None:
            return
        try:
            self._held.release()
        finally:
            self._program.leave()


def _staged(launches: Launches, inputs: Sequence[int], outputs: Sequence[int]) -> dict[int, int]:
    """Bytes of all that goes between host and GPU, by where it stands in the arena."""
    moved = [*zip(launches.inputs, inputs), *zip(launches.outputs, outputs)]
    moved += [(step.place.start, step.size_bytes) for step in launches.steps if isinstance(step, Check)]
    sizes: dict[int, int] = {}
    for start, size_bytes in moved:
        sizes[start] = max(size_bytes, sizes.get(start, 0))
    return sizes


def _let_go(held: Held, program: Program) -> None:
    """For what nobody has closed, and where the rest could not be made."""
    for give_back in (held.release, program.leave):
        with suppress(RunError):
            give_back()
