"""What goes wrong with GPUs, on a driver that pretends: one letter for each, and nothing is left."""

from __future__ import annotations

import math
import multiprocessing
import pickle
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cards import Cards
from fake_cuda import (
    ILLEGAL_ADDRESS,
    LAUNCH_FAILED,
    NO_DEVICE,
    OUT_OF_MEMORY,
    SYSTEM_NOT_READY,
    FakeDriver,
    pretended_images,
)
from region_graphs import CHAIN, artifact_of, inputs_of, meaning, same

import intarsia
from artifact_examples import random_array, small_graph
from intarsia.cli.devices import device_rows
from intarsia.errors import IntarsiaWarning, RunError
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph
from intarsia.ir.types import TensorType
from intarsia.runtime.device import RegionFiles
from intarsia_backends.cuda import driver as driver_module
from intarsia_backends.cuda import lane as lane_module
from intarsia_backends.cuda.card import CHOICE
from intarsia_backends.cuda.device import SOURCE, CudaDevice
from intarsia_backends.cuda.images import MARKS, choose_images, image_marks
from intarsia_backends.gpu.launches import read_launches
from intarsia_backends.gpu.region import LAUNCHES, WEIGHTS_FILE, with_mark

GRAPH = small_graph()
X = random_array(np.random.default_rng(0), GRAPH.inputs[0])


def relu(*shape: int) -> Graph:
    graph = Graph("r")
    x = graph.add_input("x", TensorType("float32", shape))
    graph.outputs = [graph.add_node("Relu", [x], [TensorType("float32", shape)], opset=18).output]
    return graph


def letter(region: RegionFiles) -> str:
    with pytest.raises(RunError) as caught:
        CudaDevice().load(region)
    return f"{caught.value}\n"


def changed(region: RegionFiles, **launches: Any) -> RegionFiles:
    """The region with other launches, as if it was made with them."""
    made = replace(read_launches(region.files[LAUNCHES], "", region.inputs, region.outputs), **launches).to_json()
    text = region.files[SOURCE].decode().partition("\n")[2]
    images = {name: data for name, data in region.files.items() if name.startswith(("sm_", "compute_"))}
    files = {**region.files, LAUNCHES: made, SOURCE: with_mark(text, made).encode()}
    return replace(region, files=files, metadata={MARKS: image_marks(made, images)})


def with_images(region: RegionFiles, images: Mapping[str, bytes]) -> RegionFiles:
    """The region with other images, as if they were made with it."""
    files = {name: data for name, data in region.files.items() if not name.startswith(("sm_", "compute_"))}
    marks = {MARKS: image_marks(region.files[LAUNCHES], images)}
    return replace(region, files={**files, **images}, metadata=marks)


def test_letters(fake: FakeDriver, cards: Cards, golden: Callable[[str], None]) -> None:
    region = cards.files(relu(3, 4))
    letters = []

    def told(region: RegionFiles = region, **settings: int) -> None:
        fake.configure(**settings)
        letters.append(letter(region))
        assert not fake.alive()
        fake.reset()

    told(cards=0)
    fake.fail("cuInit", 1, NO_DEVICE)
    told()
    fake.fail("cuInit", 1, SYSTEM_NOT_READY)
    told()
    told(capability=75)
    told(capability=121, driver=12080)
    told(shared_bytes=0, region=changed(region, kernels=_sharing(region)))
    told(memory_bytes=100)
    fake.fail("cuMemAlloc", 2, OUT_OF_MEMORY)  # the arena
    told()
    told(with_images(region, {"sm_80.cubin": b"\x7fELF" + bytes(200)}))
    told(with_images(region, {"sm_80.cubin": b"no machine code at all"}))
    told(with_images(region, {"compute_75.ptx": b"what is this?"}))
    told(replace(region, files={**region.files, "sm_80.cubin": region.files["sm_80.cubin"] + b"\0"}))
    told(replace(region, metadata={}))
    told(with_images(region, {}))
    told(changed(region, extensions=("wings",)))
    golden("".join(letters))


