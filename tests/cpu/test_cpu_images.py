"""Networks whose images lie with channels last: what one op leaves in memory, the next one reads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from cpu_regions import load
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from image_networks import ImageNetwork
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Value
from intarsia_backends.cpu.image_kernels import Depthwise, Winograd
from intarsia_backends.cpu.kernels import Contraction
from intarsia_backends.cpu.lower.region import lower_region
from intarsia_backends.cpu.machine import this_machine
from intarsia_backends.lowering.kernel import Kernel
from intarsia_backends.lowering.kernels import Nest


class Images(ImageNetwork):
    """A float32 network on this machine's processor."""

    def kernels(self, *outputs: Value, strict: bool = False) -> list[Kernel]:
        """What is called for the network."""
        self.graph.outputs = list(outputs)
        calls = lower_region(self.graph, replace(this_machine(), strict=strict)).calls
        return [call.kernel for call in calls if call.kernel is not None]  # type: ignore[misc]

    def check(self, *outputs: Value) -> None:
        self.graph.outputs = list(outputs)
        x = self.random.standard_normal(self.input.shape).astype(np.float32)
        wanted = evaluate(self.graph, {"x": x})
        for value, expected, actual in zip(outputs, wanted, load(self.graph).run([x]).outputs):
            assert actual.shape == expected.shape
            assert np.abs(actual - expected).max() <= 2e-5 * np.abs(expected).max(), value


_OPS = ("conv", "pointwise", "strided", "depthwise", "grouped", "max", "average", "residual", "relu", "channel", "fork")


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.integers(0, 1 << 30),
    st.integers(1, 2),
    st.sampled_from([1, 3, 8, 20]),
    st.tuples(st.integers(5, 13), st.integers(5, 13)),
    st.lists(st.sampled_from(_OPS), min_size=2, max_size=7),
)
def test_networks(seed: int, batch: int, channels: int, size: tuple[int, int], ops: list[str]) -> None:
    images = Images(seed, batch, channels, *size)
    x, kept = images.input, []
    for op in ops:
        width = x.shape[1]
        small = min(x.shape[2:]) < 3
        if op == "conv":
            x = images.conv(x, 24, 3, pad=1, relu=bool(seed & 1))
        elif op == "pointwise" or small:
            x = images.conv(x, 20, 1)
        elif op == "strided":
            x = images.conv(x, 16, 3, stride=2, pad=1)
        elif op == "depthwise" and width > 1:
            x = images.conv(x, width, 3, pad=1, group=width)
        elif op == "grouped" and width % 4 == 0:
            x = images.conv(x, 2 * width, 3, pad=1, group=4)
        elif op == "max":
            x = images.pool("MaxPool", x, 3, 2, 1)  # of negative numbers too: the border must never win
        elif op == "average":
            x = images.pool("AveragePool", x, 3, 1, 1)
        elif op == "residual":
            x = images.add("Add", images.conv(x, width, 3, pad=1), x)
        elif op == "channel":
            x = images.add("Mul", x, images.constant(images.random.standard_normal((width, 1, 1))))
        elif op == "relu":
            x = images.add("Relu", x)
        else:
            kept.append(x)
    if not kept or kept[-1] is x or kept[-1] is images.input:
        kept = []
    images.check(*[value for value in dict.fromkeys(kept) if value is not images.input and value is not x], x)


def test_nothing_is_done_between_convolutions() -> None:
    """Padding, activations, additions and layouts cost no kernel of their own."""
    images = Images(0, 1, 8, 12, 12)
    x = images.conv(images.input, 32, 3, pad=1, relu=True)
    y = images.conv(x, 32, 3, stride=2, pad=1, relu=True)
    z = images.conv(y, 32, 5, pad=2, group=32)
    z = images.add("Relu", images.add("Add", z, y))
    kernels = images.kernels(images.add("GlobalAveragePool", images.conv(z, 64, 1)))
    sums = [kernel for kernel in kernels if isinstance(kernel, Contraction | Winograd | Depthwise)]
    assert len(sums) == 4
    # The input is copied to channels last; the last pool is a nest. No other walk over an image.
    assert len([kernel for kernel in kernels if isinstance(kernel, Nest)]) == 2


def test_strict_float_has_no_winograd() -> None:
    def kinds(strict: bool) -> set[type[Kernel]]:
        images = Images(0, 1, 64, 28, 28)
        return {type(kernel) for kernel in images.kernels(images.conv(images.input, 64, 3, pad=1), strict=strict)}

    assert Winograd in kinds(strict=False)
    assert Winograd not in kinds(strict=True)
