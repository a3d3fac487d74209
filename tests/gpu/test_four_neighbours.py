"""Kernels whose threads make four neighbours each give what those give whose threads make one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cuda_on_cpu import ORDERS, Kernels
from cuda_regions import FOLDER
from hypothesis import given, settings
from hypothesis import strategies as st
from product_nests import ACCUMULATOR, ALIGNED, ends, factors, random_operands, source_of

from generated_graphs import examples
from intarsia_backends.cuda.dialect import CUDA_CPP
from intarsia_backends.gpu.emit.fours import fours_of
from intarsia_backends.gpu.machine import GpuMachine
from intarsia_backends.lowering.access import Access, row_major
from intarsia_backends.lowering.expressions import Apply, Cast, Expression, Gather, Input
from intarsia_backends.lowering.kernels import Nest, nest

ONE_BY_ONE = GpuMachine()


def depthwise(channels: int, height: int, width: int, window: tuple[int, int], stride: int, dtype: str) -> Nest:
    """Images [height, width, channels] and weights [height, width, channels]."""
    down, across = window
    rows, columns = (height - down) // stride + 1, (width - across) // stride + 1
    kept = rows, columns, channels
    line, pixel, _ = row_major((height, width, channels))
    sums = "int32" if dtype == "int8" else "float32"
    result = "int8" if dtype == "int8" else "float32"
    return nest(
        kept,
        [
            Access(dtype, (line * stride, pixel * stride, 1, line, pixel)),
            Access(dtype, (0, 0, 1, across * channels, channels)),
            Access(sums, (0, 0, 1, 0, 0)),
        ],
        Access(result, row_major(kept)),
        factors(dtype),
        reduced=window,
        combine="add",
        initial=Input(2),
        epilogue=ends(result, False),
    )


def pool(channels: int, size: int, window: int, dtype: str) -> Nest:
    """The largest of each window of images [size, size, channels]."""
    line, pixel, _ = row_major((size, size, channels))
    kept = (size - window + 1, size - window + 1, channels)
    access = Access(dtype, (line, pixel, 1, line, pixel))
    initial = Input(1)
    lowest = Access(dtype, (0,) * 5)
    return nest(
        kept,
        [access, lowest],
        Access(dtype, row_major(kept)),
        Input(0),
        reduced=(window, window),
        combine="max",
        initial=initial,
        epilogue=ACCUMULATOR,
    )


def mapped(shape: tuple[int, ...], turned: bool, body: Expression, table: bool = False) -> Nest:
    """Two int8 arrays, one of them perhaps stored the other way round, and a third that runs along the last axis."""
    strides = row_major(shape)
    other = tuple(reversed(row_major(tuple(reversed(shape))))) if turned else strides
    last = (*(0,) * (len(shape) - 1), 1)
    third = Access("int8", (0,) * len(shape), 128) if table else Access("int8", last)
    return nest(shape, [Access("int8", strides), Access("int8", other), third], Access("int8", strides), body)


def check(kernel: Nest, fours: bool = True) -> None:
    """The same bytes in every order of threads."""
    source, plain = source_of(kernel), source_of(kernel, ONE_BY_ONE)
    assert (("STORE_4" in source.text) == fours) and "STORE_4" not in plain.text
    arrays = random_operands(source, kernel)
    expected = [array.copy() for array in arrays]
    Kernels(CUDA_CPP.preamble + plain.text, FOLDER).launch(plain.facts, expected)
    kernels = Kernels(CUDA_CPP.preamble + source.text, FOLDER)
    for order in ORDERS:
        found = [array.copy() for array in arrays]
        kernels.launch(source.facts, found, order)
        np.testing.assert_array_equal(found[-1], expected[-1])


@given(st.data())
@settings(max_examples=examples(6))
def test_depthwise_convolutions_of_any_size(data: Any) -> None:
    channels = 4 * data.draw(st.integers(1, 9))
    height, width = data.draw(st.integers(3, 12)), data.draw(st.integers(3, 12))
    window, stride = data.draw(st.sampled_from([(3, 3), (1, 3), (2, 2)])), data.draw(st.integers(1, 2))
    check(depthwise(channels, height, width, window, stride, data.draw(st.sampled_from(["int8", "float32"]))))


def test_threads_make_several_rows_where_there_are_many() -> None:
    kernel = depthwise(64, 66, 34, (3, 3), 1, "int8")
    fours = fours_of(kernel, (ALIGNED,) * 4)
    assert fours is not None and fours.rows == 2 and all(fours.wide)
    check(kernel)


@pytest.mark.parametrize("window, size, channels", [(2, 9, 12), (6, 21, 64)])
@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_pools(window: int, size: int, channels: int, dtype: str) -> None:
    check(pool(channels, size, window, dtype))


def test_long_reductions_of_few_elements_are_shared_by_more_threads() -> None:
    check(pool(12, 9, 6, "int8"), fours=False)


SUM = Cast("int8", Apply("max", (Cast("int32", Input(0)), Cast("int32", Input(1)) + Cast("int32", Input(2)))))


@pytest.mark.parametrize("shape", [(64,), (5, 12), (3, 5, 8)])
@pytest.mark.parametrize("turned", [False, True])
def test_what_is_made_element_by_element(shape: tuple[int, ...], turned: bool) -> None:
    check(mapped(shape, turned, SUM))


def test_tables() -> None:
    body = Cast("int8", Cast("int32", Input(0)) + Cast("int32", Gather(2, Cast("int32", Input(1)))))
    kernel = mapped((5, 12), False, body, table=True)
    source = source_of(kernel)
    assert "STORE_4" in source.text and source.facts.parameters[2].alignment == 1


def test_what_does_not_start_at_multiples_of_four_is_made_one_by_one() -> None:
    check(mapped((5, 10), True, SUM), fours=False)
    assert fours_of(mapped((64,), False, SUM), (16, 16, 16, 2)) is None
    fours = fours_of(mapped((64,), False, SUM), (16, 1, 16, 4))
    assert fours is not None and fours.wide == (True, False, True)
