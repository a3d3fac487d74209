"""Depthwise convolutions with channels side by side, against their sums in NumPy; the end of integer kernels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cpu_kernels import Library, machines, other_machines, products_of

from intarsia.dtypes import Array
from intarsia.ir.integer import fixed_point, requantize
from intarsia_backends.cpu.depthwise import pack_bias, pack_weights, tile
from intarsia_backends.cpu.image_kernels import Depthwise
from intarsia_backends.cpu.machine import Machine, this_machine
from intarsia_backends.lowering.access import Access
from intarsia_backends.lowering.expressions import Accumulator, Constant, Expression, Input, apply
from intarsia_backends.lowering.kernel import Kernel
from intarsia_backends.lowering.kernels import nest
from intarsia_backends.lowering.requantize import factors_of, largest_total, requantize_form, requantized

LAYERS: list[dict[str, Any]] = [
    dict(channels=16, positions=(5, 7)),
    dict(channels=24, positions=(9, 30)),
    dict(channels=3, positions=(4, 4)),
    dict(channels=40, positions=(7, 7), strides=(2, 2)),
    dict(channels=37, positions=(5, 6), kernel=(5, 5)),
    dict(channels=32, positions=(4, 31), kernel=(5, 5), strides=(2, 2)),
    dict(channels=16, positions=(3, 9), kernel=(7, 7), strides=(1, 2)),
    dict(channels=20, positions=(6, 5), dilations=(2, 2)),
    dict(channels=16, positions=(4, 3), kernel=(3, 4), strides=(2, 1), dilations=(1, 2)),
    dict(channels=16, positions=(1, 12), kernel=(1, 3)),
    dict(channels=16, positions=(12, 1), kernel=(4, 1), strides=(3, 3)),
    dict(channels=48, positions=(2, 1)),
    dict(channels=16, positions=(40, 50), batch=2),
    # windows that code goes over in loops
    dict(channels=24, positions=(3, 9), kernel=(21, 21)),
    dict(channels=37, positions=(2, 6), kernel=(20, 24), strides=(2, 2)),
    dict(channels=16, positions=(1, 70), kernel=(1, 127)),
    dict(channels=16, positions=(5, 2), kernel=(3, 3), dilations=(2, 50), batch=2),
]


def _up(number: int, step: int) -> int:
    return -(-number // step) * step


class _Layer:
    """A depthwise layer: its kernel, its operands, and what it should store."""

    def __init__(
        self,
        machine: Machine,
        products: str,
        random: np.random.Generator,
        *,
        channels: int,
        positions: tuple[int, int],
        kernel: tuple[int, int] = (3, 3),
        strides: tuple[int, int] = (1, 1),
        dilations: tuple[int, int] = (1, 1),
        batch: int = 1,
        rows: int = 0,
        extreme: bool = False,
    ) -> None:
        pitch = _up(channels, machine.lanes)
        size = [
            (count - 1) * stride + (taps - 1) * dilation + 1
            for count, stride, taps, dilation in zip(positions, strides, kernel, dilations)
        ]
        real = products == "float32"
        x = np.zeros((batch, *size, pitch), np.float32 if real else np.int16)
        weights: Array
        bias: Array
        if real:
            x[..., :channels] = random.standard_normal((batch, *size, channels))
            weights = random.standard_normal((channels, *kernel)).astype(np.float32)
            bias = random.standard_normal(channels).astype(np.float32)
        else:
            values = random.choice([-255, 255], x.shape) if extreme else random.integers(-255, 256, x.shape)
            x[..., :channels] = values[..., :channels]
            weights = np.full((channels, *kernel), -128) if extreme else random.integers(-128, 128, (channels, *kernel))
            bias = random.integers(-10000, 10000, channels)
        total = np.zeros((batch, *positions, channels)) + bias
        for row in range(kernel[0]):
            for column in range(kernel[1]):
                top, left = row * dilations[0], column * dilations[1]
                part = x[
                    :,
                    top : top + (positions[0] - 1) * strides[0] + 1 : strides[0],
                    left : left + (positions[1] - 1) * strides[1] + 1 : strides[1],
                    :channels,
                ]
                total += part.astype(np.float64) * weights[:, row, column]
        epilogue: Expression
        further: list[tuple[Access, Array]] = []
        if real:
            # A residual and a Relu.
            other = random.standard_normal((batch, *positions, pitch)).astype(np.float32)
            steps = (positions[0] * positions[1] * pitch, 1, positions[1] * pitch, pitch)
            further.append((Access("float32", steps), other))
            epilogue = apply("floor_at", (Accumulator() + Input(0)), Constant("float32", 0.0))
            self.expected = np.maximum(total + other[..., :channels], 0)
        else:
            pairs = [fixed_point(float(scale)) for scale in random.uniform(1e-4, 1e-2, channels)]
            multiplier, shift = (np.array(part) for part in zip(*pairs))
            factors = factors_of(multiplier, shift)
            form = requantize_form(machine, largest_total(weights, bias), factors, 3)
            table = np.zeros(pitch, form)
            table[:channels] = factors
            further.append((Access(form, (0, 1, 0, 0)), table))
            epilogue = requantized(Accumulator(), Input(0), form, 3, -128, 100, centred=True)
            self.expected = requantize(total.astype(np.int64), multiplier, shift, 3, -128, 100).astype(np.int16) - 3
        chosen = tile(products, kernel, strides[1], dilations[1], positions)
        # y lies inside a halo, which must stay as it is.
        self.y = np.full((batch, positions[0] + 2, positions[1] + 2, pitch), 77, np.float32 if real else np.int16)
        row_step = (positions[1] + 2) * pitch
        self.kernel = Depthwise(
            products=products,
            batch=batch,
            channels=pitch,
            kernel=kernel,
            strides=strides,
            dilations=dilations,
            positions=positions,
            x_steps=(size[0] * size[1] * pitch, size[1] * pitch, pitch),
            y_dtype=str(self.y.dtype),
            y_steps=((positions[0] + 2) * row_step, row_step, pitch),
            further=tuple(access for access, _ in further),
            epilogue=epilogue,
            rows=rows or chosen[0],
            columns=chosen[1],
            lanes=machine.lanes,
        )
        inner = self.y.reshape(-1)[row_step + pitch :]
        self.operands = [x, pack_weights(self.kernel, weights), pack_bias(self.kernel, bias)]
        self.operands += [*(operand for _, operand in further), inner]
        self.channels, self.real = channels, real

    def check(self) -> None:
        inside = self.y[:, 1:-1, 1:-1, : self.channels]
        if self.real:
            np.testing.assert_allclose(inside, self.expected, rtol=3e-6, atol=2e-5)
        else:
            np.testing.assert_array_equal(inside, self.expected)
        halo = self.y.copy()
        halo[:, 1:-1, 1:-1] = 77
        assert (halo == 77).all()


def _layers(machine: Machine, products: str) -> list[_Layer]:
    random = np.random.default_rng(5)
    made = [_Layer(machine, products, random, **facts) for facts in LAYERS]
    made += [
        _Layer(machine, products, random, **facts, rows=rows) for facts in (LAYERS[1], LAYERS[3]) for rows in (1, 2, 3)
    ]
    if products != "float32":
        made += [_Layer(machine, products, random, **facts, extreme=True) for facts in LAYERS[:2]]
    return made


@pytest.mark.parametrize("machine", machines(), ids=lambda machine: machine.level)
@pytest.mark.parametrize("products", ["float32", "dot2", "int16"])
def test_depthwise_layers(machine: Machine, products: str, tmp_path: Path) -> None:
    if products == "dot2" and products_of(machine) != "dot2":
        pytest.skip("x86 alone multiplies and adds pairs")
    layers = _layers(machine, products)
    library = Library({f"k{index}": layer.kernel for index, layer in enumerate(layers)}, machine, tmp_path)
    for threads in (1, 2):
        library.threads(threads)
        for index, layer in enumerate(layers):
            layer.y[:, 1:-1, 1:-1] = 0
            library.call(f"k{index}", layer.operands)
            layer.check()
    library.stop()


@pytest.mark.parametrize("machine", other_machines(), ids=lambda machine: f"{machine.name}-{machine.level}")
def test_depthwise_code_for_other_machines(machine: Machine, tmp_path: Path) -> None:
    from intarsia_backends.cpu.emit.kernels import generate

    random = np.random.default_rng(6)
    kernels = {
        f"{products}{index}": _Layer(machine, products, random, **facts).kernel
        for products in ("float32", products_of(machine))
        for index, facts in enumerate(LAYERS[:5])
    }
    generate(kernels, machine, tmp_path / "kernels.o")
    assert (tmp_path / "kernels.o").stat().st_size > 0


def _near(scale: tuple[int, int], random: np.random.Generator, largest: int) -> Array:
    """Totals whose scaled values lie at and beside ties, at the clamp, and anywhere."""
    multiplier, shift = scale
    ties = ((np.arange(-300, 300) + 0.5) * 2.0**shift / multiplier).astype(np.int64)
    close = (ties[:, np.newaxis] + np.arange(-3, 4)).ravel()
    ends = np.array([0, 1, -1, largest, -largest])
    every = np.concatenate([close, random.integers(-largest, largest + 1, 4000), ends])
    near: Array = every[np.abs(every) <= largest].astype(np.int32)
    return near


_SCALES: list[Callable[[np.random.Generator], tuple[int, int]]] = [
    lambda random: fixed_point(float(random.uniform(1e-5, 1e-4))),
    lambda random: fixed_point(float(random.uniform(1e-3, 0.2))),
    lambda random: (1 << 20, 30),
    lambda random: (3 << 19, 25),
    lambda random: (1, 3),
]


_ZEROS = (-128, 0, 11)
_COUNT = 1 << 14


def test_both_forms_of_requantizing_give_the_same_bytes(tmp_path: Path) -> None:
    """Kernels that do nothing else, over totals at and beside ties."""
    random, machine = np.random.default_rng(3), this_machine()

    def kernel(form: str, zero: int) -> Kernel:
        body = requantized(Input(0), Input(1), form, zero, -128, 127, centred=False)
        accesses = [Access("int32", (1,)), Access(form, (0,))]
        return nest((_COUNT,), accesses, Access("int8", (1,)), body)

    kernels = {f"{form}{zero + 128}": kernel(form, zero) for form in ("float32", "float64") for zero in _ZEROS}
    library = Library(kernels, machine, tmp_path)
    forms = set()
    for scale in _SCALES:
        multiplier, shift = scale(random)
        factor = float(factors_of(np.array(multiplier), np.array(shift)))
        for largest in (1 << 24, 1 << 26):
            totals = np.resize(_near((multiplier, shift), random, min(largest, int(2.0**22 / factor) - 1)), _COUNT)
            for zero in _ZEROS:
                expected = requantize(totals, multiplier, shift, zero)
                bound = np.array([np.abs(totals).max()])
                for form in {"float64", requantize_form(machine, bound, np.array([factor]), zero)}:
                    result = np.zeros(_COUNT, np.int8)
                    library.call(f"{form}{zero + 128}", [totals, np.array([factor], form), result])
                    np.testing.assert_array_equal(result, expected)
                    forms.add(form)
    assert "float32" in forms or machine.level == "baseline"


def test_the_form_of_requantizing_depends_on_what_is_exact() -> None:
    machine = Machine("x86_64", "avx2", ("avx2", "f16c", "fma", "sse4_1"))

    def form(largest: int, factor: float, machine: Machine = machine) -> str:
        return requantize_form(machine, np.array([largest]), np.array([factor]), 0)

    assert form(1 << 24, 1e-3) == "float32"
    assert form(1 << 25, 1e-3) == "float32"  # what float32 rounds lies beyond the clamp
    assert form(1 << 25, 1e-6) == "float64"
    assert form(1 << 24, 0.3) == "float64"  # a product beyond 2**22
    assert form(1 << 20, 1e-3, Machine("x86_64", "baseline", ())) == "float64"  # no fused multiply-add
