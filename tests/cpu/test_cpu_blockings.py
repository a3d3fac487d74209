"""Every blocking that a search may choose gives what the rule's gives: integers bit for bit."""

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
from intarsia_backends.cpu.blockings import SEARCH, Answer, Asked, Blockings, OpenBlockings, Question
from intarsia_backends.cpu.depthwise import DepthwiseQuestion
from intarsia_backends.cpu.lower.convolution_choice import ConvolutionQuestion, DirectBlocking
from intarsia_backends.cpu.lower.panels import ProductQuestion
from intarsia_backends.cpu.lower.region import lower_region
from intarsia_backends.cpu.machine import Machine, machine_of, this_machine
from intarsia_backends.cpu.target import CpuTarget
from intarsia_backends.cpu.winograd import Plan


class Forced(Blockings):
    """Always the alternative with that number, counted round and round."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def answer(self, question: Question) -> Answer:
        others = question.alternatives()
        return Answer(others[self.number % len(others)] if others else question.rule(), SEARCH)


def forced_target(number: int) -> CpuTarget:
    target = CpuTarget()
    target.blockings = Forced(number)
    return target


def asked_of(graph: Graph, machine: Machine | None = None) -> list[Asked]:
    blockings = OpenBlockings()
    lower_region(graph, machine or this_machine(), blockings)
    return blockings.asked


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
            rule, others = asked.question.rule(), asked.question.alternatives()
            assert rule not in others
            texts = [str(blocking) for blocking in (rule, *others)]
            assert len({*texts}) == len(texts)
            assert all(asked.question.named(text) == other for text, other in zip(texts, (rule, *others)))
            assert asked.question.named("something else") is None


def test_every_kind_of_choice_is_asked_for() -> None:
    kinds = {type(asked.question) for asked in asked_of(float_layers().graph)}
    assert kinds == {ConvolutionQuestion, DepthwiseQuestion, ProductQuestion}


def test_strict_floats_are_never_made_by_winograd() -> None:
    def blockings(name: str) -> list[Any]:
        target = find_target(name)
        assert isinstance(target, CpuTarget)
        questions = [asked.question for asked in asked_of(float_layers().graph, target.machine)]
        return [blocking for question in questions for blocking in (question.rule(), *question.alternatives())]

    assert any(isinstance(blocking, Plan) for blocking in blockings("cpu"))
    assert not any(isinstance(blocking, Plan) for blocking in blockings("cpu{strict=true}"))


def test_inexact_tiles_are_no_alternative() -> None:
    question = ConvolutionQuestion(
        machine_of("x86_64", "avx2"), "pairs", 1, 1, 512, 512, (3, 3), (1, 1), (1, 1), (14, 14), False, (2,)
    )
    sizes = {plan.size for plan in (question.rule(), *question.alternatives()) if isinstance(plan, Plan)}
    assert sizes == {2}
    assert any(isinstance(blocking, DirectBlocking) for blocking in question.alternatives())
