"""Generated layers and graphs, compiled for the overlay: the machine gives the bytes of `ir.evaluate`.

INTARSIA_GENERATED=2000 python -m pytest tests/simulator/test_simulator_generated.py runs 2,000 examples of each test.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from engines import all_values, compiled_regions, differences, target
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from generated_graphs import examples, graphs, layers, networks, random_inputs
from intarsia.ir.graph import Graph
from intarsia_backends.overlay.machine import isa
from intarsia_backends.overlay.machine.config import CONFIGS
from intarsia_backends.overlay.machine.layout import TensorLayout, pack_all, unpack_all
from intarsia_backends.overlay.machine.region import PROGRAM
from intarsia_backends.simulator.device import SimulatedRegion, SimulatorDevice
from intarsia_backends.simulator.machine import Machine
from intarsia_backends.simulator.order import legal_order

SLOW_IS_FINE = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example)


def check(graph: Graph, config: str, seed: int) -> None:
    values = all_values(graph, random_inputs(graph, seed))
    for region, files in compiled_regions(graph, target(config)):
        loaded = SimulatorDevice().load(files)
        for node in region.nodes:
            event(node.op)
        result = loaded.run([values[value.name] for value in region.inputs])
        assert differences(region, values, result.outputs) == []
        counters = result.counters
        assert sum(layer["cycles"] for layer in counters["layers"]) == counters["cycles"] > 0
        moved_bytes = counters["bytes_read"] + counters["bytes_written"]
        assert counters["cycles"] >= moved_bytes / CONFIGS[config].dram_bytes_per_cycle
        for account in counters["queues"].values():
            assert sum(account.values()) == counters["cycles"]
            assert min(account.values()) >= 0


@given(layers(), st.integers(0, 99))
@settings(max_examples=examples(250), suppress_health_check=SLOW_IS_FINE)
def test_layers_on_small_memories(graph: Graph, seed: int) -> None:
    check(graph, "tiny", seed)


@given(graphs(), st.integers(0, 99))
@settings(max_examples=examples(200), suppress_health_check=SLOW_IS_FINE)
def test_graphs_on_small_memories(graph: Graph, seed: int) -> None:
    check(graph, "tiny", seed)


@given(networks(), st.integers(0, 99))
@settings(max_examples=examples(40), suppress_health_check=SLOW_IS_FINE)
def test_networks_on_small_memories(graph: Graph, seed: int) -> None:
    check(graph, "tiny", seed)


@given(st.one_of(layers(), graphs()), st.integers(0, 99))
@settings(max_examples=examples(80), suppress_health_check=SLOW_IS_FINE)
def test_on_pynq_z2(graph: Graph, seed: int) -> None:
    check(graph, "pynq-z2", seed)


@given(st.one_of(layers(), graphs()), st.integers(0, 99))
@settings(max_examples=examples(40), suppress_health_check=SLOW_IS_FINE)
def test_on_kv260(graph: Graph, seed: int) -> None:
    check(graph, "kv260", seed)


@given(graphs(longest=4), st.permutations(tuple(isa.Queue)), st.integers(0, 99))
@settings(max_examples=examples(60), suppress_health_check=SLOW_IS_FINE)
def test_neither_order_nor_old_memory_contents_matter(graph: Graph, eager: list[isa.Queue], seed: int) -> None:
    """What the checks at load promise: all orders that the semaphores allow, over any garbage, give the same bytes."""
    values = all_values(graph, random_inputs(graph, seed))
    for region, files in compiled_regions(graph, target("tiny")):
        loaded = SimulatorDevice().load(files)
        assert isinstance(loaded, SimulatedRegion) and files.files[PROGRAM]
        program = loaded.program
        machine = Machine(replace(program, order=legal_order(program.program, program.config, eager)))
        rng = np.random.default_rng(seed)
        memories = [machine.state.act, machine.state.dram[isa.Segment.ARENA], machine.state.dram[isa.Segment.OUTPUTS]]
        for memory in memories:
            memory[...] = rng.integers(-128, 128, memory.shape)
        inputs, outputs = (
            [TensorLayout.from_dict(item) for item in files.metadata[key]] for key in ("inputs", "outputs")
        )
        image = pack_all([values[layout.name] for layout in inputs], inputs, files.metadata["segments"]["inputs"])
        assert differences(region, values, unpack_all(machine.run(image), outputs)) == []
