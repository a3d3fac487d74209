"""Files that are damaged or forged, and machines that lack something: letters, before anything is compiled or run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from xla_regions import load, tpu_target

from generated_graphs import random_inputs
from intarsia.errors import RunError
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph
from intarsia.ir.types import TensorType
from intarsia.runtime.device import RegionFiles
from intarsia.runtime.devices import choose_devices
from intarsia_backends.tpu import device, xla
from intarsia_backends.tpu.blob import CODE, KIND, WEIGHTS, read
from intarsia_backends.tpu.device import TpuDevice, XlaCpuDevice
from intarsia_backends.tpu.portable import to_bytes
from intarsia_backends.tpu.xla import checked_module
from side_by_side import region_files


def network() -> Graph:
    """A product with weights of more than a few bytes, and rows picked at run time."""
    graph, numbers = Graph("0_tpu"), np.random.default_rng(0)
    x, i = graph.add_input("x", TensorType("int8", (5, 64))), graph.add_input("i", TensorType("int64", (3,)))
    scales = [graph.add_constant(name, np.full(48, value, np.int32)) for name, value in zip("bms", (7, 1 << 20, 33))]
    weight = graph.add_constant("w", numbers.integers(-127, 128, (64, 48)).astype(np.int8))
    zeros = {"input_zero_point": 1, "output_zero_point": 0}
    product = graph.add_node("qmatmul", [x, weight, *scales], [TensorType("int8", (5, 48))], zeros, name="product")
    rows = graph.add_node(
        "Gather", [product.output, i], [TensorType("int8", (3, 48))], {"axis": 0}, name="rows", opset=18
    )
    graph.outputs = [rows.output]
    return graph


@cache
def files() -> RegionFiles:
    graph = network()
    return region_files(graph, tpu_target().compile(graph))


def changed(data: Mapping[str, bytes] | None = None, **facts: Any) -> RegionFiles:
    """The region with other files, or with other metadata; None takes an entry out."""
    metadata = {key: value for key, value in {**files().metadata, **facts}.items() if value is not None}
    content = {name: value for name, value in {**files().files, **(data or {})}.items() if value != b"gone"}
    return replace(files(), files=content, metadata=metadata)


def coded(body: str) -> RegionFiles:
    """The region with other code."""
    text = f"module @region {{ func.func public @main({_TAKES}) -> (tensor<3x48xi8>, tensor<i1>) {{ {body} }} }}"
    return changed({CODE: to_bytes(text)})


_TAKES = "%x0: tensor<5x64xi8>, %x1: tensor<3xi64>, %w0: tensor<64x48xi8>"
_GIVES = """%y = stablehlo.slice %w0 [0:3:1, 0:48:1] : (tensor<64x48xi8>) -> tensor<3x48xi8>
            %c = stablehlo.constant dense<true> : tensor<i1>"""
_RETURN = "return %y, %c : tensor<3x48xi8>, tensor<i1>"


def test_it_runs_and_checks_indices_in_several_threads() -> None:
    region, graph = XlaCpuDevice().load(files()), network()
    x = random_inputs(graph.copy(), 0)["x"]
    wrong: list[str] = []

    def run(seed: int) -> None:
        for places in np.random.default_rng(seed).integers(-5, 5, (20, 3)):
            (wanted,) = evaluate(graph, {"x": x, "i": places})
            (found,) = region.run([x, places]).outputs
            if not np.array_equal(found, wanted):
                wrong.append(f"{places}")
            found[:] = 0  # the caller's own

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    with pytest.raises(RunError, match="an index is outside an axis of 5"):
        region.run([x, np.array([0, 5, 0])])


FORGED: dict[str, Callable[[], RegionFiles]] = {
    "no code": lambda: changed({CODE: b"gone"}),
    "no weights": lambda: changed({WEIGHTS: b"gone"}),
    "code of another kind": lambda: changed({CODE: b"\x7fELF" + files().files[CODE]}),
    "code that ends early": lambda: changed({CODE: files().files[CODE][:200]}),
    "weights that end early": lambda: changed({WEIGHTS: files().files[WEIGHTS][:-1]}),
    "another interface": lambda: changed(interface=2),
    "an interface that is text": lambda: changed(interface="1"),
    "no guards": lambda: changed(guards=None),
    "fewer guards": lambda: changed(guards=[]),
    "weights of another type": lambda: changed(weights=[{"dtype": "uint8", "shape": [64, 48]}]),
    "weights of another shape": lambda: changed(weights=[{"dtype": "int8", "shape": [48, 64]}]),
    "weights of no type": lambda: changed(weights=[{"dtype": "float64", "shape": [64, 6]}]),
    "weights of an endless shape": lambda: changed(weights=[{"dtype": "int8", "shape": [-64, -48]}]),
    "another output": lambda: replace(files(), outputs=(("rows", "int8", (3, 47)),)),
    "an input of text": lambda: replace(files(), inputs=(("x", "string", (5, 64)), files().inputs[1])),
    "a call of the host": lambda: coded(f"{_GIVES} stablehlo.custom_call @system() : () -> () {_RETURN}"),
    "a loop": lambda: coded(
        f"""{_GIVES} %l = stablehlo.while(%i = %c) : tensor<i1> cond {{ stablehlo.return %c : tensor<i1> }}
            do {{ stablehlo.return %i : tensor<i1> }} {_RETURN}"""
    ),
    "two functions": lambda: changed(
        {
            CODE: to_bytes(
                f"module {{ func.func @main({_TAKES}) -> tensor<3xi64> {{ return %x1 : tensor<3xi64> }} "
                "func.func @more() { return } }"
            )
        }
    ),
}


def test_forged_files_are_refused_by_letters(golden: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xla, "cpu_client", lambda: pytest.fail("something is compiled"))
    letters = []
    for name, forge in FORGED.items():
        with pytest.raises(RunError) as caught:
            checked_module(read(forge()))
        letters.append(f"---- {name}\n{caught.value}")
    golden("\n".join(letters) + "\n")


def test_code_of_our_own_ops_passes() -> None:
    """What the forged ones above are refused for is the one thing that is wrong with them."""
    assert "stablehlo.slice" in str(checked_module(read(coded(f"{_GIVES} {_RETURN}"))))


def test_what_a_machine_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert XlaCpuDevice().absent() is None
    monkeypatch.setattr(device, "find_spec", lambda package: None)
    told = "the package jax is not installed: pip install 'intarsia[tpu]' (Python 3.11 or newer)"
    assert XlaCpuDevice().absent() == TpuDevice().absent() == told
    with pytest.raises(RunError) as caught:
        choose_devices([KIND], None, "'model'")
    assert f"xla-cpu: absent, {told}" in str(caught.value)


def test_tpus_are_looked_for_in_dev(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "find_spec", lambda package: package)
    monkeypatch.setattr(device, "glob", lambda pattern: [])
    assert TpuDevice().absent() == "this machine has no TPU: neither /dev/accel0 nor /dev/vfio/0 is there"
    monkeypatch.setattr(device, "glob", lambda pattern: ["/dev/vfio/0"] if "vfio" in pattern else [])
    assert TpuDevice().absent() is None
    names = [found.name for found in choose_devices([KIND], None, "'model'")[KIND]]
    assert names == ["tpu", "xla-cpu"], "a TPU goes before the CPU"

    def busy() -> Any:
        raise RuntimeError("The TPU is already in use by process 1234")

    monkeypatch.setattr(xla, "tpu_client", busy)
    with pytest.raises(RunError) as caught:
        TpuDevice().load(files())
    assert caught.value.what == "no TPU answers: The TPU is already in use by process 1234"


def test_the_listing_is_stablehlo() -> None:
    assert "stablehlo.dot_general" in load(network()).listing()
