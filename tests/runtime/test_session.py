"""Sessions: what they take, what they refuse and how, batches, threads, counters, choice of devices."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest

import intarsia
from artifact_examples import evaluator_artifact, small_graph
from intarsia.artifact import Artifact
from intarsia.artifact.parts import constant_output, tensor
from intarsia.dtypes import Array
from intarsia.errors import RunError
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph
from intarsia.ir.types import TensorType
from intarsia.runtime import devices, evaluator
from intarsia.runtime.arguments import TensorInfo, bind, check_array
from intarsia.runtime.batches import batches_of
from intarsia.runtime.counters import add, per_image
from intarsia.runtime.device import Device, LoadedRegion, RegionFiles, RegionResult
from intarsia.runtime.session import Session, load
from intarsia.runtime.vectors import verify_vectors


@pytest.fixture(scope="module")
def session() -> Session:
    return load(evaluator_artifact(small_graph(), vectors=2))


def image(count: int = 1, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((count, 2, 5, 5)).astype(np.float32)


def two_input_artifact(batch: int = 1) -> Artifact:
    """left + right: both float32 [batch, 3]."""
    graph = Graph("sum")
    type = TensorType("float32", (batch, 3))
    left, right = graph.add_input("left", type), graph.add_input("right_image", type)
    graph.outputs = [graph.add_node("Add", [left, right], [type], name="add", output_names=["sum"], opset=18).output]
    return evaluator_artifact(graph, batch=batch)


# ---- running


def test_outputs_are_those_of_the_graph(session: Session) -> None:
    x = image()
    (wanted,) = evaluate(small_graph(), {"image": x})
    (found,) = session.run(x)
    (named,) = session.run(image=x)
    assert found.dtype == np.float32
    assert found.tobytes() == named.tobytes() == wanted.tobytes()


def test_inputs_and_outputs_are_described(session: Session) -> None:
    assert session.inputs == (TensorInfo("image", "float32", (1, 2, 5, 5)),)
    assert session.outputs == (TensorInfo("scores", "float32", (1, 3, 5, 5)),)
    assert repr(session) == "<Session 'small' (image: float32[1,2,5,5]) -> (scores: float32[1,3,5,5])>"


def test_a_longer_batch_runs_image_by_image(session: Session) -> None:
    x = image(5)
    result = session.execute([x])
    assert result.counters["images"] == result.images == 5
    single = [session.execute([x[index : index + 1]]) for index in range(5)]
    assert result.outputs[0].tobytes() == np.concatenate([one.outputs[0] for one in single]).tobytes()
    assert {one.counters["images"] for one in single} == {1}


def test_a_batch_of_nothing_gives_nothing(session: Session) -> None:
    result = session.execute([image(0)])
    (found,) = result.outputs
    assert found.shape == (0, 3, 5, 5) and found.dtype == np.float32
    assert result.counters["images"] == result.images == 0


def test_a_compiled_batch_takes_multiples() -> None:
    session = load(two_input_artifact(batch=2))
    left, right = np.arange(18, dtype=np.float32).reshape(6, 3), np.ones((6, 3), np.float32)
    result = session.execute({"left": left, "right_image": right})
    assert (result.by_name["sum"] == left + right).all()
    assert result.counters["images"] == result.images == 6
    with pytest.raises(RunError, match="5 samples are no multiple of the batch of 2"):
        session.run(left[:5], right[:5])


def test_order_in_memory_does_not_matter(session: Session) -> None:
    x = image(3)
    wanted = session.run(x)[0].tobytes()
    wide = np.repeat(x, 2, axis=3)[..., ::2]
    for same in (np.asfortranarray(x), wide, x.astype(">f4"), x[::-1][::-1]):
        assert session.run(same)[0].tobytes() == wanted


def test_lists_are_taken_where_their_kind_fits() -> None:
    assert check_array(TensorInfo("x", "float32", (2,)), [1.5, 2.0]).dtype == np.float32
    assert check_array(TensorInfo("x", "int8", (2,)), [-128, 127]).tolist() == [-128, 127]
    assert check_array(TensorInfo("x", "bool", ()), True).dtype == np.bool_
    assert check_array(TensorInfo("x", "string", (2,)), ["a", "b"]).dtype == object
    for dtype, given in (("int8", [128]), ("float32", [1]), ("int32", [1.0]), ("bool", [1]), ("string", [1])):
        with pytest.raises(RunError):
            check_array(TensorInfo("x", dtype, (1,)), given)


def test_error_texts(golden: Callable[[str], None]) -> None:
    one, two = load(evaluator_artifact(small_graph())), load(two_input_artifact())
    row = np.zeros((1, 3), np.float32)
    calls: list[Callable[[], Any]] = [
        lambda: one.run(),
        lambda: one.run(image(), image()),
        lambda: one.run(imgae=image()),
        lambda: one.run(image(), image=image()),
        lambda: one.run(zzz=image()),
        lambda: one.run(image().astype(np.float64)),
        lambda: one.run((image() * 9).astype(np.uint8)),
        lambda: one.run([[1, 2]]),
        lambda: one.run(image()[0]),
        lambda: one.run(image().transpose(0, 2, 3, 1)),
        lambda: one.run(np.zeros((1, 2, 5, 6), np.float32)),
        lambda: one.run({"image": image()}),
        lambda: two.run(row),
        lambda: two.run(row, right=row),
        lambda: two.run(np.zeros((2, 3), np.float32), row),
    ]
    letters = []
    for call in calls:
        with pytest.raises(RunError) as caught:
            call()
        letters.append(str(caught.value))
    golden("\n".join(letters) + "\n")


def test_what_has_no_batch_axis_is_not_batched() -> None:
    infos = (TensorInfo("x", "float32", (1, 3)), TensorInfo("scale", "float32", ()))
    arrays: list[Array] = [np.zeros((4, 3), np.float32), np.full((), 2.0)]
    assert batches_of(infos, [arrays[0][:1], arrays[1]], 1) is None
    with pytest.raises(RunError, match=r"'scale: float32\[\]' has no batch axis"):
        batches_of(infos, arrays, 1)
    assert batches_of((TensorInfo("x", "float32", (None, 3)),), [arrays[0]], 1) is None
    assert batches_of((TensorInfo("x", "float32", None),), [arrays[0]], 1) is None


def test_an_output_without_batch_axis_is_not_collected() -> None:
    graph = Graph("mean")
    x = graph.add_input("x", TensorType("float32", (1, 3)))
    type = TensorType("float32", (3,))
    shape = graph.add_constant("shape", np.array([3], np.int64))
    graph.outputs = [graph.add_node("Reshape", [x, shape], [type], output_names=["flat"], opset=18).output]
    session = load(evaluator_artifact(graph))
    assert session.run(np.ones((1, 3), np.float32))[0].shape == (3,)
    with pytest.raises(RunError, match="no batch axis to collect results along"):
        session.run(np.ones((2, 3), np.float32))


def test_outputs_belong_to_the_caller() -> None:
    """An output that is an input, a constant, or the same value twice is an array of its own."""
    made = two_input_artifact()
    constant, files = constant_output("answer", 3, np.array([42], np.int64))
    total = made.manifest["outputs"][0]
    outputs = [total, {**total, "name": "again", "value": "sum"}, {**made.manifest["inputs"][0]}, constant]
    outputs[2].update(name="same", value="left")
    session = load(Artifact({**made.manifest, "outputs": outputs, "vectors": []}, {**made.files, **files}))
    left, right = np.ones((1, 3), np.float32), np.ones((1, 3), np.float32)
    for _ in range(2):
        first, second, third, fourth = session.run(left, right)
        assert first.tolist() == second.tolist() == [[2, 2, 2]] and third.tolist() == [[1, 1, 1]]
        assert fourth.tolist() == [42]
        for array in (first, third, fourth):
            array[...] = 7
        assert second.tolist() == [[2, 2, 2]] and left.tolist() == [[1, 1, 1]]


def test_evaluator_outputs_share_no_memory() -> None:
    graph = Graph("twins")
    type = TensorType("float32", (1, 3))
    x = graph.add_input("x", type)
    doubled = graph.add_node("Add", [x, x], [type], output_names=["doubled"], opset=18).output
    same = graph.add_node("Identity", [doubled], [type], output_names=["same"], opset=18).output
    graph.outputs = [doubled, same, graph.add_node("Identity", [x], [type], output_names=["back"], opset=18).output]
    given = np.ones((1, 3), np.float32)
    arrays = [*load(evaluator_artifact(graph)).run(given), given]
    for index, array in enumerate(arrays):
        array[...] = 10 + index
    assert [array.tolist()[0][0] for array in arrays] == [10, 11, 12, 13]


def test_closed_sessions_refuse() -> None:
    with load(evaluator_artifact(small_graph())) as session:
        session.run(image())
    with pytest.raises(RunError, match="the session is closed"):
        session.run(image())
    session.close()


def test_threads_get_their_own_results_and_counters(session: Session) -> None:
    wanted = {count: session.run(image(count, seed=count))[0].tobytes() for count in range(1, 9)}
    failures: list[int] = []

    def work(count: int) -> None:
        for _ in range(5):
            result = session.execute([image(count, seed=count)])
            if result.outputs[0].tobytes() != wanted[count] or result.counters["images"] != count:
                failures.append(count)

    threads = [threading.Thread(target=work, args=(count,)) for count in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_names_are_bound_by_place_and_by_name() -> None:
    infos = (TensorInfo("a", "float32", ()), TensorInfo("b", "float32", ()))
    assert bind(infos, [1], {"b": 2}) == [1, 2]
    assert bind(infos, [], {"b": 2, "a": 1}) == [1, 2]


# ---- devices


class Recorder(Device):
    """Runs "fake" regions: each output is the sum of the inputs."""

    name = "recorder"
    kinds: tuple[str, ...] = ("fake",)

    def absent(self) -> str | None:
        return None

    def load(self, region: RegionFiles) -> LoadedRegion:
        return Sum(region, self.name)


class Better(Recorder):
    name = "better"
    priority = 5


class Missing(Recorder):
    name = "missing"
    priority = 9

    def absent(self) -> str | None:
        return "there is no board"


class Other(Recorder):
    name = "other"
    kinds = ("something",)


class Sum(LoadedRegion):
    def __init__(self, region: RegionFiles, device: str) -> None:
        self.region, self.device, self.closed = region, device, False

    def run(self, inputs: Sequence[Array]) -> RegionResult:
        assert all(array.flags.c_contiguous for array in inputs)
        layers = [{"name": "sum", "cycles": 3, "onchip_peak_bytes": int(inputs[0].sum()), "on": self.device}]
        outputs = [np.sum(inputs, axis=0, dtype=inputs[0].dtype) for _ in self.region.outputs]
        return RegionResult(outputs, {"cycles": 3, "bytes_read": 24, "layers": layers})

    def close(self) -> None:
        self.closed = True


class Wrong(Recorder):
    name = "wrong"

    def load(self, region: RegionFiles) -> LoadedRegion:
        class Bad(LoadedRegion):
            def run(self, inputs: Sequence[Array]) -> RegionResult:
                return RegionResult([np.zeros(5)])

        return Bad()


class Entry:
    """As much of an importlib.metadata.EntryPoint as the session looks at."""

    def __init__(self, name: str, make: Callable[[], Any]) -> None:
        self.name, self.value, self.make = name, f"package.{name}:Device", make

    def load(self) -> Any:
        return self.make()


def unimportable() -> Any:
    raise ImportError("No module named 'pynq'")


def _itself(kind: type[Device]) -> type[Device]:
    return kind


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make these the only installed devices."""

    def chosen(*kinds: type[Device], broken: bool = False) -> None:
        entries = [Entry(kind.name, partial(_itself, kind)) for kind in kinds]
        if broken:
            entries.append(Entry("broken", unimportable))
        monkeypatch.setattr(devices, "entry_points", lambda group: entries)

    return chosen