def _sharing(region: RegionFiles) -> Any:
    kernels = read_launches(region.files[LAUNCHES], "", region.inputs, region.outputs).kernels
    return tuple(replace(kernel, shared_bytes=100) for kernel in kernels)


def test_the_card_that_is_chosen(fake: FakeDriver, cards: Cards, monkeypatch: pytest.MonkeyPatch) -> None:
    region = cards.files(GRAPH)
    fake.configure(cards=3)
    for wish, name in (("", "GPU 0 'Pretender A'"), ("2", "GPU 2 'Pretender C'")):
        monkeypatch.setenv(CHOICE, wish)
        fake.fail("cuMemAlloc", 1, OUT_OF_MEMORY)
        assert name in letter(region)
    for wish in ("3", "-1", "Pretender C"):
        monkeypatch.setenv(CHOICE, wish)
        said = letter(region)
        assert repr(wish) in said and "0 'Pretender A', 1 'Pretender B', 2 'Pretender C'" in said


def test_devices_are_listed_with_what_they_lack(fake: FakeDriver, cards: Cards) -> None:
    def listed() -> str | None:
        (row,) = (row for row in device_rows() if row["name"] == "cuda")
        absent: str | None = row["absent"]
        return absent

    assert listed() is None
    fake.configure(cards=0)
    assert "there is no NVIDIA GPU" in (listed() or "")


def test_no_bindings(cards: Cards, monkeypatch: pytest.MonkeyPatch) -> None:
    region = cards.files(GRAPH)
    assert CudaDevice().absent() is None
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    assert "cuda-bindings cannot be imported" in letter(region) and "intarsia[cuda]" in letter(region)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert CudaDevice().absent() == "the Python package cuda-bindings is not installed: pip install 'intarsia[cuda]'"


def test_no_driver_and_an_old_one(cards: Cards, monkeypatch: pytest.MonkeyPatch, golden: Callable[[str], None]) -> None:
    from cuda.bindings import driver
    from cuda.bindings._internal.utils import FunctionNotFoundError
    from cuda.pathfinder import DynamicLibNotFoundError

    region = cards.files(GRAPH)
    letters = []
    for error in (
        DynamicLibNotFoundError('"cuda" is an NVIDIA driver library and can only be found via system search.'),
        FunctionNotFoundError("function cuInit is not found"),
    ):

        def fails(*arguments: Any, error: Exception = error) -> Any:
            raise error

        monkeypatch.setattr(driver, "cuInit", fails)
        letters.append(letter(region))
        found = CudaDevice().unfit(region)
        assert found is not None and f"{found}\n" == letters[-1]
    golden("".join(letters))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"cards": 0}, "there is no NVIDIA GPU that this process may use"),
        ({"capability": 75}, "compute capability 7.5"),
    ],
)
def test_the_evaluator_takes_over_where_the_choice_is_left(
    fake: FakeDriver, cards: Cards, settings: dict[str, int], why: str
) -> None:
    artifact, data = artifact_of(cards.blob, CHAIN, ["b", "f"]), inputs_of(0)
    fake.configure(**settings)
    with pytest.warns(IntarsiaWarning, match=why), intarsia.load(artifact) as session:
        assert set(session.devices.values()) == {"evaluator"}
        assert same(session.run(*data.values()), meaning(CHAIN, ["b", "f"], **data))
    with pytest.raises(RunError, match=why):
        intarsia.load(artifact, device="cuda")


@pytest.mark.parametrize("error", [ILLEGAL_ADDRESS, LAUNCH_FAILED])
def test_a_kernel_that_fails_in_the_middle(
    fake: FakeDriver, cards: Cards, error: int, golden: Callable[[str], None]
) -> None:
    region, other = cards.load(GRAPH), cards.load(GRAPH)
    region.run([X])
    fake.fault(nth=3, error=error)
    said = []
    for each in (region, region, other):
        with pytest.raises(RunError) as caught:
            each.run([X])
        said.append(f"{caught.value}\n")
    said.append(letter(cards.files(GRAPH)))
    region.close()
    other.close()
    assert not fake.alive()
    afresh = cards.load(GRAPH)
    np.testing.assert_array_equal(afresh.run([X]).outputs[0], evaluate(GRAPH, {"image": X})[0])
    afresh.close()
    if error == ILLEGAL_ADDRESS:
        golden("".join(said))


