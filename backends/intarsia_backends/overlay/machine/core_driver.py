"""Drives the core by its registers: start, wait, counters, and errors as letters. The board and the Verilated core
share it.

NumPy and the standard library only: it runs on boards. It knows registers, not memory: whoever calls it has put program
and segments where the core finds them, and made the caches agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from intarsia.errors import RunError
from intarsia_backends.overlay.machine import registers
from intarsia_backends.overlay.machine.config import OverlayConfig
from intarsia_backends.overlay.machine.isa import WORD_BYTES, Queue, Segment
from intarsia_backends.overlay.machine.region import OverlayRegion
from intarsia_backends.overlay.machine.registers import Cause, CounterKind, Register

Read = Callable[[int], int]
"""Byte offset of a register -> its 32 bits."""

Write = Callable[[int, int], None]

Wait = Callable[[Callable[[], bool]], bool]
"""Given a question that is true once the program has ended: lets time pass until it is. False where it gave up."""

RESET_READS = 10_000
"""Looks at the status that a reset may take. Bursts in flight end within microseconds."""

REPORT = "this is a fault of the compiler or the core: please report it with the artifact"


class CoreStuck(RunError):
    """The core did not stop when it was told to: it may still write to memory, which must not be given away."""


@dataclass(frozen=True)
class Job:
    """One run of a region.

    program   DRAM byte address of the program, a multiple of 16
    segments  DRAM byte address of every segment, multiples of 16
    """

    region: OverlayRegion
    program: int
    segments: Mapping[Segment, int]

    def place(self, address: int) -> str:
        """A DRAM address as an error names it: with the segment that it lies in."""
        spans = [("the program", self.program, len(self.region.program))]
        spans += [
            (f"segment {segment.name}", base, self.region.segments[segment]) for segment, base in self.segments.items()
        ]
        for name, base, size_bytes in spans:
            if base <= address < base + size_bytes:
                return f"{address:#x} ({address - base:#x} in {name} of {size_bytes:#x} bytes at {base:#x})"
        return f"{address:#x} (outside of the program and all segments)"


@dataclass(frozen=True)
class QueueFigures:
    """Cycles of one queue; together with those in which it had nothing to do they are all cycles of the run.

    busy            a word is at work and needs no DRAM just now
    wait_memory     a word is at work and waits for DRAM
    wait_semaphore  the next word waits for its semaphores
    """

    busy: int
    wait_memory: int
    wait_semaphore: int


@dataclass(frozen=True)
class Figures:
    """What the core counted in one run."""

    cycles: int
    queues: Mapping[Queue, QueueFigures]

    def to_counters(self, config: OverlayConfig, layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """In the form of RegionResult.counters; the work is that of the region's layers."""
        macs = sum(int(row.get("macs", 0)) for row in layers)
        queues = {}
        for queue, figures in self.queues.items():
            counted = {
                "busy": figures.busy,
                "wait_memory": figures.wait_memory,
                "wait_semaphore": figures.wait_semaphore,
            }
            queues[queue.name] = {**counted, "idle": self.cycles - sum(counted.values())}
        utilisation = macs / (config.macs_per_cycle * self.cycles) if self.cycles else 0.0
        return {"cycles": self.cycles, "macs": macs, "utilisation": utilisation, "queues": queues}


