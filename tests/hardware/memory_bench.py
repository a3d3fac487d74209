"""The load and store engines with their memories: random words, and what NumPy makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from harness import module

from intarsia.dtypes import Array
from intarsia.errors import RunError
from intarsia_backends.overlay.machine import isa
from intarsia_backends.overlay.machine.config import TINY
from intarsia_backends.overlay.machine.isa import Segment
from intarsia_backends.rtl.attachments import Dram
from intarsia_backends.rtl.model import Model
from intarsia_backends.simulator.bounds import check_bounds, memory_sizes
from intarsia_backends.simulator.decoded import Operation, decode
from intarsia_backends.simulator.fields import check_fields
from intarsia_backends.simulator.state import State
from intarsia_backends.simulator.transfers import bind_constants, bind_load, bind_patch, bind_store

SEGMENT_WORDS = 2048
_FIRST_ADDRESS, _APART = 0x4000_0000, 0x10_0000
_BINDERS: dict[type[isa.Instruction], Callable[[Operation, State], Callable[[], None]]] = {
    isa.Load: bind_load,
    isa.LoadPatch: bind_patch,
    isa.LoadConstants: bind_constants,
    isa.Store: bind_store,
}
QUEUES = ("load", "store")
WIDE: dict[str, Any] = {"AxiBytes": 16, "AddressBits": 40, "BurstBytes": 256}
"""Parameters that differ on a board with a wide bus."""


class Bench:
    """The engines, DRAM behind them, and a NumPy state that does the same."""

    def __init__(self, seed: int, *, wide: bool = False, word_stall: float = 0.0, **options: Any) -> None:
        """
        seed        of contents, and of stalls
        wide        16 bytes a beat, bursts of 256 bytes
        word_stall  share of cycles in which the queue has no word
        options     of the DRAM
        """
        self.random = np.random.default_rng(seed)
        self.model: Model = module(
            "memory_bench",
            sources=["modules/memory_bench.sv"],
            signals=["ia_memory_bank.words_q", "ia_memory_rows.rows_q", "ia_table_bank.bytes_q"],
            seed=seed,
            **(WIDE if wide else {}),
        )
        burst = 256 if wide else 128
        self.dram: Dram = self.model.dram(["m_load"], ["m_store"], boundary_bytes=burst, seed=seed, **options)
        sizes = dict.fromkeys(Segment, SEGMENT_WORDS * isa.WORD_BYTES)
        self.sizes = memory_sizes(TINY, sizes)
        self.state = State(TINY, self.fresh(SEGMENT_WORDS), sizes)
        bits = self.model.port("m_load_araddr_o").bits
        self.bases = [
            (_FIRST_ADDRESS << bits - 32) + segment * _APART + int(self.random.integers(0, 64)) * isa.WORD_BYTES
            for segment in Segment
        ]
        self.images: dict[Segment, Array] = {}
        for segment in Segment:
            if segment != Segment.CONSTANTS:
                self.state.dram[segment][...] = self.fresh(SEGMENT_WORDS)
            self.images[segment] = self.dram.region(self.bases[segment], self.state.dram[segment].copy().view(np.uint8))
        self.model["segment_base_i"] = sum(base << bits * segment for segment, base in zip(Segment, self.bases))
        self._sources = {name: self.model.source(f"{name}_word_i", stall=word_stall, seed=seed) for name in QUEUES}
        self._given = dict.fromkeys(QUEUES, 0)
        self._ended = {name: self.model.histogram(f"{name}_done_o") for name in QUEUES}
        self.model.reset()
        self.state.act[...] = self.fresh(TINY.activation_words)
        banks = self._arrays("words_q", "u_activations")
        for bank, words in zip(banks, self.state.act.reshape(len(banks), -1, isa.WORD_BYTES)):
            bank[...] = words.view(np.uint8)
        self.state.wgt[...], self.state.par[...] = self.weights, self.parameters
        for copy in self._arrays("bytes_q", "g_copy"):
            copy[...] = self.state.tab.reshape(-1, 1).view(np.uint8)

    def fresh(self, words: int) -> Array:
        """Random words, int8 [words, 16]."""
        return self.random.integers(-128, 128, (words, isa.WORD_BYTES)).astype(np.int8)

    def _arrays(self, name: str, within: str = "") -> list[Array]:
        """Memories by the name of their array, in the order of their instances."""
        found = [port for port in self.model.ports if port.endswith("." + name) and within in port]
        return [self.model.memory(port) for port in sorted(found, key=lambda port: (len(port), port))]

    # ---- what the engines left

    @property
    def activations(self) -> Array:
        """int8 [words, 16]."""
        return np.concatenate(self._arrays("words_q", "u_activations")).view(np.int8)

    @property
    def weights(self) -> Array:
        """int8 [rows, 64]."""
        return np.concatenate(self._arrays("rows_q", "u_weights"), axis=1).view(np.int8)

    @property
    def parameters(self) -> Array:
        """int8 [groups, 128]."""
        return self._arrays("rows_q", "u_parameters")[0].reshape(-1, 128).view(np.int8)

    @property
    def tables(self) -> list[Array]:
        """The copies, int8 [tables, 256] each."""
        return [copy.reshape(-1, 256).view(np.int8) for copy in self._arrays("bytes_q", "g_copy")]

    # ---- words

    def valid(self, words: Sequence[isa.Instruction]) -> list[Operation] | None:
        """The run words as operations; None where one of them breaks a rule."""
        try:
            operations = decode(isa.encode_program([*words, isa.End()])).operations[:-1]
            for operation in operations:
                check_fields(operation, TINY)
                check_bounds(operation, self.sizes)
        except (RunError, isa.EncodingError):
            return None
        return list(operations)

    def expect(self, operations: Sequence[Operation]) -> None:
        """Do the same in NumPy."""
        for operation in operations:
            _BINDERS[type(operation.word)](operation, self.state)()

    def ended(self, queue: str) -> int:
        """Run words that a queue has ended."""
        return int(self._ended[queue].counts[-1])

    def add(self, queue: str, words: Sequence[isa.Instruction]) -> None:
        """Put words in line."""
        self._sources[queue].add([word.encode() for word in words])
        self._given[queue] += sum(isinstance(word, isa.Run) for word in words)

    def run(self, queue: str, words: Sequence[isa.Instruction], limit: int = 200_000) -> int:
        """Give words to an engine and wait for the last run word's end; the cycles that it took."""
        self.add(queue, words)
        goal = self._given[queue]
        start = self.model.cycle
        while self.ended(queue) < goal and self.model.cycle - start < limit:
            self.model.run_to(f"{queue}_done_o", 1, limit)
            self.model.step()
        assert self.ended(queue) == goal, f"{goal - self.ended(queue)} words have not ended"
        took = self.model.cycle - start
        self.model.step(30)  # an end too many would show
        assert self.ended(queue) == goal and self._sources[queue].left == 0
        assert not self.model[f"{queue}_busy_o"] and self.model[f"{queue}_idle_o"]
        return took

    def reset(self) -> None:
        """Reset the engines; words that they have not taken are lost with what they were at."""
        while any(source.left for source in self._sources.values()):
            self.model.step()
        self.model.reset()
        for queue in QUEUES:
            self._given[queue] = self.ended(queue)

    def take_over(self) -> None:
        """Take what the memories hold now as what is expected."""
        self.state.act[...], self.state.wgt[...], self.state.par[...] = self.activations, self.weights, self.parameters
        for segment in Segment:
            if segment != Segment.CONSTANTS:
                self.state.dram[segment][...] = self.images[segment].view(np.int8)

    def check(self) -> None:
        """Every memory holds what NumPy says, and the ports kept to the protocol."""
        assert not self.dram.violations, self.dram.violations
        assert self.dram.idle
        assert np.array_equal(self.activations, self.state.act)
        assert np.array_equal(self.weights, self.state.wgt)
        assert np.array_equal(self.parameters, self.state.par)
        for copy in self.tables:
            assert np.array_equal(copy, self.state.tab)
        for segment in Segment:
            assert np.array_equal(self.images[segment].view(np.int8), self.state.dram[segment]), segment.name


