"""A Verilated module in Python: ports by name, a clock, and DRAM, streams and registers attached to its ports."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from intarsia.dtypes import Array
from intarsia_backends.rtl.build import Design, build

_READ = ("arvalid", "arready", "araddr", "arlen", "rvalid", "rready", "rdata", "rresp", "rlast")
_WRITE = (
    "awvalid", "awready", "awaddr", "awlen", "wvalid", "wready", "wdata", "wstrb", "wlast", "bvalid", "bready", "bresp",
)  # fmt: skip
_LITE = (
    "awvalid", "awready", "awaddr", "wvalid", "wready", "wdata", "wstrb", "bvalid", "bready", "bresp",
    "arvalid", "arready", "araddr", "rvalid", "rready", "rdata", "rresp",
)  # fmt: skip
_OPTIONAL = {"wstrb", "bresp", "rresp", "rlast", "awlen", "arlen"}
_LITE_CYCLES = 1000

OKAY, SLVERR, DECERR = 0, 2, 3
"""AXI responses."""


class ModelError(AssertionError):
    """A check in the RTL failed, or a module was used in a way that it does not offer."""


class _PortStruct(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("bits", ctypes.c_uint32),
        ("elements", ctypes.c_uint32),
        ("stride", ctypes.c_uint32),
        ("direction", ctypes.c_uint8),
    )


class _MemoryOptions(ctypes.Structure):
    _fields_ = (
        ("bytes_per_cycle", ctypes.c_double),
        ("latency_cycles", ctypes.c_uint32),
        ("jitter_cycles", ctypes.c_uint32),
        ("stall", ctypes.c_uint32),
        ("outstanding", ctypes.c_uint32),
        ("boundary_bytes", ctypes.c_uint32),
        ("seed", ctypes.c_uint64),
    )


_POINTER, _U32, _U64, _I32 = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int32
_FUNCTIONS: Mapping[str, tuple[Any, tuple[Any, ...]]] = {
    "new": (_POINTER, (_U64,)),
    "free": (None, (_POINTER,)),
    "ports": (_U32, (_POINTER,)),
    "port": (ctypes.POINTER(_PortStruct), (_POINTER, _U32)),
    "eval": (None, (_POINTER,)),
    "run": (_U64, (_POINTER, _I32, _U64, _U64)),
    "cycle": (_U64, (_POINTER,)),
    "stopped": (ctypes.c_int, (_POINTER,)),
    "log": (ctypes.c_char_p, (_POINTER,)),
    "clear_log": (None, (_POINTER,)),
    "play": (_U64, (_POINTER, _U64, _U32, _POINTER, _POINTER, _U32, _POINTER, _POINTER)),
    "memory": (_POINTER, (_POINTER, ctypes.POINTER(_MemoryOptions))),
    "memory_configure": (None, (_POINTER, ctypes.POINTER(_MemoryOptions))),
    "memory_region": (None, (_POINTER, _U64, _U64, _POINTER)),
    "memory_clear": (None, (_POINTER,)),
    "memory_idle": (ctypes.c_int, (_POINTER,)),
    "memory_read_port": (_U32, (_POINTER, _POINTER, ctypes.c_char_p, _POINTER)),
    "memory_write_port": (_U32, (_POINTER, _POINTER, ctypes.c_char_p, _POINTER)),
    "memory_fault": (None, (_POINTER, ctypes.c_int, _U64, _U64, _U32, _U32)),
    "memory_counters": (ctypes.POINTER(_U64), (_POINTER, _U32)),
    "memory_begin": (None, (_POINTER,)),
    "memory_violations": (ctypes.c_char_p, (_POINTER,)),
    "memory_outside": (_U64, (_POINTER, ctypes.POINTER(_U64))),
    "source": (_POINTER, (_POINTER, _I32, _I32, _I32, _U32, _U64)),
    "source_add": (None, (_POINTER, _POINTER, _U64)),
    "source_left": (_U64, (_POINTER,)),
    "sink": (_POINTER, (_POINTER, _I32, _I32, _I32, _U32, _U64)),
    "sink_count": (_U64, (_POINTER,)),
    "sink_items": (_POINTER, (_POINTER,)),
    "sink_cycles": (_POINTER, (_POINTER,)),
    "histogram": (_POINTER, (_POINTER, _I32, _I32)),
    "histogram_size": (_U64, (_POINTER,)),
    "histogram_counts": (ctypes.POINTER(_U64), (_POINTER,)),
    "trace": (_POINTER, (_POINTER, _I32, _I32, _I32, _I32, _U64)),
    "trace_size": (_U64, (_POINTER, ctypes.c_int)),
    "trace_cycles": (_POINTER, (_POINTER, ctypes.c_int)),
    "trace_clear": (None, (_POINTER,)),
    "lite_write": (ctypes.c_int, (_POINTER, _POINTER, _U32, _U32, _U32, _U64)),
    "lite_read": (ctypes.c_int, (_POINTER, _POINTER, _U32, ctypes.POINTER(_U32), _U64)),
}
_LIBRARIES: dict[Path, Any] = {}


def _library(path: Path) -> Any:
    found = _LIBRARIES.get(path)
    if found is None:
        found = ctypes.CDLL(str(path))
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(found, f"ia_{name}")
            function.restype, function.argtypes = result, arguments
        _LIBRARIES[path] = found
    return found


@dataclass(frozen=True)
class Port:
    """A port of the module, or a signal that the design made public.

    bits       of the value, or of one element
    elements   of an unpacked array; 1 otherwise
    direction  0 input, 1 output, 2 inner signal
    """

    name: str
    number: int
    address: int
    bits: int
    elements: int
    stride: int
    direction: int

    @property
    def bytes(self) -> int:
        return (self.bits + 7) // 8


class Model:
    """A Verilated module. One thread at a time uses it.

    model["name"] reads a port, an unsigned integer of any width; model["name"] = value sets an input. Outputs are read
    as they settle with the inputs of now. step(n) lets n rising edges of clk_i pass.
    """

    def __init__(self, design: Design, seed: int = 1) -> None:
        """seed  of the values that registers and memories have before anything writes them; 0 makes them zero"""
        self._handle: Any = None
        self._library = _library(build(design))
        self._handle = self._library.ia_new(seed)
        self.top = design.top
        self.ports: dict[str, Port] = {}
        for number in range(self._call("ports")):
            item = self._call("port", number).contents
            name = item.name.decode()
            self.ports[name] = Port(name, number, item.data, item.bits, item.elements, item.stride, item.direction)
        self._stale = False
        self._kept: list[Any] = []

    def _call(self, name: str, *arguments: Any) -> Any:
        return getattr(self._library, f"ia_{name}")(self._handle, *arguments)

    def close(self) -> None:
        """Let go of the module. It is not used afterwards."""
        handle, self._handle = self._handle, None
        if handle is not None:
            self._library.ia_free(handle)

    def __del__(self) -> None:
        self.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- ports

    def port(self, name: str) -> Port:
        """A port by name; ModelError names those that there are."""
        found = self.ports.get(name)
        if found is None:
            raise ModelError(f"{self.top} has no port '{name}'; it has {', '.join(self.ports)}")
        return found

    def get(self, name: str) -> bytes:
        """The value of a port as little-endian bytes."""
        port = self.port(name)
        self._settle()
        return ctypes.string_at(port.address, port.bytes)

    def put(self, name: str, data: bytes) -> None:
        """Set an input from little-endian bytes."""
        port = self.port(name)
        if port.direction != 0:
            raise ModelError(f"{self.top}.{name} is no input")
        if len(data) != port.bytes or int.from_bytes(data[-1:], "little") >> ((port.bits - 1) % 8 + 1):
            raise ModelError(f"{len(data)} bytes do not fit {self.top}.{name} of {port.bits} bits")
        ctypes.memmove(port.address, data, len(data))
        self._stale = True

    def __getitem__(self, name: str) -> int:
        return int.from_bytes(self.get(name), "little")

    def __setitem__(self, name: str, value: int) -> None:
        port = self.port(name)
        number = int(value)
        if number < 0:
            number += 1 << port.bits
        if not 0 <= number < 1 << port.bits:
            raise ModelError(f"{value} does not fit {self.top}.{name} of {port.bits} bits")
        self.put(name, number.to_bytes(port.bytes, "little"))

    def set(self, **values: int) -> None:
        """Set several inputs."""
        for name, value in values.items():
            self[name] = value

    def signed(self, name: str) -> int:
        """A port as a two's complement number."""
        value, bits = self[name], self.port(name).bits
        return value - (1 << bits) if value >> (bits - 1) else value

    def memory(self, name: str) -> Array:
        """A public unpacked array as uint8 [elements, bytes of an element]: a view, which may be written too."""
        port = self.port(name)
        size = port.elements * port.stride
        whole = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(port.address))
        return whole.reshape(port.elements, port.stride)[:, : port.bytes]

    # ---- clock

    @property
    def cycle(self) -> int:
        """Rising edges so far."""
        return int(self._call("cycle"))

    @property
    def log(self) -> str:
        """What the RTL printed."""
        return str(self._call("log").decode())

    def _settle(self) -> None:
        if self._stale:
            self._stale = False
            self._call("eval")
            self._check()

    def _check(self) -> None:
        if self._call("stopped"):
            raise ModelError(f"{self.top}, cycle {self.cycle}: {self.log}")

    def step(self, cycles: int = 1) -> None:
        """Let the clock run. ModelError where a check in the RTL fails."""
        self._stale = False
        self._call("run", -1, 0, cycles)
        self._check()

    def reset(self, cycles: int = 3) -> None:
        """Hold rst_ni low for some cycles, then let it go."""
        self["rst_ni"] = 0
        self.step(cycles)
        self["rst_ni"] = 1
        self._settle()

    def run_to(self, name: str, value: int, limit: int) -> int:
        """Step until a port has a value, at least once and at most `limit` times; the steps made."""
        self._stale = False
        done = int(self._call("run", self.port(name).number, value, limit))
        self._check()
        return done

    def run_until(self, name: str, value: int = 1, limit: int = 1_000_000) -> int:
        """As run_to, but ModelError where the value has not come after `limit` steps."""
        done = self.run_to(name, value, limit)
        if done == limit and self[name] != value:
            raise ModelError(f"{self.top}: {name} was not {value} within {limit} cycles")
        return done

    def play(self, inputs: Mapping[str, Any], watch: Sequence[str] = (), cycles: int | None = None) -> dict[str, Array]:
        """Drive inputs cycle by cycle, and see the outputs of each cycle before its rising edge.

        inputs   by port: integers, one a cycle, or uint8 [cycles, bytes of the port]
        watch    ports to record
        cycles   needed where there are no inputs
        returns  by port uint8 [cycles, bytes]; `integers` makes numbers of it
        """
        rows = {name: self._rows(name, values) for name, values in inputs.items()}
        lengths = {len(row) for row in rows.values()} | ({cycles} if cycles is not None else set())
        if len(lengths) != 1:
            raise ModelError(f"play: inputs of different lengths {sorted(lengths)}")
        count = int(lengths.pop() or 0)
        seen = {name: np.zeros((count, self.port(name).bytes), np.uint8) for name in watch}
        self._stale = False
        done = self._call("play", count, *_pointers(self, rows), *_pointers(self, seen))
        self._check()
        assert done == count
        return seen

    def _rows(self, name: str, values: Any) -> Array:
        size = self.port(name).bytes
        if isinstance(values, np.ndarray) and values.dtype == np.uint8 and values.ndim == 2:
            assert values.shape[1] == size, f"{name} has {size} bytes, not {values.shape[1]}"
            return np.ascontiguousarray(values)
        mask = (1 << self.port(name).bits) - 1
        return np.frombuffer(
            b"".join((int(value) & mask).to_bytes(size, "little") for value in values), np.uint8
        ).reshape(-1, size)

    # ---- attachments

    def _number(self, name: str | None) -> int:
        return -1 if name is None else self.port(name).number

    def pins(self, prefix: str, names: Iterable[str]) -> Any:
        """Numbers of the ports `prefix` + name, with or without _i, _o behind; -1 for optional ones not there."""
        found = []
        for name in names:
            pattern = re.compile(rf"{re.escape(prefix)}_?{name}(_[io])?")
            matches = [port.number for port in self.ports.values() if pattern.fullmatch(port.name)]
            if not matches and name not in _OPTIONAL:
                raise ModelError(f"{self.top} has no port {prefix}{name}; it has {', '.join(self.ports)}")
            found.append(matches[0] if matches else -1)
        return (_I32 * len(found))(*found)

    def dram(self, reads: Sequence[str] = (), writes: Sequence[str] = (), **options: Any) -> Dram:
        """DRAM behind AXI masters.

        reads, writes  prefixes of ports: "m_load" for m_load_arvalid_o, m_load_rdata_i, ...; "" without prefix
        options        fields of DramOptions
        """
        return Dram(self, reads, writes, DramOptions(**options))

    def source(
        self, data: str, valid: str | None = None, ready: str | None = "", stall: float = 0, seed: int = 1
    ) -> Source:
        """Offers items on a stream with valid and ready.

        data   port; valid and ready are its names with "valid", "ready" for the last "data", unless given
        ready  None for a stream that cannot wait
        stall  share of cycles in which nothing new is offered
        """
        return Source(self, data, valid or _beside(data, "valid_i"), _ready(ready, data, "ready_o"), stall, seed)

    def sink(
        self, data: str, valid: str | None = None, ready: str | None = "", stall: float = 0, seed: int = 1
    ) -> Sink:
        """Takes items from a stream and keeps them; the arguments are those of `source`."""
        return Sink(self, data, valid or _beside(data, "valid_o"), _ready(ready, data, "ready_i"), stall, seed)

    def trace(self, valid: str, ready: str, word: str, done: str, run_opcodes: int) -> Trace:
        """Notes when run words are taken and when they are done.

        run_opcodes  bit n: words whose low 6 bits are n are run words
        """
        return Trace(self, valid, ready, word, done, run_opcodes)

    def histogram(self, gate: str, value: str | None = None) -> Histogram:
        """Counts the cycles in which `gate` is not 0, by the value of another port."""
        return Histogram(self, gate, value)

    def registers(self, prefix: str = "s_axi") -> Registers:
        """Access to an AXI-Lite slave."""
        return Registers(self, prefix)


