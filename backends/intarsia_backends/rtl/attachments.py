"""What hangs at the ports of a Verilated module: DRAM, streams, registers, and counters of what goes on."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from intarsia.dtypes import Array
from intarsia_backends.rtl.library import U32, U64, MemoryOptions
from intarsia_backends.rtl.module import ModelError, Module

_READ = ("arvalid", "arready", "araddr", "arlen", "rvalid", "rready", "rdata", "rresp", "rlast")
_WRITE = (
    "awvalid", "awready", "awaddr", "awlen", "wvalid", "wready", "wdata", "wstrb", "wlast", "bvalid", "bready", "bresp",
)  # fmt: skip
_LITE = (
    "awvalid", "awready", "awaddr", "wvalid", "wready", "wdata", "wstrb", "bvalid", "bready", "bresp",
    "arvalid", "arready", "araddr", "rvalid", "rready", "rdata", "rresp",
)  # fmt: skip
_LITE_CYCLES = 1000

OKAY, SLVERR, DECERR = 0, 2, 3
"""AXI responses."""


@dataclass(frozen=True)
class DramOptions:
    """How the memory behaves; the defaults know no limit of bandwidth.

    bytes_per_cycle  all ports together; 0 for no limit
    latency_cycles   from a request to its first beat, from the last beat written to the response
    jitter_cycles    up to so many more, drawn for each burst
    stall            share of cycles in which each channel is held back
    outstanding      bursts that a port takes before the first is answered
    boundary_bytes   bursts that cross a multiple of it are violations; 0 means AXI's 4096
    seed             of stalls and jitter
    """

    bytes_per_cycle: float = 0.0
    latency_cycles: int = 10
    jitter_cycles: int = 0
    stall: float = 0.0
    outstanding: int = 64
    boundary_bytes: int = 128
    seed: int = 1

    def structure(self) -> MemoryOptions:
        """For the library."""
        return MemoryOptions(
            self.bytes_per_cycle,
            self.latency_cycles,
            self.jitter_cycles,
            int(self.stall * 65536),
            self.outstanding,
            self.boundary_bytes,
            self.seed,
        )


class Dram:
    """Memory behind AXI ports. Addresses outside of its regions answer DECERR."""

    def __init__(self, module: Module, reads: Sequence[str], writes: Sequence[str], options: DramOptions) -> None:
        self._module, self._library = module, module.library
        self.options = options
        self._handle = module.call("memory", ctypes.byref(options.structure()))
        self._numbers: dict[str, int] = {}
        for prefix in reads:
            pins = module.pins(prefix, _READ)
            self._numbers[f"{prefix} read"] = self._library.ia_memory_read_port(
                module.handle, self._handle, f"{prefix} read".encode(), pins
            )
        for prefix in writes:
            pins = module.pins(prefix, _WRITE)
            self._numbers[f"{prefix} write"] = self._library.ia_memory_write_port(
                module.handle, self._handle, f"{prefix} write".encode(), pins
            )
        self._regions: list[Array] = []

    def region(self, base: int, data: Array) -> Array:
        """Put an array at an address. It stays the caller's: the module reads and writes its bytes."""
        assert data.flags.c_contiguous and data.flags.writeable
        self._regions.append(data)
        self._library.ia_memory_region(self._handle, base, data.nbytes, data.ctypes.data)
        return data

    def configure(self, **options: Any) -> None:
        """Change fields of the options, and begin."""
        self.options = replace(self.options, **options)
        self._library.ia_memory_configure(self._handle, ctypes.byref(self.options.structure()))

    def clear(self) -> None:
        """Take away all regions and faults."""
        self._library.ia_memory_clear(self._handle)
        self._regions.clear()

    def fault(
        self, low: int, high: int | None = None, *, write: bool = False, response: int = SLVERR, count: int = 1
    ) -> None:
        """Answer `response` for the bytes low to high, `count` times."""
        self._library.ia_memory_fault(self._handle, int(write), low, low if high is None else high, response, count)

    @property
    def idle(self) -> bool:
        """No burst is in flight."""
        return bool(self._library.ia_memory_idle(self._handle))

    @property
    def violations(self) -> str:
        """What the masters did against the protocol, a line each."""
        return str(self._library.ia_memory_violations(self._handle).decode())

    @property
    def outside(self) -> tuple[int, int]:
        """Accesses outside of all regions, and the address of the first."""
        address = U64()
        count = self._library.ia_memory_outside(self._handle, ctypes.byref(address))
        return int(count), int(address.value)

    def counters(self, port: str) -> dict[str, int]:
        """Of "m_load read", "m_store write", ...: bytes, bursts, beats; waits, the cycles in which a read beat was not
        taken, or write data not accepted; partial, write beats with strobes off."""
        values = self._library.ia_memory_counters(self._handle, self._numbers[port])
        return {name: int(values[i]) for i, name in enumerate(("bytes", "bursts", "beats", "waits", "partial"))}

    def begin(self) -> None:
        """Counters are 0, and what follows depends on nothing that was."""
        self._library.ia_memory_begin(self._handle)

    @property
    def bytes_read(self) -> int:
        """By all ports."""
        return sum(self.counters(name)["bytes"] for name in self._numbers if name.endswith(" read"))

    @property
    def bytes_written(self) -> int:
        """By all ports."""
        return sum(self.counters(name)["bytes"] for name in self._numbers if name.endswith(" write"))