class Words:
    """Random words of the LOAD and STORE queues."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random

    def number(self, low: int, high: int) -> int:
        return int(self.random.integers(low, high + 1))

    def few(self, high: int) -> int:
        """1 to `high`, small numbers more often."""
        return min(self.number(1, high), self.number(1, high))

    def _pitches(self, columns: int, rows: int) -> tuple[int, int]:
        row = columns if self.number(0, 1) else self.number(columns, columns + 9)
        return row, (row * rows if self.number(0, 1) else self.number(row * rows, row * rows + 40))

    def _copy(self) -> dict[str, int]:
        blocks, rows, columns = self.few(5), self.few(9), self.few(40)
        row, block = self._pitches(columns, rows)
        dram_row, dram_block = self._pitches(columns, rows)
        if self.number(0, 4) == 0:
            dram_row, dram_block = self.number(0, 40), self.number(0, 99)
        return {
            "blocks": blocks,
            "rows": rows,
            "columns": columns,
            "row_pitch": row,
            "block_pitch": block,
            "dram_row_pitch": dram_row,
            "dram_block_pitch": dram_block,
        }

    def load(self) -> list[isa.Instruction]:
        shape = isa.LoadShape(**self._copy())
        upsample = int(self.number(0, 2) == 0)
        run = isa.Load(
            segment=self.number(0, 3), offset=self.number(0, 1500), base=self.number(0, 900), upsample=upsample
        )
        return [shape, run]

    def store(self) -> list[isa.Instruction]:
        shape = isa.StoreShape(**self._copy())
        return [shape, isa.Store(segment=self.number(1, 3), offset=self.number(0, 1500), base=self.number(0, 900))]

    def constants(self) -> list[isa.Instruction]:
        memory = isa.Memory(self.number(0, 2))
        entries = {isa.Memory.WEIGHTS: 256, isa.Memory.PARAMETERS: 8, isa.Memory.TABLES: 2}[memory]
        at = self.number(0, entries - 1)
        run = isa.LoadConstants(
            memory=memory,
            segment=self.number(0, 3),
            offset=self.number(0, 1500),
            at=at,
            count=self.number(1, entries - at),
        )
        return [run]

    def patch(self) -> list[isa.Instruction]:
        channels = self.number(1, 4)
        shape = isa.LoadPatchShape(
            height=self.few(24),
            width=self.few(70),
            channels=channels,
            pitch=self.number(1, 20),
            kernel_height=self.few(11),
            kernel_width=self.few(19),
            stride_y=self.few(6),
            stride_x=self.few(6),
            fill=self.number(-128, 127),
        )
        rows, columns = self.few(12), self.few(24)
        row, block = self._pitches(columns, rows)
        pads = (
            (self.number(-4, 5), self.number(-5, 6))
            if self.number(0, 3)
            else (self.number(-40, 40), self.number(-90, 90))
        )
        target = isa.LoadPatchTarget(rows, columns, row, block, *pads)
        return [
            shape,
            target,
            isa.LoadPatch(segment=self.number(0, 3), offset=self.number(0, 1500), base=self.number(0, 900)),
        ]

    def draw(
        self, bench: Bench, makers: Sequence[Callable[[], list[isa.Instruction]]], count: int
    ) -> tuple[list[isa.Instruction], list[Operation]]:
        """Words of `count` valid run words, and their operations."""
        words: list[isa.Instruction] = []
        for _ in range(count):
            while True:
                maker = makers[self.number(0, len(makers) - 1)]
                found = maker()
                if bench.valid(found) is not None:
                    words += found
                    break
        operations = bench.valid(words)
        assert operations is not None
        return words, operations
