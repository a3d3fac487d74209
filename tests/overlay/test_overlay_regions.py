"""Regions give the bytes of `evaluate` on the simulated machine, on memories large and small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from overlay_graphs import Net, resnet8
from random_nets import random_net

from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph
from intarsia.runtime.device import RegionFiles
from intarsia.targets import Blob
from intarsia_backends.overlay.compiler.target import OverlayTarget
from intarsia_backends.overlay.machine.config import KV260, PYNQ_Z2, TINY, OverlayConfig
from intarsia_backends.overlay.machine.disassembler import disassemble
from intarsia_backends.simulator.device import SimulatorDevice

CONFIGS = {config.name: config for config in (TINY, PYNQ_Z2, KV260)}


def compile_for(graph: Graph, config: OverlayConfig) -> Blob:
    target = OverlayTarget(config, "")
    for node in graph.nodes:
        answer = target.supports(node)
        assert answer.ok, f"{node.where}: {answer.reason}"
    return target.compile(graph)


def check(graph: Graph, config: OverlayConfig, seed: int = 0) -> dict[str, Any]:
    """Compile, run, compare with the meaning; the counters."""
    blob = compile_for(graph, config)
    ends = [tuple((v.name, v.dtype, v.shape) for v in values) for values in (graph.inputs, graph.outputs)]
    device = SimulatorDevice().load(
        RegionFiles("region", blob.device, ends[0], ends[1], blob.files, blob.metadata, blob.layers)
    )
    random = np.random.default_rng(seed)
    inputs = [random.integers(-128, 128, value.shape).astype(value.dtype) for value in graph.inputs]
    wanted = evaluate(graph, {value.name: array for value, array in zip(graph.inputs, inputs)})
    result = device.run(inputs)
    for value, want, found in zip(graph.outputs, wanted, result.outputs):
        assert found.dtype == want.dtype
        assert np.array_equal(found, want), f"{value.name}: {np.count_nonzero(found != want)} of {want.size} differ"
    return dict(result.counters)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("seed", range(40))
def test_random_regions(seed: int, config: OverlayConfig) -> None:
    graph = random_net(seed)
    if graph is not None:
        check(graph, config, seed)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_resnet8(config: OverlayConfig) -> None:
    counters = check(resnet8(), config)
    if config is PYNQ_Z2:
        assert counters["cycles"] <= 36_000
        # One image in, ten numbers out: nothing in between leaves the chip.
        assert counters["bytes_written"] == 16


CASES: dict[str, Callable[[Net], Graph]] = {
    "wider than memory": lambda net: net.output(net.conv(net.input(1, 16, 3, 3000), 16)),
    "deep sum": lambda net: net.output(net.conv(net.input(1, 300, 6, 5), 40)),
    "deeper than memory": lambda net: net.output(net.conv(net.input(1, 1200, 5, 5), 17)),
    "long product": lambda net: net.output(net.matmul(net.flatten(net.input(1, 64, 9, 11)), 33)),
    "rows of a matrix": lambda net: net.output(net.matmul(net.matmul(net.input(37, 50), 20), 12)),
    "kernel beyond the field": lambda net: net.output(net.conv(net.input(1, 8, 400), 20, 80, 3, 10)),
    "product over a large plane": lambda net: net.output(net.matmul(net.flatten(net.input(1, 4, 70, 3)), 5)),
    "global pool beyond memory": lambda net: net.output(net.average_pool(net.input(1, 20, 50, 60))),
    "patches of a large image": lambda net: net.output(net.conv(net.input(1, 3, 60, 70), 24, 7, 2)),
    "one channel": lambda net: net.output(net.conv(net.input(1, 1, 49, 10), 64, (10, 4), 2, (4, 1, 5, 1))),
    "image also read otherwise": lambda net: (lambda x: net.output(net.conv(x, 8), net.max_pool(x, name="pool")))(
        net.input(1, 3, 20, 20)
    ),
    "padding beyond the image": lambda net: net.output(net.conv(net.input(1, 16, 3, 3), 16, 2, 1, 4)),
    "strides skip rows": lambda net: net.output(net.conv(net.input(1, 16, 40, 40), 16, 1, 3, 0)),
    "depthwise of many": lambda net: net.output(
        (lambda x: net.conv(x, 200, 5, 2, 2, group=200))(net.input(1, 200, 30, 30))
    ),
    "depthwise multiplier": lambda net: net.output(net.conv(net.input(1, 12, 9, 9), 36, 3, 1, 1, group=12)),
    "groups of eight": lambda net: net.output(net.conv(net.input(1, 48, 9, 9), 24, 3, 1, 1, group=6)),
    "input passed through": lambda net: (lambda x: net.output(net.reshape(x, 1, 20, 12), net.requantize(x)))(
        net.input(1, 20, 3, 4)
    ),
    "added to itself": lambda net: net.output((lambda x: net.add(x, x))(net.input(1, 20, 12, 12))),
    "residual larger than memory": lambda net: net.output(
        (lambda x: net.add(x, net.conv(x, 40)))(net.input(1, 40, 60, 60))
    ),
    "squeeze and excite": lambda net: net.output(
        (lambda x: net.mul(x, net.conv(net.average_pool(x), 40, 1)))(net.input(1, 40, 12, 12))
    ),
    "dense block": lambda net: net.output(
        (lambda x: (lambda y: net.concat(y, net.conv(y, 16)))(net.concat(x, net.conv(x, 16))))(net.input(1, 16, 10, 10))
    ),
    "unaligned concat": lambda net: net.output(
        (lambda x: net.concat(net.conv(x, 20), net.conv(x, 5), net.conv(x, 30)))(net.input(1, 16, 12, 12))
    ),
    "enlarged": lambda net: net.output(net.conv(net.resize(net.conv(net.input(1, 16, 7, 9), 20)), 20)),
    "bytes looked up": lambda net: net.output(net.lookup(net.input(1, 30, 12, 12, dtype="uint8"))),
}


@pytest.mark.parametrize("config", [TINY, PYNQ_Z2], ids=["tiny", "pynq-z2"])
@pytest.mark.parametrize("case", CASES)
def test_case(case: str, config: OverlayConfig) -> None:
    check(CASES[case](Net(case)), config)


def test_big_convolution_is_near_its_bound() -> None:
    net = Net()
    x = net.conv(net.input(1, 64, 56, 56), 64)
    counters = check(net.output(x), PYNQ_Z2)
    bound = 64 * 64 * 9 * 56 * 56 / 512
    assert counters["cycles"] <= 1.10 * bound


def test_compiling_twice_gives_equal_bytes() -> None:
    first, second = (compile_for(resnet8(), PYNQ_Z2) for _ in range(2))
    assert first == second


def test_disassembly(golden: Callable[[str], None]) -> None:
    net = Net("small")
    x = net.conv(net.input(1, 3, 8, 8), 16, name="stem")
    y = net.add(x, net.conv(x, 16, name="body"))
    blob = compile_for(net.output(net.max_pool(y)), PYNQ_Z2)
    golden(disassemble(blob.files["program.bin"], PYNQ_Z2, blob.metadata["tags"]))
