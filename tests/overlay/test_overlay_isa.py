"""The instruction set encodes what it says, refuses what does not fit, and its generated files are fresh."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.ir.integer import MULTIPLIER_BITS
from intarsia_backends.overlay.machine import generated, isa
from intarsia_backends.overlay.machine.config import CONFIGS, PYNQ_Z2, OverlayConfig

HW = Path(__file__).parents[2] / "hw" / "intarsia_hw" / "generated"


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_every_word_comes_back_from_its_bytes(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(isa.INSTRUCTIONS))
    values = {}
    for name, width, signed in kind.layout():
        low, high = (-(1 << width - 1), (1 << width - 1) - 1) if signed else (0, (1 << width) - 1)
        values[name] = data.draw(st.integers(low, high))
    word = kind(**values)
    assert len(word.encode()) == isa.WORD_BYTES
    assert isa.decode(word.encode()) == word
    assert isa.decode_program(isa.encode_program([word, word])) == [word, word]


def test_words_fit_and_opcodes_differ() -> None:
    for kind in isa.INSTRUCTIONS:
        assert isa.OPCODE_BITS + sum(width for _, width, _ in kind.layout()) <= isa.WORD_BITS, kind
        assert kind.opcode() >> 4 == kind.queue and 0 < kind.kind < 16
    assert len(isa.BY_OPCODE) == len(isa.INSTRUCTIONS)


def test_a_value_that_does_not_fit_is_named() -> None:
    with pytest.raises(isa.EncodingError, match=r"ConvWindow.rows = 20000 does not fit 14 bits \(0 to 16383\)"):
        isa.ConvWindow(rows=20000).encode()
    with pytest.raises(isa.EncodingError, match=r"ConvSource.fill = -129 does not fit 8 bits \(-128 to 127\)"):
        isa.ConvSource(fill=-129).encode()


def test_words_that_are_no_instruction_are_refused() -> None:
    with pytest.raises(isa.EncodingError, match="word 1: opcode 0 is no instruction"):
        isa.decode_program(isa.End().encode() + bytes(16))
    with pytest.raises(isa.EncodingError, match="End has bits set above its fields"):
        isa.decode(isa.End().encode()[:-1] + b"\x80")
    with pytest.raises(isa.EncodingError, match="17 bytes are not whole words"):
        isa.decode_program(bytes(17))


def test_run_words_stand_behind_the_counts_that_they_read() -> None:
    shape: dict[type[isa.Instruction], isa.Instruction] = {isa.LoadPatchShape: isa.LoadPatchShape()}
    assert isa.LoadPatch().missing({}) == [isa.LoadPatchShape, isa.LoadPatchTarget]
    assert isa.LoadPatch().missing(shape) == [isa.LoadPatchTarget]
    assert isa.Vec(operation=isa.VecOperation.SUM).missing({}) == [isa.VecTarget, isa.VecWindow]
    assert isa.Vec(operation=isa.VecOperation.ADD).missing({}) == [isa.VecTarget]
    assert list(isa.Conv(residual=1).reads())[3:] == [isa.ConvResidual, isa.ConvAdd]
    assert isa.LoadConstants(count=1).missing({}) == [] and isa.End().missing({}) == []
    for kind in isa.INSTRUCTIONS:
        if issubclass(kind, isa.Run):
            assert all(item.setup.queue == kind.queue and not item.setup.is_run() for item in kind.setups)
            assert all(
                item.field in dict.fromkeys(name for name, _, _ in kind.layout()) for item in kind.setups if item.field
            )


def test_the_largest_value_of_a_field() -> None:
    assert isa.ConvWindow.most("kernel_height") == 63 and isa.ConvSource.most("pad_top") == 2047
    assert isa.LoadPatchShape.most("channels") == 4
    with pytest.raises(KeyError, match="ConvWindow has no field 'taps'"):
        isa.ConvWindow.most("taps")


def test_generated_files_are_fresh() -> None:
    for name, content in generated.files().items():
        assert (HW / name).read_text() == content, f"stale: python -m intarsia_backends.overlay.machine.generated {HW}"


def test_generated_package_has_every_field_in_its_place() -> None:
    text = generated.systemverilog_package()
    for kind in isa.INSTRUCTIONS:
        body = text[: text.index(f"}} {generated.snake(kind.__name__)}_t;")].rsplit("typedef struct packed {", 1)[1]
        fields = [line.rstrip(";").split() for line in body.strip().splitlines()]
        widths = [1 if "[" not in " ".join(words) else int(words[-2][1:].split(":")[0]) + 1 for words in fields[:-1]]
        names = [words[-1] for words in fields if words[-1] != "unused"]
        assert names == [generated.field_name(name) for name, _, _ in reversed(list(kind.layout()))] + ["opcode"]
        assert sum(widths) + isa.OPCODE_BITS == isa.WORD_BITS


def test_manual_names_every_word(golden: Callable[[str], None]) -> None:
    text = generated.manual()
    golden("\n".join(line for line in text.splitlines() if line.startswith(("## ", "| "))) + "\n")


def test_multipliers_are_those_of_the_integer_meaning() -> None:
    assert isa.MULTIPLIER_BITS == MULTIPLIER_BITS


def test_configurations_come_back_from_their_data() -> None:
    for config in CONFIGS.values():
        assert OverlayConfig.from_dict(config.to_dict()) == config
        assert config.activation_words <= 1 << 16 and config.weight_rows <= 1 << 16
    assert len({config.hash for config in CONFIGS.values()}) == len(CONFIGS)
    assert PYNQ_Z2.macs_per_cycle == 512 and PYNQ_Z2.activation_bytes == 256 * 1024