def fake_artifact() -> Artifact:
    made = two_input_artifact()
    region = {**made.manifest["regions"][0], "kind": "fake", "files": []}
    return Artifact({**made.manifest, "regions": [region]}, made.files)


def test_the_present_device_of_highest_priority_is_chosen(install: Callable[..., None]) -> None:
    install(Recorder, Better, Missing, Other, broken=True)
    session = load(fake_artifact())
    assert session.devices == {"0_evaluator": "better"}
    assert load(fake_artifact(), device="recorder").devices == {"0_evaluator": "recorder"}
    assert [result.ok for result in verify_vectors(session)] == [True]


def test_counters_are_summed_over_images(install: Callable[..., None]) -> None:
    install(Recorder)
    session = load(fake_artifact())
    left = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    result = session.execute([left, left])
    assert result.outputs[0].tolist() == (2 * left).tolist()
    layer = {"name": "sum", "cycles": 6, "onchip_peak_bytes": 15, "on": "recorder"}
    region = {"cycles": 6, "bytes_read": 48, "layers": [layer], "name": "0_evaluator", "device": "recorder"}
    assert result.counters == {"images": 2, "cycles": 6, "bytes_read": 48, "regions": [region]}


def test_device_error_texts(install: Callable[..., None], golden: Callable[[str], None]) -> None:
    letters = []

    def said(device: str | None) -> None:
        with pytest.raises(RunError) as caught:
            load(fake_artifact(), device=device)
        letters.append(str(caught.value))

    install(Recorder, Missing, Other, broken=True)
    for device in ("simulator", "missing", "other", "broken"):
        said(device)
    install(Missing, Other)
    said(None)
    install()
    said(None)
    golden("\n".join(letters) + "\n")


