"""The simulator as a device: what it checks, what it counts, and several threads at once."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines import all_values, differences, region_files, target

from intarsia.errors import RunError
from intarsia.ir.graph import Graph
from intarsia.ir.integer import fixed_point
from intarsia.ir.types import Quantization, TensorType
from intarsia.runtime.device import RegionFiles
from intarsia.runtime.devices import choose_devices
from intarsia_backends.overlay.machine.region import CONSTANTS, PROGRAM
from intarsia_backends.simulator import machine
from intarsia_backends.simulator.device import SimulatorDevice


def model() -> Graph:
    """A convolution of a small picture and a pool."""
    rng = np.random.default_rng(3)
    graph, zero = Graph("small"), -4
    x = graph.add_input("x", TensorType("int8", (1, 3, 12, 10)), Quantization(0.1, zero))
    multiplier, shift = fixed_point(0.002)
    constants = [
        graph.add_constant("w", rng.integers(-127, 128, (20, 3, 3, 3)).astype(np.int8)),
        graph.add_constant("b", rng.integers(-900, 900, 20).astype(np.int32)),
        graph.add_constant("m", np.full(20, multiplier, np.int32)),
        graph.add_constant("s", np.full(20, shift, np.int32)),
    ]
    attributes = {"strides": (1, 1), "pads": (1,) * 4, "dilations": (1, 1), "input_zero_point": zero}
    type = TensorType("int8", (1, 20, 12, 10))
    conv = graph.add_node("qconv", [x, *constants], [type], {**attributes, "output_zero_point": 2}, name="conv")
    pool = graph.add_node(
        "MaxPool",
        [conv.output],
        [TensorType("int8", (1, 20, 6, 5))],
        {"kernel_shape": (2, 2), "strides": (2, 2), "pads": (0,) * 4, "dilations": (1, 1), "ceil_mode": 0},
        name="pool",
        output_names=["y"],
        opset=18,
    )
    for node in (conv, pool):
        node.output.quantization = Quantization(0.1, 2)
    graph.outputs = [pool.output]
    return graph


@pytest.fixture(scope="module")
def files() -> RegionFiles:
    graph = model()
    return region_files(graph, target("tiny").compile(graph))


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-128, 128, (1, 3, 12, 10)).astype(np.int8)


def test_it_is_always_there() -> None:
    assert SimulatorDevice().absent() is None
    assert choose_devices({"overlay"}, "simulator", "a test")["overlay"][0].name == "simulator"


def test_counters_are_json_and_add_up(files: RegionFiles) -> None:
    loaded = SimulatorDevice().load(files)
    counters = loaded.run([picture(0)]).counters
    assert counters == loaded.counters
    assert json.loads(json.dumps(counters)) == counters
    assert [row["name"] for row in counters["layers"]] == ["conv", "pool"]
    assert sum(row["cycles"] for row in counters["layers"]) == counters["cycles"]
    assert counters["macs"] == 20 * 27 * 120
    assert counters["utilisation"] == pytest.approx(counters["macs"] / (512 * counters["cycles"]))
    assert counters["bytes_read"] >= len(files.files[PROGRAM]) + len(files.files[CONSTANTS]) // 2
    assert counters["bytes_written"] == 2 * 6 * 5 * 16
    wanted = {"name", "op", "cycles", "macs", "bytes_read", "bytes_written", "wait_semaphore", "wait_memory"}
    assert all(wanted <= set(row) for row in counters["layers"])


def test_listing_names_layers(files: RegionFiles) -> None:
    listing = SimulatorDevice().load(files).listing()
    assert "Conv" in listing and "; pool" in listing
    assert len(listing.splitlines()) == len(files.files[PROGRAM]) // 16 + 1


def test_threads_do_not_disturb_each_other(files: RegionFiles) -> None:
    graph = model()
    loaded = SimulatorDevice().load(files)

    def one(seed: int) -> list[str]:
        values = all_values(graph, {"x": picture(seed)})
        return [line for _ in range(5) for line in differences(graph, values, loaded.run([values["x"]]).outputs)]

    with ThreadPoolExecutor(6) as pool:
        assert [line for lines in pool.map(one, range(24)) for line in lines] == []


def test_weights_need_not_be_kept_unpacked(files: RegionFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = SimulatorDevice().load(files).run([picture(1)]).outputs[0]
    monkeypatch.setattr(machine, "WEIGHTS_KEPT_BYTES", -1)
    loaded = SimulatorDevice().load(files)
    for _ in range(2):
        assert (loaded.run([picture(1)]).outputs[0] == wanted).all()


def test_outputs_are_fresh(files: RegionFiles) -> None:
    loaded = SimulatorDevice().load(files)
    first = loaded.run([picture(1)]).outputs[0]
    copy = first.copy()
    loaded.run([picture(2)])
    assert (first == copy).all()


def changed(files: RegionFiles, **metadata: object) -> RegionFiles:
    return replace(files, metadata={**files.metadata, **metadata})


def config_of(files: RegionFiles, **fields: object) -> dict[str, object]:
    return {**files.metadata["config_data"], **fields}


WRONG: dict[str, Callable[[RegionFiles], RegionFiles]] = {
    "other_overlay": lambda files: changed(files, config_hash="0123456789abcdef"),
    "unknown_configuration_field": lambda files: changed(files, config_data=config_of(files, colour=1)),
    "missing_segments": lambda files: changed(files, segments=None),
    "missing_file": lambda files: replace(files, files={PROGRAM: files.files[PROGRAM]}),
    "other_inputs": lambda files: replace(files, inputs=(("x", "int8", (1, 3, 12, 11)),)),
    "program_cut_short": lambda files: replace(files, files={**files.files, PROGRAM: files.files[PROGRAM][:-16]}),
    "constants_cut_short": lambda files: replace(files, files={**files.files, CONSTANTS: files.files[CONSTANTS][:64]}),
}


@pytest.mark.parametrize("name", WRONG)
def test_refusal(name: str, files: RegionFiles, golden: Callable[[str], None]) -> None:
    with pytest.raises(RunError) as caught:
        SimulatorDevice().load(WRONG[name](files))
    golden(str(caught.value).replace(files.metadata["config_hash"], "<hash>") + "\n")


def test_whole_artifact(tmp_path: Path, shared_models: Path) -> None:
    """A model of MLPerf Tiny from file to counters: within the cycles that the design promises."""
    import intarsia

    artifact = intarsia.compile_model(shared_models / "ic_resnet8_int8.onnx", target="pynq-z2")
    artifact.save(tmp_path / "ic.intarsia")
    session = intarsia.load(tmp_path / "ic.intarsia", device="simulator")
    counters = session.execute([np.zeros(info.shape, info.dtype) for info in session.inputs]).counters
    region = next(item for item in counters["regions"] if item["device"] == "simulator")
    assert region["cycles"] <= 36_000
    assert region["macs"] == pytest.approx(12.5e6, rel=0.01)


class SlowList(list[object]):
    """The idle machines, where whoever looks at them stays for a while."""

    def __len__(self) -> int:
        time.sleep(0.3)
        return super().__len__()

    def pop(self, *place: Any) -> object:
        time.sleep(0.3)
        return super().pop(*place)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_runs_what_a_thread_of_its_parent_is_in(files: RegionFiles) -> None:
    region, data = SimulatorDevice().load(files), np.zeros((1, 3, 12, 10), np.int8)
    region.run([data])
    region._idle = SlowList(region._idle)  # type: ignore[attr-defined]
    thread = threading.Thread(target=lambda: region.run([data]))
    thread.start()
    time.sleep(0.1)
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # where a lock is held by a thread that only the parent has, the child waits for ever
        region.run([data])
        os._exit(0)
    _, status = os.waitpid(child, 0)
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 0
