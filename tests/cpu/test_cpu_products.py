"""Matrix products of every shape, on every set of instructions that this machine can run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cpu_regions import AVX2, AVX512, LEVELS, Layers, level_target, load

from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph
from intarsia.ir.types import TensorType
from intarsia_backends.cpu.kernels import MatrixProduct
from intarsia_backends.cpu.lower.panels import arrange_panels, tile_product
from intarsia_backends.cpu.lower.region import lower_region
from intarsia_backends.cpu.machine import Machine, this_machine
from intarsia_backends.cpu.tiling import ProductTiling, split_evenly
from intarsia_backends.lowering.access import Access
from intarsia_backends.lowering.expressions import Accumulator, Input, apply


def relu() -> dict[str, Any]:
    return {"activation": "Relu", "activation_arguments": ()}


@pytest.mark.parametrize("level", LEVELS)
def test_products_with_constant_weights(level: str) -> None:
    layers = Layers()
    for columns in (*range(1, 18), 31, 33, 50):
        rows, depth = 1 + columns * 5 % 17, 1 + columns * 7 % 23
        weights, bias = layers.floats(depth, columns), layers.floats(columns)
        layers.add("dense", [layers.floats(rows, depth), weights, bias], relu(), constants=(1, 2))
    for rows in (1, 2, 5, 6, 7, 13, 14, 29):
        layers.add("dense", [layers.floats(rows, 9), layers.floats(9, 50)], constants=(1,))
    layers.add("dense", [layers.floats(40, 700), layers.floats(700, 41), layers.floats(41)], constants=(1, 2))
    layers.add("dense", [layers.floats(3, 40, 300), layers.floats(300, 100)], constants=(1,))
    layers.add("MatMul", [layers.floats(30), layers.floats(30, 20)], constants=(1,))
    layers.check(tolerance=1e-5, target=level_target(level))


@pytest.mark.parametrize("level", LEVELS)
def test_products_of_values_made_at_run_time(level: str) -> None:
    layers = Layers()
    for size in (1, 2, 3, 4, 7, 8, 12, 13, 19):
        rows, depth, columns = size, 1 + size * 5 % 13, 1 + size * 7 % 19
        layers.add("MatMul", [layers.floats(2, rows, depth), layers.floats(2, depth, columns)])
        layers.add("Gemm", [layers.floats(depth, rows), layers.floats(depth, columns)], {"transA": 1})
        layers.add("Gemm", [layers.floats(rows, depth), layers.floats(columns, depth)], {"transB": 1})
    layers.add("MatMul", [layers.floats(3, 1, 40, 33), layers.floats(2, 33, 50)])
    layers.add("MatMul", [layers.floats(70, 300), layers.floats(300, 45)])
    layers.add("Gemm", [layers.floats(64, 300), layers.floats(45, 300)], {"transB": 1})
    layers.add("MatMul", [layers.floats(300), layers.floats(300, 45)])
    layers.add("MatMul", [layers.floats(45, 300), layers.floats(300)])
    layers.add(
        "Gemm", [layers.floats(64, 30), layers.floats(30, 45), layers.floats(64, 1)], {"alpha": 0.5, "beta": 3.0}
    )
    layers.check(tolerance=1e-5, target=level_target(level))


@pytest.mark.parametrize("level", LEVELS)
def test_integer_products(level: str) -> None:
    layers = Layers()
    for columns in (*range(1, 10), 16, 17, 29):
        rows, depth = 1 + columns * 5 % 17, 1 + columns * 7 % 23
        weights = layers.bytes(depth, columns)
        bias = layers.random.integers(-1000, 1000, columns).astype(np.int32)
        multiplier = layers.random.integers(1 << 16, 1 << 17, columns).astype(np.int32)
        shift = layers.random.integers(20, 26, columns).astype(np.int32)
        attributes = {"input_zero_point": columns % 7 - 3, "output_zero_point": columns % 5}
        inputs = [layers.bytes(rows, depth), weights, bias, multiplier, shift]
        layers.add("qmatmul", inputs, attributes, constants=(1, 2, 3, 4))
    layers.check(exact=True, target=level_target(level))


def test_einsum_as_a_product() -> None:
    layers = Layers()
    a, b = layers.floats(2, 3, 10, 8), layers.floats(2, 3, 12, 8)
    for equation, inputs in [
        ("bhqd,bhkd->bhqk", [a, b]),
        ("bhqd,bhkd->bqhk", [a, b]),
        ("bhkd,bhqd->bhqk", [b, a]),
        ("bhqd,dk->bhqk", [a, layers.floats(8, 17)]),
        ("bhqd,hdk->bqk", [a, layers.floats(3, 8, 17)]),
        ("ij,jk->ki", [layers.floats(5, 6), layers.floats(6, 7)]),
        ("ij,j->i", [layers.floats(5, 6), layers.floats(6)]),
        ("i,ij->j", [layers.floats(5), layers.floats(5, 6)]),
        ("...ij,...jk->...ik", [layers.floats(4, 1, 5, 6), layers.floats(3, 6, 20)]),
    ]:
        layers.add("Einsum", inputs, {"equation": equation})
    names = [type(call.kernel).__name__ for call in lower_region(layers.graph, this_machine()).calls]
    assert names.count("MatrixProduct") >= 5
    layers.check(tolerance=1e-5)


def attention(heads: int, steps: int, size: int) -> Graph:
    """Scores, their softmax, and the sum of values, with heads tiling out of rows by walks alone."""
    graph, width = Graph("attention"), heads * size
    x = [graph.add_input(name, TensorType("float32", (1, steps, width))) for name in "qkv"]
    parted = graph.add_constant("parted", np.array([1, steps, heads, size]))
    whole = graph.add_constant("whole", np.array([1, steps, width]))

    def add(op: str, inputs: list[Any], shape: tuple[int, ...], **attributes: Any) -> Any:
        return graph.add_node(op, inputs, [TensorType("float32", shape)], attributes, opset=18).output

    heads_first, turned = (1, heads, steps, size), (1, heads, size, steps)
    parts = [add("Reshape", [value, parted], (1, steps, heads, size)) for value in x]
    q, v = (add("Transpose", [parts[index]], heads_first, perm=(0, 2, 1, 3)) for index in (0, 2))
    k = add("Transpose", [parts[1]], turned, perm=(0, 2, 3, 1))
    scale = graph.add_constant("scale", np.array(size**0.5, np.float32))
    mask = graph.add_input("mask", TensorType("float32", (1, 1, 1, steps)))
    square = (1, heads, steps, steps)
    scores = add("Add", [add("Div", [add("MatMul", [q, k], square), scale], square), mask], square)
    mixed = add("MatMul", [add("Softmax", [scores], square, axis=-1), v], heads_first)
    back = add("Transpose", [mixed], (1, steps, heads, size), perm=(0, 2, 1, 3))
    graph.outputs = [add("Reshape", [back, whole], (1, steps, width))]
    return graph


@pytest.mark.parametrize("sizes", [(3, 20, 8), (2, 17, 5), (4, 33, 16)])
def test_attention_moves_nothing(sizes: tuple[int, int, int]) -> None:
    graph = attention(*sizes)
    names = [type(call.kernel).__name__ for call in lower_region(graph, this_machine()).calls]
    assert names == ["MatrixProduct", "Softmax", "MatrixProduct"]
    random = np.random.default_rng(0)
    inputs = [random.standard_normal(value.shape).astype(np.float32) for value in graph.inputs]
    inputs[-1][..., -2:] = -np.inf
    expected = evaluate(graph, {value.name: array for value, array in zip(graph.inputs, inputs)})
    assert np.allclose(load(graph).run(inputs).outputs[0], expected[0], atol=1e-5)


@pytest.mark.parametrize("name", ["x86_64", "aarch64", "armv7l"])
def test_code_is_made_for_every_machine(name: str, tmp_path: Path) -> None:
    from intarsia_backends.cpu.emit.kernels import generate

    levels = {"x86_64": ("avx512", AVX512), "aarch64": ("baseline", ()), "armv7l": ("neon", ("neon",))}
    machine = Machine(name, *levels[name])
    kernels = {}
    for index, (rows, depth, columns) in enumerate([(1, 20, 70), (33, 300, 50), (7, 5, 3)]):
        tiling = tile_product(machine, 1, rows, depth, columns, "float32", 4, True)
        kernels[f"k{index}"] = product(tiling, rows, depth, columns)
    generate(kernels, machine, tmp_path / "kernels.o")
    assert (tmp_path / "kernels.o").stat().st_size > 0


def product(tiling: ProductTiling, rows: int, depth: int, columns: int) -> MatrixProduct:
    """x times packed weights, plus a matrix, through erf."""
    epilogue = apply("erf", (Accumulator() + Input(0)))
    further = (Access("float32", (columns, 1)),)
    x, y = Access("float32", (depth, 1)), Access("float32", (columns, 1))
    return MatrixProduct(
        products="float32",
        batch=(),
        rows=rows,
        depth=depth,
        columns=columns,
        x=x,
        w=Access("float32", ()),
        packed=True,
        bias=True,
        further=further,
        y=y,
        tiling=tiling,
        epilogue=epilogue,
    )


def test_tilings_cover_everything() -> None:
    for machine in (
        Machine("x86_64", "avx2", AVX2),
        Machine("x86_64", "avx512", AVX512),
        Machine("aarch64", "baseline", ()),
    ):
        for rows, depth, columns in [(1, 640, 128), (128, 384, 384), (127, 383, 381), (5, 1, 1), (2000, 3000, 77)]:
            tiling = tile_product(machine, 1, rows, depth, columns, "float32", 4, True)
            assert tiling.vectors == -(-columns // machine.lanes)
            assert 0 < tiling.wide_panels <= tiling.panels and tiling.chunks <= tiling.panels
            size = -(-tiling.panels // tiling.chunks)
            assert (tiling.chunks - 1) * size < tiling.panels <= tiling.chunks * size
            assert tiling.wide * min(rows, tiling.tiles[0]) < machine.registers
    for total in range(1, 60):
        for largest in range(1, 20):
            parts, size, count = split_evenly(total, largest)
            assert size <= largest and count * size + (parts - count) * (size - 1) == total


def test_packed_panels_lie_one_after_the_other() -> None:
    tiling = ProductTiling(
        lanes=4, wide=2, wide_panels=1, panels=2, tiles=(2, 2), depth_block=3, row_blocks=1, chunks=1
    )  # a panel of two vectors, then one of one
    weights = np.arange(3 * 11, dtype=np.float32).reshape(3, 11)
    packed = arrange_panels(weights, tiling, "float32")
    assert np.array_equal(packed[:24].reshape(3, 8), weights[:, :8])
    assert np.array_equal(packed[24:].reshape(3, 4), np.pad(weights[:, 8:], ((0, 0), (0, 1))))
    pairs = arrange_panels(weights.astype(np.int8), tiling, "dot2")
    assert np.array_equal(pairs[:16].reshape(8, 2), weights[:2, :8].T)
    assert np.array_equal(pairs[16:32].reshape(8, 2)[:, 0], weights[2, :8]) and not pairs[17:32:2].any()
