"""Programs put together by hand, for tests of the overlay's engines on the configuration `tiny`."""

from __future__ import annotations

from dataclasses import replace

from intarsia_backends.overlay.machine import isa
from intarsia_backends.overlay.machine.config import TINY

W = isa.WORD_BYTES
SEGMENTS = {isa.Segment.ARENA: 64 * W, isa.Segment.INPUTS: 256 * W, isa.Segment.OUTPUTS: 256 * W}
BANK = TINY.bank_words


def chain(*words: isa.Instruction) -> bytes:
    """A program in which every run word waits for the one before."""
    found: list[isa.Instruction] = []
    runs = [index for index, word in enumerate(words) if isinstance(word, isa.Run)]
    for index, word in enumerate(words):
        if isinstance(word, isa.Run):
            place = runs.index(index)
            if place > 0:
                before = words[runs[place - 1]]
                word = replace(word, wait=1 << (int(before.queue) * 4 + int(word.queue)))
            if place < len(runs) - 1:
                after = words[runs[place + 1]]
                word = replace(word, signal=1 << (int(word.queue) * 4 + int(after.queue)))
        found.append(word)
    return isa.encode_program([*found, isa.End()])


def load_words(
    count: int, base: int, offset: int = 0, segment: isa.Segment = isa.Segment.INPUTS
) -> tuple[isa.Instruction, ...]:
    return isa.LoadShape(blocks=1, rows=1, columns=count), isa.Load(segment=segment, offset=offset, base=base)


def store_words(count: int, base: int, offset: int = 0) -> tuple[isa.Instruction, ...]:
    return isa.StoreShape(blocks=1, rows=1, columns=count), isa.Store(
        segment=isa.Segment.OUTPUTS, offset=offset, base=base
    )