def test_a_device_that_gives_something_else_is_named(install: Callable[..., None]) -> None:
    install(Wrong)
    row = np.zeros((1, 3), np.float32)
    with pytest.raises(RunError, match=r"'0_evaluator' on device 'wrong': the device gave float64\[5\] for 'sum'"):
        load(fake_artifact()).run(row, row)


def test_regions_pass_values_on_and_are_closed(install: Callable[..., None]) -> None:
    """Three regions; the middle one is the evaluator; the first value is read by the last region too."""
    install(Recorder)
    made = two_input_artifact()
    left, right = made.manifest["inputs"]
    value = {"dtype": "float32", "shape": [1, 3]}
    evaluated = {**made.manifest["regions"][0], "name": "1_evaluator"}
    first = {"name": "0_fake", "kind": "fake", "inputs": [left, left], "outputs": [{"name": "a", **value}], "files": []}
    middle = {**evaluated, "outputs": [{"name": "sum", **value}]}
    last_inputs = [{"name": "a", **value}, {"name": "sum", **value}, right]
    last = {"name": "2_fake", "kind": "fake", "inputs": last_inputs, "outputs": [{"name": "b", **value}], "files": []}
    manifest = {**made.manifest, "regions": [first, middle, last], "outputs": [{"name": "b", **value}], "vectors": []}
    files = {name.replace("0_evaluator", "1_evaluator"): data for name, data in made.files.items()}
    session = load(Artifact(manifest, files))
    x, y = np.array([[1, 2, 3]], np.float32), np.array([[10, 20, 30]], np.float32)
    result = session.execute([x, y])
    assert result.outputs[0].tolist() == [[2 + 11 + 10, 4 + 22 + 20, 6 + 33 + 30]]
    assert [region["name"] for region in result.counters["regions"]] == ["0_fake", "1_evaluator", "2_fake"]
    assert session._steps is not None
    loaded = [step.loaded for step in session._steps if isinstance(step.loaded, Sum)]
    session.close()
    assert [item.closed for item in loaded] == [True, True]


