"""Every config that a search may choose gives what the heuristic's gives: integers bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cpu_regions import Layers, load
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from generated_graphs import examples, graphs, networks, random_inputs
from intarsia.dtypes import Array
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph
from intarsia.targets import find_target
from intarsia_backends.cpu.depthwise import DepthwiseTask
from intarsia_backends.cpu.lower.convolution_tiling import ConvolutionTask, DirectTiling
from intarsia_backends.cpu.lower.panels import ProductTask
from intarsia_backends.cpu.lower.region import lower_region
from intarsia_backends.cpu.machine import Machine, machine_of, this_machine
from intarsia_backends.cpu.target import CpuTarget
from intarsia_backends.cpu.tuning_tasks import SEARCH, AskedTask, Choice, Configs, OpenConfigs, TuningTask
from intarsia_backends.cpu.winograd import WinogradTiling


class Forced(Configs):
    """Always the alternative with that number, counted round and round."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def choice(self, task: TuningTask) -> Choice:
        others = task.alternatives()
        return Choice(others[self.number % len(others)] if others else task.heuristic(), SEARCH)


def forced_target(number: int) -> CpuTarget:
    target = CpuTarget()
    target.configs = Forced(number)
    return target


def asked_of(graph: Graph, machine: Machine | None = None) -> list[AskedTask]:
    configs = OpenConfigs()
    lower_region(graph, machine or this_machine(), configs)
    return configs.asked


def convolution(layers: Layers, channels: int, outputs: int, kernel: int, size: int, **attributes: Any) -> None:
    group = attributes.pop("group", 1)
    weights: Array = layers.floats(outputs, channels // group, kernel, kernel) / (kernel * channels**0.5)
    pads = (attributes.pop("pad", kernel // 2),) * 4
    facts = {"kernel_shape": (kernel, kernel), "strides": (1, 1), "dilations": (1, 1), "pads": pads, "group": group}
    layers.add("Conv", [layers.floats(1, channels, size, size), weights], {**facts, **attributes}, constants=(1,))


def float_layers() -> Layers:
    layers = Layers(3)
    convolution(layers, 16, 24, 3, 14)
    convolution(layers, 32, 40, 3, 7)
    convolution(layers, 24, 56, 1, 12)
    convolution(layers, 16, 72, 1, 9, strides=(2, 2))
    convolution(layers, 20, 36, 5, 13, strides=(2, 2))
    convolution(layers, 200, 200, 3, 5)
    convolution(layers, 16, 32, 3, 9, group=2)
    convolution(layers, 24, 24, 3, 29, group=24)
    convolution(layers, 16, 16, 5, 15, group=16, strides=(2, 2))
    for rows, depth, columns in ((37, 300, 65), (1, 128, 100), (64, 700, 24)):
        layers.add("MatMul", [layers.floats(rows, depth), layers.floats(depth, columns)], constants=(1,))
    layers.add("MatMul", [layers.floats(3, 20, 33), layers.floats(3, 33, 21)])
    return layers


@pytest.mark.parametrize("number", range(8))
def test_float_layers_by_every_alternative(number: int) -> None:
    float_layers().check(target=forced_target(number))


@settings(max_examples=examples(10), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.one_of(graphs(), networks()), st.integers(0, 19))
def test_integer_graphs_by_any_alternative(graph: Graph, number: int) -> None:
    inputs = random_inputs(graph, number)
    found = load(graph, forced_target(number)).run([inputs[value.name] for value in graph.inputs])
    for expected, actual in zip(evaluate(graph, inputs), found.outputs):
        assert np.array_equal(expected, actual), f"alternative {number}"


@settings(max_examples=examples(60), deadline=None, suppress_health_check=list(HealthCheck))
@given(graphs())
def test_alternatives_are_no_rules_and_have_names(graph: Graph) -> None:
    for machine in (this_machine(), machine_of("armv7l", "neon"), machine_of("x86_64", "avx512")):
        for asked in asked_of(graph, machine):
            heuristic, others = asked.task.heuristic(), asked.task.alternatives()
            assert heuristic not in others
            texts = [str(config) for config in (heuristic, *others)]
            assert len({*texts}) == len(texts)
            assert all(asked.task.named(text) == other for text, other in zip(texts, (heuristic, *others)))
            assert asked.task.named("something else") is None


def test_every_kind_of_choice_is_asked_for() -> None:
    kinds = {type(asked.task) for asked in asked_of(float_layers().graph)}
    assert kinds == {ConvolutionTask, DepthwiseTask, ProductTask}


def test_strict_floats_are_never_made_by_winograd() -> None:
    def configs(name: str) -> list[Any]:
        target = find_target(name)
        assert isinstance(target, CpuTarget)
        tasks = [asked.task for asked in asked_of(float_layers().graph, target.machine)]
        return [config for task in tasks for config in (task.heuristic(), *task.alternatives())]

    assert any(isinstance(config, WinogradTiling) for config in configs("cpu"))
    assert not any(isinstance(config, WinogradTiling) for config in configs("cpu{strict=true}"))


def test_inexact_tiles_are_no_alternative() -> None:
    task = ConvolutionTask(
        machine=machine_of("x86_64", "avx2"),
        products="dot2",
        batch=1,
        groups=1,
        channels=512,
        outputs=512,
        kernel=(3, 3),
        strides=(1, 1),
        dilations=(1, 1),
        positions=(14, 14),
        one_row=False,
        winograd=(2,),
    )
    sizes = {plan.size for plan in (task.heuristic(), *task.alternatives()) if isinstance(plan, WinogradTiling)}
    assert sizes == {2}
    assert any(isinstance(config, DirectTiling) for config in task.alternatives())
