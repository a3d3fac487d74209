"""Times kernels of one layer against each other, on this machine and one thread.

Kernels take turns, call by call, so that what disturbs one disturbs all. They share what they read and write. Code and
weights are as cold as in a network, where others run between two calls: memory is walked over before every call, until
the second cache holds nothing else, and weights lie in copies that take turns, until the last cache cannot hold them.
(Timed with warm code, large kernels of small layers looked faster than they are.) Time is that of the thread, which
others on the machine hardly change, and the least of many runs counts.
"""

from __future__ import annotations

import _ctypes
import ctypes
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from intarsia.dtypes import Array
from intarsia.errors import CompileError
from intarsia.ir.graph import Graph
from intarsia_backends.cpu.device import open_library
from intarsia_backends.cpu.kernels import Contraction, MatrixProduct
from intarsia_backends.cpu.link import POOL, link_region, write_kernels
from intarsia_backends.cpu.lower.builder import CpuBuilder
from intarsia_backends.cpu.machine import Machine
from intarsia_backends.cpu.tuning_tasks import AskedTask, Config
from intarsia_backends.lowering.access import Access
from intarsia_backends.lowering.kernel import Kernel
from intarsia_backends.lowering.program import Buffer, Operand, Part, Program, buffer_of

_COLD_BYTES_MAX = 48 << 20
"""More weights than the last cache of most processors holds."""

_COPIES_MAX = 64
"""Of the weights of a kernel: of small ones more would only take time to lay out."""

_OTHER_BYTES = 2 << 20
"""What is walked over between calls: the second cache of most processors, and more."""

_OTHER_SECONDS = 5e-5
"""How long that takes, about."""

_PAGE_BYTES = 4096
_ROOM_BYTES = 256
"""Around every operand: kernels read whole vectors past the last number."""

_FIRST_SECONDS, _LAST_SECONDS = 0.03, 0.15
"""For one kernel: of the first race, and of the one between those that are close to the fastest."""

_RUNS = (5, 1000)
"""At least and at most, in a race."""

_NEVER = np.iinfo(np.uint64).max

_CLOSE = 1.1
"""Times of the fastest kernel up to which a kernel is in the last race."""

_FAILURES = (CompileError, RuntimeError, ValueError, TypeError, ArithmeticError, LookupError)
"""What making a kernel that cannot be made may raise: TVM has errors of its own, all of which are among these."""

_TOLERANCE = 2e-4
"""Of the largest output, for float32."""

_HARNESS = """#define _POSIX_C_SOURCE 199309L
#include <stdint.h>
#include <time.h>
{declarations}
int intarsia_region_run(void *const *inputs, void *const *outputs, uint8_t *weights, uint8_t *arena) {{ return 0; }}
static uint64_t now(void) {{
  struct timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return (uint64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}}
static volatile uint8_t others[{others}];
static void disturb(void) {{
  for (int place = 0; place < {others}; place += 64) others[place] += 1;
}}
static int call(int index, void *const *o) {{
  switch (index) {{
{cases}
  }}
  return -1;
}}
int intarsia_region_race(int runs, const uint8_t *wanted, void *const *const *sets, const int *copies,
                         const int *widths, uint64_t *best) {{
  for (int run = 0; run < runs; ++run)
    for (int index = 0; index < {count}; ++index) {{
      if (!wanted[index]) continue;
      disturb();
      uint64_t start = now();
      int status = call(index, sets[index] + run % copies[index] * widths[index]);
      uint64_t spent = now() - start;
      if (status != 0) return status;
      if (spent < best[index]) best[index] = spent;
    }}
  return 0;
}}
"""


