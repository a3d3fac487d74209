"""Nests that are products, with what NumPy makes of them, for tests of the kernels that are made for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from cuda_on_cpu import ORDERS, Kernels

from intarsia.dtypes import Array
from intarsia_backends.cuda.dialect import CUDA_CPP
from intarsia_backends.cuda.machine import CUDA
from intarsia_backends.gpu.emit.generate import generate
from intarsia_backends.gpu.machine import GpuMachine
from intarsia_backends.gpu.source.kernels import KernelSource
from intarsia_backends.lowering.access import Access, row_major
from intarsia_backends.lowering.expressions import Accumulator, Apply, Cast, Constant, Expression, Input
from intarsia_backends.lowering.kernel import Kernel
from intarsia_backends.lowering.kernels import Nest, nest

ALIGNED = 16
ACCUMULATOR = Accumulator()
SUMS = {"int8": "int32", "float16": "float32", "float32": "float32"}


def factors(dtype: str) -> Expression:
    """The product of the first two operands, exact."""
    if dtype == "float16":
        return Apply("from_half", (Input(0),)) * Apply("from_half", (Input(1),))
    if dtype == "float32":
        return Input(0) * Input(1)
    return Cast("int32", Input(0)) * Cast("int32", Input(1))


def ends(dtype: str, residual: bool) -> Expression:
    """Sums as they are, or as int8, with a residual added."""
    total: Expression = ACCUMULATOR + Cast("int32", Input(3)) if residual else ACCUMULATOR
    if dtype != "int8":
        return total
    low, high = (Constant("int32", number) for number in (-128, 127))
    shifted = Apply("rounded_shift", (total, Constant("int32", 7)))
    return Cast("int8", Apply("min", (Apply("max", (shifted, low)), high)))


def convolution(
    dtype: str,
    image: Sequence[int],
    outputs: int,
    window: tuple[int, int],
    stride: int = 1,
    *,
    result: str = "int32",
    residual: bool = False,
) -> Nest:
    """Images [batch, height, width, channels] and weights [outputs, height, width, channels]."""
    batch, height, width, channels = image
    down, across = window
    rows, columns = (height - down) // stride + 1, (width - across) // stride + 1
    kept, reduced = (batch, rows, columns, outputs), (down, across, channels)
    lines = row_major((batch, height, width, channels))
    output = row_major(kept)
    operands = [
        Access(dtype, (lines[0], lines[1] * stride, lines[2] * stride, 0, *lines[1:])),
        Access(dtype, (0, 0, 0, *row_major((outputs, *reduced)))),
        Access(SUMS[dtype], (0, 0, 0, 1, 0, 0, 0)),
    ]
    if residual:
        operands.append(Access("int8", (*output, 0, 0, 0)))
    return nest(
        kept,
        operands,
        Access(result, output),
        factors(dtype),
        reduced=reduced,
        combine="add",
        initial=Input(2),
        epilogue=ends(result, residual),
    )


def matrices(
    dtype: str, batch: int, rows: int, columns: int, depth: int, *, across: bool = False, result: str = "int32"
) -> Nest:
    """Matrices [batch, rows, depth] and [batch, columns, depth]; `across` for [batch, depth, columns]."""
    kept, sums = (batch, rows, columns), SUMS[dtype]
    right = (depth * columns, 0, 1, columns) if across else (depth * columns, 0, depth, 1)
    operands = [
        Access(dtype, (rows * depth, depth, 0, 1)),
        Access(dtype, right),
        Access(sums, (0, 0, 1, 0)),
    ]
    return nest(
        kept,
        operands,
        Access(result, row_major(kept)),
        factors(dtype),
        reduced=(depth,),
        combine="add",
        initial=Input(2),
        epilogue=ends(result, False),
    )


def random_operands(source: KernelSource, kernel: Nest, seed: int = 0) -> list[Array]:
    """An array for each parameter; float16 as bits."""
    random = np.random.default_rng(seed)
    arrays = []
    for access, parameter in zip((*kernel.operands, kernel.output), source.facts.parameters):
        if access.dtype.startswith("float"):
            numbers = random.standard_normal(parameter.elements).astype(access.dtype)
            arrays.append(numbers.view(parameter.dtype))
        else:
            high = 128 if access.dtype == "int8" else 1 << 20
            arrays.append(random.integers(-high, high, parameter.elements).astype(access.dtype))
    return arrays


def wanted(kernel: Nest, arrays: Sequence[Array]) -> Array:
    """What the output's walk finds there, by NumPy."""
    extents, inner = (*kernel.kept, *kernel.reduced), len(kernel.reduced)

    def walked(index: int, over: Sequence[int]) -> Array:
        access = kernel.operands[index]
        array = arrays[index].view(access.dtype)
        steps = [stride * array.itemsize for stride in access.strides[: len(over)]]
        return np.lib.stride_tricks.as_strided(array[access.offset :], over, steps)

    sums = kernel.accumulator_dtype
    products = [walked(index, extents).astype(np.float64 if sums == "float32" else sums) for index in (0, 1)]
    total = np.asarray((products[0] * products[1]).sum(axis=tuple(range(-inner, 0)))).astype(sums)
    total = total + walked(2, kernel.kept)
    if len(kernel.operands) > 3:
        total = total + walked(3, kernel.kept)
    if kernel.output.dtype != "int8":
        return total
    return np.clip(np.rint(total / 128), -128, 127).astype(np.int8)


def source_of(kernel: Nest, machine: GpuMachine = CUDA, aligned: int = ALIGNED) -> KernelSource:
    """The kernel, all of whose parameters start at multiples of so many bytes."""
    alignments: dict[Kernel, tuple[int, ...]] = {kernel: (aligned,) * (len(kernel.operands) + 1)}
    return generate({kernel: "product"}, machine, CUDA_CPP, alignments)[kernel]


def check_product(kernel: Nest, folder: Path, aligned: int = ALIGNED, machine: GpuMachine = CUDA) -> KernelSource:
    """In every order of threads: whole numbers exactly, floats within rounding."""
    source = source_of(kernel, machine, aligned)
    arrays = random_operands(source, kernel)
    expected, kernels = wanted(kernel, arrays), Kernels(CUDA_CPP.preamble + source.text, folder)
    for order in ORDERS:
        found = [array.copy() for array in arrays]
        kernels.launch(source.facts, found, order)
        steps = [stride * found[-1].itemsize for stride in kernel.output.strides]
        made = np.lib.stride_tricks.as_strided(found[-1][kernel.output.offset :], kernel.kept, steps)
        if made.dtype == np.float32:
            depth = np.prod(kernel.reduced)
            np.testing.assert_allclose(made, expected, rtol=0, atol=1e-5 * float(np.sqrt(depth)))
        else:
            assert np.array_equal(made, expected), order
    return source
