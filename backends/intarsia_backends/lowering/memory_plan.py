"""Where each buffer stands in the arena: buffers that do not live at the same time share memory."""

from __future__ import annotations

from intarsia_backends.lowering.program import ALIGNMENT_BYTES, Buffer, Program, buffer_of


def plan(program: Program) -> None:
    """Give every arena buffer an offset, and the program its arena size.

    Greedy best fit: large buffers first, each into the smallest gap between those that live at the same time.
    """
    first: dict[Buffer, int] = {}
    last: dict[Buffer, int] = {}
    for time, call in enumerate(program.calls):
        for buffer in map(buffer_of, call.operands):
            if buffer.kind == "arena":
                first.setdefault(buffer, time)
                last[buffer] = time
    placed: list[Buffer] = []
    order = {buffer: index for index, buffer in enumerate(first)}
    for buffer in sorted(first, key=lambda item: (-item.size, order[item])):
        neighbours = [other for other in placed if first[other] <= last[buffer] and first[buffer] <= last[other]]
        buffer.offset = _gap(neighbours, buffer.size)
        placed.append(buffer)
        program.arena = max(program.arena, buffer.offset + buffer.size)
    program.arena = _aligned(program.arena)


def _gap(neighbours: list[Buffer], size: int) -> int:
    best: tuple[int, int] | None = None
    end = 0
    for other in sorted(neighbours, key=lambda item: item.offset):
        room = other.offset - end
        if room >= size and (best is None or room < best[0]):
            best = (room, end)
        end = max(end, _aligned(other.offset + other.size))
    return end if best is None else best[1]


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
