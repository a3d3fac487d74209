"""Values stay on the GPU between its regions: bytes are the same, and no copy is made that both sides can spare."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from cards import Cards
from fake_cuda import FakeDriver
from region_graphs import CHAIN, TYPE, artifact_of, inputs_of, meaning, random_regions, same

import intarsia
from generated_graphs import examples
from intarsia.errors import RunError
from intarsia.ir.graph import Graph
from intarsia.runtime.device import Resident


@pytest.mark.parametrize("seed", range(examples(6)))
def test_values_with_several_readers(cards: Cards, seed: int) -> None:
    regions, outputs = random_regions(seed)
    with intarsia.load(artifact_of(cards.blob, regions, outputs)) as session:
        for data in (inputs_of(1), inputs_of(2), inputs_of(1)):
            assert same(session.run(*data.values()), meaning(regions, outputs, **data)), (regions, outputs)


def test_no_copy_at_a_border_that_both_sides_can_spare(fake: FakeDriver, cards: Cards) -> None:
    with intarsia.load(artifact_of(cards.blob, CHAIN, ["f"])) as session:
        session.run(*inputs_of(0).values())
        graphs = fake.calls("cuGraphInstantiate")
        counts = [fake.calls(way) for way in ("pinned to card", "card to pinned", "cuMemcpyDtoDAsync")]
        assert same(session.run(*inputs_of(3).values()), meaning(CHAIN, ["f"], **inputs_of(3)))
        after = [fake.calls(way) for way in ("pinned to card", "card to pinned", "cuMemcpyDtoDAsync")]
    # To the card: x, y for the first region, x for the second, d for the last; back from it: b and f.
    assert [b - a for a, b in zip(counts, after)] == [4, 2, 0]
    assert fake.calls("cuGraphInstantiate") == graphs == 3, "graphs are made once"


def test_what_stays_is_an_output_too(cards: Cards) -> None:
    with intarsia.load(artifact_of(cards.blob, CHAIN, ["a", "b", "f"])) as session:
        first = session.run(*inputs_of(4).values())
        again = session.run(*inputs_of(5).values())
        assert same(first, meaning(CHAIN, ["a", "b", "f"], **inputs_of(4)))
        assert same(again, meaning(CHAIN, ["a", "b", "f"], **inputs_of(5)))


def test_threads_keep_their_values_apart(cards: Cards) -> None:
    regions, outputs = random_regions(11)
    wrong: list[int] = []
    with intarsia.load(artifact_of(cards.blob, regions, outputs)) as session:

        def work(seed: int) -> None:
            for _ in range(8):
                if not same(session.run(*inputs_of(seed).values()), meaning(regions, outputs, **inputs_of(seed))):
                    wrong.append(seed)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_limit_ends_a_run_between_regions_and_lanes_are_free_again(fake: FakeDriver, cards: Cards) -> None:
    with intarsia.load(artifact_of(cards.blob, CHAIN, ["f"])) as session:
        session.run(*inputs_of(0).values())
        arenas = fake.alive()["memory"]
        for _ in range(3):
            with pytest.raises(RunError, match="were over"):
                session.run(*inputs_of(0).values(), timeout=0)
        fake.fail("cuGraphLaunch", nth=2)
        with pytest.raises(RunError, match="the driver failed"):
            session.run(*inputs_of(0).values())
        assert fake.alive()["memory"] == arenas - 1, "the lane of what failed is closed, the others are free"
        assert same(session.run(*inputs_of(7).values()), meaning(CHAIN, ["f"], **inputs_of(7)))
        assert fake.alive()["memory"] == arenas
        fake.fault(nth=2)
        with pytest.raises(RunError, match="a kernel failed"):
            session.run(*inputs_of(0).values())


@pytest.mark.parametrize("outputs", [["f"], ["a", "b", "f"]])
def test_whatever_call_fails_is_told_and_nothing_is_left(fake: FakeDriver, cards: Cards, outputs: list[str]) -> None:
    artifact = artifact_of(cards.blob, CHAIN, outputs)
    wanted = meaning(CHAIN, outputs, **inputs_of(6))
    for nth in range(1, 1000):
        fake.reset()
        fake.fail(nth=nth)
        try:
            with intarsia.load(artifact, device="cuda") as session:
                for _ in range(2):
                    found = session.run(*inputs_of(6).values())
        except RunError as error:
            assert fake.failed and fake.failed in error.what and "CUDA_ERROR_UNKNOWN" in error.what, (nth, error)
        else:
            assert same(found, wanted)
            if fake.calls() < nth:
                break
        left = {"context": 1} if fake.failed == "cuDevicePrimaryCtxRelease" else {}
        assert fake.alive() == left, (nth, fake.failed)
    assert 100 < nth < 999
    fake.reset()


@pytest.mark.parametrize("last_first", [False, True])
def test_a_lane_is_not_written_to_before_others_have_read_it(cards: Cards, last_first: bool) -> None:
    add, double = (Graph(name) for name in ("add", "double"))
    for graph, inputs in ((add, ("x", "y")), (double, ("v",))):
        values = [graph.add_input(name, TYPE) for name in inputs]
        graph.outputs = [graph.add_node("Add", [values[0], values[-1]], [TYPE], opset=18).output]
    first, second = cards.load(add), cards.load(double)
    for seed in range(2):
        before, after = (list(inputs_of(2 * seed + number).values()) for number in (0, 1))
        sums = first.run_at_home(before, [True]).outputs[0]
        doubled = second.run_at_home([sums], [True]).outputs[0]
        assert isinstance(sums, Resident) and isinstance(doubled, Resident)
        sums.release()  # nobody has waited for the second region yet
        later = first.run_at_home(after, [True]).outputs[0]
        assert isinstance(later, Resident)
        if last_first:
            assert np.array_equal(later.array(), after[0] + after[1])
        assert np.array_equal(doubled.array(), 2 * (before[0] + before[1]))
        assert np.array_equal(later.array(), after[0] + after[1])
        doubled.release()
        later.release()
    first.close()
    second.close()
