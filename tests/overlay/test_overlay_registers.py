"""The register map is consistent: what the driver, the RTL and the manual take from it cannot disagree."""

from __future__ import annotations

from intarsia_backends.overlay.machine import generated, isa, registers


def test_registers_have_a_place_each() -> None:
    places = [register.offset + 4 * word for register in registers.REGISTERS for word in range(register.words)]
    assert len(set(places)) == len(places)
    assert all(place % 4 == 0 and place < registers.SPAN_BYTES for place in places)
    assert len({register.name for register in registers.REGISTERS}) == len(registers.REGISTERS)


def test_bits_do_not_overlap() -> None:
    for register in registers.REGISTERS:
        masks = [bits.mask for bits in register.bits]
        assert sum(masks) == sum(register.mask(bits.name) for bits in register.bits) < 1 << 32
        assert all(not a & b for at, a in enumerate(masks) for b in masks[:at])


def test_counters_stand_where_their_number_says() -> None:
    for (kind, queue), register in registers.COUNTERS.items():
        number = registers.counter_index(kind, queue)
        assert register.offset == registers.COUNTERS_OFFSET + 8 * number
        assert number < len(registers.CounterKind) * (1 + len(isa.Queue))


def test_identification_spells_the_name() -> None:
    assert registers.IDENTIFICATION_VALUE.to_bytes(4, "little") == b"INTA"


def test_package_and_manual_name_every_register() -> None:
    package, manual = generated.register_package(), generated.register_manual()
    for register in registers.REGISTERS:
        assert f"| {register.name} |" in manual
        if register.offset < registers.COUNTERS_OFFSET:
            assert f"= 12'h{register.offset:03x};" in package
    for cause in registers.Cause:
        assert f"= 4'd{cause.value}" in package
