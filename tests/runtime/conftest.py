"""The device of `adders`, as if it were the only one that is installed."""

from __future__ import annotations

import pytest

from adders import Adder, Entry
from intarsia.runtime import devices


@pytest.fixture
def adder(monkeypatch: pytest.MonkeyPatch) -> Adder:
    device = Adder()
    monkeypatch.setattr(devices, "entry_points", lambda group: [Entry(device)])
    return device