def test_installed_devices_are_those_of_the_package() -> None:
    assert {"cpu", "simulator"} <= {item.name for item in devices.installed_devices()}


def test_counters_add_by_meaning() -> None:
    before = {"cycles": 1, "peak_bytes": 5, "name": "a", "ok": True, "layers": [{"macs": 1, "tag": 4}]}
    after = {
        "cycles": 2,
        "peak_bytes": 3,
        "name": "a",
        "ok": True,
        "layers": [{"macs": 2, "tag": 4}, {"macs": 7}],
        "new": 1,
    }
    assert add(before, after) == {
        "cycles": 3,
        "peak_bytes": 5,
        "name": "a",
        "ok": True,
        "layers": [{"macs": 3, "tag": 4}, {"macs": 7}],
        "new": 1,
    }
    twice = add(before, before)
    assert per_image(twice, 2) == before
    assert per_image({"cycles": 3}, 2) == {"cycles": 1.5}


# ---- evaluator regions and test vectors


def test_ops_that_need_onnx_are_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = evaluator_artifact(small_graph(), region_metadata={"needs_onnx": ["Loop 'again'", "Einsum 'mix'"]})
    load(made)
    monkeypatch.setattr(evaluator, "find_spec", lambda name: None)
    with pytest.raises(RunError) as caught:
        load(made)
    assert str(caught.value) == (
        "region '0_evaluator': the package onnx gives the meaning of Loop 'again', Einsum 'mix', and it is not "
        "installed here\n  help: pip install onnx (there is none for 32-bit ARM), or replace these ops in the model"
    )