def test_a_launch_that_is_refused_and_the_next_run_works(fake: FakeDriver, cards: Cards) -> None:
    region = cards.load(GRAPH)
    for function in ("cuLaunchKernel", "cuGraphLaunch", "cuMemcpyHtoDAsync", "cuStreamSynchronize"):
        fake.fail(function)
        with pytest.raises(RunError, match=f"the driver failed: CUDA_ERROR_UNKNOWN of {function}"):
            region.run([X])
        assert region.run([X]).outputs[0].shape == (1, 3, 5, 5)
    region.close()


def test_no_memory_for_a_second_lane(fake: FakeDriver, cards: Cards) -> None:
    region = cards.load(GRAPH)
    lane = region._lanes.pop()  # type: ignore[attr-defined]
    fake.fail("cuMemAlloc", 1, OUT_OF_MEMORY)
    with pytest.raises(RunError, match="the GPU is out of memory"):
        region.run([X])
    assert region.run([X]).outputs[0].shape == (1, 3, 5, 5)
    lane.close()
    region.close()


def test_whatever_nobody_closes_is_given_back(fake: FakeDriver, cards: Cards) -> None:
    region = cards.load(GRAPH)
    region.run([X])
    del region
    assert not fake.alive()


def test_a_region_that_is_closed_while_it_runs(fake: FakeDriver, cards: Cards) -> None:
    region = cards.load(GRAPH)
    lane = region._idle_lane()  # type: ignore[attr-defined]
    region.close()
    assert fake.alive()["context"] == 1
    region._give_back(lane)  # type: ignore[attr-defined]
    assert not fake.alive()
    region.close()


def test_threads(fake: FakeDriver, cards: Cards) -> None:
    region = cards.load(GRAPH)
    inputs = [random_array(np.random.default_rng(seed), GRAPH.inputs[0]) for seed in range(4)]
    wrong: list[int] = []

    def work(index: int) -> None:
        for _ in range(10):
            if not np.array_equal(region.run([inputs[index]]).outputs[0], evaluate(GRAPH, {"image": inputs[index]})[0]):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and fake.calls("cuGraphLaunch") == 40
    assert fake.calls("cuGraphInstantiate") <= 4
    assert fake.calls("pageable to card") == 1, "the weights"
    region.close()


def _in_child(region: Any, files: RegionFiles, told: Any) -> None:
    letters = []
    for act in (lambda: region.run([X]), lambda: CudaDevice().load(files)):
        try:
            act()
        except RunError as error:
            letters.append(str(error))
    region.close()
    told.send(letters)


def test_a_forked_process_is_told_and_the_parent_goes_on(fake: FakeDriver, cards: Cards) -> None:
    files = cards.files(GRAPH)
    region = CudaDevice().load(files)
    region.run([X])
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=_in_child, args=(region, files, there))
    child.start()
    assert here.poll(60)
    letters = here.recv()
    child.join(60)
    assert child.exitcode == 0 and len(letters) == 2
    assert all("this process was forked from one that had begun to use the GPU" in text for text in letters)
    assert region.run([X]).outputs[0].shape == (1, 3, 5, 5)
    region.close()
    assert not driver_module.forked()


def test_letters_can_be_sent_to_other_processes(fake: FakeDriver, cards: Cards) -> None:
    fake.fail("cuMemAlloc", 1, OUT_OF_MEMORY)
    with pytest.raises(RunError) as caught:
        cards.load(GRAPH)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value) and again.code == "CUDA_ERROR_OUT_OF_MEMORY"


