"""The cycle model: how long a program takes, and why, by queue and by layer. Static: it does not depend on the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from intarsia_backends.overlay.machine import isa
from intarsia_backends.overlay.machine.config import OverlayConfig
from intarsia_backends.simulator.decoded import Program
from intarsia_backends.simulator.dram import MemoryModel
from intarsia_backends.simulator.timeline import Timeline, Timing


@dataclass
class Account:
    """Where the cycles of a queue went; they add up to those of the program.

    busy            the engine worked at its own pace
    wait_memory     it waited for DRAM
    wait_semaphore  its word was there, and another queue had not signalled yet
    idle            there was no word for it: not fetched, or none at all
    """

    busy: int = 0
    wait_memory: int = 0
    wait_semaphore: int = 0
    idle: int = 0


@dataclass
class Layer:
    """What the words with one tag cost.

    cycles          its share of the program's cycles. Each cycle belongs to the word at work then: in MAC, else VEC,
                    else LOAD, else STORE; where none is, to the next that works. Layers add up to the program.
    wait_memory     those of its cycles in which nothing was at work but its loads or stores
    wait_semaphore  those in which nothing was at work at all: one queue was done, the next had not begun
    macs            products that the array makes for it, those with padding included
    busy            by queue name: cycles in which its words kept the queue's engine at work, beside other layers' words
    """

    tag: int
    cycles: int = 0
    wait_memory: int = 0
    wait_semaphore: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    macs: int = 0
    busy: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class CycleReport:
    """A program's time.

    cycles        from the start to the last word's end
    bytes_read    from DRAM, the program's own words included
    macs          products that the array makes, those with padding included
    queues        by queue name; each adds up to `cycles`
    layers        by tag, in order of tags
    """

    cycles: int
    bytes_read: int
    bytes_written: int
    macs: int
    macs_per_cycle: int
    queues: dict[str, Account]
    layers: tuple[Layer, ...]

    @property
    def utilisation(self) -> float:
        """Share of the array's products that were made, those with padding included."""
        return self.macs / (self.macs_per_cycle * self.cycles) if self.cycles else 0.0

    def to_counters(self, layers: Sequence[Any] = ()) -> dict[str, Any]:
        """JSON-able counters of a region.

        layers  rows of the artifact by tag, with "name" and "macs" of the model itself (no padding)
        """
        rows = []
        for layer in self.layers:
            row = dict(layers[layer.tag]) if layer.tag < len(layers) else {"name": f"tag {layer.tag}"}
            row.setdefault("macs", layer.macs)
            rows.append(
                {
                    **row,
                    "cycles": layer.cycles,
                    "bytes_read": layer.bytes_read,
                    "bytes_written": layer.bytes_written,
                    "wait_semaphore": layer.wait_semaphore,
                    "wait_memory": layer.wait_memory,
                    "busy": dict(layer.busy),
                }
            )
        macs = sum(int(row["macs"]) for row in rows)
        return {
            "cycles": self.cycles,
            "bytes_read": self.bytes_read,
            "bytes_written": self.bytes_written,
            "macs": macs,
            "utilisation": macs / (self.macs_per_cycle * self.cycles) if self.cycles else 0.0,
            "queues": {name: dict(vars(account)) for name, account in self.queues.items()},
            "layers": rows,
        }


def model_cycles(program: Program, config: OverlayConfig, memory: MemoryModel | None = None) -> CycleReport:
    """Simulate a program's time.

    program  decoded, and free of deadlocks (`machine.load_program` checks that)
    memory   the DRAM; that of the configuration's board by default
    """
    timeline = Timeline(program, config, memory or MemoryModel.of(config))
    total = timeline.run()
    queues = {queue.name: Account() for queue in isa.Queue}
    finished = dict.fromkeys(isa.Queue, 0)
    for timing in timeline.timings:
        queue = timing.operation.queue
        if isinstance(timing.operation.word, isa.End):
            continue
        before = finished[queue]
        work = timing.end - max(timing.start, before)
        busy = min(work, timing.cost.cycles)
        account = queues[queue.name]
        account.busy += busy
        account.wait_memory += work - busy
        account.wait_semaphore += max(0, timing.start - max(timing.ready, before))
        finished[queue] = timing.end
    for account in queues.values():
        account.idle = total - account.busy - account.wait_memory - account.wait_semaphore
    return CycleReport(
        cycles=total,
        bytes_read=timeline.program_bytes + sum(timing.cost.read_bytes for timing in timeline.timings),
        bytes_written=sum(timing.cost.write_bytes for timing in timeline.timings),
        macs=sum(timing.cost.macs for timing in timeline.timings),
        macs_per_cycle=config.macs_per_cycle,
        queues=queues,
        layers=layers_of(timeline.timings, total),
    )


def layers_of(timings: Sequence[Timing], total: int) -> tuple[Layer, ...]:
    """What each layer cost, where begin and end of every run word are known, by whatever engine.

    timings  in the order of the program
    total    cycles of the program
    """
    layers: dict[int, Layer] = {}
    finished = dict.fromkeys(isa.Queue, 0)
    for timing in timings:
        word, cost = timing.operation.word, timing.cost
        if isinstance(word, isa.End):
            continue
        layer = layers.setdefault(word.tag, Layer(word.tag))
        busy = min(timing.end - max(timing.start, finished[word.queue]), cost.cycles)
        layer.busy[word.queue.name] = layer.busy.get(word.queue.name, 0) + busy
        layer.bytes_read += cost.read_bytes
        layer.bytes_written += cost.write_bytes
        layer.macs += cost.macs
        finished[word.queue] = timing.end
    _share_cycles(timings, layers, total)
    return tuple(layers[tag] for tag in sorted(layers))


_FIRST = (isa.Queue.MAC, isa.Queue.VEC, isa.Queue.LOAD, isa.Queue.STORE)
"""Whose word a cycle is booked on where several queues work."""


def _at_work(queue: isa.Queue, words: Sequence[Timing]) -> Timing:
    """Of the words of a queue that overlap, the one whose share a cycle is.

    The array is at the later of two Convs while the earlier one drains; of two loads the earlier one gets the data.
    """
    return words[-1] if queue is isa.Queue.MAC else words[0]


def _share_cycles(timings: Sequence[Timing], layers: dict[int, Layer], total: int) -> None:
    """Give each cycle of the program to one layer."""
    edges: list[tuple[int, int, Timing]] = []
    for timing in timings:
        if timing.end > timing.start and not isinstance(timing.operation.word, isa.End):
            edges += [(timing.start, 1, timing), (timing.end, 0, timing)]
    edges.sort(key=lambda edge: edge[:2])
    active: dict[isa.Queue, list[Timing]] = {queue: [] for queue in isa.Queue}
    now, unclaimed = 0, 0
    latest: Layer | None = None
    for time, begins, timing in edges:
        owner = next((_at_work(queue, active[queue]) for queue in _FIRST if active[queue]), None)
        if owner is None:
            unclaimed += time - now
        else:
            latest = layers[owner.operation.word.tag]
            latest.cycles += time - now + unclaimed
            latest.wait_semaphore += unclaimed
            if owner.cost.read_bytes or owner.cost.write_bytes:
                latest.wait_memory += time - now
            unclaimed = 0
        now = time
        if begins:
            active[timing.operation.queue].append(timing)
        else:
            active[timing.operation.queue].remove(timing)
    if latest is not None:
        latest.cycles += unclaimed + total - now
        latest.wait_semaphore += unclaimed + total - now
