"""When each run word begins and ends: queues, semaphores, the fetcher and DRAM, event by event.

Times are whole cycles. Words of a queue begin in order. Setup words take a cycle each and write registers of which the
running word has its own copy, so they hide behind it. Load and Store begin to move the data of a word while the last
bursts of the one before are still in flight; data lands in order. A Conv may begin while the one before drains (see
`costs.may_follow_early`). Semaphores do not fill up here: programs count them far below their limit.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass

from intarsia_backends.overlay.machine import isa
from intarsia_backends.overlay.machine.config import OverlayConfig
from intarsia_backends.simulator.costs import (
    LOAD_DEPTH_CYCLES,
    REQUEST_DEPTH_CYCLES,
    STORE_DEPTH_CYCLES,
    Cost,
    cost_of,
    may_follow_early,
)
from intarsia_backends.simulator.decoded import Operation, Program, semaphores
from intarsia_backends.simulator.dram import Dram, MemoryModel, Transfer

_FETCH = len(isa.Queue)
"""The fetcher's port of the DRAM, after those of the queues (MAC and VEC have none, and use none)."""

_FETCH_BUFFER_WORDS = 64
"""Words that the fetcher holds before it hands them to their queues."""


@dataclass
class Timing:
    """One run word.

    ready  its turn has come: fetched, registers set, engine free; it waits for semaphores alone
    start  it has its semaphores
    end    all that it does has landed, and its signals are given
    cost   what it takes where DRAM is no obstacle
    """

    operation: Operation
    cost: Cost
    ready: int = 0
    start: int = 0
    end: int = 0


@dataclass
class _Engine:
    """One queue: words waiting, and when its parts are free."""

    waiting: deque[int]
    decoder_free: int = 0
    engine_free: float = 0
    last: Timing | None = None
    ready: int | None = None


