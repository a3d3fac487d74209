"""What a library says of itself: sizes of another manifest are refused before anything of it is mapped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.errors import RunError
from intarsia.ir.graph import Graph
from intarsia.ir.types import TensorType
from intarsia.runtime.device import RegionFiles
from intarsia.targets import find_target
from intarsia_backends.cpu import device
from intarsia_backends.cpu.device import INTERFACE, CpuDevice
from intarsia_backends.cpu.library import Facts, LibraryError, library_machine, read_facts
from intarsia_backends.cpu.target import CpuTarget
from side_by_side import region_files

ROW = ("float32", (1, 24))


def small() -> Graph:
    """A matrix product whose result is used for the next one: weights, scratch memory, an input, two outputs."""
    graph = Graph("small")
    x = graph.add_input("x", TensorType("float32", (1, 24)))
    weight = graph.add_constant("w", np.random.default_rng(1).standard_normal((24, 24)).astype(np.float32))
    type = TensorType("float32", (1, 24))
    first = graph.add_node("dense", [x, weight], [type], output_names=["first"]).output
    second = graph.add_node("dense", [first, weight], [type], output_names=["second"]).output
    third = graph.add_node("Softmax", [second], [type], {"axis": -1}, output_names=["third"], opset=18).output
    graph.outputs = [third, first]
    return graph


@pytest.fixture(scope="module")
def files() -> RegionFiles:
    graph = small()
    return region_files(graph, CpuTarget().compile(graph))


@pytest.fixture
def mapped(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Libraries that were opened."""
    opened: list[bytes] = []
    really = device.open_library

    def counted(code: bytes) -> Any:
        opened.append(code)
        return really(code)

    monkeypatch.setattr(device, "open_library", counted)
    return opened


def said(files: RegionFiles) -> str:
    with pytest.raises(RunError) as caught:
        CpuDevice().load(files)
    return str(caught.value)


def changed(files: RegionFiles, **metadata: object) -> RegionFiles:
    return replace(files, metadata={**files.metadata, **metadata})


def test_a_library_says_what_it_was_made_for(files: RegionFiles, mapped: list[bytes]) -> None:
    facts = files.metadata
    found = read_facts(files.files["region.so"])
    sizes = facts["arena_bytes"], facts["weights_bytes"]
    images = facts["images"], facts["images_arena_bytes"]
    assert found == Facts(INTERFACE, *sizes, 0, (ROW,), (ROW, ROW), *images)
    assert library_machine(files.files["region.so"]) == facts["machine"]
    CpuDevice().load(files)
    assert len(mapped) == 1


@pytest.mark.parametrize(("name", "bits"), [("cpu-armv7", 1), ("cpu-aarch64", 2)])
def test_libraries_for_other_machines_are_read_too(name: str, bits: int) -> None:
    pytest.importorskip("ziglang", reason="needs the package ziglang, which links for other machines")
    target, graph = find_target(name), small()
    assert isinstance(target, CpuTarget)
    blob = target.compile(graph)
    code = blob.files["region.so"]
    assert code[4] == bits and library_machine(code) == target.machine.name
    sizes = blob.metadata["arena_bytes"], blob.metadata["weights_bytes"]
    images = blob.metadata["images"], blob.metadata["images_arena_bytes"]
    assert read_facts(code) == Facts(INTERFACE, *sizes, 0, (ROW,), (ROW, ROW), *images)


CHANGES: dict[str, Callable[[RegionFiles], RegionFiles]] = {
    "arena_too_small": lambda files: changed(files, arena_bytes=0),
    "arena_too_large": lambda files: changed(files, arena_bytes=1 << 39),
    "arena_is_no_number": lambda files: changed(files, arena_bytes=1e3),
    "arena_below_zero": lambda files: changed(files, arena_bytes=-1),
    "weights_bytes": lambda files: changed(files, weights_bytes=4),
    "weights_file": lambda files: replace(files, files={**files.files, "weights.bin": b"four"}),
    "weights_missing": lambda files: replace(files, files={"region.so": files.files["region.so"]}),
    "another_bound": lambda files: changed(files, bounds=["indices"]),
    "bounds_of_numbers": lambda files: changed(files, bounds=[1]),
    "features_of_numbers": lambda files: changed(files, features=[1]),
    "no_interface": lambda files: replace(files, metadata={}),
    "more_images": lambda files: changed(files, images=1 << 20),
    "less_memory_for_images": lambda files: changed(files, images_arena_bytes=0),
    "the_interface_before": lambda files: changed(files, interface=3),
    "older_interface": lambda files: changed(files, interface=2),
    "input_of_another_size": lambda files: replace(files, inputs=(("x", "float32", (1, 23)),)),
    "input_of_another_type": lambda files: replace(files, inputs=(("x", "float64", (1, 24)),)),
    "input_of_the_same_size": lambda files: replace(files, inputs=(("x", "int32", (1, 24)),)),
    "input_of_another_rank": lambda files: replace(files, inputs=(("x", "float32", (24,)),)),
    "input_of_texts": lambda files: replace(files, inputs=(("x", "string", (1, 24)),)),
    "one_more_input": lambda files: replace(files, inputs=files.inputs * 2),
    "output_too_small": lambda files: replace(files, outputs=(files.outputs[0], ("first", "float32", (1, 1)))),
    "no_outputs": lambda files: replace(files, outputs=()),
    "library_is_text": lambda files: replace(files, files={**files.files, "region.so": b"#!/bin/sh\n" * 20}),
    "library_cut_short": lambda files: replace(
        files, files={**files.files, "region.so": files.files["region.so"][:4096]}
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_does_not_agree_is_not_mapped(
    name: str, files: RegionFiles, mapped: list[bytes], golden: Callable[[str], None]
) -> None:
    text = said(CHANGES[name](files)).replace(str(len(files.files["region.so"])), "<size>")
    assert mapped == []
    if name != "library_cut_short":  # linkers place things as they like
        golden(text + "\n")
    else:
        assert "file 'region.so': it ends at byte 4096, and" in text


def test_a_library_without_facts_is_not_mapped(files: RegionFiles, mapped: list[bytes]) -> None:
    code = files.files["region.so"].replace(b"intarsia_region_facts\0", b"intarsia_region_fakes\0")
    assert read_facts(code) is None
    assert "it does not say what it was made for" in said(replace(files, files={**files.files, "region.so": code}))
    assert mapped == []


def test_facts_of_another_form_are_refused(files: RegionFiles) -> None:
    facts = read_facts(files.files["region.so"])
    assert facts is not None
    numbers = facts.numbers
    assert Facts.of(numbers) == facts
    for other in ((), numbers[:6], numbers[:-1], (*numbers, 1), (1, *numbers[1:])):
        with pytest.raises(LibraryError):
            Facts.of(other)


@settings(max_examples=400)
@given(st.data())
def test_any_bytes_are_a_library_or_are_refused(files: RegionFiles, data: st.DataObject) -> None:
    """Headers of all kinds, cut anywhere: nothing but LibraryError."""
    code = bytearray(files.files["region.so"])
    sections = int.from_bytes(code[40:48], "little")
    places = st.one_of(st.integers(0, 0x300), st.integers(sections, len(code) - 1))
    for place in data.draw(st.lists(places, min_size=1, max_size=8)):
        code[place] = data.draw(st.integers(0, 255))
    end = data.draw(st.one_of(st.just(len(code)), st.integers(0, len(code))))
    try:
        read_facts(bytes(code[:end]))
    except LibraryError:
        return
