"""Ranges in one pass, with memory that does not grow with the number of samples."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from floats import Floats
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.dtypes import Array
from intarsia.errors import CompileError
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph
from intarsia.ir.types import TensorType
from intarsia.passes.context import Context
from intarsia.passes.quantize import Calibrate, calibrate, quantize, require_measured
from intarsia.passes.quantize.calibrate import assumed_ranges
from intarsia.passes.quantize.histogram import BINS_PER_OCTAVE, Histogram


def small() -> Floats:
    net = Floats(1, 4, 16, 16)
    a = net.conv(net.x, 8, 3, "a", activation="Relu", activation_arguments=())
    net.done(net.conv(a, 8, 3, "b", activation="Sigmoid", activation_arguments=()))
    return net


def test_minmax_is_what_was_seen() -> None:
    net = small()
    samples = net.samples()
    ranges = calibrate(net.graph, samples)
    seen = np.stack([evaluate(net.graph, sample)[0] for sample in samples])
    assert ranges.bounds["b"] == (seen.min(), seen.max())
    x = np.stack([sample["x"] for sample in samples])
    assert ranges.bounds["x"] == (x.min(), x.max())
    assert ranges.samples == 8 and not ranges.assumed
    low, high = ranges.bounds["b_before_sigmoid"]
    assert low < 0 < high
    assert "activation" in net.graph.node("b").attributes  # the graph is left alone


@pytest.mark.parametrize("method", ["minmax", "percentile"])
def test_memory_is_flat(method: str) -> None:
    net = Floats(1, 8, 64, 64)
    net.done(net.node("Sigmoid", [net.node("Relu", [net.x], "a")], "b"))
    sample = net.normal(1, 8, 64, 64)

    def stream(count: int) -> Iterator[dict[str, Array]]:
        for number in range(count):
            yield {"x": sample * np.float32(1 + number % 10)}

    def peak_bytes(count: int) -> int:
        tracemalloc.start()
        calibrate(net.graph, stream(count), method=method)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak_bytes(2)
    assert peak_bytes(250) <= 1.1 * peak_bytes(25)


def test_percentile_leaves_outliers_out() -> None:
    net = Floats(1, 1, 100, 100)
    net.done(net.node("Relu", [net.x], "y"))
    samples = net.samples(4)
    samples[2]["x"][0, 0, 5, 5] = 1000.0
    assert calibrate(net.graph, samples).bounds["x"][1] == 1000.0
    low, high = calibrate(net.graph, samples, method="percentile", percentile=99.9).bounds["x"]
    assert -4.5 < low < -2.5 and 2.5 < high < 6


@given(
    st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), st.integers(1, 400)), min_size=1, max_size=6),
    st.sampled_from([90.0, 99.0, 100.0]),
    st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_histogram_keeps_every_number_and_its_place(
    parts: list[tuple[float, float, int]], percent: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    histogram, everything = Histogram(), []
    for centre, spread, count in parts:
        numbers = (centre + spread * rng.standard_normal(count)).astype(np.float32)
        histogram.add(numbers, float(numbers.min()), float(numbers.max()))
        everything.append(numbers)
    joined = np.sort(np.concatenate(everything))
    low, high = histogram.central(percent)
    assert (histogram.low, histogram.high) == (joined[0], joined[-1])
    assert joined[0] <= low <= high <= joined[-1]
    width = max(joined[-1] - joined[0], abs(joined[0]), abs(joined[-1])) / BINS_PER_OCTAVE
    tail = (100 - percent) / 200
    assert (joined < low - width).mean() <= tail and (joined > high + width).mean() <= tail
    assert (joined <= low + width).mean() >= tail and (joined >= high - width).mean() >= tail


def test_numbers_of_all_sizes_have_bins() -> None:
    histogram = Histogram()
    for exponent in range(-20, 20):
        number = np.float32(2.0) ** np.float32(exponent)
        histogram.add(np.array([number, -number]), -float(number), float(number))
    assert histogram.central(100.0) == (-(2.0**19), 2.0**19)
    low, high = histogram.central(90.0)
    assert 2.0**15 <= high < 2.0**16 and low == pytest.approx(-high, rel=0.05)


def test_the_order_of_the_samples_changes_no_bit() -> None:
    rng = np.random.default_rng(9)
    parts = [(rng.standard_normal(500) * 10.0**size).astype(np.float32) for size in (-3, 0, 4, 1, -1)]
    found: set[object] = set()
    for order in ((0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (2, 0, 4, 1, 3)):
        histogram = Histogram()
        for index in order:
            histogram.add(parts[index], float(parts[index].min()), float(parts[index].max()))
        found.update(histogram.central(percent) for percent in (99.0,))
    assert len(found) == 1


@pytest.mark.parametrize("first", [True, False])
def test_one_bad_sample_leaves_the_bins_of_the_others_fine(first: bool) -> None:
    good = np.random.default_rng(9).standard_normal(100_000).astype(np.float32)
    histogram, bad = Histogram(), np.array([1e30], np.float32)
    for numbers in (bad, good) if first else (good, bad):
        histogram.add(numbers, float(numbers.min()), float(numbers.max()))
    low, high = histogram.central(99.9)
    wanted = np.quantile(good, [0.0005, 0.9995])
    assert low == pytest.approx(wanted[0], rel=0.01) and high == pytest.approx(wanted[1], rel=0.01)


def test_progress_is_told() -> None:
    net = small()
    seen: list[int] = []
    calibrate(net.graph, net.samples(3), progress=seen.append)
    assert seen == [1, 2, 3]


def test_errors_name_the_value() -> None:
    net = small()
    samples = net.samples()
    samples[3]["x"][0, 1, 2, 3] = np.nan
    ranges = calibrate(net.graph, samples)
    with pytest.raises(CompileError, match="value 'x' in calibration sample 3: it holds NaN or infinity"):
        quantize(net.graph.copy(), ranges)
    with pytest.raises(CompileError, match="there is no sample in the data"):
        calibrate(net.graph, [])
    with pytest.raises(CompileError, match="choose one of minmax, percentile"):
        calibrate(net.graph, samples, method="entropy")
    with pytest.raises(CompileError, match="percentile 10"):
        calibrate(net.graph, samples, method="percentile", percentile=10)


def test_assumed_ranges_are_not_for_code() -> None:
    net = small()
    with pytest.raises(CompileError, match="no activation range was measured"):
        require_measured(assumed_ranges(net.graph))
    require_measured(calibrate(net.graph, net.samples(1)))


def test_a_sample_that_the_graph_cannot_run_on_is_named() -> None:
    graph = Graph("g")
    x, index = graph.add_input("x", TensorType("float32", (4,))), graph.add_input("i", TensorType("int64", (1,)))
    taken = graph.add_node("Gather", [x, index], [TensorType("float32", (1,))], name="taken", opset=17)
    graph.outputs = [taken.output]
    samples = [{"x": np.zeros(4, np.float32), "i": np.array([at])} for at in (0, 9)]
    with pytest.raises(CompileError, match=r"Gather 'taken', on calibration sample 1: .*out of bounds"):
        calibrate(graph, samples)


def test_percentile_quantizes_too() -> None:
    net = small()
    samples = net.samples()
    twin = net.graph.copy()
    quantize(twin, calibrate(net.graph, samples, method="percentile"))
    for sample in samples:
        assert np.abs(evaluate(net.graph, sample)[0] - evaluate(twin, sample)[0]).max() < 0.1


def stretched(count: int, factor: float, at: int, **options: Any) -> tuple[list[str], tuple[float, float]]:
    """What is told of samples of which one is `factor` times as large, and the range of the input."""
    net, told = small(), list[str]()
    samples = net.samples(count)
    samples[at] = {"x": samples[at]["x"] * np.float32(factor)}
    ranges = calibrate(net.graph, samples, tell=told.append, **options)
    return told, ranges.bounds["x"]


@pytest.mark.parametrize("at", [0, 5, 19])
def test_one_sample_unlike_all_others_is_told(at: int) -> None:
    told, _ = stretched(20, 100.0, at)
    assert told == [
        f"sample {at} alone makes the range of 'x' and 2 more over 4 times as long as all others do: take it out if it "
        "is no real input, or use --calibrator percentile --percentile 90"
    ]
    told, (low, high) = stretched(20, 100.0, at, method="percentile", percentile=90.0)
    assert told == [] and -6 < low < -1 and 1 < high < 6, "the advice helps"


def test_samples_of_usual_sizes_are_not_told() -> None:
    assert stretched(20, 2.0, 3)[0] == stretched(7, 100.0, 3)[0] == []


def test_the_note_reaches_the_user() -> None:
    net = small()
    samples = net.samples(8)
    samples[2]["x"] *= np.float32(50)
    outcome = Calibrate().apply(net.graph, Context("net", samples))
    assert [where for where, _ in outcome.notes] == [
        "calibration",
        "calibration",
    ]  # 8 samples are few, and one is alone