def test_a_graph_of_other_inputs_is_refused() -> None:
    made = two_input_artifact()
    region = made.manifest["regions"][0]
    swapped = {**region, "inputs": region["inputs"][::-1]}
    with pytest.raises(RunError, match="other inputs or outputs than the manifest says"):
        load(Artifact({**made.manifest, "regions": [swapped]}, made.files))


def test_vectors_say_what_differs(install: Callable[..., None]) -> None:
    session = load(evaluator_artifact(small_graph(), vectors=2))
    results = verify_vectors(session)
    assert [(result.vector, result.output, result.ok, result.different) for result in results] == [
        (0, "scores", True, 0),
        (1, "scores", True, 0),
    ]
    install(Doubling)
    (result,) = verify_vectors(load(fake_artifact()))
    assert not result.ok and result.different == 3 and result.largest > 0
    loose = fake_artifact()
    entry = {**loose.manifest["vectors"][0], "relative_tolerance": 1.0}
    (result,) = verify_vectors(load(Artifact({**loose.manifest, "vectors": [entry]}, loose.files)))
    assert result.ok and result.different == 3


class Doubling(Recorder):
    name = "doubling"

    def load(self, region: RegionFiles) -> LoadedRegion:
        class Twice(Sum):
            def run(self, inputs: Sequence[Array]) -> RegionResult:
                return RegionResult([2 * array for array in super().run(inputs).outputs])

        return Twice(region, self.name)


def test_the_public_names_work(tmp_path: Any) -> None:
    evaluator_artifact(small_graph()).save(tmp_path / "a.intarsia")
    session = intarsia.load(str(tmp_path / "a.intarsia"))
    assert isinstance(session, intarsia.Session) and isinstance(session.artifact, intarsia.Artifact)
    assert tensor(small_graph().inputs[0])["shape"] == [1, 2, 5, 5]


def test_values_that_cannot_be_computed_are_the_callers() -> None:
    graph = Graph("pick")
    index = graph.add_input("index", TensorType("int64", (1,)))
    table = graph.add_constant("table", np.arange(4, dtype=np.float32))
    type = TensorType("float32", (1,))
    graph.outputs = [graph.add_node("Gather", [table, index], [type], {"axis": 0}, opset=18, name="pick").output]
    made = evaluator_artifact(graph, vectors=0)
    assert load(made).run([3])[0].tolist() == [3.0]
    with pytest.raises(RunError, match="Gather 'pick'"):
        load(made).run([9])
