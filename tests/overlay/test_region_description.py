"""The description of an overlay region: each field within its limits, and agreeing with files and other fields."""

from __future__ import annotations

import copy
import signal
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from overlay_graphs import Net

from intarsia.errors import RunError
from intarsia.runtime.device import RegionFiles
from intarsia_backends.overlay.compiler.compile import compile_region
from intarsia_backends.overlay.machine.config import CONFIGS, LIMITS, TINY, OverlayConfig
from intarsia_backends.overlay.machine.region import read_region
from intarsia_backends.simulator.device import SimulatorDevice

PICTURE = (1, 3, 12, 10)


@pytest.fixture(scope="module")
def files() -> RegionFiles:
    """A convolution of an image, a sum with a second input, a further output."""
    net = Net()
    x, other = net.input(*PICTURE), net.input(1, 20, 12, 10, name="other")
    conv = net.conv(x, 20)
    graph = net.output(net.conv(conv, 20, name="second"), net.conv(other, 8, kernel=1, name="third"))
    blob = compile_region(graph, TINY)
    ends = [tuple((v.name, v.dtype, v.shape) for v in values) for values in (graph.inputs, graph.outputs)]
    return RegionFiles("region", blob.device, ends[0], ends[1], blob.files, blob.metadata, blob.layers)


def forged(files: RegionFiles, path: tuple[Any, ...], value: object) -> RegionFiles:
    """One entry changed, and the configuration's hash made right."""
    metadata: Any = copy.deepcopy(dict(files.metadata))
    entry = metadata
    for key in path[:-1]:
        entry = entry[key]
    entry[path[-1]] = value
    if path[0] == "config_data" and isinstance(metadata["config_data"], dict):
        metadata["config_hash"] = OverlayConfig.from_dict(metadata["config_data"]).hash
    return replace(files, metadata=metadata)


def test_every_configuration_is_within_its_limits() -> None:
    assert set(LIMITS) | {"name", "part"} == {item.name for item in fields(OverlayConfig)}
    for config in CONFIGS.values():
        assert config.fault() is None


WRONG: list[tuple[tuple[Any, ...], object, str]] = [
    (("config_data", "tile_groups"), 0, "config_data: 'tile_groups' is 0, not a number from 2 to 1024"),
    (("config_data", "tile_groups"), 1, "'tile_groups' is 1"),
    (("config_data", "tile_groups"), True, "'tile_groups' is True, not a whole number"),
    (("config_data", "dram_burst_bytes"), -128, "'dram_burst_bytes' is -128"),
    (("config_data", "dram_burst_bytes"), 2048, "'dram_burst_bytes' is 2048"),
    (("config_data", "tables"), 1 << 40, "'tables' is 1099511627776"),
    (("config_data", "axi_bytes"), 12, "'axi_bytes' is 12, not a number from 8 to 16 that 8 divides"),
    (("config_data", "dram_bytes_per_cycle"), None, "'dram_bytes_per_cycle' is None, not a number"),
    (("config_data", "dram_bytes_per_cycle"), 1e-300, "'dram_bytes_per_cycle' is 1e-300"),
    (("config_data", "weight_bytes"), 16000.0, "'weight_bytes' is 16000.0, not a whole number"),
    (("config_data", "activation_bank_bytes"), 1 << 20, "is more than 1048576 bytes"),
    (("config_data", "name"), 3, "'name' is 3, not text"),
    (("segments", "arena"), -16, "segments: 'arena' is -16"),
    (("segments", "arena"), 1 << 40, "segments: 'arena' is 1099511627776"),
    (("segments", "outputs"), 17, "segments: 'outputs' is 17, no whole number of words"),
    (("segments", "outputs"), 16, "outputs[0]: 'offset' 0 and"),
    (("segments", "inputs"), 1 << 20, "segments: 'inputs' is 1048576, the inputs have"),
    (("segments", "constants"), 16, "segments: 'constants' is 16, 'constants.bin' has"),
    (("segments", "more"), 16, "segments: the entry 'more' is unknown"),
    (("segments",), [], "segments: [] stands where an object should"),
    (("inputs", 0, "width"), 8000, "'channels', 'height' and 'width' are 3, 12, 8000, and 'shape' is [1, 3, 12, 10]"),
    (("inputs", 0, "shape"), [1, 3, 12, 11], "inputs[0]: 'channels'"),
    (("inputs", 0, "shape"), [1, 3, 12, -10], "inputs[0]: 'shape' is [1, 3, 12, -10]"),
    (("inputs", 0, "form"), "rows", "inputs[0]: 'form' is 'rows', not one of blocks, pixels"),
    (("inputs", 0, "form"), "blocks", "inputs[1]: 'offset' is"),
    (("inputs", 0, "dtype"), "float32", "inputs[0]: 'dtype' is 'float32'"),
    (("inputs", 0, "dtype"), "uint8", "'inputs' of its metadata in manifest.json are"),
    (("inputs", 0, "channels_last"), 1, "inputs[0]: 'channels_last' is 1, not true or false"),
    (("inputs", 0, "channels_last"), True, "the last of 'shape' [1, 3, 12, 10] are to be the channels"),
    (("inputs", 0, "name"), "y", "'inputs' of its metadata"),
    (("inputs", 1, "offset"), 0, "inputs[1]: 'offset' is 0, the input before ends at"),
    (("outputs", 0, "offset"), 255, "outputs[0]: 'offset' is 255, no multiple of 16"),
    (("outputs", 1, "offset"), 1 << 20, "outputs[1]: 'offset' 1048576 and"),
    (("outputs",), [], "'outputs' of its metadata"),
    (("tags",), [1, 2], "'tags' holds 1, not text"),
    (("config_hash",), "x" * 1000, "it was compiled for overlay 'tiny' " + "x" * 40 + " ("),
]


