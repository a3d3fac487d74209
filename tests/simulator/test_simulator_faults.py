"""What a wrong program is told, word by word: one golden file for each rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from assembled import BANK, SEGMENTS, chain, load_words, store_words

from intarsia.errors import RunError
from intarsia_backends.overlay.machine import isa
from intarsia_backends.overlay.machine.config import TINY
from intarsia_backends.simulator.machine import load_program

POINT = isa.ConvWindow(1, 1, 1, 1, 1, 1, 1, 1, 1, 4)
CONV = (isa.ConvSource(0, 4, 4, 1, 4), POINT, isa.ConvTarget(BANK, 4, 4))
CONSTANTS = (
    isa.LoadConstants(memory=isa.Memory.WEIGHTS, count=4),
    isa.LoadConstants(memory=isa.Memory.PARAMETERS, offset=16, count=1),
)
SUM = isa.VecOperation.SUM


def conv(*words: isa.Instruction) -> bytes:
    """A Conv with its constants and source loaded; the given words come before it."""
    run = words[-1] if isinstance(words[-1], isa.Conv) else isa.Conv()
    setup = words[:-1] if isinstance(words[-1], isa.Conv) else words
    return chain(*load_words(4, 0), *CONSTANTS, *CONV, *setup, run)


def unordered(*words: isa.Instruction) -> bytes:
    return isa.encode_program([*words, isa.End()])


def loaded_then(*words: isa.Instruction) -> bytes:
    return chain(*load_words(8, 0), *words)


VEC = (isa.VecSource(0, 4, 4, 1, 4), isa.VecTarget(BANK, 4, 4, 1, 1, 4))

WRONG: dict[str, Callable[[], bytes]] = {
    "no_instruction": lambda: bytes([0x0F]) + bytes(15) + isa.End().encode(),
    "half_a_word": lambda: isa.End().encode() + b"\0",
    "no_end": lambda: isa.Load().encode(),
    "words_behind_end": lambda: isa.encode_program([isa.End(), isa.End()]),
    "nothing_to_load": lambda: chain(isa.Load()),
    "load_outside_of_act": lambda: chain(*load_words(9, TINY.activation_words - 8)),
    "load_outside_of_its_segment": lambda: chain(*load_words(9, 0, 250)),
    "store_outside_of_its_segment": lambda: loaded_then(*store_words(8, 0, 250)),
    "weights_outside_of_wgt": lambda: conv(isa.Conv(weight_row=TINY.weight_rows)),
    "parameters_outside_of_par": lambda: conv(isa.Conv(parameter_group=TINY.parameter_groups)),
    "conv_outside_of_act": lambda: conv(isa.ConvSource(TINY.activation_words - 2, 4, 4, 1, 4)),
    "table_that_does_not_exist": lambda: loaded_then(
        *VEC, isa.Vec(operation=isa.VecOperation.LOOKUP, table=TINY.tables)
    ),
    "memory_that_does_not_exist": lambda: chain(isa.LoadConstants(memory=3, count=1)),
    "operation_that_does_not_exist": lambda: loaded_then(*VEC, isa.Vec(operation=9)),
    "lanes_past_the_word": lambda: loaded_then(*VEC, isa.Vec(lane_from=8, lane_count=9)),
    "lanes_of_an_addition": lambda: loaded_then(*VEC, isa.Vec(operation=isa.VecOperation.FILL, lane_count=9)),
    "patch_of_five_channels": lambda: chain(
        isa.LoadPatchShape(4, 4, 5, 2, 1, 1, 1, 1), isa.LoadPatchTarget(4, 4, 4, 16), isa.LoadPatch(segment=2)
    ),
    "patch_rows_longer_than_their_pitch": lambda: chain(
        isa.LoadPatchShape(4, 9, 2, 1, 1, 1, 1, 1), isa.LoadPatchTarget(4, 9, 9, 36), isa.LoadPatch(segment=2)
    ),
    "patch_rows_larger_than_the_line_buffer": lambda: chain(
        isa.LoadPatchShape(9, 120, 3, 23, 3, 3, 1, 1), isa.LoadPatchTarget(1, 1, 1, 1), isa.LoadPatch(segment=2)
    ),
    "reserved_field": lambda: conv(isa.Conv(skip=1)),
    "depthwise_over_two_blocks": lambda: conv(replace(POINT, input_blocks=2), isa.Conv(depthwise=1)),
    "sum_without_a_beginning": lambda: conv(isa.Conv(start=0)),
    "sum_of_another_size": lambda: chain(
        *load_words(4, 0), *CONSTANTS, *CONV, isa.Conv(finish=0), replace(POINT, columns=3), isa.Conv(start=0)
    ),
    "sum_larger_than_the_accumulators": lambda: conv(replace(POINT, columns=17), isa.Conv(finish=0)),
    "sum_over_two_output_blocks": lambda: conv(replace(POINT, output_blocks=2), isa.Conv(finish=0)),
    "vector_sum_without_a_beginning": lambda: loaded_then(
        *VEC, isa.VecTarget(BANK, 1, 1, 1, 1, 1), isa.VecWindow(1, 1, 1, 1), isa.Vec(operation=SUM, start=0)
    ),
    "sum_of_several_words": lambda: loaded_then(*VEC, isa.VecWindow(1, 1, 1, 1), isa.Vec(operation=SUM, finish=0)),
    "pool_in_place": lambda: loaded_then(
        isa.VecSource(0, 4, 4, 1, 4),
        isa.VecTarget(0, 3, 3, 1, 1, 3),
        isa.VecWindow(1, 2, 1, 1),
        isa.Vec(operation=isa.VecOperation.MAXIMUM),
    ),
    "deadlock": lambda: (
        chain(*load_words(4, 0), replace(store_words(4, 0)[0]), isa.Store(segment=3, wait=0))[:-16]
        + isa.VecTarget(BANK, 1, 1, 1, 1, 1).encode()
        + isa.Vec(operation=isa.VecOperation.FILL, wait=1 << 5, signal=1 << 6).encode()
        + isa.End(wait=1 << 6).encode()
    ),
    "deadlock_behind_a_full_queue": lambda: unordered(
        isa.VecTarget(BANK, 1, 1, 1, 1, 1),
        isa.Vec(operation=isa.VecOperation.FILL, wait=1 << 2),
        *[isa.VecTarget(BANK, 1, 1, 1, 1, 1)] * TINY.queue_words,
        isa.LoadShape(1, 1, 1),
        isa.Load(segment=2, signal=1 << 2),
    ),
    "semaphore_that_fills_up": lambda: unordered(
        isa.VecTarget(BANK, 1, 1, 1, 1, 1), *[isa.Vec(operation=isa.VecOperation.FILL, signal=1)] * 300
    ),
    "semaphore_left_over": lambda: unordered(
        isa.VecTarget(BANK, 1, 1, 1, 1, 1), isa.Vec(operation=isa.VecOperation.FILL, signal=1)
    ),
    "semaphore_with_two_readers": lambda: unordered(
        isa.LoadShape(1, 1, 1),
        *[isa.Load(segment=2, signal=1)] * 2,
        isa.StoreShape(1, 1, 1),
        isa.Store(segment=3, wait=1),
        isa.VecTarget(BANK, 1, 1, 1, 1, 1),
        isa.Vec(operation=isa.VecOperation.FILL, wait=1),
    ),
    "read_before_written": lambda: unordered(*store_words(4, 8)),
    "race_of_load_and_store": lambda: unordered(*load_words(4, 0), *store_words(4, 0)),
    "race_of_weights_and_conv": lambda: unordered(
        *load_words(4, 0),
        replace(CONSTANTS[1], signal=1),
        *CONV,
        isa.Conv(wait=1),
        CONSTANTS[0],
    ),
    "bank_of_two_writers": lambda: unordered(
        *load_words(4, 0), isa.VecTarget(8, 1, 1, 1, 1, 1), isa.Vec(operation=isa.VecOperation.FILL)
    ),
    "bank_of_two_readers": lambda: unordered(
        isa.LoadShape(1, 1, 16),
        isa.Load(segment=2, signal=1 | 2),
        isa.StoreShape(1, 1, 4),
        isa.Store(segment=3, base=8, wait=1),
        *VEC,
        isa.Vec(wait=2),
    ),
    "bank_that_the_array_reads": lambda: unordered(
        *load_words(4, 0)[:1],
        isa.Load(segment=2),
        CONSTANTS[0],
        replace(CONSTANTS[1], signal=1),
        *CONV,
        isa.Conv(wait=1),
        isa.VecTarget(8, 1, 1, 1, 1, 1),
        isa.Vec(operation=isa.VecOperation.FILL, wait=0),
    ),
    "target_in_the_bank_of_the_source": lambda: conv(isa.ConvTarget(8, 4, 4), isa.Conv()),
}


@pytest.mark.parametrize("name", WRONG)
def test_fault(name: str, golden: Callable[[str], None]) -> None:
    with pytest.raises(RunError) as caught:
        load_program(WRONG[name](), TINY, bytes(24 * 16), SEGMENTS)
    golden(f"{caught.value}\n")


def test_the_same_conv_is_right_when_its_operands_are() -> None:
    """The faults above are not those of the program that they are put into."""
    load_program(conv(isa.Conv()), TINY, bytes(24 * 16), SEGMENTS)
    load_program(loaded_then(*VEC, isa.Vec()), TINY, bytes(24 * 16), SEGMENTS)