class Trial:
    """Kernels for several configs of one layer, made and loaded.

    machine   what they are made for: this one
    compiler  the command that compiles C
    cold      bytes of weights that the network reads between two runs of the layer

    Raises CompileError where one cannot be made.
    """

    def __init__(
        self, asked: AskedTask, configs: Sequence[Config], machine: Machine, compiler: Sequence[str], cold: int
    ) -> None:
        random, builder = np.random.default_rng(0), CpuBuilder(Graph("trial"), machine, {})
        made = [asked.make(builder, config) for config in configs]
        own = set(builder.weights)
        self._kernels = [kernel for kernel, _ in made]
        self._output = buffer_of(asked.output)
        self._memory: dict[Buffer, Array] = {}
        for kernel, operands in made:
            for operand, dtype in zip((*operands, asked.output), operand_dtypes(kernel, len(operands))):
                buffer = buffer_of(operand)
                if buffer not in own and buffer not in self._memory:
                    self._memory[buffer] = _filled(buffer, dtype, asked.program, random)
        self._sets, self._copies, self._held = [], [], []
        for _, operands in made:
            mine = [buffer for buffer in map(buffer_of, operands) if buffer in own]
            size = sum(buffer.size for buffer in mine)
            # Enough that they are cold in a race of two as well.
            copies = min(max(1, min(cold, _COLD_BYTES_MAX) // max(1, 2 * size)), _COPIES_MAX)
            pointers = []
            for _ in range(copies):
                held = {buffer: _weights(buffer, builder.program, random) for buffer in mine}
                self._held.append(held)
                pointers += [_address(operand, {**self._memory, **held}) for operand in (*operands, asked.output)]
            self._sets.append((ctypes.c_void_p * len(pointers))(*pointers))
            self._copies.append(copies)
        self._widths = [len(operands) + 1 for _, operands in made]
        self._library = _compiled(self._kernels, self._widths, machine, compiler)
        self._best = np.full(len(made), _NEVER, np.uint64)

    def close(self) -> None:
        """Unload the code."""
        _ctypes.dlclose(self._library._handle)

    def outputs(self) -> list[Array]:
        """What each kernel writes, over zeros: the bytes of the output's memory as its element type."""
        found = []
        for index, kernel in enumerate(self._kernels):
            memory = self._memory[self._output]
            memory[:] = 0
            self._race([index], 1)
            found.append(memory[: self._output.size].view(_y_dtype(kernel)).copy())
        return found

    def seconds(self) -> list[float]:
        """Of one call of each kernel.

        After a race of all there is one of those that are close to the fastest, and a last one, from nothing, of the
        fastest against the first: being fastest of many is partly luck, and what it won by is told by the last alone.
        """
        everyone = list(range(len(self._kernels)))
        self._race(everyone, _RUNS[0])
        fastest = self._best.min() / 1e9
        self._race(everyone, _runs(_FIRST_SECONDS, fastest))
        close = [index for index in everyone if index == 0 or self._best[index] <= self._best.min() * _CLOSE]
        if len(close) > 1:
            self._race(close, _runs(_LAST_SECONDS, fastest))
        seconds = [float(best) / 1e9 for best in self._best]
        winner = seconds.index(min(seconds))
        if winner:
            self._best[:] = _NEVER
            self._race([0, winner], _runs(_LAST_SECONDS, fastest))
            heuristic, least = float(self._best[0]) / 1e9, float(self._best[winner]) / 1e9
            seconds = [heuristic, *(max(own, least) for own in seconds[1:])]
        return seconds

    def _race(self, wanted: Sequence[int], runs: int) -> None:
        count = len(self._kernels)
        flags = (ctypes.c_uint8 * count)(*(index in wanted for index in range(count)))
        sets = (ctypes.c_void_p * count)(*(ctypes.addressof(pointers) for pointers in self._sets))
        integers: Any = ctypes.c_int * count
        best = self._best.ctypes.data_as(ctypes.c_void_p)
        status = self._library.intarsia_region_race(
            runs, flags, sets, integers(*self._copies), integers(*self._widths), best
        )
        if status != 0:
            raise MemoryError(f"a kernel ended with status {status}")


def agree(expected: Array, actual: Array) -> bool:
    """Whether two kernels give the same: integers exactly, floats but for rounding."""
    if expected.dtype.kind != "f":
        return bool(np.array_equal(expected, actual))
    largest = float(np.abs(expected).max(initial=0.0))
    return bool(np.allclose(expected, actual, rtol=0, atol=_TOLERANCE * max(largest, 1e-30), equal_nan=True))


class TrialTimer:
    """Times configs of a layer; a `Timer`.

    machine, compiler, cold  as in `Trial`
    notes                    what went wrong, for the user
    """

    def __init__(self, machine: Machine, compiler: Sequence[str], cold: int) -> None:
        self.machine, self.compiler, self.cold = machine, compiler, cold
        self.notes: list[str] = []

    def __call__(self, asked: AskedTask, configs: Sequence[Config]) -> list[float]:
        """Seconds of each; infinity for one that cannot be made, or whose result is not that of the first.

        Either is a mistake in this program, and no reason to stop: the heuristic's code is right. The user is told.
        """
        try:
            trial = Trial(asked, configs, self.machine, self.compiler, self.cold)
        except _FAILURES as error:
            if len(configs) > 2:  # which one it is, they tell alone
                pairs = [self(asked, [configs[0], config]) for config in configs[1:]]
                heuristic = min(pair[0] for pair in pairs)
                return [
                    heuristic,
                    *(math.inf if math.isinf(other) else other * heuristic / mine for mine, other in pairs),
                ]
            self._leave_out(asked, configs[-1], f"cannot be made: {error}")
            return [math.inf, math.inf]
        try:
            outputs = trial.outputs()
            seconds = trial.seconds()
        finally:
            trial.close()
        for index, output in enumerate(outputs):
            if not agree(outputs[0], output):
                self._leave_out(asked, configs[index], f"gives other results than {configs[0]}")
                seconds[index] = math.inf
        return seconds

    def _leave_out(self, asked: AskedTask, config: Config, why: str) -> None:
        self.notes.append(f"{config} of '{asked.task.key}' {why}; it is left out, please report it")


# ---- memory


def operand_dtypes(kernel: Kernel, operands: int) -> list[str]:
    """Element types of what a kernel is called with, the output last; "int16" for what is weights or scratch."""
    products = getattr(kernel, "products", "")
    number = "float32" if products == "float32" else "int16"
    found = [number] * (operands + 1)
    first, further = 3, _further(kernel)
    if isinstance(kernel, MatrixProduct):
        found[0], found[1] = kernel.x.dtype, kernel.w.dtype
        first = 3 if kernel.bias else 2
    for index, access in enumerate(further):
        found[first + index] = access.dtype
    found[-1] = _y_dtype(kernel)
    return found


def _further(kernel: Any) -> tuple[Access, ...]:
    walks: tuple[Access, ...] = kernel.operands if isinstance(kernel, Contraction) else kernel.further
    return walks


def _y_dtype(kernel: Any) -> str:
    return str(kernel.y.dtype if isinstance(kernel, MatrixProduct) else kernel.y_dtype)


def _filled(buffer: Buffer, dtype: str, program: Program, random: np.random.Generator) -> Array:
    """The contents of a constant; random numbers for what is made at run time."""
    if buffer.kind == "weight":
        return _weights(buffer, program, random)
    memory = _memory(buffer.size, random)
    size = buffer.size // np.dtype(dtype).itemsize
    if dtype.startswith("float"):
        memory[: buffer.size].view(dtype)[:size] = random.standard_normal(size)
    elif dtype == "int8":
        memory[: buffer.size] = random.integers(0, 256, buffer.size)
    else:  # int8 without a zero point, as int16 or two by two: -255 to 255
        memory[: buffer.size // 2 * 2].view(np.int16)[:] = random.integers(-255, 256, buffer.size // 2)
    return memory


def _weights(buffer: Buffer, program: Program, random: np.random.Generator) -> Array:
    memory = _memory(buffer.size, random)
    memory[: buffer.size] = np.frombuffer(program.weights, np.uint8, buffer.size, buffer.offset)
    return memory


def _memory(size: int, random: np.random.Generator) -> Array:
    """Zeros from some line of a page on: were all at the same one, they would meet in few sets of the caches."""
    memory = np.zeros(size + 2 * _PAGE_BYTES + _ROOM_BYTES, np.uint8)
    start = -memory.ctypes.data % _PAGE_BYTES + 64 * int(random.integers(1, _PAGE_BYTES // 64))
    return memory[start : start + size + _ROOM_BYTES // 2]


def _address(operand: Operand, memory: dict[Buffer, Array]) -> int:
    start = operand.start if isinstance(operand, Part) else 0
    return int(memory[buffer_of(operand)].ctypes.data) + start


def _runs(seconds: float, each: float) -> int:
    return min(max(int(seconds / (each + _OTHER_SECONDS)), _RUNS[0]), _RUNS[1])


# ---- code


def _compiled(kernels: Sequence[Kernel], widths: Sequence[int], machine: Machine, compiler: Sequence[str]) -> Any:
    """Kernels and the race between them, loaded."""
    symbols = [f"kernel_{index}" for index in range(len(kernels))]
    declarations = [f"int {symbol}({', '.join(['void *'] * width)});" for symbol, width in zip(symbols, widths)]
    cases = [
        f"  case {index}: return {symbol}({', '.join(f'o[{place}]' for place in range(width))});"
        for index, (symbol, width) in enumerate(zip(symbols, widths))
    ]
    source = _HARNESS.format(
        declarations="\n".join(declarations), cases="\n".join(cases), count=len(kernels), others=_OTHER_BYTES
    )
    write = partial(write_kernels, dict(zip(symbols, kernels)), machine, "tune")
    code = link_region(source, write, compiler, [POOL])
    library = open_library(code)
    library.intarsia_region_use(None, None, 1)
    return library
