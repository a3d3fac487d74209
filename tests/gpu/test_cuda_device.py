"""Regions on the device `cuda`: on a driver that pretends, and by `pytest -m cuda` on a GPU."""

from __future__ import annotations

import numpy as np
from cards import Cards
from gpu_kernels import every_kind
from gpu_regions import compare

from artifact_examples import random_array, small_graph


def test_a_quantized_network_has_the_bytes_of_evaluate(cards: Cards) -> None:
    graph = small_graph()
    region = cards.load(graph)
    for seed in range(3):
        inputs = {value.name: random_array(np.random.default_rng(seed), value) for value in graph.inputs}
        compare(graph, inputs, region.run([inputs[value.name] for value in graph.inputs]).outputs)
    region.close()


def test_every_kind_of_kernel(cards: Cards) -> None:
    kinds = every_kind()
    region = cards.load(kinds.graph)
    for _ in range(2):
        compare(kinds.graph, kinds.inputs, region.run(list(kinds.inputs.values())).outputs)
    assert "__global__" in region.listing()
    region.close()