@pytest.mark.parametrize(("path", "value", "complaint"), WRONG, ids=lambda item: str(item)[:40])
def test_a_description_that_breaks_a_rule(
    path: tuple[Any, ...], value: object, complaint: str, files: RegionFiles
) -> None:
    with pytest.raises(RunError) as caught:
        read_region(forged(files, path, value))
    assert complaint in str(caught.value) and "region 'region'" in caught.value.where


def test_layers_hold_numbers(files: RegionFiles) -> None:
    for row, complaint in (({"name": "a", "macs": None}, "layers[0] in manifest.json: 'macs' is None"), ({}, "'name'")):
        with pytest.raises(RunError) as caught:
            read_region(replace(files, layers=(row,)))
        assert complaint in str(caught.value)


NUMBERS = st.one_of(
    st.integers(-2, 4), st.sampled_from([8, 15, 16, 128, 1023, 1024, 4096, 65536, 1 << 32, 1 << 63]), st.integers()
)


@settings(max_examples=150)
@given(st.data())
def test_any_configuration_runs_or_is_refused(files: RegionFiles, data: st.DataObject) -> None:
    """Within the limits nothing hangs and nothing but RunError comes, and what runs gives the same bytes."""
    random = np.random.default_rng(0)
    inputs = [random.integers(-128, 128, shape).astype(dtype) for _, dtype, shape in files.inputs]
    name = data.draw(st.sampled_from(sorted(LIMITS)))
    least, most, step = LIMITS[name]
    within = st.integers(int(least), int(min(most, least + 64 * max(step, 1)))).map(lambda value: value * max(step, 1))
    value = data.draw(st.one_of(within, NUMBERS) if step else st.one_of(st.floats(), within))
    signal.alarm(20)
    try:
        found = SimulatorDevice().load(forged(files, ("config_data", name), value)).run(inputs).outputs
    except RunError:
        return
    finally:
        signal.alarm(0)
    wanted = SimulatorDevice().load(files).run(inputs).outputs
    assert [array.tobytes() for array in found] == [array.tobytes() for array in wanted]


def test_a_segment_without_memory(files: RegionFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = SimulatorDevice().load(files)

    def none(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("intarsia_backends.simulator.device.Machine", none)
    with pytest.raises(RunError, match="there is no memory for its segments"):
        loaded.run([np.zeros(shape, dtype) for _, dtype, shape in files.inputs])


def test_a_program_that_ends_early_names_its_file(files: RegionFiles, golden: Callable[[str], None]) -> None:
    cut = replace(files, files={**files.files, "program.bin": files.files["program.bin"][:-16]})
    with pytest.raises(RunError) as caught:
        SimulatorDevice().load(cut)
    golden(f"{caught.value}\n")
