"""The harness: ports of every width, streams, AXI memory with its checks, registers, checks of the RTL, the cache."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from harness import ModelError, integers, module, needs_verilator

from intarsia.cache import cache_folder
from intarsia.errors import RunError
from intarsia_backends.rtl import build as builder
from intarsia_backends.rtl import tools
from intarsia_backends.rtl.attachments import SLVERR
from intarsia_backends.rtl.model import Model

pytestmark = [pytest.mark.rtl, needs_verilator]

KEY = 0x0123_4567_89AB_CDEF

SMALL = """
module small_probe (input logic clk_i, input logic a_i, output logic a_o);
  always_ff @(posedge clk_i) a_o <= a_i;
endmodule
"""


@pytest.fixture
def probe() -> Iterator[Model]:
    with module(
        "harness_probe",
        sources=["modules/harness_probe.sv"],
        signals=["harness_probe.history"],
        Width=24,
        Key=(64, KEY),
    ) as found:
        found.reset()
        yield found


def test_ports_have_their_width(probe: Model) -> None:
    assert probe["key_o"] == KEY
    value = int.from_bytes(np.random.default_rng(1).bytes(64), "little")
    probe["wide_i"] = value
    probe.step()
    assert probe["wide_o"] == ~value & ((1 << 512) - 1)
    probe.put("wide_i", bytes(64))
    probe.step()
    assert probe.get("wide_o") == b"\xff" * 64
    with pytest.raises(ModelError, match="does not fit"):
        probe["in_data_i"] = 1 << 24
    with pytest.raises(ModelError, match="no port 'nothing'"):
        probe["nothing"] = 1


def test_outputs_settle_with_the_inputs(probe: Model) -> None:
    probe.set(in_valid_i=1, in_data_i=5, out_ready_i=0)
    probe.step()
    assert probe["out_valid_o"] == 1 and probe["in_ready_o"] == 0
    probe["out_ready_i"] = 1
    assert probe["in_ready_o"] == 1


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_streams_keep_order(probe: Model, stall: float) -> None:
    source = probe.source("in_data_i", stall=stall, seed=3)
    sink = probe.sink("out_data_o", stall=stall, seed=4)
    items = [int(item) for item in np.random.default_rng(0).integers(0, 1 << 24, 200)]
    source.add(items)
    probe.step(1000)
    assert source.left == 0 and sink.values == items
    assert stall or np.diff(sink.cycles).max() == 1
    assert integers(probe.memory("history")) == [*items[192:200], *items[184:192]]


def test_play_records_every_cycle(probe: Model) -> None:
    data = list(range(50))
    seen = probe.play(
        {"in_data_i": data, "in_valid_i": [1] * 50, "out_ready_i": [1] * 50}, ["out_data_o", "out_valid_o"]
    )
    assert integers(seen["out_data_o"])[1:] == data[:-1]
    assert seen["out_valid_o"][:, 0].tolist() == [0] + [1] * 49


@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_memory_copies(probe: Model, stall: float) -> None:
    dram = probe.dram(
        ["m"], ["m"], bytes_per_cycle=6.0, latency_cycles=20, jitter_cycles=9 if stall else 0, stall=stall
    )
    image = dram.region(0x1000, np.random.default_rng(0).integers(0, 256, 8192, np.uint8))
    probe.set(from_i=0x1000, to_i=0x2000, beats_i=200, copy_i=1)
    probe.step()
    probe["copy_i"] = 0
    cycles = probe.run_until("copied_o", limit=20000)
    assert np.array_equal(image[:1600], image[4096:5696]) and probe["response_o"] == 0
    assert dram.idle and not dram.violations
    assert dram.bytes_read == dram.bytes_written == 1600
    assert dram.counters("m read")["bursts"] == 13
    if not stall:
        assert 12 * (2 * (128 - 28) / 6 + 2 * 20) < cycles < 13 * (2 * 128 / 6 + 2 * 20 + 12)


def test_memory_answers_faults(probe: Model) -> None:
    dram = probe.dram(["m"], ["m"])
    dram.region(0, np.zeros(4096, np.uint8))
    dram.fault(0x100, write=True, response=SLVERR)
    probe.set(from_i=0, to_i=0x80, beats_i=32, copy_i=1)
    probe.step()
    probe["copy_i"] = 0
    probe.run_until("copied_o")
    assert probe["response_o"] == SLVERR
    probe.set(from_i=8192, to_i=0x80, beats_i=1, copy_i=1)
    probe.step()
    probe["copy_i"] = 0
    probe.run_until("copied_o")
    assert probe["response_o"] == 3 and dram.outside == (1, 8192)


def test_memory_sees_bursts_across_a_boundary(probe: Model) -> None:
    dram = probe.dram(["m"], ["m"])
    dram.region(0, np.zeros(4096, np.uint8))
    probe.set(from_i=0x78, to_i=0x80, beats_i=2, copy_i=1)
    probe.step(100)
    assert dram.violations.startswith("m read, cycle ") and "crosses a boundary" in dram.violations


def test_registers(probe: Model) -> None:
    registers = probe.registers()
    registers.write(0x10, 0x1234_5678)
    registers.write(0x10, 0xFFFF_FFFF, strobes=0b0010)
    assert registers.read(0x10) == 0x1234_FF78
    with pytest.raises(ModelError, match="response 2"):
        registers.write(0x20, 1)


def test_histogram(probe: Model) -> None:
    histogram = probe.histogram("out_valid_o", "in_ready_o")
    probe.set(in_valid_i=1, out_ready_i=0)
    probe.step(11)
    assert histogram.counts.tolist() == [10, 0]


def test_a_failed_check_stops(probe: Model) -> None:
    probe.step(5)
    probe["fail_i"] = 1
    with pytest.raises(ModelError, match="fail_i was set"):
        probe.step(5)


def test_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "small_probe.sv"
    source.write_text(SMALL)
    design = builder.Design("small_probe", sources=(source,), optimise="-O0")
    library = builder.build(design)
    monkeypatch.setattr(builder, "_compile", lambda *_: pytest.fail("compiled again"))
    assert builder.build(design) == library
    source.write_text(SMALL + "// A comment changes the source, not the C++.\n")
    assert builder.build(design) == library


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERILATOR", "no_such_verilator")
    with pytest.raises(RunError, match=r"VERILATOR is 'no_such_verilator'.*\n.*intarsia\[rtl\]"):
        tools.verilator()
    monkeypatch.delenv("VERILATOR")
    monkeypatch.setenv("CXX", "no_such_compiler")
    with pytest.raises(RunError, match="CXX is 'no_such_compiler'"):
        tools.cxx_compiler()
    monkeypatch.setenv("CXX", "false")
    monkeypatch.setenv("INTARSIA_CACHE", str(tmp_path))
    with pytest.raises(RunError, match="false ended with status 1"):
        module("harness_probe", sources=["modules/harness_probe.sv"])
    assert not list((tmp_path / "rtl").iterdir())


def test_two_processes_build_at_once(probe: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The probe has left in the cache what all designs share; that takes ten times as long to build as this one.
    (tmp_path / "rtl").mkdir()
    for path in cache_folder("rtl").glob("*.o"):
        shutil.copy(path, tmp_path / "rtl")
    monkeypatch.setenv("INTARSIA_CACHE", str(tmp_path))
    small = tmp_path / "small_probe.sv"
    small.write_text(SMALL)
    code = f"""
from pathlib import Path
from intarsia_backends.rtl.build import Design
from intarsia_backends.rtl.model import Model
model = Model(Design("small_probe", {{}}, (Path({str(small)!r}),), optimise="-O0"))
model["a_i"] = 1
model.step()
print(model["a_o"])
"""
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0] for process in running] == ["1\n", "1\n"]
    assert len(list((tmp_path / "rtl").glob("*.so"))) == 1
