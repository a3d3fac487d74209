"""Regions of a graph on an engine of the overlay, compared with the graph's own meaning."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph
from intarsia.partition import partition
from intarsia.runtime.device import RegionFiles
from intarsia.targets import Blob
from intarsia_backends.overlay.compiler.target import OverlayTarget
from intarsia_backends.overlay.machine.config import CONFIGS


def target(name: str) -> OverlayTarget:
    """The target of a configuration."""
    return OverlayTarget(CONFIGS[name], "for tests")


def region_files(graph: Graph, blob: Blob) -> RegionFiles:
    """A compiled region as a device gets it."""
    inputs = tuple((value.name, value.dtype, value.shape) for value in graph.inputs)
    outputs = tuple((value.name, value.dtype, value.shape) for value in graph.outputs)
    return RegionFiles(graph.name, blob.device, inputs, outputs, blob.files, blob.metadata, blob.layers)


def compiled_regions(graph: Graph, on: OverlayTarget) -> list[tuple[Graph, RegionFiles]]:
    """The parts of a graph that the overlay takes, compiled."""
    parts = partition(graph, (on,)).regions
    return [(part.graph, region_files(part.graph, on.compile(part.graph))) for part in parts if part.place == on.name]


def all_values(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Every value of a graph by name."""
    values = dict(inputs)
    evaluate(graph, inputs, observe=lambda value, array: values.__setitem__(value.name, array))
    return values


def differences(graph: Graph, values: Mapping[str, Array], outputs: list[Array]) -> list[str]:
    """One line for each output of a region that is not what `values` says; empty where all are."""
    lines = []
    for value, found in zip(graph.outputs, outputs):
        wanted = values[value.name]
        if found.shape != wanted.shape or found.dtype != wanted.dtype:
            lines.append(f"{value}: {found.dtype}{found.shape}")
        elif not np.array_equal(found, wanted):
            places = np.argwhere(found != wanted)
            lines.append(f"{value}: {len(places)} of {found.size} differ, first at {tuple(int(i) for i in places[0])}")
    return lines
