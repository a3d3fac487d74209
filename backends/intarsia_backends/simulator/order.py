"""The order in which run words execute: queues in order, semaphores between them, and a fetcher that can block.

Every order that the semaphores allow gives the same result, so one is chosen once, when the program is loaded. What is
guaranteed in all of them is kept as vector clocks; from them `hazards` finds words that touch a memory unordered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from intarsia.errors import RunError
from intarsia_backends.overlay.machine import isa
from intarsia_backends.overlay.machine.config import OverlayConfig
from intarsia_backends.overlay.machine.disassembler import word_text
from intarsia_backends.simulator.decoded import REPORT, Operation, Program, semaphores

Clock = tuple[int, ...]
"""For each queue, how many of its run words have finished."""


@dataclass(frozen=True)
class Ordered:
    """A run word in a legal order.

    position  its place among the run words of its queue, from 0
    before    what has surely finished when it begins, whatever the timing
    """

    operation: Operation
    position: int
    before: Clock


def legal_order(
    program: Program, config: OverlayConfig, eager: Sequence[isa.Queue] = tuple(isa.Queue)
) -> list[Ordered]:
    """The run words in an order that the hardware could take.

    eager  the queues in the order in which they are let run as far as they can

    Raises RunError where the queues come to wait for each other for ever, where two queues wait for one semaphore (the
    winner would depend on timing), and where a semaphore is left above 0.
    """
    _check_waiters(program.operations)
    counts = [0] * isa.SEMAPHORES
    queues: dict[isa.Queue, deque[Operation | None]] = {queue: deque() for queue in isa.Queue}
    signalling: dict[isa.Queue, Operation] = {}
    by_index = {operation.index: operation for operation in program.operations}
    fetched, order = 0, list[Operation]()
    while True:
        progress = False
        while fetched < len(program.words) and len(queues[program.words[fetched].queue]) < config.queue_words:
            queues[program.words[fetched].queue].append(by_index.get(fetched))
            fetched, progress = fetched + 1, True
        for queue in eager:
            waiting = queues[queue]
            if queue in signalling:
                if _full(signalling[queue], counts, config):
                    continue
                _signal(signalling.pop(queue), counts)
                progress = True
            while waiting:
                head = waiting[0]
                if head is not None:
                    needed = semaphores(head.word.wait)
                    if any(counts[number] == 0 for number in needed):
                        break
                    for number in needed:
                        counts[number] -= 1
                    order.append(head)
                waiting.popleft()
                progress = True
                if head is not None:
                    if _full(head, counts, config):
                        signalling[queue] = head
                        break
                    _signal(head, counts)
        if not progress:
            break
    if fetched < len(program.words) or signalling or any(queues.values()):
        raise _deadlock(program, fetched, queues, signalling, counts)
    left = [f"{number} at {count}" for number, count in enumerate(counts) if count]
    if left:
        raise RunError(
            where="program", what=f"it ends with semaphore {', '.join(left)}: signals nobody waits for", help=REPORT
        )
    return _clocks(order)


def _full(operation: Operation, counts: Sequence[int], config: OverlayConfig) -> bool:
    return any(counts[number] >= config.semaphore_max for number in semaphores(operation.word.signal))


def _signal(operation: Operation, counts: list[int]) -> None:
    for number in semaphores(operation.word.signal):
        counts[number] += 1


def _check_waiters(operations: Sequence[Operation]) -> None:
    waiter: dict[int, isa.Queue] = {}
    for operation in operations:
        for number in semaphores(operation.word.wait):
            first = waiter.setdefault(number, operation.queue)
            if first != operation.queue:
                raise operation.fault(
                    f"waits for semaphore {number}, for which the {first.name} queue waits too: "
                    "which of them a signal reaches would depend on timing"
                )


def _deadlock(
    program: Program,
    fetched: int,
    queues: dict[isa.Queue, deque[Operation | None]],
    signalling: dict[isa.Queue, Operation],
    counts: Sequence[int],
) -> RunError:
    stuck = []
    for queue, waiting in queues.items():
        head = waiting[0] if waiting else None
        if queue in signalling:
            full = [str(number) for number in semaphores(signalling[queue].word.signal)]
            stuck.append(f"{queue.name} cannot signal {', '.join(full)} at the end of word {signalling[queue].index}")
        elif head is not None:
            empty = [str(number) for number in semaphores(head.word.wait) if counts[number] == 0]
            stuck.append(
                f"{queue.name} waits for semaphore {', '.join(empty)} at word {head.index}, {word_text(head.word)}"
            )
        else:
            stuck.append(f"{queue.name} is empty")
    if fetched < len(program.words):
        stuck.append(f"the fetcher waits for room in the {program.words[fetched].queue.name} queue at word {fetched}")
    return RunError(where="program", what="deadlock: " + "; ".join(stuck), help=REPORT)


def _clocks(order: Sequence[Operation]) -> list[Ordered]:
    """Vector clocks: the n-th wait on a semaphore has seen n signals, less those that other queues can have made."""
    made: list[dict[isa.Queue, list[Clock]]] = [{} for _ in range(isa.SEMAPHORES)]
    total: list[dict[isa.Queue, int]] = [{} for _ in range(isa.SEMAPHORES)]
    for operation in order:
        for number in semaphores(operation.word.signal):
            total[number][operation.queue] = total[number].get(operation.queue, 0) + 1
    waits = [0] * isa.SEMAPHORES
    clocks = {queue: [0] * len(isa.Queue) for queue in isa.Queue}
    found = []
    for operation in order:
        clock, queue = clocks[operation.queue], operation.queue
        for number in semaphores(operation.word.wait):
            waits[number] += 1
            for other, signals in made[number].items():
                elsewhere = sum(count for third, count in total[number].items() if third != other)
                if waits[number] > elsewhere:
                    seen = signals[waits[number] - elsewhere - 1]
                    for index, value in enumerate(seen):
                        clock[index] = max(clock[index], value)
        found.append(Ordered(operation, clock[queue], tuple(clock)))
        clock[queue] += 1
        for number in semaphores(operation.word.signal):
            made[number].setdefault(queue, []).append(tuple(clock))
    return found
