"""Models of several regions, some on a GPU and some not, whose values go to and fro between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from artifact_examples import evaluator_artifact
from intarsia.artifact import Artifact
from intarsia.artifact.parts import EVALUATOR, graph_files, tensor
from intarsia.dtypes import Array
from intarsia.ir.graph import Graph, Value
from intarsia.ir.types import TensorType
from intarsia.targets import Blob

TYPE = TensorType("int32", (6, 7))
OPS = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply}


@dataclass(frozen=True)
class Region:
    """Ops in a row, each (name, first input, second input, output).

    on_gpu  whether it is a region of the GPU
    """

    on_gpu: bool
    ops: tuple[tuple[str, str, str, str], ...]

    @property
    def made(self) -> list[str]:
        return [op[3] for op in self.ops]

    @property
    def read(self) -> list[str]:
        """Values of others, in the order in which they are first read."""
        return [name for name in dict.fromkeys(name for op in self.ops for name in op[1:3]) if name not in self.made]


CHAIN = [
    Region(True, (("Add", "x", "y", "a"),)),
    Region(True, (("Mul", "a", "a", "b"), ("Sub", "b", "x", "c"))),
    Region(False, (("Add", "b", "y", "d"),)),
    Region(True, (("Sub", "c", "b", "e"), ("Add", "e", "d", "f"))),
]
"""On the GPU, again, elsewhere, and back."""


def random_regions(seed: int, count: int = 6) -> tuple[list[Region], list[str]]:
    """Regions on inputs `x` and `y`, and the outputs of the model: many values are read in several places."""
    random = np.random.default_rng(seed)
    values, regions = ["x", "y"], []
    for number in range(count):
        ops = []
        for index in range(int(random.integers(1, 4))):
            recent = values[-6:]
            first, second = (str(random.choice(recent)) for _ in range(2))
            ops.append((str(random.choice(list(OPS))), first, second, f"v{number}_{index}"))
            values.append(f"v{number}_{index}")
        regions.append(Region(bool(random.random() < 0.7), tuple(ops)))
    inner = values[2:]
    outputs = sorted({*random.choice(inner, 3), inner[-1]})
    return regions, [str(name) for name in outputs]


def meaning(regions: Sequence[Region], outputs: Sequence[str], **inputs: Array) -> list[Array]:
    """What the model gives."""
    values = dict(inputs)
    for region in regions:
        for op, first, second, made in region.ops:
            values[made] = OPS[op](values[first], values[second])
    return [values[name] for name in outputs]


def inputs_of(seed: int) -> dict[str, Array]:
    """Arrays for `x` and `y`."""
    random = np.random.default_rng(seed)
    return {name: random.integers(-1000, 1000, (6, 7)).astype(np.int32) for name in ("x", "y")}


def same(found: Sequence[Array], wanted: Sequence[Array]) -> bool:
    """Whether these are the same bytes."""
    return [(each.dtype, each.tobytes()) for each in found] == [(each.dtype, each.tobytes()) for each in wanted]


def artifact_of(compile: Callable[[Graph], Blob], regions: Sequence[Region], outputs: Sequence[str]) -> Artifact:
    """The model, its regions of GPUs compiled."""
    whole = Graph("regions")
    values: dict[str, Value] = {name: whole.add_input(name, TYPE) for name in ("x", "y")}
    for region in regions:
        for op, first, second, made in region.ops:
            values[made] = _node(whole, op, values[first], values[second], made)
    whole.outputs = [values[name] for name in outputs]
    made_of_all = evaluator_artifact(whole, vectors=0)
    files = {path: data for path, data in made_of_all.files.items() if not path.startswith("regions/")}
    entries = []
    for number, region in enumerate(regions):
        kept = {*outputs, *(name for later in regions[number + 1 :] for name in later.read)}
        graph = Graph(f"{number}_region")
        inside = {name: graph.add_input(name, TYPE) for name in region.read}
        for op, first, second, name in region.ops:
            inside[name] = _node(graph, op, inside[first], inside[second], name)
        graph.outputs = [inside[name] for name in region.made if name in kept] or [inside[region.made[-1]]]
        blob = compile(graph) if region.on_gpu else None
        contents = graph_files(graph) if blob is None else blob.files
        files.update((f"regions/{graph.name}/{file}", data) for file, data in contents.items())
        entries.append(
            {
                "name": graph.name,
                "kind": EVALUATOR if blob is None else blob.device,
                "inputs": [tensor(value) for value in graph.inputs],
                "outputs": [tensor(value) for value in graph.outputs],
                "files": sorted(contents),
                "metadata": {} if blob is None else dict(blob.metadata),
                "layers": [],
            }
        )
    homes = {name: f"{number}_region" for number, region in enumerate(regions) for name in region.made}
    placements = [
        {"name": node.name, "op": node.op, "place": "somewhere", "region": homes[node.output.name], "macs": None}
        for node in whole.nodes
    ]
    changed = {"regions": entries, "placements": placements, "precision": "float32"}
    manifest: dict[str, Any] = {**made_of_all.manifest, **changed}
    return Artifact(manifest, files)


def _node(graph: Graph, op: str, first: Value, second: Value, name: str) -> Value:
    return graph.add_node(op, [first, second], [TYPE], output_names=[name], opset=18).output
