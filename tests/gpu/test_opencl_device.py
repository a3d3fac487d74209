"""The device `opencl`: what it says where something is missing, several runs at once, and what is not imported."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gpu_kernels import Kinds
from gpu_regions import check, device, load, region_files

import intarsia
from intarsia.dtypes import Array
from intarsia.errors import RunError
from intarsia.ir.graph import Graph
from intarsia.ir.types import TensorType
from intarsia.runtime.device import RegionFiles
from intarsia_backends.gpu.region import LAUNCHES, with_mark
from intarsia_backends.opencl import device as opencl
from intarsia_backends.opencl.device import CHOICE, SOURCE, OpenClDevice, open_device
from intarsia_backends.opencl.target import OpenClTarget


def graph_of(op: str, shape: tuple[int, ...], dtype: str = "float32", **attributes: Any) -> Graph:
    graph = Graph("r")
    x = graph.add_input("x", TensorType(dtype, shape))
    graph.outputs = [graph.add_node(op, [x], [TensorType(dtype, shape)], attributes, opset=18).output]
    return graph


def files_of(graph: Graph) -> RegionFiles:
    return region_files(graph, OpenClTarget().compile(graph))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the process remembers of devices, forgotten for a test."""
    device()
    memory: dict[str, Any] = {}
    monkeypatch.setattr(opencl, "_opened", memory)
    return memory


def letter(region: RegionFiles) -> str:
    with pytest.raises(RunError) as caught:
        OpenClDevice().load(region)
    return f"{caught.value}\n"


class Changed:
    """A driver's device, with other answers to some questions."""

    def __init__(self, really: Any, **answers: Any) -> None:
        self._really, self._answers = really, answers

    def __getattr__(self, name: str) -> Any:
        return self._answers[name] if name in self._answers else getattr(self._really, name)


def test_what_is_missing_is_said(
    opened: dict[str, Any], monkeypatch: pytest.MonkeyPatch, golden: Callable[[str], None]
) -> None:
    import pyopencl as cl

    kinds = Kinds()
    kinds.add("ReduceMean", kinds.numbers(3, 100), np.array([1]), constants=(1,), keepdims=0)
    region = files_of(kinds.graph)
    really, context = open_device()
    letters = []
    monkeypatch.setenv(CHOICE, "toaster 9000")
    with pytest.raises(RunError) as caught:
        open_device()
    assert "'toaster 9000'" in caught.value.what and really.name in caught.value.help
    monkeypatch.delenv(CHOICE)
    opened.clear()
    with monkeypatch.context() as patch:
        patch.setattr(cl, "get_platforms", lambda: [])
        letters.append(letter(region))

        def none() -> Any:
            raise cl.LogicError("clGetPlatformIDs failed: PLATFORM_NOT_FOUND_KHR")

        patch.setattr(cl, "get_platforms", none)
        letters.append(letter(region))
    answers: tuple[dict[str, Any], ...] = (
        {"max_work_group_size": 64},
        {"local_mem_size": 100},
        {"max_mem_alloc_size": 1000, "global_mem_size": 9000},
        {"max_mem_alloc_size": 9000, "global_mem_size": 1000},
        {"endian_little": 0},
    )
    for answer in answers:
        opened[""] = Changed(really, name="small one", **answer), context
        letters.append(letter(region))
    rounding = files_of(_quantized())
    opened[""] = Changed(really, name="small one", single_fp_config=0), context
    letters.append(letter(rounding))
    opened[""] = Changed(really, name="small one", extensions="cl_khr_fp16"), context
    doubles = OpenClTarget().with_options({"float64": True})
    graph = graph_of("Relu", (3, 4), "float64")
    letters.append(letter(region_files(graph, doubles.compile(graph))))
    golden("".join(letters))


def _quantized() -> Graph:
    graph = Graph("r")
    x = graph.add_input("x", TensorType("float32", (3, 4)))
    attributes = {"scale": 0.1, "zero_point": 3}
    graph.outputs = [graph.add_node("quantize", [x], [TensorType("int8", (3, 4))], attributes).output]
    return graph


def test_pyopencl_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    region = files_of(graph_of("Relu", (3, 4)))
    assert OpenClDevice().absent() is None
    monkeypatch.setitem(sys.modules, "pyopencl", None)
    assert "pyopencl cannot be imported" in letter(region) and "intarsia[opencl]" in letter(region)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert OpenClDevice().absent() == "the Python package pyopencl is not installed: pip install 'intarsia[opencl]'"


def test_text_that_the_compiler_does_not_take() -> None:
    device()
    region = files_of(graph_of("Relu", (3, 4)))
    launches = region.files[LAUNCHES]
    broken = {**region.files, SOURCE: with_mark("__kernel void nest_0( {", launches).encode()}
    said = letter(RegionFiles(region.name, region.kind, region.inputs, region.outputs, broken))
    assert "file 'kernels.cl': the compiler of OpenCL device" in said and "error" in said
    other = region.files[SOURCE].replace(b"nest_0", b"nest_7")
    said = letter(RegionFiles(region.name, region.kind, region.inputs, region.outputs, {**region.files, SOURCE: other}))
    assert "the driver failed" in said and "Traceback" not in said