class Timeline:
    """Runs a program against a memory. After `run`, `timings` has every run word in the order of the program."""

    def __init__(self, program: Program, config: OverlayConfig, memory: MemoryModel) -> None:
        self.timings: list[Timing] = []
        self.program_bytes = len(program.words) * isa.WORD_BYTES
        self._program, self._config, self._memory = program, config, memory
        self._by_word: dict[int, Timing] = {}
        for operation in program.operations:
            timing = Timing(operation, cost_of(operation, config))
            self.timings.append(timing)
            self._by_word[operation.index] = timing
        self._engines = [_Engine(deque()) for _ in isa.Queue]
        self._counts = [0] * isa.SEMAPHORES
        self._dram = Dram(memory, len(isa.Queue) + 1)
        self._events: list[tuple[int, int, Timing | None]] = []
        self._serial = 0
        self._fetched = self._requested = self._dispatched = 0
        self._dispatch_free = 0

    def run(self) -> int:
        """Cycles from the start to the end of the last word. The program must be free of deadlocks."""
        now = 0
        self._request_words(0)
        while True:
            self._settle(now)
            next_event = self._events[0][0] if self._events else math.inf
            next_data = self._dram.next_time()
            if min(next_event, next_data) == math.inf:
                break
            if next_data <= next_event:
                self._dram.advance(next_data)
                now = max(now, math.ceil(next_data - 1e-9))
                continue
            self._dram.advance(max(float(next_event), self._dram.now))
            now = max(now, self._events[0][0])
            while self._events and self._events[0][0] <= now:
                timing = heapq.heappop(self._events)[2]
                if timing is not None:
                    self._signal(timing)
        assert self._dispatched == len(self._program.words), "the program stopped before its end"
        return max((timing.end for timing in self.timings), default=0)

    # ---- events

    def _wake(self, time: int, timing: Timing | None = None) -> None:
        self._serial += 1
        heapq.heappush(self._events, (time, self._serial, timing))

    def _signal(self, timing: Timing) -> None:
        for number in semaphores(timing.operation.word.signal):
            self._counts[number] += 1

    def _settle(self, now: int) -> None:
        """Everything that can happen at this cycle."""
        progress = True
        while progress:
            progress = self._dispatch(now)
            for engine in self._engines:
                while engine.waiting and self._step(engine, now):
                    progress = True

    # ---- fetching

    def _request_words(self, now: float) -> None:
        """Ask for the next bursts of the program, as far as the buffer has room."""
        burst = self._memory.burst_bytes // isa.WORD_BYTES
        total = len(self._program.words)
        while self._requested < total and self._requested + burst - self._dispatched <= _FETCH_BUFFER_WORDS:
            count = min(burst, total - self._requested)
            self._requested += count

            def arrived(time: float, count: int = count) -> None:
                self._fetched += count

            begins = now + self._memory.latency_cycles
            transfer = Transfer(
                count * isa.WORD_BYTES, self._config.axi_bytes, begins, self._memory.burst_bytes, arrived
            )
            self._dram.request(_FETCH, transfer)

    def _dispatch(self, now: int) -> bool:
        """Hand the next word to its queue: one a cycle, in order, while the queue has room."""
        if self._dispatched >= self._fetched or self._dispatch_free > now:
            return False
        word = self._program.words[self._dispatched]
        waiting = self._engines[word.queue].waiting
        if len(waiting) >= self._config.queue_words:
            return False
        waiting.append(self._dispatched)
        self._dispatched += 1
        self._dispatch_free = now + 1
        self._wake(now + 1)
        self._request_words(now)
        return True

    # ---- queues

    def _step(self, engine: _Engine, now: int) -> bool:
        """Execute the head of a queue if it can begin now."""
        if engine.decoder_free > now:
            return False
        timing = self._by_word.get(engine.waiting[0])
        if timing is None:
            engine.waiting.popleft()
            engine.decoder_free = now + 1
            self._wake(now + 1)
            return True
        free = engine.engine_free
        last = engine.last
        if last is not None and last.cost.tail and last.end > now >= last.end - last.cost.tail:
            early = may_follow_early(timing.operation, last.operation, self._config)
            free = last.end - last.cost.tail if early else free
        if free > now:
            return False
        if engine.ready is None:
            engine.ready = now
        needed = semaphores(timing.operation.word.wait)
        if any(self._counts[number] == 0 for number in needed):
            return False
        for number in needed:
            self._counts[number] -= 1
        engine.waiting.popleft()
        timing.ready, timing.start, engine.ready = engine.ready, now, None
        engine.decoder_free = now + 1
        self._wake(now + 1)
        self._begin(engine, timing, now)
        engine.last = timing
        return True

    def _begin(self, engine: _Engine, timing: Timing, now: int) -> None:
        cost, last = timing.cost, engine.last
        traffic = cost.read_bytes + cost.write_bytes
        if not traffic:
            timing.end = now + cost.cycles
            if last is not None and last.end > now:
                # Begun early: the epilogue of the word before goes first.
                timing.end = max(timing.end, last.end + cost.tail - cost.depth)
            engine.engine_free = timing.end
            self._wake(timing.end, timing)
            self._wake(timing.end - cost.tail)
            return
        engine.engine_free = math.inf
        memory, reads = self._memory, cost.read_bytes > 0
        burst = traffic / cost.bursts
        limit = min(
            traffic / cost.cycles,
            memory.outstanding * burst / max(memory.latency_cycles, 1),
            self._config.axi_bytes,
        )

        def requested(time: float) -> None:
            engine.engine_free = max(math.ceil(time - 1e-9), now + cost.bursts)
            self._wake(int(engine.engine_free))

        def done(time: float) -> None:
            timing.end = math.ceil(time - 1e-9) + (LOAD_DEPTH_CYCLES if reads else memory.latency_cycles)
            if not reads:
                requested(time)
            self._wake(timing.end, timing)

        if reads:
            begins = now + REQUEST_DEPTH_CYCLES + memory.latency_cycles
        else:
            begins = now + STORE_DEPTH_CYCLES + int(burst) // isa.WORD_BYTES
        transfer = Transfer(float(traffic), limit, begins, burst, done)
        self._dram.request(timing.operation.queue, transfer, requested if reads else None)
