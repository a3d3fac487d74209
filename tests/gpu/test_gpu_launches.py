"""What an artifact says of launches: read back as it was written, and refused by a letter where anything is wrong."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from array_lane import ArrayLane
from gpu_kernels import every_kind
from gpu_regions import region_files

from intarsia.errors import RunError
from intarsia.ir.graph import Graph
from intarsia.ir.types import TensorType
from intarsia.runtime.device import RegionFiles
from intarsia_backends.gpu.launches import (
    ARENA,
    WEIGHTS,
    Check,
    Copy,
    KernelFacts,
    Launch,
    Launches,
    Parameter,
    Place,
    read_launches,
)
from intarsia_backends.gpu.region import LAUNCHES, WEIGHTS_FILE, GpuRegion, read_region, with_mark
from intarsia_backends.opencl.device import SOURCE
from intarsia_backends.opencl.target import OpenClTarget

VALUES = ((("x", "int64", (4,)),), (("y", "float32", (2, 3)),))
KERNEL = KernelFacts("k", (Parameter("float32", 8, False, 16), Parameter("float32", 6, True)), (1, 1, 1), (6, 1, 1), 64)
SMALL = Launches(
    arena_bytes=192,
    weights_bytes=32,
    inputs=(64,),
    outputs=(128,),
    kernels=(KERNEL,),
    steps=(
        Check(Place(ARENA, 64), "int64", 4, 0, 9, "an index is outside of 0 to 9"),
        Launch(0, (Place(WEIGHTS, 0), Place(ARENA, 0))),
        Copy(Place(ARENA, 0), Place(ARENA, 128), 24),
    ),
    extensions=("cl_khr_fp64",),
    rounds=True,
)


def read(data: Any) -> Launches:
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    return read_launches(text, "launches", *VALUES)


def test_what_is_written_is_read() -> None:
    assert read(SMALL.to_json()) == SMALL
    region = every_kind().graph
    files = region_files(region, OpenClTarget().compile(region))
    launches = read_launches(files.files[LAUNCHES], "launches", files.inputs, files.outputs)
    assert launches.to_json() == files.files[LAUNCHES] and len(launches.kernels) > 30


def changed(*path: Any, value: Any) -> Any:
    """The small launches with one entry put in place of another."""
    data = json.loads(SMALL.to_json())
    item = data
    for part in path[:-1]:
        item = item[part]
    item[path[-1]] = value
    return data


CHANGES: dict[str, Any] = {
    "interface": changed("interface", value=3),
    "no-object": [1],
    "no-json": b"{",
    "unknown": changed("more", value=1),
    "arena": changed("arena_bytes", value=1 << 31),
    "inputs": changed("inputs", value=[]),
    "input-place": changed("inputs", value=[60]),
    "input-end": changed("inputs", value=[168]),
    "output-kind": changed("outputs", value=["0"]),
    "output-end": changed("outputs", value=[172]),
    "extensions": changed("extensions", value=[1]),
    "rounds": changed("rounds", value=1),
    "name": changed("kernels", 0, "name", value="../k"),
    "grid": changed("kernels", 0, "grid", value=[1, 1]),
    "grid-size": changed("kernels", 0, "grid", value=[-1, 1, 1]),
    "block": changed("kernels", 0, "block", value=[0, 1, 1]),
    "threads": changed("kernels", 0, "block", value=[64, 64, 1]),
    "shared": changed("kernels", 0, "shared_bytes", value=-1),
    "parameter": changed("kernels", 0, "parameters", 0, value=["float32", 8, False]),
    "parameter-type": changed("kernels", 0, "parameters", 0, value=["bool", 8, False, 1]),
    "parameter-size": changed("kernels", 0, "parameters", 0, value=["float32", 9, False, 1]),
    "alignment": changed("kernels", 0, "parameters", 0, value=["float32", 8, False, 32]),
    "alignment-power": changed("kernels", 0, "parameters", 0, value=["float32", 8, False, 12]),
    "twice": changed("kernels", value=json.loads(SMALL.to_json())["kernels"] * 2),
    "kernel": changed("steps", 1, "kernel", value=1),
    "places": changed("steps", 1, "places", value=[["arena", 0]]),
    "memory": changed("steps", 1, "places", 0, value=["cellar", 0]),
    "odd": changed("steps", 1, "places", 0, value=["arena", 2]),
    "unaligned": changed("steps", 1, "places", 0, value=["arena", 8]),
    "behind": changed("steps", 1, "places", 1, value=["arena", 172]),
    "to-weights": changed("steps", 1, "places", 1, value=["weights", 0]),
    "to-input": changed("steps", 1, "places", 1, value=["arena", 60]),
    "copy": changed("steps", 2, "copy", value=[["arena", 0]]),
    "copy-size": changed("steps", 2, "bytes", value=80),
    "copy-over": changed("steps", 2, "copy", value=[["arena", 0], ["arena", 16]]),
    "check-weights": changed("steps", 0, "check", value=["weights", 0]),
    "check-type": changed("steps", 0, "dtype", value="float32"),
    "check-count": changed("steps", 0, "count", value=17),
    "check-text": changed("steps", 0, "text", value="n" * 5000),
    "step": changed("steps", 0, value={}),
}


def test_what_is_wrong_is_named(golden: Callable[[str], None]) -> None:
    letters = []
    for name, data in CHANGES.items():
        with pytest.raises(RunError) as caught:
            read(data)
        letters.append(f"{name}: {caught.value.where}: {caught.value.what}\n")
    golden("".join(letters))


STRANGE: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    7,
    64,
    1 << 31,
    1 << 63,
    0.5,
    "",
    "x",
    "arena",
    [],
    [0],
    {},
    {"a": 1},
    10**30,
)


def test_whatever_stands_there_is_refused_or_fits() -> None:
    rng = random.Random(1)
    read_well = 0
    for _ in range(3000):
        data = json.loads(SMALL.to_json())
        for _ in range(rng.choice((1, 1, 2))):
            item, parent, key = data, data, ""
            while isinstance(item, (dict, list)) and item and rng.random() < 0.85:
                parent = item
                key = rng.choice(sorted(item) if isinstance(item, dict) else range(len(item)))
                item = item[key]
            if key != "":
                parent[key] = copy.deepcopy(rng.choice(STRANGE))
        try:
            launches = read(data)
        except RunError as error:
            assert error.where.startswith("launches")
            continue
        read_well += 1
        run(launches)
    assert 50 < read_well < 2500


def run(launches: Launches, index: int = 3) -> tuple[list[Any], ArrayLane]:
    files = RegionFiles("r", "opencl", *VALUES, {})
    lane = ArrayLane(launches)
    region = GpuRegion(files, launches, "", lambda: lane)
    try:
        outputs = region.run([np.array([0, 1, 2, index])]).outputs
    except RunError as error:
        assert "outside" in error.what or "text" in error.what or len(error.what) < 5000
        outputs = []
    region.close()
    return outputs, lane


def test_steps_are_taken_in_order_and_checks_of_inputs_before() -> None:
    outputs, lane = run(SMALL)
    assert outputs[0].shape == (2, 3) and lane.launched == [1] and lane.closed
    outputs, lane = run(SMALL, index=10)
    assert outputs == [] and lane.launched == []


def test_a_check_of_what_kernels_made_is_done_in_its_turn() -> None:
    late = Check(Place(ARENA, 0), "int32", 2, 1, 9, "a number that was made is outside of 1 to 9")
    launches = Launches(192, 32, (64,), (128,), (KERNEL,), (SMALL.steps[1], late), (), False)
    region = GpuRegion(RegionFiles("r", "opencl", *VALUES, {}), launches, "text", lambda: ArrayLane(launches))
    with pytest.raises(RunError, match="a number that was made is outside of 1 to 9"):
        region.run([np.zeros(4, np.int64)])
    assert region.listing() == "text"


# ---- the files beside them


def damaged(**files: bytes | None) -> RegionFiles:
    graph = Graph("r")
    x = graph.add_input("x", TensorType("float32", (3, 4)))
    graph.outputs = [graph.add_node("Relu", [x], [TensorType("float32", (3, 4))], opset=18).output]
    made = region_files(graph, OpenClTarget().compile(graph))
    names = {"launches": LAUNCHES, "kernels": SOURCE, "weights": WEIGHTS_FILE}
    held = {**made.files, **{names[key]: data for key, data in files.items() if data is not None}}
    for key, data in files.items():
        if data is None:
            del held[names[key]]
    return RegionFiles(made.name, made.kind, made.inputs, made.outputs, held, made.metadata)


def test_files_that_do_not_go_together(golden: Callable[[str], None]) -> None:
    good = damaged()
    other = good.files[LAUNCHES].replace(b'"grid":[1,1,1]', b'"grid":[2,1,1]')
    assert other != good.files[LAUNCHES]
    half = RegionFiles(good.name, good.kind, (("x", "complex64", (3, 4)),), good.outputs, good.files)
    letters = []
    for region in (
        damaged(kernels=None),
        damaged(launches=None),
        damaged(weights=None),
        damaged(weights=b"more"),
        damaged(launches=other),
        damaged(kernels=b"\xff\xfe"),
        damaged(kernels=good.files[SOURCE].partition(b"\n")[2]),
        half,
    ):
        with pytest.raises(RunError) as caught:
            read_region(region, SOURCE)
        letters.append(f"{caught.value}\n")
    golden("".join(letters))
    read_region(damaged(launches=other, kernels=with_mark("", other).encode()), SOURCE)
