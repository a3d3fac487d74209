"""The device `opencl`: compiles the kernels of a region with the driver that is here, and runs them by pyopencl."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from intarsia.dtypes import Array
from intarsia.errors import RunError
from intarsia.runtime.device import Device, LoadedRegion, RegionFiles
from intarsia_backends.gpu.launches import ARENA, Launch, Launches, Place
from intarsia_backends.gpu.region import WEIGHTS_FILE, GpuRegion, Lane, read_region

KIND = "opencl"
SOURCE = "kernels.cl"

CHOICE = "INTARSIA_OPENCL"
"""Environment variable: a part of the name of a device or platform, where there are several."""

_INSTALL = "pip install 'intarsia[opencl]'"
_DRIVER = "install the driver of the GPU, or `pip install 'pyopencl[pocl]'` for OpenCL on this machine's processor"


class OpenClDevice(Device):
    """The OpenCL device of this machine: a GPU where there is one, or what INTARSIA_OPENCL names."""

    name = "opencl"
    kinds = (KIND,)
    native = True

    def absent(self) -> str | None:
        """Whether pyopencl is installed. Drivers are asked when a region is loaded, which takes longer."""
        missing = importlib.util.find_spec("pyopencl") is None
        return f"the Python package pyopencl is not installed: {_INSTALL}" if missing else None

    def load(self, region: RegionFiles) -> LoadedRegion:
        """Compile the kernels for the device and upload the weights. RunError where one of them cannot be done."""
        launches, text = read_region(region, SOURCE)
        program = _Program(region, launches, text)
        return GpuRegion(region, launches, text, program.lane, home=(KIND, id(program.context)))


def _pyopencl() -> Any:
    try:
        import pyopencl
    except Exception as error:  # it loads libraries: whatever goes wrong there
        raise RunError(
            where="device 'opencl'", what=f"pyopencl cannot be imported: {type(error).__name__}: {error}", help=_INSTALL
        ) from error
    return pyopencl


_opened: dict[str, tuple[Any, Any]] = {}
"""By the choice that was made, the device and its context: regions of a process share them."""


def open_device() -> tuple[Any, Any]:
    """pyopencl's Device and Context. RunError where there is no platform, no device, or none of the name wanted.

    GPUs go first, then other accelerators, then processors, then what says that it is all of these: simulators do.
    """
    wish = os.environ.get(CHOICE, "").strip()
    if wish not in _opened:
        cl = _pyopencl()
        try:
            platforms = cl.get_platforms()
            found = [(platform, device) for platform in platforms for device in platform.get_devices()]
        except cl.Error as error:
            raise RunError(
                where="device 'opencl'", what=f"there is no OpenCL platform: {error}", help=_DRIVER
            ) from error
        if not found:
            raise RunError(where="device 'opencl'", what="no OpenCL platform has a device", help=_DRIVER)
        named = [pair for pair in found if wish.lower() in f"{pair[0].name} {pair[1].name}".lower()]
        if not named:
            names = ", ".join(f"'{device.name}' of '{platform.name}'" for platform, device in found)
            raise RunError(
                where="device 'opencl'",
                what=f"{CHOICE} is {wish!r}, and there is no such device",
                help=f"name a part of one of these: {names}",
            )
        kinds = (cl.device_type.GPU, cl.device_type.ACCELERATOR, cl.device_type.CPU)
        _, device = min(named, key=lambda pair: [pair[1].type != kind for kind in kinds])
        with _told(cl, f"OpenCL device '{device.name}'"):
            _opened[wish] = device, cl.Context([device])
    return _opened[wish]


@contextmanager
def _told(cl: Any, where: str) -> Iterator[None]:
    """Errors of the driver as letters."""
    try:
        yield
    except cl.MemoryError as error:
        raise RunError(
            where=where,
            what=f"it is out of memory: {error}",
            help="close other programs, compile the model for a smaller batch, or run it on the CPU",
        ) from error
    except cl.Error as error:
        raise RunError(
            where=where,
            what=f"the driver failed: {error}",
            help="load the artifact again; where that fails too, the driver or the device is at fault",
        ) from error


class _Program:
    """The kernels of a region, compiled, and its weights on the device."""

    def __init__(self, region: RegionFiles, launches: Launches, text: str) -> None:
        self.cl = cl = _pyopencl()
        self.launches = launches
        self.input_bytes = [math.prod(shape) * np.dtype(dtype).itemsize for _, dtype, shape in region.inputs]
        self.device, self.context = open_device()
        self.where = f"OpenCL device '{self.device.name.strip()}'"
        self.check(region.name)
        self.program = self.built(text, f"region '{region.name}', file '{SOURCE}'")
        weights = region.files[WEIGHTS_FILE]
        with _told(cl, self.where):
            flags = cl.mem_flags
            self.weights = cl.Buffer(self.context, flags.READ_ONLY, max(1, len(weights)))
            if weights:
                queue = cl.CommandQueue(self.context)
                cl.enqueue_copy(queue, self.weights, np.frombuffer(weights, np.uint8))
                queue.finish()

    def check(self, region: str) -> None:
        """Whether the device offers what the kernels need."""
        cl, device, launches = self.cl, self.device, self.launches
        missing = [each for each in launches.extensions if each not in device.extensions.split()]
        lacks = None
        if missing:
            lacks = f"it lacks {', '.join(missing)[:200]}"
        elif launches.rounds and not device.single_fp_config & cl.device_fp_config.CORRECTLY_ROUNDED_DIVIDE_SQRT:
            lacks = "it does not round divisions correctly, on which whole numbers of this model depend"
        elif not device.endian_little:
            lacks = "its numbers begin with their highest byte"
        if lacks is not None:
            self.refuse(region, lacks, "compile the model for the target 'cpu', or with other options of 'opencl'")
        threads = max((kernel.block[0] * kernel.block[1] * kernel.block[2] for kernel in launches.kernels), default=1)
        if threads > device.max_work_group_size:
            self.refuse(region, f"work-groups have {threads} items, and it takes {device.max_work_group_size}")
        shared_bytes = max((kernel.shared_bytes for kernel in launches.kernels), default=0)
        if shared_bytes > device.local_mem_size:
            self.refuse(region, f"a work-group takes {shared_bytes} bytes of local memory of {device.local_mem_size}")
        largest, together = (
            max(launches.arena_bytes, launches.weights_bytes),
            launches.arena_bytes + launches.weights_bytes,
        )
        if largest > device.max_mem_alloc_size or together > device.global_mem_size:
            self.refuse(
                region,
                f"it takes {launches.weights_bytes} bytes for weights and {launches.arena_bytes} for values, and the "
                f"device gives {device.max_mem_alloc_size} at most, {device.global_mem_size} together",
                "compile the model for a smaller batch, or for the target 'cpu'",
            )

    def refuse(self, region: str, what: str, help: str = "compile the model for the target 'cpu'") -> None:
        """The device cannot run the region."""
        raise RunError(where=f"{self.where}, region '{region}'", what=what, help=help)

    def built(self, text: str, where: str) -> Any:
        """The compiled program. RunError with the compiler's own words where it fails."""
        cl = self.cl
        options = ["-cl-std=CL1.2"]
        if self.device.single_fp_config & cl.device_fp_config.CORRECTLY_ROUNDED_DIVIDE_SQRT:
            options.append("-cl-fp32-correctly-rounded-divide-sqrt")
        try:
            return cl.Program(self.context, text).build(options, cache_dir=False)
        except cl.Error as error:
            said = str(error).strip()
            raise RunError(
                where=where,
                what=f"the compiler of {self.where} does not take it: {said[:2000]}",
                help="compile the model again; where that fails too, the driver may be too old for OpenCL 1.2",
            ) from error

    def lane(self) -> Lane:
        """An arena and a queue."""
        with _told(self.cl, self.where):
            return _OpenClLane(self)


