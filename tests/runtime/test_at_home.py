"""Values that stay on a device: who gets them as they are, who as arrays, and when they are released."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import pytest

from artifact_examples import chain
from intarsia.dtypes import Array
from intarsia.errors import RunError
from intarsia.runtime import devices
from intarsia.runtime.device import Device, HomeResult, LoadedRegion, RegionFiles, RegionResult, Resident
from intarsia.runtime.limits import CancellationToken, RunCancelled
from intarsia.runtime.session import load

X = np.zeros((1, 3), np.float32)


class Kept(Resident):
    def __init__(self, keeper: Keeper, home: Hashable, array: Array) -> None:
        self.keeper, self.home, self.kept = keeper, home, array
        self.dtype, self.shape = array.dtype, array.shape
        keeper.alive += 1

    def array(self) -> Array:
        self.keeper.arrays += 1
        return self.kept

    def release(self) -> None:
        self.keeper.alive -= 1


class Stage(LoadedRegion):
    """Adds 1 at home."""

    def __init__(self, keeper: Keeper, name: str) -> None:
        self.keeper, self.name = keeper, name
        self.home = keeper.homes[int(name[0])]

    def run(self, inputs: Sequence[Array]) -> RegionResult:
        self.keeper.reached(self.name)
        return RegionResult([inputs[0] + 1])

    def run_at_home(self, inputs: Sequence[Array | Resident], kept: Sequence[bool]) -> HomeResult:
        self.keeper.reached(self.name)
        (value,) = inputs
        self.keeper.came.append(type(value) is Kept and value.home == self.home)
        array = (value.kept if isinstance(value, Kept) else np.asarray(value)) + self.keeper.step
        return HomeResult([Kept(self.keeper, self.home, array) if kept[0] else array], {"cycles": 1})


class Keeper(Device):
    """homes  of its regions, in order"""

    name, kinds = "keeper", ("add",)

    def __init__(self) -> None:
        self.homes: list[str | None] = ["here", "here", "here"]
        self.step: Any = np.float32(1)
        self.came: list[bool] = []
        self.alive = self.arrays = 0
        self.reached: Callable[[str], None] = lambda name: None

    def absent(self) -> str | None:
        return None

    def load(self, region: RegionFiles) -> LoadedRegion:
        return Stage(self, region.name)


@pytest.fixture
def keeper(monkeypatch: pytest.MonkeyPatch) -> Keeper:
    device = Keeper()

    class Entry:
        name = value = "keeper"
        load = staticmethod(lambda: lambda: device)

    monkeypatch.setattr(devices, "entry_points", lambda group: [Entry])
    return device


@pytest.mark.parametrize(
    ("homes", "came", "arrays"),
    [
        (["here", "here", "here"], [False, True, True], 0),
        (["here", "here", "there"], [False, True], 0),
        (["here", "there", "here"], [], 0),
        ([None, "here", "here"], [False, True], 0),
        ([None, None, None], [], 0),
    ],
)
def test_what_stays_goes_from_region_to_region(
    keeper: Keeper, homes: list[str | None], came: list[bool], arrays: int
) -> None:
    keeper.homes = homes
    with load(chain(3)) as session:
        for _ in range(2):
            assert session.run(X)[0].tolist() == [[3, 3, 3]]
            assert (keeper.came, keeper.arrays, keeper.alive) == (came, arrays, 0)
            keeper.came = []
        assert session.run(np.zeros((4, 3), np.float32))[0].tolist() == [[3, 3, 3]] * 4


def test_a_run_that_ends_early_releases_what_stayed(keeper: Keeper) -> None:
    token = CancellationToken()

    def reached(name: str) -> None:
        if name.startswith("1"):
            token.cancel()

    keeper.reached = reached
    with load(chain(3)) as session:
        with pytest.raises(RunCancelled):
            session.run(X, cancellation=token)
        assert keeper.came == [False, True] and keeper.alive == 0


def test_a_device_that_keeps_something_else_is_found_out(keeper: Keeper) -> None:
    keeper.step = np.zeros((2, 3), np.float64)
    with (
        load(chain(2)) as session,
        pytest.raises(RunError, match=r"the device gave float64\[2, 3\] for 'v1'"),
    ):
        session.run(X)
    assert keeper.alive == 0
