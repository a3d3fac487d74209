"""Values stay on the device between regions of OpenCL, with the same bytes."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from gpu_regions import device
from region_graphs import Region, artifact_of, inputs_of, meaning, random_regions, same

import intarsia
from generated_graphs import examples
from intarsia_backends.opencl.target import OpenClTarget

compile = OpenClTarget().compile


@pytest.fixture(autouse=True)
def driver() -> None:
    """One that knows the processor."""
    device()


@pytest.mark.parametrize("seed", range(examples(4)))
def test_values_with_several_readers(seed: int) -> None:
    regions, outputs = random_regions(seed)
    with intarsia.load(artifact_of(compile, regions, outputs)) as session:
        for data in (inputs_of(1), inputs_of(2), inputs_of(1)):
            assert same(session.run(*data.values()), meaning(regions, outputs, **data)), (regions, outputs)


def test_only_what_others_need_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    import pyopencl as cl

    regions = [
        Region(True, (("Add", "x", "y", "a"),)),
        Region(True, (("Mul", "a", "a", "b"),)),
        Region(True, (("Sub", "b", "a", "c"),)),
    ]
    copies: list[int] = []
    really = cl.enqueue_copy
    with intarsia.load(artifact_of(compile, regions, ["c"])) as session:

        def copied(*given: Any, **named: Any) -> Any:
            copies.append(1)
            return really(*given, **named)

        monkeypatch.setattr(cl, "enqueue_copy", copied)
        found = session.run(*inputs_of(3).values())
    assert same(found, meaning(regions, ["c"], **inputs_of(3)))
    assert len(copies) == 3, "two inputs to the device, one output from it"


def test_threads_keep_their_values_apart() -> None:
    regions, outputs = random_regions(11)
    wrong: list[int] = []
    with intarsia.load(artifact_of(compile, regions, outputs)) as session:

        def work(seed: int) -> None:
            for _ in range(8):
                data = inputs_of(seed)
                if not same(session.run(*data.values()), meaning(regions, outputs, **data)):
                    wrong.append(seed)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
