"""The device rtl: the simulator's bytes, measured counters in the simulator's form, faults as letters, the commands."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from equality import Case, Memory
from harness import needs_verilator
from rtl_regions import picture, small_region

import intarsia
from intarsia.cli.commands import intarsia as commands
from intarsia.errors import RunError
from intarsia.runtime.device import LoadedRegion
from intarsia.runtime.devices import choose_devices
from intarsia_backends.overlay.machine import isa
from intarsia_backends.overlay.machine.config import TINY
from intarsia_backends.overlay.machine.isa import Segment
from intarsia_backends.rtl.core import Core, Image
from intarsia_backends.rtl.device import RtlDevice
from intarsia_backends.simulator.device import SimulatorDevice

pytestmark = [pytest.mark.rtl, needs_verilator]

MODELS = Path(__file__).parents[1] / "models"


@pytest.fixture(scope="module")
def loaded() -> Iterator[LoadedRegion]:
    found = RtlDevice().load(small_region())
    yield found
    found.close()


@pytest.fixture(scope="module")
def core() -> Iterator[Core]:
    found = Core(TINY)
    yield found
    found.close()


def test_it_runs_only_where_it_is_asked_for() -> None:
    assert RtlDevice().absent() is None
    assert choose_devices({"overlay"}, None, "a test")["overlay"][0].name != "rtl"


def test_bytes_are_those_of_the_simulator(loaded: LoadedRegion) -> None:
    simulated = SimulatorDevice().load(small_region())
    for seed in range(5):
        (found,), (wanted,) = (region.run([picture(seed)]).outputs for region in (loaded, simulated))
        assert found.dtype == wanted.dtype and np.array_equal(found, wanted)


def test_counters_have_the_form_of_the_simulator(loaded: LoadedRegion) -> None:
    counters, modelled = loaded.run([picture(0)]).counters, SimulatorDevice().load(small_region()).counters
    assert json.loads(json.dumps(counters)) == counters
    assert loaded.counters == modelled
    assert counters.keys() == modelled.keys()
    assert [layer.keys() for layer in counters["layers"]] == [layer.keys() for layer in modelled["layers"]]
    assert sum(layer["cycles"] for layer in counters["layers"]) == counters["cycles"] > 0
    for account in counters["queues"].values():
        assert sum(account.values()) == counters["cycles"] and min(account.values()) >= 0
    for name in ("bytes_read", "bytes_written", "macs"):
        assert counters[name] == modelled[name]
    assert 0.5 < counters["cycles"] / modelled["cycles"] < 2


def test_cycles_do_not_depend_on_data(loaded: LoadedRegion) -> None:
    assert loaded.run([picture(1)]).counters == loaded.run([picture(2)]).counters


def test_a_closed_region_says_so() -> None:
    region = RtlDevice().load(small_region())
    region.close()
    with pytest.raises(RunError, match="its session is closed"):
        region.run([picture(0)])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_has_a_core_of_its_own_where_a_thread_of_its_parent_runs() -> None:
    region = RtlDevice().load(small_region())
    (wanted,) = SimulatorDevice().load(small_region()).run([picture(4)]).outputs
    with region._lock:  # type: ignore[attr-defined]
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            (found,) = region.run([picture(4)]).outputs
            os._exit(0 if np.array_equal(found, wanted) else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    region.close()


# ---- faults


def case(*words: isa.Instruction) -> Case:
    sizes = {Segment.ARENA: 1024, Segment.INPUTS: 1024, Segment.OUTPUTS: 1024}
    return Case(TINY, isa.encode_program(words), bytes(64), sizes, np.zeros(1024, np.uint8), Memory(10.4, 50))


LOAD = (isa.LoadShape(blocks=1, rows=1, columns=8), isa.Load(segment=Segment.INPUTS, base=0))


def refusal(core: Core, image: Image) -> str:
    image.attach(core.memory)
    with pytest.raises(RunError) as caught:
        core.run(image.job)
    return str(caught.value)


def test_fault_malformed_word(core: Core) -> None:
    said = refusal(core, Image(case(*LOAD, isa.Load(), isa.Store(), isa.End()).region))
    assert "program word 3" in said and "refuses the word" in said


def test_fault_deadlock(core: Core) -> None:
    said = refusal(core, Image(case(*LOAD, replace(LOAD[1], wait=4), isa.End()).region))
    assert "nothing moved for 1024 cycles" in said and "LOAD waiting" in said


def test_fault_read_outside(core: Core) -> None:
    far = isa.Load(segment=Segment.INPUTS, offset=4096, base=0)
    said = refusal(core, Image(case(LOAD[0], far, isa.End()).region))
    assert "answered a read of queue LOAD" in said and "DECERR" in said


def test_fault_write_error(core: Core) -> None:
    image = Image(case(*LOAD, isa.StoreShape(1, 1, 8), isa.Store(segment=Segment.OUTPUTS), isa.End()).region)
    image.attach(core.memory)
    core.memory.fault(image.job.segments[Segment.OUTPUTS] + 32, write=True)
    with pytest.raises(RunError, match=r"answered a write of queue STORE.*SLVERR"):
        core.run(image.job)


def test_fault_another_configuration(core: Core) -> None:
    other = replace(case(isa.End()), config=replace(TINY, queue_words=8))
    assert "the program is for configuration" in refusal(core, Image(other.region))


def test_fault_cycle_limit(core: Core) -> None:
    image = Image(case(*LOAD * 4, isa.End()).region)
    image.attach(core.memory)
    with pytest.raises(RunError, match="the program has not ended in time"):
        core.run(image.job, limit_cycles=20)


def test_it_runs_again_after_a_fault(core: Core) -> None:
    image = Image(
        case(
            *(LOAD[0], replace(LOAD[1], signal=1)),
            *(isa.StoreShape(1, 1, 8), isa.Store(segment=Segment.OUTPUTS, wait=1), isa.End()),
        ).region
    )
    image.segments[Segment.INPUTS][:] = np.arange(1024) % 251
    image.attach(core.memory)
    assert core.run(image.job).cycles > 100
    assert np.array_equal(image.segments[Segment.OUTPUTS][:128], image.segments[Segment.INPUTS][:128])


# ---- commands


def call(*arguments: str) -> str:
    result = CliRunner().invoke(commands, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return str(result.stdout)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits model compiled for the smallest overlay."""
    place = tmp_path_factory.mktemp("digits") / "digits.intarsia"
    with np.load(MODELS / "digits_test_450.npz") as data:
        intarsia.compile_model(MODELS / "digits_cnn.onnx", target="tiny", calibration=data["x"][:64]).save(place)
    return place


