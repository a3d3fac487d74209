"""More rows than compiled, on regions that take many images in one call: limits, progress, counters, order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx.parser
import pytest

import intarsia
from artifact_examples import chain
from intarsia.dtypes import Array
from intarsia.runtime import devices
from intarsia.runtime.device import Device, LoadedRegion, RegionFiles, RegionResult
from intarsia.runtime.limits import CancellationToken, RunCancelled
from intarsia.runtime.pace import Pace
from intarsia.runtime.session import Session, load


class Stage(LoadedRegion):
    """Adds 1; notes how many images came."""

    def __init__(self, device: Adder) -> None:
        self.device, self.images_at_once = device, 4

    def run(self, inputs: Sequence[Array]) -> RegionResult:
        self.device.came.append(1)
        return RegionResult([inputs[0] + 1], {"cycles": 3})

    def run_images(self, inputs: Sequence[Array], images: int) -> RegionResult:
        self.device.came.append(images)
        self.device.reached()
        return RegionResult([inputs[0].reshape(images, 1, 3) + 1], {"cycles": 3 * images})


class Adder(Device):
    name, kinds = "adder", ("add",)

    def __init__(self) -> None:
        self.came: list[int] = []
        self.reached: Callable[[], None] = lambda: None

    def absent(self) -> str | None:
        return None

    def load(self, region: RegionFiles) -> LoadedRegion:
        return Stage(self)


class Entry:
    name = value = "adder"

    def __init__(self, device: Adder) -> None:
        self.load = lambda: lambda: device


@pytest.fixture
def adder(monkeypatch: pytest.MonkeyPatch) -> Adder:
    device = Adder()
    monkeypatch.setattr(devices, "entry_points", lambda group: [Entry(device)])
    return device


def rows(count: int) -> Array:
    return np.arange(3 * count, dtype=np.float32).reshape(count, 3)


@pytest.mark.parametrize("stages", [1, 3])
@pytest.mark.parametrize("count", [2, 16, 17, 100])
def test_all_rows_go_through_every_region(adder: Adder, stages: int, count: int) -> None:
    session = load(chain(stages))
    x = rows(count)
    for outputs in (session.run(x), session.execute([x]).outputs, session.run(x[::-1])[::-1]):
        assert outputs[0].shape == x.shape or outputs[0][::-1].shape == x.shape
    assert session.run(x)[0].tobytes() == (x + stages).tobytes()
    assert session.run(x[:, ::-1])[0].tobytes() == (x[:, ::-1] + stages).tobytes()
    result = session.execute([x])
    assert result.outputs[0].tobytes() == (x + stages).tobytes()
    assert result.images == count and result.counters["cycles"] == 3 * stages * count
    assert max(adder.came) > 1


def test_who_waits_for_word_gets_it_between_parts(adder: Adder) -> None:
    told: list[tuple[str, int, int]] = []
    result = load(chain(2)).execute([rows(50)], progress=lambda *step: told.append(step))
    assert result.outputs[0].tobytes() == (rows(50) + 2).tobytes()
    done = [item[1] for item in told]
    assert told[0] == ("running", 0, 50) and told[1] == ("running", 4, 50) and told[-1] == ("running", 50, 50)
    assert done == sorted(set(done)) and len(done) > 3


def test_a_token_stops_between_parts(adder: Adder) -> None:
    session, token = load(chain(2)), CancellationToken()
    adder.reached = token.cancel
    with pytest.raises(RunCancelled) as caught:
        session.run(rows(50), cancellation=token)
    assert caught.value.region == "1_add"
    assert caught.value.where == "region '1_add' (samples 1 to 4 of 50)"
    adder.reached = lambda: None
    assert session.run(rows(50))[0].tobytes() == (rows(50) + 2).tobytes()


def test_parts_grow_where_they_are_quick_and_shrink_where_not() -> None:
    now = [0.0]
    session = load(chain_of_cpu())
    assert session._steps is not None
    pace = Pace(session._steps, watched=True, clock=lambda: now[0])
    lengths = []
    for seconds_each in (1e-5,) * 5 + (0.2,) * 2:
        images = pace.images(10_000)
        lengths.append(images)
        now[0] += images * seconds_each
        pace.done(images)
    first = session._steps[0].loaded.images_at_once
    assert lengths[:3] == [first, 2 * first, 4 * first] and lengths[-1] == 1
    assert pace.images(3) == 1


def chain_of_cpu() -> intarsia.Artifact:
    return intarsia.compile_model(
        onnx.parser.parse_model(
            '<ir_version: 9, opset_import: ["" : 18]> mlp (float[1,20] x) => (float[1,30] y, float[1,70] h)'
            "<float[20,70] a = {" + ",".join(str((k * 37 % 101 - 50) / 100) for k in range(1400)) + "},"
            " float[70,30] b = {" + ",".join(str((k * 53 % 103 - 50) / 100) for k in range(2100)) + "}>"
            "{ t = MatMul (x, a) h = Relu (t) y = MatMul (h, b) }"
        ),
        target="cpu",
    )


@pytest.fixture(scope="module")
def session() -> Session:
    return load(chain_of_cpu(), threads=2)


@pytest.mark.parametrize("count", [0, 1, 2, 9, 70, 300])
def test_a_compiled_model(session: Session, count: int) -> None:
    x = np.random.default_rng(count).standard_normal((count, 20)).astype(np.float32)
    alone = [session.run(row[np.newaxis]) for row in x]
    told: list[tuple[str, int, int]] = []
    watched = session.execute([x], progress=lambda *step: told.append(step)).outputs
    for outputs in (session.run(x), session.run(x=x), session.run(np.asfortranarray(x)), watched):
        assert [array.shape for array in outputs] == [(count, 30), (count, 70)]
        for index, expected in enumerate(alone):
            assert [array[index].tobytes() for array in outputs] == [array.tobytes() for array in expected]
    assert session.execute([x], timeout=60).images == count


def test_outputs_of_two_runs_share_no_memory(session: Session) -> None:
    x = np.ones((40, 20), np.float32)
    first = session.run(x)
    kept = [array.copy() for array in first]
    session.run(2 * x)
    assert all(array.tobytes() == copy.tobytes() for array, copy in zip(first, kept))
    first[0][:] = 0
    assert session.run(x)[0].tobytes() == kept[0].tobytes()
