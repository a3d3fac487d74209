"""Convolutions by Winograd's algorithm: close to the sum in float32, equal to it with integers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cpu_kernels import Library, machines, other_machines, products_of

from intarsia.dtypes import Array
from intarsia.ir.integer import fixed_point, requantize
from intarsia_backends.cpu.emit.kernels import generate
from intarsia_backends.cpu.image_kernels import Winograd
from intarsia_backends.cpu.machine import Machine, this_machine
from intarsia_backends.cpu.winograd import is_exact, pack_bias, pack_weights, plan, winograd_pays, winograd_sizes
from intarsia_backends.lowering.access import Access
from intarsia_backends.lowering.expressions import Accumulator, Constant, Expression, Input, apply
from intarsia_backends.lowering.requantize import factors_of, largest_total, requantize_form, requantized

LAYERS: list[dict[str, Any]] = [
    dict(channels=16, outputs=16, positions=(8, 8)),
    dict(channels=24, outputs=40, positions=(7, 9)),
    dict(channels=3, outputs=5, positions=(5, 3)),
    dict(channels=64, outputs=24, positions=(2, 1)),
    dict(channels=8, outputs=56, positions=(13, 14), batch=3),
    dict(channels=40, outputs=64, positions=(28, 28)),
]


def _up(number: int, step: int) -> int:
    return -(-number // step) * step


def _sums(x: Array, weights: Array, positions: tuple[int, int]) -> Array:
    rows, columns = positions
    total = np.zeros((len(x), rows, columns, len(weights)))
    for row in range(3):
        for column in range(3):
            part = x[:, row : row + rows, column : column + columns].astype(np.float64)
            total += part @ weights[:, :, row, column].T.astype(np.float64)
    return total


class _Layer:
    """A layer: its kernel, its operands, and what it should store."""

    def __init__(
        self,
        machine: Machine,
        products: str,
        size: int,
        random: np.random.Generator,
        *,
        channels: int,
        outputs: int,
        positions: tuple[int, int],
        batch: int = 1,
        tiles: int = 0,
        tasks: int = 2,
        parts: int = 0,
        register: tuple[int, int] = (0, 0),
        largest: int = 127,
        extreme: int = 0,
    ) -> None:
        x_pitch, y_pitch = _up(channels, machine.lanes), _up(outputs, machine.lanes)
        height, width = (_up(count, size) + 2 for count in positions)
        self.real = products == "float32"
        x = np.zeros((batch, height, width, x_pitch), np.float32 if self.real else np.int16)
        inside = (batch, positions[0] + 2, positions[1] + 2, channels)
        values: Array
        weights: Array
        bias: Array
        if self.real:
            values = random.standard_normal(inside)
            weights = (random.standard_normal((outputs, channels, 3, 3)) / np.sqrt(9 * channels)).astype(np.float32)
            bias = random.standard_normal(outputs).astype(np.float32)
        else:
            values = random.integers(-255, 256, inside)
            weights = random.integers(-largest, largest + 1, (outputs, channels, 3, 3))
            bias = random.integers(-(1 << 20), 1 << 20, outputs)
        if extreme == 1:
            values, weights = np.full(inside, 255), np.full_like(weights, -128)
        if extreme == 2:
            values, weights = random.choice([-255, 255], inside), random.choice([-128, 127], weights.shape)
        x[:, : positions[0] + 2, : positions[1] + 2, :channels] = values
        total = _sums(x[..., :channels], weights, positions)
        if not self.real:
            assert is_exact(size, weights)
        total += bias
        # y lies inside a halo, which must stay as it is.
        self.y = np.full(
            (batch, positions[0] + 3, positions[1] + 2, y_pitch), 77, np.float32 if self.real else np.int16
        )
        row_step = (positions[1] + 2) * y_pitch
        epilogue: Expression
        further: list[tuple[Access, Array]] = []
        if self.real:
            other = random.standard_normal((batch, *positions, y_pitch)).astype(np.float32)
            steps = (positions[0] * positions[1] * y_pitch, 1, positions[1] * y_pitch, y_pitch)
            further.append((Access("float32", steps), other))
            epilogue = apply("floor_at", (Accumulator() + Input(0)), Constant("float32", 0.0))
            self.expected = np.maximum(total + other[..., :outputs], 0)
        else:
            pairs = [fixed_point(float(scale)) for scale in random.uniform(1e-5, 1e-3, outputs)]
            multiplier, shift = (np.array(part) for part in zip(*pairs))
            factors = factors_of(multiplier, shift)
            form = requantize_form(machine, largest_total(weights, bias), factors, -5)
            table = np.zeros(y_pitch, form)
            table[:outputs] = factors
            further.append((Access(form, (0, 1, 0, 0)), table))
            epilogue = requantized(Accumulator(), Input(0), form, -5, -128, 120, centred=True)
            self.expected = requantize(total.astype(np.int64), multiplier, shift, -5, -128, 120).astype(np.int16) + 5
        chosen = plan(machine, batch, x_pitch, y_pitch, positions, size, products)
        self.kernel = Winograd(
            products=products,
            size=size,
            batch=batch,
            channels=x_pitch,
            outputs=y_pitch,
            positions=positions,
            x_steps=(height * width * x_pitch, width * x_pitch, x_pitch),
            y_dtype=str(self.y.dtype),
            y_steps=((positions[0] + 3) * row_step, row_step, y_pitch),
            further=tuple(access for access, _ in further),
            epilogue=epilogue,
            tiles=tiles or chosen.tiles,
            tasks=tasks,
            parts=parts or chosen.parts,
            rows=register[0] or chosen.rows,
            vectors=register[1] or chosen.vectors,
            lanes=machine.lanes,
        )
        inner = self.y.reshape(-1)[row_step + y_pitch :]
        self.operands = [x, pack_weights(self.kernel, weights), pack_bias(self.kernel, bias)]
        self.operands += [operand for _, operand in further]
        for dtype, count in self.kernel.scratch:
            # What stands in the scratch before must not matter, not a number included.
            self.operands.append(np.full(count, np.nan if dtype == "float32" else 12345, dtype))
        self.operands.append(inner)
        self.outputs = outputs

    def check(self) -> None:
        inside = self.y[:, 1:-2, 1:-1, : self.outputs]
        if self.real:
            np.testing.assert_allclose(inside, self.expected, rtol=0, atol=1e-5 * np.abs(self.expected).max())
        else:
            np.testing.assert_array_equal(inside, self.expected)
        halo = self.y.copy()
        halo[:, 1:-2, 1:-1] = 77
        assert (halo == 77).all()


def _layers(machine: Machine, products: str, size: int) -> list[_Layer]:
    random = np.random.default_rng(size)
    made = [_Layer(machine, products, size, random, **facts) for facts in LAYERS]
    made.append(_Layer(machine, products, size, random, **LAYERS[4], tiles=4, tasks=3, parts=2, register=(4, 3)))
    if products != "float32":
        made += [_Layer(machine, products, size, random, **LAYERS[1], extreme=extreme) for extreme in (1, 2)]
    return made


@pytest.mark.parametrize("machine", machines(), ids=lambda machine: machine.level)
@pytest.mark.parametrize("products", ["float32", "dot2", "int16"])
@pytest.mark.parametrize("size", [2, 4])
def test_winograd_layers(machine: Machine, products: str, size: int, tmp_path: Path) -> None:
    if products == "dot2" and products_of(machine) != "dot2":
        pytest.skip("x86 alone multiplies and adds pairs")
    layers = _layers(machine, products, size)
    library = Library({f"k{index}": layer.kernel for index, layer in enumerate(layers)}, machine, tmp_path)
    for threads in (1, 2):
        library.threads(threads)
        for index, layer in enumerate(layers):
            layer.y[:, 1:-2, 1:-1] = 0
            library.call(f"k{index}", layer.operands)
            layer.check()
    library.stop()


@pytest.mark.parametrize("size", [2, 4])
def test_integers_are_exact_up_to_the_bound(size: int, tmp_path: Path) -> None:
    """Sums as large as `is_exact` lets through, far beyond what the products of a point may reach without wrapping."""
    machine = this_machine()
    random = np.random.default_rng(9)
    # 448 channels of 9 * 32 * 255 for tiles of 4: just below 2**25.
    channels, weight = (448, 32) if size == 4 else (512, 127)
    layer = _Layer(
        machine, products_of(machine), size, random, channels=channels, outputs=16, positions=(6, 5), largest=weight
    )
    weights = np.full((16, channels, 3, 3), weight)
    weights[1::2] *= -1
    assert is_exact(size, weights)
    kernel = replace(layer.kernel, y_dtype="int32", further=(), epilogue=Accumulator())
    x = layer.operands[0]
    x[...] = random.choice([-255, 255], (*x.shape[:3], 1))
    x[:, :4] = 255
    y = np.zeros((1, 9, 7, 16), np.int32)
    operands = [x, pack_weights(kernel, weights), np.zeros(16, np.int32), *layer.operands[4:6], y.reshape(-1)]
    library = Library({"k": kernel}, machine, tmp_path)
    library.call("k", operands)
    np.testing.assert_array_equal(y[:, :6, :5], _sums(x, weights, (6, 5)))


def test_bound_of_exact_integers() -> None:
    weights = np.full((2, 114, 3, 3), 128)
    assert is_exact(4, weights)
    assert not is_exact(4, np.full((2, 115, 3, 3), 128))
    assert is_exact(2, np.full((1, 1827, 3, 3), 128))
    assert not is_exact(2, np.full((1, 1828, 3, 3), 128))


def test_where_winograd_pays() -> None:
    machine = Machine("x86_64", "avx2", ("avx2", "f16c", "fma", "sse4_1"))
    assert winograd_pays(machine, 1, 64, 64, (56, 56), "float32") == 4
    assert winograd_pays(machine, 1, 64, 64, (56, 56), "dot2") == 4
    assert winograd_pays(machine, 1, 512, 512, (7, 7), "float32") == 2
    assert winograd_sizes(64, 64, "float32") == (2, 4)
    assert winograd_sizes(64, 64, "float32", strict=True) == ()
    assert winograd_sizes(8, 32, "float32") == ()
    assert winograd_sizes(128, 64, "dot2", weights=np.full((64, 128, 3, 3), 128)) == (2,)
    assert winograd_pays(machine, 1, 64, 64, (1, 1), "float32") == 0


@pytest.mark.parametrize("machine", other_machines(), ids=lambda machine: f"{machine.name}-{machine.level}")
def test_winograd_code_for_other_machines(machine: Machine, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    kernels = {
        f"{products}{size}": _Layer(machine, products, size, random, **LAYERS[1]).kernel
        for products in ("float32", products_of(machine))
        for size in (2, 4)
    }
    generate(kernels, machine, tmp_path / "kernels.o")
    assert (tmp_path / "kernels.o").stat().st_size > 0
