"""A Verilated module in Python: ports by name, and a clock."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from intarsia.dtypes import Array
from intarsia_backends.rtl.build import Design, build
from intarsia_backends.rtl.library import I32, POINTER, load_library

AnyModule = TypeVar("AnyModule", bound="Module")

_OPTIONAL_PINS = {"wstrb", "bresp", "rresp", "rlast", "awlen", "arlen"}


class ModelError(AssertionError):
    """A check in the RTL failed, or a module was used in a way that it does not offer."""


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
        """Of the value, or of one element."""
        return (self.bits + 7) // 8


class Module:
    """A Verilated module. One thread at a time uses it.

    model["name"] reads a port, an unsigned integer of any width; model["name"] = value sets an input. Outputs are read
    as they settle with the inputs of now. step(n) lets n rising edges of clk_i pass.
    """

    def __init__(self, design: Design, seed: int = 1) -> None:
        """seed  of the values that registers and memories have before anything writes them; 0 makes them zero"""
        self.handle: Any = None
        self.library = load_library(build(design))
        self.handle = self.library.ia_new(seed)
        self.top = design.top
        self.ports: dict[str, Port] = {}
        for number in range(self.call("ports")):
            item = self.call("port", number).contents
            name = item.name.decode()
            self.ports[name] = Port(name, number, item.data, item.bits, item.elements, item.stride, item.direction)
        self._stale = False

    def call(self, name: str, *arguments: Any) -> Any:
        """A function of the library about this module."""
        return getattr(self.library, f"ia_{name}")(self.handle, *arguments)

    def close(self) -> None:
        """Let go of the module. It is not used afterwards."""
        handle, self.handle = self.handle, None
        if handle is not None:
            self.library.ia_free(handle)

    def __del__(self) -> None:
        self.close()

    def __enter__(self: AnyModule) -> AnyModule:
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
        return int(self.call("cycle"))

    @property
    def log(self) -> str:
        """What the RTL printed."""
        return str(self.call("log").decode())

    def _settle(self) -> None:
        if self._stale:
            self._stale = False
            self.call("eval")
            self.check()

    def check(self) -> None:
        """ModelError where the RTL has stopped: a check in it failed."""
        if self.call("stopped"):
            raise ModelError(f"{self.top}, cycle {self.cycle}: {self.log}")

    def step(self, cycles: int = 1) -> None:
        """Let the clock run. ModelError where a check in the RTL fails."""
        self._stale = False
        self.call("run", -1, 0, cycles)
        self.check()

    def reset(self, cycles: int = 3) -> None:
        """Hold rst_ni low for some cycles, then let it go."""
        self["rst_ni"] = 0
        self.step(cycles)
        self["rst_ni"] = 1
        self._settle()

    def run_to(self, name: str, value: int, limit: int) -> int:
        """Step until a port has a value, at least once and at most `limit` times; the steps made."""
        self._stale = False
        done = int(self.call("run", self.port(name).number, value, limit))
        self.check()
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
        done = self.call("play", count, *_pointers(self, rows), *_pointers(self, seen))
        self.check()
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

    # ---- for what is attached to ports

    def number(self, name: str | None) -> int:
        """How the library names a port; -1 for None."""
        return -1 if name is None else self.port(name).number

    def pins(self, prefix: str, names: Iterable[str]) -> Any:
        """Numbers of the ports `prefix` + name, with or without _i, _o behind; -1 for optional ones not there."""
        found = []
        for name in names:
            pattern = re.compile(rf"{re.escape(prefix)}_?{name}(_[io])?")
            matches = [port.number for port in self.ports.values() if pattern.fullmatch(port.name)]
            if not matches and name not in _OPTIONAL_PINS:
                raise ModelError(f"{self.top} has no port {prefix}{name}; it has {', '.join(self.ports)}")
            found.append(matches[0] if matches else -1)
        return (I32 * len(found))(*found)


def _pointers(module: Module, rows: Mapping[str, Array]) -> tuple[Any, Any, Any]:
    numbers = (I32 * len(rows))(*(module.port(name).number for name in rows))
    places = (POINTER * len(rows))(*(row.ctypes.data for row in rows.values()))
    return len(rows), numbers, places


def integers(rows: Array) -> list[int]:
    """Numbers of uint8 [cycles, bytes], little-endian."""
    return [int.from_bytes(row.tobytes(), "little") for row in rows]