@pytest.mark.parametrize(
    ("capability", "chosen"),
    [
        ((7, 5), ["sm_75.cubin"]),
        ((8, 0), ["sm_80.0.cubin", "sm_80.1.cubin"]),
        ((8, 7), ["sm_86.cubin"]),
        ((8, 9), ["sm_89.cubin"]),
        ((9, 0), ["compute_80.ptx"]),
        ((12, 1), ["compute_120.ptx"]),
        ((10, 0), ["compute_80.ptx"]),
        ((7, 2), []),
    ],
)
def test_the_nearest_code_is_chosen(capability: tuple[int, int], chosen: list[str]) -> None:
    names = ["sm_75.cubin", "sm_80.0.cubin", "sm_80.1.cubin", "sm_86.cubin", "sm_89.cubin", "sm_87.ptx"]
    names += ["compute_80.ptx", "compute_120.ptx", "kernels.cu", "launches.json", "sm_8.cubin", "sm_80.cubin.bak"]
    assert choose_images(names, capability) == chosen


def test_several_images_for_one_card(fake: FakeDriver, cards: Cards) -> None:
    region = cards.files(GRAPH)
    text, launches = region.files[SOURCE].decode().partition("\n")[2], region.files[LAUNCHES]
    images = pretended_images(text, ("sm_80.0.cubin", "sm_80.1.cubin"))
    facts = read_launches(launches, "", region.inputs, region.outputs)
    middle = len(facts.kernels) // 2
    halves = facts.kernels[:middle], facts.kernels[middle:]
    for (name, image), half in zip(images.items(), halves):
        fake.know({name: image}, text, replace(facts, kernels=half))
    loaded = CudaDevice().load(with_images(region, images))
    np.testing.assert_array_equal(loaded.run([X]).outputs[0], evaluate(GRAPH, {"image": X})[0])
    loaded.close()
    fake.know({"sm_80.1.cubin": images["sm_80.1.cubin"]}, text, replace(facts, kernels=halves[1][:-1]))
    missing = f"there is no kernel '{halves[1][-1].name}' in sm_80.0.cubin, sm_80.1.cubin"
    assert missing in letter(with_images(region, images))


def test_a_kernel_that_wants_too_many_threads(fake: FakeDriver, cards: Cards) -> None:
    region = cards.files(relu(3, 4))
    facts = read_launches(region.files[LAUNCHES], "", region.inputs, region.outputs)
    (kernel,) = facts.kernels
    most = math.prod(kernel.block)
    told = letter(changed(region, kernels=(replace(kernel, block=(64, 4, 4)),)))
    assert f"has 1024 threads in a block, and its code takes {most}" in told


@pytest.mark.parametrize("kept", [16, 1])
def test_indices_made_at_run_time_are_checked(cards: Cards, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "_GRAPHS_LIMIT", kept)
    graph = Graph("r")
    x, i = graph.add_input("x", TensorType("float32", (4, 3))), graph.add_input("i", TensorType("int64", (2,)))
    j = graph.add_node("Add", [i, i], [TensorType("int64", (2,))], opset=18).output
    graph.outputs = [
        graph.add_node("Gather", [x, places], [TensorType("float32", (2, 3))], {"axis": 0}, opset=18).output
        for places in (i, j)
    ]
    data = np.arange(12, dtype=np.float32).reshape(4, 3)
    region = cards.load(graph)
    for _ in range(2):
        first, second = region.run([data, np.array([1, -2])]).outputs
        np.testing.assert_array_equal(first, data[[1, -2]])
        np.testing.assert_array_equal(second, data[[2, -4]])
        for bad, name in ((np.array([1, 4]), "'i'"), (np.array([0, 2]), f"'{j.name}'")):
            with pytest.raises(RunError, match=f"an element of {name} is outside"):
                region.run([data, bad])
    region.run([data, np.array([0, 1])])
    assert cards.fake is None or cards.fake.alive()["ready graph"] == min(kept, 2)
    region.close()


def test_empty_values(cards: Cards) -> None:
    region = cards.load(relu(0, 4))
    assert region.run([np.zeros((0, 4), np.float32)]).outputs[0].shape == (0, 4)
    region.close()


def test_weights_that_are_missing(cards: Cards) -> None:
    region = cards.files(GRAPH)
    files = {name: data for name, data in region.files.items() if name != WEIGHTS_FILE}
    assert f"it lacks '{WEIGHTS_FILE}'" in letter(replace(region, files=files))
