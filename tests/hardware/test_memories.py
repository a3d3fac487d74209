"""The memories: every port at once, as far as banks allow, against arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from harness import integers, module, needs_verilator

from intarsia.dtypes import Array

pytestmark = [pytest.mark.rtl, needs_verilator]

CYCLES = 4000
LATENCY = 4
READERS = ("residual", "vector", "store")
WRITERS = ("conv", "vector", "load")


class Traffic:
    """Random accesses of the activation memory, at most one at a port of a bank, and what the reads must find."""

    def __init__(self, pixels: int, banks: int, words: int) -> None:
        self.random = np.random.default_rng(pixels)
        self.pixels, self.banks, self.words = pixels, banks, words
        self.memory = np.zeros(banks * words, object)
        self.known = np.zeros(banks * words, bool)
        self.inputs: dict[str, list[int]] = {}
        self.expected: dict[tuple[int, str, int], int] = {}  # (cycle, port, pixel) -> word
        for cycle in range(CYCLES):
            self._cycle(cycle)

    def _set(self, name: str, value: int) -> None:
        self.inputs.setdefault(name, []).append(value)

    def _address(self, used: set[int]) -> int | None:
        """A random address in a bank that is not used; None now and then, and where there is none."""
        free = [bank for bank in range(self.banks) if bank not in used]
        if not free or self.random.random() < 0.2:
            return None
        bank = int(self.random.choice(free))
        used.add(bank)
        return bank * self.words + int(self.random.integers(self.words))

    def _read(self, cycle: int, port: str, pixel: int, address: int) -> None:
        if self.known[address]:
            self.expected[cycle + LATENCY, port, pixel] = self.memory[address]

    def _cycle(self, cycle: int) -> None:
        even: list[set[int]] = [set() for _ in range(self.pixels // 2)]
        odd: list[set[int]] = [set() for _ in range(self.pixels // 2)]
        reads = []
        mask = addresses = 0
        for pixel in range(self.pixels):
            address = self._address((odd if pixel % 2 else even)[pixel // 2])
            if address is not None:
                mask |= 1 << pixel
                addresses |= address << 16 * pixel
                reads.append(("source", pixel, address))
        self._set("source_read_i", mask)
        self._set("source_address_i", addresses)
        for reader in READERS:
            address = self._address(even[0])
            self._set(f"{reader}_read_i", int(address is not None))
            self._set(f"{reader}_address_i", address or 0)
            if address is not None:
                reads.append((reader, 0, address))
        read_words = {address for _, _, address in reads}
        for port, pixel, address in reads:
            self._read(cycle, port, pixel, address)
        used = set().union(*odd)
        for writer in WRITERS:
            address = self._address(used)
            if address in read_words:
                address = None
            data = int.from_bytes(self.random.bytes(16), "little")
            lanes = 0xFFFF
            if writer == "vector":
                lanes = int(self.random.integers(1 << 16)) if self.random.random() < 0.5 else lanes
                self._set("vector_write_lanes_i", lanes)
            self._set(f"{writer}_write_i", int(address is not None))
            self._set(f"{writer}_write_address_i", address or 0)
            self._set(f"{writer}_write_data_i", data)
            if address is not None:
                bits = sum(0xFF << 8 * lane for lane in range(16) if lanes >> lane & 1)
                self.known[address] |= lanes == 0xFFFF
                self.memory[address] = int(self.memory[address]) & ~bits | data & bits


@pytest.mark.parametrize(("pixels", "banks", "words"), [(2, 8, 16), (4, 16, 8)])
def test_activation_memory(pixels: int, banks: int, words: int) -> None:
    traffic = Traffic(pixels, banks, words)
    with module("ia_activation_memory", Pixels=pixels, ActBanks=banks, BankWords=words) as memory:
        memory.reset()
        ports = ("source", *READERS)
        seen = memory.play(traffic.inputs, [f"{port}_data_o" for port in ports])
    values = {port: integers(seen[f"{port}_data_o"]) for port in ports}
    assert len(traffic.expected) > CYCLES
    for (cycle, port, pixel), word in traffic.expected.items():
        if cycle < CYCLES:
            assert values[port][cycle] >> 128 * pixel & (1 << 128) - 1 == word, (cycle, port, pixel)


def _rows(memory: Any, write: dict[str, Any], read: str, address: str, data: str, size: int) -> tuple[Array, Array]:
    """Write every row, then read them in a random order: the addresses and what came 3 cycles later."""
    memory.reset()
    memory.play(write)
    order = np.random.default_rng(1).permutation(size)
    padded = np.concatenate([order, np.zeros(3, int)])
    seen = memory.play({read: [1] * len(padded), address: [int(row) for row in padded]}, [data])
    return order, seen[data][3:]


def test_weight_memory() -> None:
    rows = np.random.default_rng(0).integers(0, 256, (3072, 64)).astype(np.uint8)
    flat = rows.reshape(-1, 16)
    write: dict[str, Any] = {
        "weight_write_i": [1] * len(flat) + [0],
        "weight_write_row_i": [index // 4 for index in range(len(flat) + 1)],
        "weight_write_quarter_i": [index % 4 for index in range(len(flat) + 1)],
        "weight_write_data_i": np.concatenate([flat, flat[:1]]),
    }
    with module("ia_weight_memory", WeightRows=3072) as memory:
        order, seen = _rows(memory, write, "read_i", "read_row_i", "read_data_o", 3072)
    assert np.array_equal(seen, rows[order])


def test_parameter_memory() -> None:
    rows = np.random.default_rng(0).integers(0, 256, (64, 16)).astype(np.uint8)
    write: dict[str, Any] = {
        "write_i": [1] * 64 + [0],
        "write_address_i": list(range(65)),
        "write_data_i": np.concatenate([rows, rows[:1]]),
    }
    with module("ia_parameter_memory", ParameterGroups=8) as memory:
        order, seen = _rows(memory, write, "read_i", "read_address_i", "read_data_o", 64)
    assert np.array_equal(seen, rows[order])
