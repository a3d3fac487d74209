"""Code for x86 processors of other levels, run here by an emulated one: `emulator_main.py`, a process for each level.

One thread. What goes wrong in the emulated code is a failure that says so.
"""

from __future__ import annotations

import functools
import pickle
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from intarsia.dtypes import Array
from intarsia.errors import RunError
from intarsia.runtime.device import LoadedRegion, RegionFiles, RegionResult
from intarsia_backends.cpu.machine import Machine, machine_features, machine_name, machine_of

MODELS = {"avx512vnni": 28, "avx512": 27, "avxvnni": 31}
"""For a level, a processor that has its instructions and lacks those of others, by its place in Bochs' list: Ice Lake,
Cannon Lake, Arrow Lake."""

_MISREAD = re.compile(r"vpinsrb\s+\$0x[0-9a-f]+,-?0x[0-9a-f]+\(.*%xmm(1[6-9]|2\d|3[01])")
"""As objdump writes it: for one of the upper registers Bochs takes a byte from twice the displacement."""

_HERE = machine_features()


def runs_here(machine: Machine) -> bool:
    """Whether this machine's processor has what the code needs."""
    return machine.name == machine_name() and _HERE.issuperset(machine.features)


def processor(machine: Machine) -> Processor:
    """An emulated processor that has what this one lacks; skips where there is none.

    Code that is made from now on for machines that this one is not has no gathers and scatters: Bochs refuses those
    whose index is in one of the upper 16 registers.
    """
    if machine.name != machine_name():
        pytest.skip(f"code for {machine.name} cannot be loaded here")
    if machine.level not in MODELS:
        pytest.skip(f"no processor is known that has {machine.level}")
    if find_spec("bochscpu") is None:
        missing = sorted(set(machine.features) - _HERE)
        pytest.skip(f"this processor has no {', '.join(missing)}; an emulator: pip install bochscpu-python")
    _spare_gathers()
    return _processor(machine.level)


@functools.cache
def _processor(level: str) -> Processor:
    return Processor(MODELS[level])


@functools.cache
def _spare_gathers() -> None:
    objects = import_module("intarsia_backends.cpu.emit.objects")
    target = objects.llvm_target

    def spared(machine: Machine) -> Any:
        foreign = machine.name != machine_name() or runs_here(machine)
        spare = () if foreign else ("prefer-no-gather", "prefer-no-scatter")
        return target(replace(machine, features=(*machine.features, *spare)))

    setattr(objects, "llvm_target", spared)  # noqa: B010


class Processor:
    """A process that emulates."""

    def __init__(self, model: int) -> None:
        self._lock = threading.Lock()
        program = Path(__file__).with_name("emulator_main.py")
        self._process = subprocess.Popen(
            [sys.executable, str(program), str(model)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def call(self, library: Path, symbol: str, arguments: Sequence[Any]) -> int:
        """What a function gives, an int. It sees copies of the arrays among the arguments, which then take what it
        left there; lists of arrays are tables of their addresses. Fails where the code does not end as it should."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            with self._lock:
                pickle.dump((str(library), symbol, list(arguments)), self._process.stdin)
                self._process.stdin.flush()
                kind, *answer = pickle.load(self._process.stdout)
        except EOFError:
            _processor.cache_clear()
            pytest.fail(f"{symbol}: the emulator itself ended with status {self._process.wait()}")
        if kind == "fault":
            pytest.fail(f"{symbol} on an emulated processor: {answer[0]}")
        status, contents = answer
        for array, content in zip(_arrays(arguments), contents):
            if array.flags.writeable:
                array[...] = np.frombuffer(content, array.dtype).reshape(array.shape)
        return int(status)


def install(level: str) -> None:
    """From now on this machine has a level of instructions; code that it cannot run goes to an emulated processor.

    For modules that are imported afterwards.
    """
    machine = machine_of(machine_name(), level)
    _spare_gathers()
    machine_module = import_module("intarsia_backends.cpu.machine")
    setattr(machine_module, "machine_features", lambda: frozenset(machine.features))  # noqa: B010
    device = import_module("intarsia_backends.cpu.device")
    load_here: Callable[[Any, RegionFiles], LoadedRegion] = device.CpuDevice.load

    def load(self: Any, region: RegionFiles) -> LoadedRegion:
        facts = region.metadata
        if facts.get("machine") != machine_name() or _HERE.issuperset(facts.get("features", ())):
            return load_here(self, region)
        device._check(region)
        return EmulatedRegion(region, machine_of(machine_name(), facts["level"]))

    device.CpuDevice.load = load


def _arrays(arguments: Sequence[Any]) -> Iterator[Array]:
    for argument in arguments:
        if isinstance(argument, list):
            yield from _arrays(argument)
        elif isinstance(argument, np.ndarray):
            yield argument


class EmulatedRegion(LoadedRegion):
    """A region whose code an emulated processor runs."""

    def __init__(self, region: RegionFiles, machine: Machine) -> None:
        self._processor, self._region = processor(machine), region
        self._folder = tempfile.TemporaryDirectory()
        self._library = Path(self._folder.name, "region.so")
        self._library.write_bytes(region.files["region.so"])

    def is_misread(self) -> bool:
        """Whether the code has an instruction that Bochs gets wrong: what it gives says nothing then."""
        command = ["objdump", "-d", "--no-show-raw-insn", str(self._library)]
        return bool(_MISREAD.search(subprocess.run(command, capture_output=True, text=True, check=True).stdout))

    def run(self, inputs: Sequence[Array]) -> RegionResult:
        outputs = [np.empty(shape, dtype) for _, dtype, shape in self._region.outputs]
        arena = np.full(int(self._region.metadata["arena_bytes"]), 0xA5, np.uint8)
        weights = np.frombuffer(self._region.files["weights.bin"], np.uint8)
        arguments = [[np.ascontiguousarray(array) for array in inputs], outputs, weights, arena]
        self._processor.call(self._library, "intarsia_region_use", [0, 0, 1])
        start = time.perf_counter()
        status = self._processor.call(self._library, "intarsia_region_run", arguments)
        seconds = time.perf_counter() - start
        if status != 0:
            check = status - import_module("intarsia_backends.cpu.device").FIRST_BOUND  # late: see `install`
            bounds = self._region.metadata["bounds"]
            what = bounds[check] if 0 <= check < len(bounds) else f"a kernel ended with status {status}"
            raise RunError(where=f"region '{self._region.name}'", what=what, help="this is an emulated processor")
        return RegionResult(outputs, {"seconds": seconds})
