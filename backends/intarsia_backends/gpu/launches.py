"""What an artifact says of a region's kernels: what they take, how they are launched, in which order, on which memory.

The file is JSON; it is read strictly, so that what comes out of it can be run without another look: every place lies in
its memory, and every kernel gets what it takes. What the kernels themselves do cannot be checked so; see SECURITY.md.
NumPy and the standard library only.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from intarsia.artifact.schema import Entry
from intarsia.artifact.strict_json import parse_json

INTERFACE = 2
"""Version of the file, and of what a kernel is called with: for each parameter its memory, then the number of the
element that it starts at, an int32."""

MEMORY_LIMIT = (1 << 31) - 1
"""Bytes of the weights, and of the arena: places are int32."""

THREADS_LIMIT = 1024
ALIGNMENT_LIMIT = 16
"""Bytes: what memory of a device begins at multiples of, and more."""

_FILE_LIMIT = 64 << 20
_GRID_LIMIT = (1 << 31) - 1
_TEXT_LIMIT = 1 << 12

ARENA, WEIGHTS = "arena", "weights"
_STORED = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True)
class Place:
    """Where something starts.

    memory  ARENA or WEIGHTS
    start   bytes from its beginning
    """

    memory: str
    start: int


@dataclass(frozen=True)
class Parameter:
    """What a kernel is called with: elements of one type that lie side by side.

    written    whether the kernel writes there
    alignment  bytes of which its place must be a multiple: some kernels read and write several elements at once
    """

    dtype: str
    elements: int
    written: bool
    alignment: int = 1

    @property
    def size_bytes(self) -> int:
        return self.elements * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class KernelFacts:
    """A kernel, as whoever launches it must know it.

    grid, block   blocks, and threads of a block, along x, y, z
    shared_bytes  memory that the threads of a block share
    """

    name: str
    parameters: tuple[Parameter, ...]
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int

    @property
    def threads(self) -> int:
        """Of a block."""
        return math.prod(self.block)


@dataclass(frozen=True)
class Launch:
    """A kernel, by its number, on a place for each of its parameters."""

    kernel: int
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Copy:
    """Bytes from one place to another."""

    source: Place
    target: Place
    size_bytes: int


@dataclass(frozen=True)
class Check:
    """Whole numbers that end the run, with a text for the user, where one is outside of low..high.

    dtype  "int32" or "int64"
    """

    place: Place
    dtype: str
    count: int
    low: int
    high: int
    text: str

    @property
    def size_bytes(self) -> int:
        return self.count * np.dtype(self.dtype).itemsize


Step = Launch | Copy | Check


@dataclass(frozen=True)
class Launches:
    """A region, ready to be launched.

    arena_bytes, weights_bytes  sizes of the two memories
    inputs, outputs  where each stands in the arena, in bytes; nothing else ever stands where an input does
    extensions       what the device must offer beside the language itself
    rounds           whether it must round divisions correctly: whole numbers come of them
    """

    arena_bytes: int
    weights_bytes: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    kernels: tuple[KernelFacts, ...]
    steps: tuple[Step, ...]
    extensions: tuple[str, ...]
    rounds: bool

    def to_json(self) -> bytes:
        """The file's contents; `read_launches` reads them."""
        data = {
            "interface": INTERFACE,
            "arena_bytes": self.arena_bytes,
            "weights_bytes": self.weights_bytes,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "extensions": self.extensions,
            "rounds": self.rounds,
            "kernels": [
                {
                    "name": kernel.name,
                    "grid": kernel.grid,
                    "block": kernel.block,
                    "shared_bytes": kernel.shared_bytes,
                    "parameters": [
                        [each.dtype, each.elements, each.written, each.alignment] for each in kernel.parameters
                    ],
                }
                for kernel in self.kernels
            ],
            "steps": [_written(step) for step in self.steps],
        }
        return json.dumps(data, separators=(",", ":")).encode()


def _written(step: Step) -> dict[str, Any]:
    if isinstance(step, Launch):
        return {"kernel": step.kernel, "places": [[place.memory, place.start] for place in step.places]}
    if isinstance(step, Copy):
        places = ([place.memory, place.start] for place in (step.source, step.target))
        return {"copy": list(places), "bytes": step.size_bytes}
    return {
        "check": [step.place.memory, step.place.start],
        "dtype": step.dtype,
        "count": step.count,
        "low": step.low,
        "high": step.high,
        "text": step.text,
    }