class CoreDriver:
    """One core behind its registers. Not for several threads at once.

    where  how errors name the core
    """

    def __init__(self, read: Read, write: Write, where: str = "overlay core") -> None:
        self._read_word = read
        self._write_word = write
        self.where = where

    def read(self, register: Register) -> int:
        """A register of one or two words."""
        value = self._read_word(register.offset)
        return value if register.words == 1 else value | self._read_word(register.offset + 4) << 32

    def write(self, register: Register, value: int) -> None:
        """Set a register of one or two words."""
        assert 0 <= value < 1 << 32 * register.words, f"{register.name} = {value:#x}"
        self._write_word(register.offset, value & 0xFFFFFFFF)
        if register.words == 2:
            self._write_word(register.offset + 4, value >> 32)

    def status(self, name: str) -> bool:
        """Whether a bit of STATUS is set."""
        return bool(self.read(registers.STATUS) & registers.STATUS.mask(name))

    def command(self, *names: str) -> None:
        """Write CONTROL with these bits set and the others clear."""
        value = 0
        for name in names:
            value |= registers.CONTROL.mask(name)
        self.write(registers.CONTROL, value)

    def check(self, config: OverlayConfig, where: str) -> None:
        """RunError unless the core is one of ours, of this version, and synthesised for this configuration.

        where  how the error names what was to be run
        """
        found = self.read(registers.IDENTIFICATION)
        if found != registers.IDENTIFICATION_VALUE:
            raise RunError(
                where=self.where,
                what=f"its identification reads {found:#010x}, an overlay's is {registers.IDENTIFICATION_VALUE:#010x}",
                help="check that the bitstream is one of intarsia's, and that .bit and .hwh are of one build",
            )
        version = self.read(registers.VERSION)
        if version != registers.VERSION_VALUE:
            raise RunError(
                where=self.where,
                what=f"its registers have version {version}, this package drives version {registers.VERSION_VALUE}",
                help="build the bitstream from the sources of this version of intarsia, or install the matching one",
            )
        synthesised = f"{self.read(registers.CONFIG_HASH):016x}"
        if synthesised != config.hash:
            raise RunError(
                where=where,
                what=f"it was compiled for overlay '{config.name}' {config.hash}, the core here is {synthesised}",
                help="load the bitstream of that configuration, or compile the model for this one",
            )

    def run(self, job: Job, wait: Wait, interrupt: bool = False) -> Figures:
        """Run a program to its end.

        wait       how to wait
        interrupt  whether the core raises its interrupt at the end

        Raises RunError where the core reports an error or `wait` gives up; then the core has been stopped, and may be
        started again. CoreStuck where it could not be stopped.
        """
        if not self.status("idle"):
            self.stop(job)  # another process began something and died
        for address in (job.program, *job.segments.values()):
            assert address % WORD_BYTES == 0, f"{address:#x} is no address of a word"
        self.write(registers.EXPECTED_HASH, int(job.region.config.hash, 16))
        self.write(registers.PROGRAM_BASE, job.program)
        self.write(registers.PROGRAM_WORDS, job.region.words)
        for segment, register in zip(Segment, registers.SEGMENTS):
            self.write(register, job.segments[segment])
        try:
            self.command("start", *(["interrupt_enable"] if interrupt else []))
            ended = wait(self._ended)
        except BaseException:  # an interrupt from the keyboard, say: memory is not safe while the core runs
            self.stop(job)
            raise
        if interrupt:
            self.command("interrupt_clear")
        if not ended:
            error = self._late(job)
            self.stop(job)
            raise error
        if not self.status("done"):
            raise self._fault(job)
        return self.figures()

    def _ended(self) -> bool:
        return not self.status("running")

    def stop(self, job: Job) -> None:
        """Reset the core, and wait until it does nothing and nothing is in flight. CoreStuck where that never comes."""
        self.command("soft_reset")
        for _ in range(RESET_READS):
            if self.status("idle"):
                return
        raise CoreStuck(
            where=f"{job.region.where} on {self.where}",
            what="the core does not stop: the memory leaves a burst without an answer",
            help="restart the board; look at the connection of the core's three AXI ports",
        )

    def figures(self) -> Figures:
        """Counters of the run that ended last."""
        queues = {}
        for queue in Queue:
            busy, wait_semaphore, wait_memory = (
                self.read(registers.COUNTERS[kind, queue])
                for kind in (CounterKind.BUSY, CounterKind.WAIT_SEMAPHORE, CounterKind.WAIT_MEMORY)
            )
            queues[queue] = QueueFigures(busy - wait_memory, wait_memory, wait_semaphore)
        return Figures(self.read(registers.CYCLES), queues)

    def _late(self, job: Job) -> RunError:
        done = ", ".join(f"{queue.name} {self.read(registers.COUNTERS[CounterKind.WORDS, queue])}" for queue in Queue)
        return RunError(
            where=f"{job.region.where} on {self.where}",
            what=f"the program has not ended in time, after {self.read(registers.CYCLES)} cycles; "
            f"finished words: {done}",
            help="if the cycles are many, allow more time; if they are few, look at the core's clock and AXI ports",
        )

    def _fault(self, job: Job) -> RunError:
        """What the error registers say."""
        number = self.read(registers.ERROR_CAUSE)
        cause = Cause(number) if number in tuple(Cause) else None
        queue, word = _queue(self.read(registers.ERROR_QUEUE)), self.read(registers.ERROR_WORD)
        where = f"{job.region.where} on {self.where}"
        if cause == Cause.CONFIG_MISMATCH:
            made_for, here = job.region.config.hash, self.read(registers.CONFIG_HASH)
            what = f"the program is for configuration {made_for}, the core is {here:016x}"
            return RunError(where=where, what=what, help="load the bitstream of that configuration")
        if cause == Cause.MALFORMED_WORD:
            what = "the core refuses the word: no instruction, or a value that the instruction set forbids"
            return RunError(where=f"{where}, {job.region.word(word)}", what=what, help=REPORT)
        if cause == Cause.MISSING_END:
            return RunError(where=where, what=f"none of its {job.region.words} program words is End", help=REPORT)
        if cause in _ANSWERS:
            kind, answer = _ANSWERS[cause]
            place = job.place(self.read(registers.ERROR_ADDRESS))
            what = f"the memory answered a {kind} of {queue} at {place} with {answer}; fetched up to word {word}"
            return RunError(where=where, what=what, help="check the design's address map; if that is right, report it")
        if cause == Cause.DEADLOCK:
            what = f"nothing moved for {registers.DEADLOCK_CYCLES} cycles: {self._stand()}; fetched up to word {word}"
            return RunError(where=where, what=what, help=REPORT)
        status = self.read(registers.STATUS)
        return RunError(where=where, what=f"the core failed with cause {number}, status {status:#x}", help=REPORT)

    def _stand(self) -> str:
        """What each queue was doing, by ERROR_STATE."""
        state = self.read(registers.ERROR_STATE)
        lines = []
        for queue in Queue:
            held = [item.name for item in registers.ERROR_STATE.bits if state >> item.low + queue & 1]
            lines.append(f"{queue.name} {' and '.join(held) or 'empty'}")
        return ", ".join(lines)


_ANSWERS = {
    Cause.READ_SLAVE_ERROR: ("read", "SLVERR"),
    Cause.READ_DECODE_ERROR: ("read", "DECERR"),
    Cause.WRITE_SLAVE_ERROR: ("write", "SLVERR"),
    Cause.WRITE_DECODE_ERROR: ("write", "DECERR"),
}


def _queue(number: int) -> str:
    if number == registers.FETCHER:
        return "the fetcher"
    return f"queue {Queue(number).name}" if number in tuple(Queue) else f"queue {number}"
