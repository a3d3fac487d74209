"""Generated programs on the NumPy machine and on the RTL; `tests/hardware/generated_layers.py` runs any number of them.

INTARSIA_GENERATED=2000 in the environment asks for that many here.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from equality import Case, difference, load, save
from generated_layers import cases, word_case
from harness import needs_verilator

from generated_graphs import examples
from intarsia_backends.overlay.machine.config import CONFIGS, TINY
from intarsia_backends.rtl.core import Core

pytestmark = [pytest.mark.rtl, needs_verilator]


@pytest.fixture(scope="module", params=[False, True], ids=["synthesised", "simulation"])
def core(request: pytest.FixtureRequest) -> Iterator[Core]:
    """One core for all: what a program leaves in memories and registers must not matter to the next.

    The modules for simulation hold no checks: those of the synthesised core say all that there is to say. Without them
    the other one is the core that the device rtl runs, which is built anyway.
    """
    found = Core(TINY, checks=not request.param, fast=request.param)
    yield found
    found.close()


def assert_agree(core: Core, found: Iterator[Case], count: int, folder: Path) -> None:
    for number, case in enumerate(islice(found, count)):
        what, _ = difference(core, case)
        if what:
            save(case, folder, what)
            pytest.fail(
                f"case {number}: {what}\nrun it again: python -m tests.hardware.generated_layers --replay {folder}"
            )


def test_compiled_programs(core: Core, tmp_path: Path) -> None:
    assert_agree(core, cases(TINY, 7), examples(120), tmp_path)


def test_raw_words(core: Core, tmp_path: Path) -> None:
    random = np.random.default_rng(11)
    assert_agree(core, (word_case(TINY, random) for _ in iter(int, 1)), examples(60), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("config", ["pynq-z2", "kv260"])
def test_larger_configurations(config: str, tmp_path: Path) -> None:
    assert_agree(Core(CONFIGS[config]), cases(CONFIGS[config], 3), examples(120), tmp_path)


def test_a_case_can_be_kept(tmp_path: Path) -> None:
    case = word_case(TINY, np.random.default_rng(1))
    save(case, tmp_path, "nothing differs")
    again = load(tmp_path)
    assert again.inputs.tobytes() == case.inputs.tobytes()
    assert (again.program, again.constants, again.segments, again.memory, again.shift_words) == (
        *(case.program, case.constants, case.segments, case.memory, case.shift_words),
    )