class Source:
    """Items for a stream into the module, in order."""

    def __init__(self, module: Module, data: str, valid: str, ready: str | None, stall: float, seed: int) -> None:
        self._library, self._size = module.library, module.port(data).bytes
        numbers = (module.number(valid), module.number(ready), module.number(data))
        self._handle = module.call("source", *numbers, int(stall * 65536), seed)

    def add(self, items: Iterable[int | bytes]) -> None:
        """Put items in line."""
        rows = [item if isinstance(item, bytes) else int(item).to_bytes(self._size, "little") for item in items]
        assert all(len(row) == self._size for row in rows), f"items have {self._size} bytes"
        self._library.ia_source_add(self._handle, b"".join(rows), len(rows))

    @property
    def left(self) -> int:
        """Items that have not been taken yet."""
        return int(self._library.ia_source_left(self._handle))


class Sink:
    """What came out of a stream."""

    def __init__(self, module: Module, data: str, valid: str, ready: str | None, stall: float, seed: int) -> None:
        self._library, self._size = module.library, module.port(data).bytes
        numbers = (module.number(valid), module.number(ready), module.number(data))
        self._handle = module.call("sink", *numbers, int(stall * 65536), seed)

    def __len__(self) -> int:
        return int(self._library.ia_sink_count(self._handle))

    @property
    def items(self) -> list[bytes]:
        """Items taken so far, little-endian bytes."""
        data = ctypes.string_at(self._library.ia_sink_items(self._handle), len(self) * self._size) if len(self) else b""
        return [data[at : at + self._size] for at in range(0, len(data), self._size)]

    @property
    def values(self) -> list[int]:
        """Items taken so far."""
        return [int.from_bytes(item, "little") for item in self.items]

    @property
    def cycles(self) -> list[int]:
        """The cycle in which each item was taken."""
        count = len(self)
        data = ctypes.string_at(self._library.ia_sink_cycles(self._handle), count * 8) if count else b""
        return [int(cycle) for cycle in np.frombuffer(data, np.uint64)]


class Histogram:
    """Cycles by value."""

    def __init__(self, module: Module, gate: str, value: str | None) -> None:
        self._library = module.library
        self._handle = module.call("histogram", module.number(gate), module.number(value))

    @property
    def counts(self) -> Array:
        """uint64, one for each value that the port can have; [1] without a value port."""
        size = int(self._library.ia_histogram_size(self._handle))
        return np.array(self._library.ia_histogram_counts(self._handle)[:size], np.uint64)

    def clear(self) -> None:
        """Begin anew at 0."""
        size = int(self._library.ia_histogram_size(self._handle))
        ctypes.memset(self._library.ia_histogram_counts(self._handle), 0, size * 8)


class Trace:
    """Cycles in which run words of a queue were taken and done."""

    def __init__(self, module: Module, valid: str, ready: str, word: str, done: str, run_opcodes: int) -> None:
        self._library = module.library
        numbers = (module.number(name) for name in (valid, ready, word, done))
        self._handle = module.call("trace", *numbers, run_opcodes)

    def _cycles(self, ends: int) -> list[int]:
        count = int(self._library.ia_trace_size(self._handle, ends))
        data = ctypes.string_at(self._library.ia_trace_cycles(self._handle, ends), count * 8) if count else b""
        return [int(cycle) for cycle in np.frombuffer(data, np.uint64)]

    @property
    def starts(self) -> list[int]:
        """The cycle in which each run word was taken."""
        return self._cycles(0)

    @property
    def ends(self) -> list[int]:
        """The cycle in which each run word was done."""
        return self._cycles(1)

    def clear(self) -> None:
        """Forget what was noted."""
        self._library.ia_trace_clear(self._handle)


class Registers:
    """Registers behind an AXI-Lite slave; the clock runs while they are accessed."""

    def __init__(self, module: Module, prefix: str) -> None:
        self._module, self._pins = module, module.pins(prefix, _LITE)

    def write(self, address: int, value: int, strobes: int = 0xF) -> None:
        """Write 32 bits. ModelError for a response other than OKAY."""
        response = self._module.call("lite_write", self._pins, address, value, strobes, _LITE_CYCLES)
        self._module.check()
        if response != OKAY:
            raise ModelError(f"write of register {address:#x}: {_said(response)}")

    def read(self, address: int) -> int:
        """Read 32 bits."""
        value = U32()
        response = self._module.call("lite_read", self._pins, address, ctypes.byref(value), _LITE_CYCLES)
        self._module.check()
        if response != OKAY:
            raise ModelError(f"read of register {address:#x}: {_said(response)}")
        return int(value.value)


def _said(response: int) -> str:
    return "no answer" if response < 0 else f"response {response}"