Values = Sequence[tuple[str, str, tuple[int, ...]]]
"""Name, element type and shape of each, as `RegionFiles` has them."""


def read_launches(data: bytes, where: str, inputs: Values, outputs: Values) -> Launches:
    """The launches of a region, checked against each other and against the region's values.

    where  how errors name the file

    Raises RunError that names the entry which is wrong.
    """
    entry = Entry(parse_json(data, where, _FILE_LIMIT), where)
    interface = entry.whole("interface", 1, 1 << 16)
    if interface != INTERFACE:
        entry.refuse(f"'interface' is {interface}, and this is {INTERFACE}")
    sizes = {
        ARENA: entry.whole("arena_bytes", 0, MEMORY_LIMIT),
        WEIGHTS: entry.whole("weights_bytes", 0, MEMORY_LIMIT),
    }
    starts = {
        key: _starts(entry, key, values, sizes[ARENA]) for key, values in (("inputs", inputs), ("outputs", outputs))
    }
    extensions, rounds = entry.texts("extensions"), entry.flag("rounds")
    kernels = entry.each("kernels", _kernel)
    if len({kernel.name for kernel in kernels}) < len(kernels):
        entry.refuse("two of 'kernels' have one name")
    held = [(start, start + _size_bytes(value)) for start, value in zip(starts["inputs"], inputs) if _size_bytes(value)]
    reader = _Steps(kernels, sizes, held)
    steps = entry.each("steps", reader.read)
    entry.done()
    return Launches(
        arena_bytes=sizes[ARENA],
        weights_bytes=sizes[WEIGHTS],
        inputs=starts["inputs"],
        outputs=starts["outputs"],
        kernels=kernels,
        steps=steps,
        extensions=extensions,
        rounds=rounds,
    )


def _size_bytes(value: tuple[str, str, tuple[int, ...]]) -> int:
    _, dtype, shape = value
    return math.prod(shape) * np.dtype(dtype).itemsize


def _whole(entry: Entry, what: str, number: Any, low: int, high: int) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
        entry.refuse(f"{what} is {str(number)[:40]!r}, not a whole number from {low} to {high}")
    return number


def _starts(entry: Entry, key: str, values: Values, arena_bytes: int) -> tuple[int, ...]:
    starts = entry.sequence(key)
    if len(starts) != len(values):
        entry.refuse(f"'{key}' has {len(starts)} places, and the region {len(values)} {key}")
    for start, value in zip(starts, values):
        _whole(entry, f"'{key}', the place of '{value[0]}',", start, 0, arena_bytes)
        if start % np.dtype(value[1]).itemsize or start + _size_bytes(value) > arena_bytes:
            entry.refuse(f"'{key}': '{value[0]}' has {_size_bytes(value)} bytes, and lies at {start} of {arena_bytes}")
    return tuple(starts)


def _kernel(data: Any, where: str) -> KernelFacts:
    entry = Entry(data, where)
    name = entry.text("name")
    if not _NAME.fullmatch(name):
        entry.refuse(f"'name' is {name[:40]!r}, not the name of a kernel")
    sizes = {}
    for key, low, high in (("grid", 0, _GRID_LIMIT), ("block", 1, THREADS_LIMIT)):
        numbers = entry.sequence(key)
        if len(numbers) != 3:
            entry.refuse(f"'{key}' has {len(numbers)} sizes, not 3")
        sizes[key] = tuple(_whole(entry, f"'{key}'", number, low, high) for number in numbers)
    if math.prod(sizes["block"]) > THREADS_LIMIT:
        entry.refuse(f"'block' has {math.prod(sizes['block'])} threads, at most {THREADS_LIMIT}")
    shared_bytes = entry.whole("shared_bytes", 0, MEMORY_LIMIT)
    parameters = entry.each("parameters", _parameter)
    entry.done()
    (gx, gy, gz), (bx, by, bz) = sizes["grid"], sizes["block"]
    return KernelFacts(name, parameters, (gx, gy, gz), (bx, by, bz), shared_bytes)