def test_a_batch_runs_image_by_image(digits: Path, tmp_path: Path) -> None:
    with np.load(MODELS / "digits_test_450.npz") as data:
        np.save(tmp_path / "x.npy", data["x"][64:68].astype(np.float32))
    told = {}
    for device in ("rtl", "simulator"):
        place = ("run", str(digits), "--input", str(tmp_path / "x.npy"), "--output", str(tmp_path / f"{device}.npy"))
        told[device] = json.loads(call(*place, "--device", device, "--json"))
    assert np.array_equal(np.load(tmp_path / "rtl.npy"), np.load(tmp_path / "simulator.npy"))
    assert "rtl" in told["rtl"]["devices"].values()
    assert told["rtl"]["counters"]["images"] == 4
    assert told["rtl"]["counters"]["bytes_read"] == told["simulator"]["counters"]["bytes_read"]


def test_report_compares_with_the_model(digits: Path) -> None:
    data = json.loads(call("report", str(digits), "--device", "rtl", "--json"))
    rows = [row for row in data["rows"] if row["place"] == "tiny"]
    assert data["source"] == "both" and rows
    assert all(row["cycles"] > 0 and row["modelled_cycles"] > 0 for row in rows)
    text = call("report", str(digits), "--device", "rtl")
    assert "cycles counted in a run, beside those by the device's model" in text and "modelled" in text
    assert call("report", str(digits), "--device", "rtl", "--csv").splitlines()[0].count("modelled_cycles") == 1
    plain = json.loads(call("report", str(digits), "--device", "simulator", "--json"))
    assert plain["source"] == "model" and plain["rows"][0]["modelled_cycles"] is None