class _OpenClLane(Lane):
    """Kernels with their arguments set once: places change only where inputs stand in arenas of other lanes."""

    def __init__(self, program: _Program) -> None:
        self._cl, self._where = program.cl, program.where
        cl, launches = program.cl, program.launches
        self._queue = cl.CommandQueue(program.context)
        self._arena = cl.Buffer(program.context, cl.mem_flags.READ_WRITE, max(1, launches.arena_bytes))
        self._weights = program.weights
        self._launches: dict[int, tuple[Any, tuple[int, ...], tuple[int, ...]]] = {}
        self._facts = launches
        self._sizes = dict(zip(launches.inputs, program.input_bytes))
        self._borrowed: dict[int, tuple[_OpenClLane, int]] = {}
        for number, step in enumerate(launches.steps):
            if not isinstance(step, Launch):
                continue
            facts = launches.kernels[step.kernel]
            if 0 in facts.grid:
                continue
            kernel = cl.Kernel(program.program, facts.name)
            items = tuple(blocks * threads for blocks, threads in zip(facts.grid, facts.block))
            self._launches[number] = kernel, items, facts.block
            self._set_arguments(number)

    def _set_arguments(self, number: int) -> None:
        step = self._facts.steps[number]
        assert isinstance(step, Launch)
        arguments: list[Any] = []
        for place, parameter in zip(step.places, self._facts.kernels[step.kernel].parameters):
            memory, start = self._found(place)
            arguments += [memory, np.int32(start // np.dtype(parameter.dtype).itemsize)]
        self._launches[number][0].set_args(*arguments)

    def _found(self, place: Place) -> tuple[Any, int]:
        """The memory that holds a place, and the byte of it."""
        if place.memory != ARENA:
            return self._weights, place.start
        for start, (lender, lent) in self._borrowed.items():
            if start <= place.start < start + self._sizes[start]:
                return lender._arena, lent + place.start - start
        return self._arena, place.start

    def borrow(self, lent: Mapping[int, tuple[Lane, int]]) -> None:
        borrowed = {}
        for start, (lender, place) in lent.items():
            assert isinstance(lender, _OpenClLane)
            borrowed[start] = lender, place
        if borrowed == self._borrowed:
            return
        self._borrowed = borrowed
        with _told(self._cl, self._where):
            for number in self._launches:
                self._set_arguments(number)

    def follow(self, other: Lane) -> None:
        assert isinstance(other, _OpenClLane)
        with _told(self._cl, self._where):
            done = self._cl.enqueue_marker(other._queue)
            other._queue.flush()
            self._cl.enqueue_barrier(self._queue, wait_for=[done])

    def write(self, start: int, data: Array) -> None:
        with _told(self._cl, self._where):
            self._cl.enqueue_copy(self._queue, self._arena, data, dst_offset=start, is_blocking=False)

    def read(self, start: int, data: Array) -> None:
        with _told(self._cl, self._where):
            self._cl.enqueue_copy(self._queue, data, self._arena, src_offset=start, is_blocking=True)

    def copy(self, source: Place, target: Place, size_bytes: int) -> None:
        if size_bytes:
            with _told(self._cl, self._where):
                (to, target_start), (of, source_start) = self._found(target), self._found(source)
                self._cl.enqueue_copy(
                    self._queue, to, of, byte_count=size_bytes, src_offset=source_start, dst_offset=target_start
                )

    def launch(self, step: int) -> None:
        if step in self._launches:
            kernel, items, block = self._launches[step]
            with _told(self._cl, self._where):
                self._cl.enqueue_nd_range_kernel(self._queue, kernel, items, block)

    def close(self) -> None:
        with _told(self._cl, self._where):
            self._queue.finish()
            self._arena.release()