def test_the_driver_runs_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    import pyopencl as cl

    device()

    def full(*arguments: Any, **named: Any) -> Any:
        raise cl.MemoryError("clCreateBuffer failed: MEM_OBJECT_ALLOCATION_FAILURE")

    region = files_of(graph_of("Relu", (3, 4)))
    monkeypatch.setattr(cl, "Buffer", full)
    assert "it is out of memory" in letter(region)


def test_a_launch_that_fails_is_told_and_the_next_run_works(monkeypatch: pytest.MonkeyPatch) -> None:
    import pyopencl as cl

    region = load(graph_of("Relu", (3, 4)))
    x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)

    def broken(*arguments: Any) -> Any:
        raise cl.RuntimeError("clEnqueueNDRangeKernel failed: OUT_OF_RESOURCES")

    with monkeypatch.context() as patch:
        patch.setattr(cl, "enqueue_nd_range_kernel", broken)
        with pytest.raises(RunError, match="the driver failed: clEnqueueNDRangeKernel failed"):
            region.run([x])
    np.testing.assert_array_equal(region.run([x]).outputs[0], np.maximum(x, 0))
    region.close()


def test_indices_made_at_run_time_are_checked() -> None:
    graph = Graph("r")
    x, i = graph.add_input("x", TensorType("float32", (4, 3))), graph.add_input("i", TensorType("int64", (2,)))
    j = graph.add_node("Add", [i, i], [TensorType("int64", (2,))], opset=18).output
    graph.outputs = [
        graph.add_node("Gather", [x, places], [TensorType("float32", (2, 3))], {"axis": 0}, opset=18).output
        for places in (i, j)
    ]
    data = np.arange(12, dtype=np.float32).reshape(4, 3)
    check(graph, {"x": data, "i": np.array([1, -2])})
    region = load(graph)
    for bad, name in ((np.array([1, 4]), "'i'"), (np.array([0, 2]), f"'{j.name}'")):
        with pytest.raises(RunError, match=f"an element of {name} is outside"):
            region.run([data, bad])


def test_threads_have_lanes_of_their_own() -> None:
    graph = graph_of("Softmax", (40, 100), axis=-1)
    region = load(graph)
    inputs = [np.random.default_rng(seed).standard_normal((40, 100)).astype(np.float32) for seed in range(4)]
    wanted = [region.run([data]).outputs[0] for data in inputs]
    wrong: list[int] = []

    def work(index: int) -> None:
        for _ in range(10):
            found: Array = region.run([inputs[index]]).outputs[0]
            if not np.array_equal(found, wanted[index]):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_empty_values() -> None:
    graph = graph_of("Relu", (0, 4))
    assert load(graph).run([np.zeros((0, 4), np.float32)]).outputs[0].shape == (0, 4)


def test_gpus_go_first(opened: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import pyopencl as cl

    kinds = cl.device_type
    everything = kinds.CPU | kinds.GPU | kinds.ACCELERATOR
    devices = [SimpleNamespace(name=str(kind), type=kind) for kind in (everything, kinds.CPU, kinds.GPU)]
    platform = SimpleNamespace(name="Oven", get_devices=lambda: devices)
    monkeypatch.setattr(cl, "get_platforms", lambda: [platform])
    monkeypatch.setattr(cl, "Context", lambda given: ("context", given))
    assert open_device()[0] is devices[2]
    devices.pop()
    opened.clear()
    assert open_device()[0] is devices[1]
    devices.pop()
    opened.clear()
    assert open_device()[0] is devices[0]


def test_float64_goes_to_the_processor_unless_asked_for() -> None:
    model = """<ir_version: 9, opset_import: ["" : 17]> f (float[3] x) => (float[3] y) {
        d = Cast <to = 11> (x)  e = Mul (d, d)  y = Cast <to = 1> (e) }"""
    import onnx

    parsed = onnx.parser.parse_model(model)
    told = intarsia.explain(parsed, target="opencl")
    assert {row.place for row in told.rows} == {"cpu"}
    assert "float64" in str(told)
    told = intarsia.explain(parsed, target="opencl{float64=true}")
    assert {row.place for row in told.rows} == {"opencl"}


def test_help_and_explain_import_no_driver() -> None:
    code = """
import sys
import intarsia
from intarsia.demo import load_demo
intarsia.explain(load_demo().model_path, target="opencl")
from intarsia.runtime.devices import installed_devices
assert "opencl" in {found.name for found in installed_devices()}
assert "pyopencl" not in sys.modules
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