def _parameter(data: Any, where: str) -> Parameter:
    entry = Entry({"parameter": data}, where)
    fields = entry.sequence("parameter")
    if len(fields) != 4 or fields[0] not in _STORED or not isinstance(fields[2], bool):
        entry.refuse(f"{str(data)[:60]} is not [element type, elements, whether it is written, alignment]")
    elements = _whole(entry, "the number of elements", fields[1], 0, MEMORY_LIMIT)
    alignment = _whole(entry, "the alignment", fields[3], 1, ALIGNMENT_LIMIT)
    if alignment & (alignment - 1):
        entry.refuse(f"the alignment is {alignment}, which is no power of two")
    return Parameter(fields[0], elements, fields[2], alignment)


class _Steps:
    """Reads steps one by one.

    sizes  bytes of each memory
    held   first byte, and that after the last, of each input
    """

    def __init__(
        self, kernels: Sequence[KernelFacts], sizes: Mapping[str, int], held: Sequence[tuple[int, int]]
    ) -> None:
        self.kernels, self.sizes, self.held = kernels, sizes, held

    def read(self, data: Any, where: str) -> Step:
        entry = Entry(data, where)
        step = self.launch(entry) if "kernel" in entry.rest else self.moved(entry)
        entry.done()
        return step

    def launch(self, entry: Entry) -> Launch:
        number = entry.whole("kernel", 0, len(self.kernels) - 1)
        kernel, places = self.kernels[number], entry.sequence("places")
        if len(places) != len(kernel.parameters):
            entry.refuse(f"'places' has {len(places)}, and '{kernel.name}' takes {len(kernel.parameters)}")
        checked = [
            self.place(entry, place, each.size_bytes, each.dtype, each.written, each.alignment)
            for place, each in zip(places, kernel.parameters)
        ]
        return Launch(number, tuple(checked))

    def moved(self, entry: Entry) -> Copy | Check:
        if "copy" in entry.rest:
            places, size_bytes = entry.sequence("copy"), entry.whole("bytes", 0, MEMORY_LIMIT)
            if len(places) != 2:
                entry.refuse(f"'copy' has {len(places)} places, not 2")
            source, target = (
                self.place(entry, place, size_bytes, "uint8", written) for place, written in zip(places, (False, True))
            )
            if source.memory == target.memory and abs(source.start - target.start) < size_bytes:
                entry.refuse(f"'copy' copies {size_bytes} bytes over themselves")
            return Copy(source, target, size_bytes)
        limit = 1 << 62
        dtype, count = entry.choice("dtype", ("int32", "int64")), entry.whole("count", 0, MEMORY_LIMIT)
        place = self.place(entry, entry.take("check"), count * np.dtype(dtype).itemsize, dtype, False)
        if place.memory != ARENA:
            entry.refuse("'check' looks at weights, which never change")
        low, high = entry.whole("low", -limit, limit), entry.whole("high", -limit, limit)
        text = entry.text("text")
        if len(text) > _TEXT_LIMIT:
            entry.refuse(f"'text' has {len(text)} characters, at most {_TEXT_LIMIT}")
        return Check(place, dtype, count, low, high, text)

    def place(self, entry: Entry, data: Any, size_bytes: int, dtype: str, written: bool, alignment: int = 1) -> Place:
        if not isinstance(data, (list, tuple)) or len(data) != 2 or data[0] not in (ARENA, WEIGHTS):
            entry.refuse(f"{str(data)[:40]} is not [memory, first byte]")
        memory, start = data
        size = self.sizes[memory]
        _whole(entry, "a place", start, 0, size)
        if start % np.dtype(dtype).itemsize or start + size_bytes > size:
            entry.refuse(f"{size_bytes} bytes of {dtype} are no part of the {memory}, {size} bytes, from {start} on")
        if start % alignment:
            entry.refuse(f"a place that must be a multiple of {alignment} is {start}")
        if written and memory == WEIGHTS:
            entry.refuse("it writes to the weights")
        if written and any(start < last and first < start + size_bytes for first, last in self.held):
            entry.refuse("it writes to an input")
        return Place(memory, start)