def _beside(data: str, ending: str) -> str:
    """word_i, in_data_i -> word_valid_i, in_valid_i."""
    return re.sub(r"(_?data)?_[io]$", "", data) + "_" + ending


def _ready(given: str | None, data: str, ending: str) -> str | None:
    return _beside(data, ending) if given == "" else given


def _pointers(model: Model, rows: Mapping[str, Array]) -> tuple[Any, Any, Any]:
    numbers = (_I32 * len(rows))(*(model.port(name).number for name in rows))
    places = (_POINTER * len(rows))(*(row.ctypes.data for row in rows.values()))
    return len(rows), numbers, places


def integers(rows: Array) -> list[int]:
    """Numbers of uint8 [cycles, bytes], little-endian."""
    return [int.from_bytes(row.tobytes(), "little") for row in rows]


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

    def structure(self) -> _MemoryOptions:
        """For the library."""
        return _MemoryOptions(
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

    def __init__(self, model: Model, reads: Sequence[str], writes: Sequence[str], options: DramOptions) -> None:
        self._model, self._library = model, model._library
        self.options = options
        self._handle = model._call("memory", ctypes.byref(options.structure()))
        self._numbers: dict[str, int] = {}
        for prefix in reads:
            pins = model.pins(prefix, _READ)
            self._numbers[f"{prefix} read"] = self._library.ia_memory_read_port(
                model._handle, self._handle, f"{prefix} read".encode(), pins
            )
        for prefix in writes:
            pins = model.pins(prefix, _WRITE)
            self._numbers[f"{prefix} write"] = self._library.ia_memory_write_port(
                model._handle, self._handle, f"{prefix} write".encode(), pins
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
        address = _U64()
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
        return sum(self.counters(name)["bytes"] for name in self._numbers if name.endswith(" read"))

    @property
    def bytes_written(self) -> int:
        return sum(self.counters(name)["bytes"] for name in self._numbers if name.endswith(" write"))


class Source:
    """Items for a stream into the module, in order."""

    def __init__(self, model: Model, data: str, valid: str, ready: str | None, stall: float, seed: int) -> None:
        self._library, self._size = model._library, model.port(data).bytes
        numbers = (model._number(valid), model._number(ready), model._number(data))
        self._handle = model._call("source", *numbers, int(stall * 65536), seed)

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

    def __init__(self, model: Model, data: str, valid: str, ready: str | None, stall: float, seed: int) -> None:
        self._library, self._size = model._library, model.port(data).bytes
        numbers = (model._number(valid), model._number(ready), model._number(data))
        self._handle = model._call("sink", *numbers, int(stall * 65536), seed)

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

    def __init__(self, model: Model, gate: str, value: str | None) -> None:
        self._library = model._library
        self._handle = model._call("histogram", model._number(gate), model._number(value))

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

    def __init__(self, model: Model, valid: str, ready: str, word: str, done: str, run_opcodes: int) -> None:
        self._library = model._library
        numbers = (model._number(name) for name in (valid, ready, word, done))
        self._handle = model._call("trace", *numbers, run_opcodes)

    def _cycles(self, ends: int) -> list[int]:
        count = int(self._library.ia_trace_size(self._handle, ends))
        data = ctypes.string_at(self._library.ia_trace_cycles(self._handle, ends), count * 8) if count else b""
        return [int(cycle) for cycle in np.frombuffer(data, np.uint64)]

    @property
    def starts(self) -> list[int]:
        return self._cycles(0)

    @property
    def ends(self) -> list[int]:
        return self._cycles(1)

    def clear(self) -> None:
        """Forget what was noted."""
        self._library.ia_trace_clear(self._handle)


class Registers:
    """Registers behind an AXI-Lite slave; the clock runs while they are accessed."""

    def __init__(self, model: Model, prefix: str) -> None:
        self._model, self._pins = model, model.pins(prefix, _LITE)

    def write(self, address: int, value: int, strobes: int = 0xF) -> None:
        """Write 32 bits. ModelError for a response other than OKAY."""
        response = self._model._call("lite_write", self._pins, address, value, strobes, _LITE_CYCLES)
        self._model._check()
        if response != OKAY:
            raise ModelError(f"write of register {address:#x}: {_said(response)}")

    def read(self, address: int) -> int:
        """Read 32 bits."""
        value = _U32()
        response = self._model._call("lite_read", self._pins, address, ctypes.byref(value), _LITE_CYCLES)
        self._model._check()
        if response != OKAY:
            raise ModelError(f"read of register {address:#x}: {_said(response)}")
        return int(value.value)


def _said(response: int) -> str:
    return "no answer" if response < 0 else f"response {response}"
