"""Products in stages, by tensor cores and by threads, run by the processor: right numbers whatever the shape, in every
order of threads."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cuda_on_cpu import ORDERS, Kernels
from cuda_regions import FOLDER
from hypothesis import given, settings
from hypothesis import strategies as st
from product_nests import check_product, convolution, matrices, random_operands, source_of, wanted

from generated_graphs import examples
from intarsia_backends.cuda.dialect import CUDA_CPP
from intarsia_backends.gpu.source.kernels import KernelSource, Work
from intarsia_backends.lowering.expressions import Apply, Input
from intarsia_backends.lowering.kernels import Nest

SIZES = st.integers(1, 70)


def issues(source: KernelSource, dtype: str) -> bool:
    """Whether a kernel multiplies by tensor cores."""
    return f"MULTIPLY_{dtype.upper()}" in source.text


@given(st.data())
@settings(max_examples=examples(8))
def test_matrices_of_any_size(data: Any) -> None:
    dtype = data.draw(st.sampled_from(["int8", "float16", "float32"]))
    batch, rows, columns = data.draw(st.integers(1, 3)), data.draw(SIZES), data.draw(SIZES)
    depth = data.draw(st.integers(16, 150) | st.integers(2, 20).map(lambda count: 8 * count))
    aligned = data.draw(st.sampled_from([2, 4, 8, 16]))
    result = data.draw(st.sampled_from(["int32", "int8"])) if dtype == "int8" else "float32"
    across = data.draw(st.booleans())
    check_product(matrices(dtype, batch, rows, columns, depth, across=across, result=result), FOLDER, aligned)


@given(st.data())
@settings(max_examples=examples(8))
def test_convolutions_of_any_size(data: Any) -> None:
    dtype = data.draw(st.sampled_from(["int8", "float16", "float32"]))
    batch, height, width = (data.draw(st.integers(low, high)) for low, high in ((1, 2), (3, 12), (3, 12)))
    channels, outputs = data.draw(st.sampled_from([3, 4, 8, 16, 20, 32, 64])), data.draw(SIZES)
    window = data.draw(st.sampled_from([(1, 1), (3, 3), (1, 3), (3, 2)]))
    stride, residual = data.draw(st.integers(1, 2)), data.draw(st.booleans())
    result = data.draw(st.sampled_from(["int32", "int8"])) if dtype == "int8" else "float32"
    image = (batch, height, width, channels)
    kernel = convolution(
        dtype, image, outputs, window, stride, result=result, residual=residual and result != "float32"
    )
    check_product(kernel, FOLDER)


WHOLE = [
    ("int8", convolution("int8", (1, 9, 9, 64), 64, (3, 3), result="int8", residual=True)),
    ("int8", convolution("int8", (1, 9, 9, 64), 64, (3, 3), 2)),
    ("int8", convolution("int8", (2, 15, 15, 4), 40, (7, 7), 2, result="int8")),
    ("int8", convolution("int8", (1, 7, 7, 512), 48, (1, 1), result="int8", residual=True)),
    ("int8", matrices("int8", 1, 1, 100, 512)),
    ("int8", matrices("int8", 3, 50, 33, 64, across=True)),
    ("float16", convolution("float16", (1, 9, 9, 32), 64, (3, 3), result="float32")),
    ("float16", matrices("float16", 2, 40, 60, 128, result="float32")),
    ("float32", convolution("float32", (1, 9, 9, 64), 64, (3, 3), result="float32")),
    ("float32", matrices("float32", 1, 1, 100, 512, result="float32")),
]


@pytest.mark.parametrize("dtype, kernel", WHOLE)
def test_layers_of_networks(dtype: str, kernel: Nest) -> None:
    source = check_product(kernel, FOLDER)
    assert source.work is not None and issues(source, dtype) == (dtype != "float32")


def test_factors_of_two_kinds_of_floats() -> None:
    kernel = matrices("float32", 1, 20, 24, 40, result="float32")
    weights = replace(kernel.operands[1], dtype="float16")
    body = Input(0) * Apply("from_half", (Input(1),))
    mixed = replace(kernel, operands=(kernel.operands[0], weights, kernel.operands[2]), body=body)
    source = check_product(mixed, FOLDER)
    assert source.work is not None and not issues(source, "float16")


def right_orders(text: str, source: KernelSource, kernel: Nest) -> int:
    """In how many orders of threads a text gives what is wanted."""
    arrays = random_operands(source, kernel)
    expected, kernels, right = wanted(kernel, arrays), Kernels(CUDA_CPP.preamble + text, FOLDER), 0
    for order in ORDERS:
        found = [array.copy() for array in arrays]
        kernels.launch(source.facts, found, order)
        right += np.array_equal(found[-1].reshape(expected.shape), expected)
    return right


@pytest.mark.parametrize("dtype", ["int8", "float16"])
def test_parts_make_the_same(dtype: str) -> None:
    kernel = matrices(dtype, 1, 20, 30, 64, result="int32" if dtype == "int8" else "float32")
    source = source_of(kernel)
    name = f"MULTIPLY_{dtype.upper()}"
    parts = source.text.replace(f"{name}(", f"{name}_IN_PARTS(")
    assert parts != source.text
    arrays = random_operands(source, kernel)
    found = []
    for text in (source.text, parts):
        found.append([array.copy() for array in arrays])
        Kernels(CUDA_CPP.preamble + text, FOLDER).launch(source.facts, found[-1])
    np.testing.assert_allclose(found[0][-1], found[1][-1], rtol=0, atol=0 if dtype == "int8" else 1e-4)
    assert np.array_equal(found[0][-1], wanted(kernel, arrays).reshape(-1)) or dtype == "float16"


@pytest.mark.parametrize("number, window", [(0, (3, 3)), (1, (1, 1)), (2, (3, 3))])
def test_no_barrier_is_one_too_many(number: int, window: tuple[int, int]) -> None:
    kernel = convolution("int8", (1, 9, 9, 64), 64, window)
    source = source_of(kernel)
    parts = re.split(r"__syncthreads\(\);", source.text)
    assert len(parts) == 4 and right_orders(source.text, source, kernel) == len(ORDERS)
    text = "".join(part + ("__syncthreads();" if index != number else "") for index, part in enumerate(parts[:-1]))
    assert right_orders(text + parts[-1], source, kernel) < len(ORDERS)


@pytest.mark.parametrize("old, new", [("COPY_WAIT(1)", "COPY_WAIT(2)"), ("COPY_COMMIT();", "")])
def test_copies_that_nobody_waits_for_are_noticed(old: str, new: str) -> None:
    kernel = convolution("int8", (1, 9, 9, 64), 64, (3, 3))
    source = source_of(kernel)
    assert old in source.text
    assert right_orders(source.text.replace(old, new), source, kernel) == 0


def test_what_is_read_in_pieces_starts_at_multiples_of_them() -> None:
    kernel = convolution("int8", (1, 9, 9, 32), 24, (3, 3), result="int8", residual=True)
    assert [each.alignment for each in source_of(kernel).facts.parameters] == [16, 16, 16, 4, 4]
    assert [each.alignment for each in source_of(kernel, aligned=8).facts.parameters] == [8, 8, 1, 4, 4]
    assert [each.alignment for each in source_of(kernel, aligned=1).facts.parameters] == [1, 1, 1, 1, 1]


@pytest.mark.parametrize("rows", [49, 196, 784, 3136])
def test_few_products_are_issued_in_vain(rows: int) -> None:
    work = source_of(matrices("int8", 1, rows, 256, 576)).work
    assert work is not None and work.wanted == rows * 256 * 576
    assert work.issued <= 1.15 * work.wanted


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_products_of_vectors_are_left_to_others(dtype: str) -> None:
    source = source_of(matrices(dtype, 50, 9, 1, 64, result="float32" if dtype == "float32" else "int32"))
    assert not issues(source, dtype) and source.work is None
    assert isinstance(source_of(matrices("int8", 1, 8, 16, 64)).work, Work)
