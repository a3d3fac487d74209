"""Whole regions: what the files hold, what the machine must have, and what a user reads when something is missing."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cpu_regions import load

from intarsia.errors import CompileError, RunError
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph
from intarsia.ir.types import TensorType
from intarsia.targets import find_target
from intarsia_backends.cpu.device import CpuDevice
from intarsia_backends.cpu.lower.tiles import choose_tile, split_row
from intarsia_backends.cpu.machine import Machine, this_machine
from intarsia_backends.cpu.target import CpuTarget
from intarsia_backends.lowering.access import Access
from intarsia_backends.lowering.expressions import Accumulator, Constant, Input
from intarsia_backends.lowering.kernels import Nest, nest
from intarsia_backends.lowering.memory_plan import plan
from intarsia_backends.lowering.program import Buffer, Call, Program
from side_by_side import region_files

CONV = {"kernel_shape": (3, 3), "strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1), "group": 1}


def tensor(*shape: int) -> TensorType:
    return TensorType("float32", shape)


def network(name: str = "network", channels: int = 24) -> Graph:
    """A residual block, a pool and a classifier: work enough for the threads, outputs that are also read."""
    random = np.random.default_rng(1)
    graph = Graph(name)
    x = graph.add_input("x", tensor(1, channels, 32, 32))
    weights = random.standard_normal((2, channels, channels, 3, 3)).astype(np.float32) / np.float32(15)
    relu = {"activation": "Relu", "activation_arguments": ()}
    first = graph.add_node(
        "Conv", [x, graph.add_constant("w0", weights[0])], [x.type], {**CONV, **relu}, output_names=["first"], opset=18
    ).output
    second = graph.add_node(
        "Conv", [first, graph.add_constant("w1", weights[1])], [x.type], CONV, output_names=["second"], opset=18
    ).output
    total = graph.add_node("Add", [second, x], [x.type], relu, output_names=["total"], opset=18).output
    mean = graph.add_node("GlobalAveragePool", [total], [tensor(1, channels, 1, 1)], opset=18).output
    flat = graph.add_node("Flatten", [mean], [tensor(1, channels)], {"axis": 1}, output_names=["flat"], opset=18).output
    matrix = graph.add_constant("w2", random.standard_normal((channels, 10)).astype(np.float32))
    logits = graph.add_node("dense", [flat, matrix], [tensor(1, 10)], output_names=["logits"]).output
    graph.outputs = [logits, first, flat, x]
    return graph


def image(graph: Graph, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(graph.inputs[0].shape).astype(np.float32)


def test_a_network_with_outputs_of_every_kind() -> None:
    graph = network()
    x = image(graph)
    result = load(graph).run([x])
    for value, expected, actual in zip(graph.outputs, evaluate(graph, {"x": x}), result.outputs):
        assert np.allclose(actual, expected, atol=1e-4), value
    assert result.counters["seconds"] > 0


def test_metadata_and_layers_are_json_and_honest() -> None:
    graph = network()
    blob = CpuTarget().compile(graph)
    facts = json.loads(json.dumps(dict(blob.metadata)))
    assert facts["machine"] == this_machine().name and facts["features"] == list(this_machine().features)
    assert facts["weights_bytes"] == len(blob.files["weights.bin"])
    # Two images live at once, with their halos and what a Winograd kernel works in; not one for each value.
    assert 2 * x_bytes(graph) <= facts["arena_bytes"] < 12 * x_bytes(graph)
    rows = {row["name"]: row for row in blob.layers}
    assert rows["Conv"]["macs"] == 24 * 24 * 9 * 32 * 32 and rows["dense"]["macs"] == 240
    assert [row["name"] for row in blob.layers] == [node.name for node in graph.nodes]


def x_bytes(graph: Graph) -> int:
    return graph.inputs[0].type.size_bytes


def test_two_builds_in_two_folders_give_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builds = []
    for folder in ("one", "two/deeper"):
        place = tmp_path / folder
        place.mkdir(parents=True)
        monkeypatch.setenv("TMPDIR", str(place))
        monkeypatch.setattr("tempfile.tempdir", None)
        monkeypatch.chdir(place)
        builds.append(dict(CpuTarget().compile(network()).files))
    assert builds[0] == builds[1]
    assert str(tmp_path).encode() not in builds[0]["region.so"]


def test_eight_threads_share_one_region() -> None:
    graph = network()
    region = load(graph)
    images = [image(graph, seed) for seed in range(8)]
    alone = [region.run([x]).outputs for x in images]
    wrong: list[int] = []

    def repeat(index: int) -> None:
        for _ in range(25):
            outputs = region.run([images[index]]).outputs
            if not all(np.array_equal(one, other) for one, other in zip(outputs, alone[index])):
                wrong.append(index)

    threads = [threading.Thread(target=repeat, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_threads_compile_at_the_same_time() -> None:
    graphs = [network(f"network {index}", 4 + index) for index in range(3)]
    with ThreadPoolExecutor(3) as pool:
        blobs = list(pool.map(lambda graph: CpuTarget().compile(graph), graphs))
    assert [dict(blob.files) for blob in blobs] == [dict(CpuTarget().compile(graph).files) for graph in graphs]


def test_the_number_of_threads_does_not_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = network()
    blob = CpuTarget().compile(graph)
    results = []
    for count in ("1", "2", "5"):
        monkeypatch.setenv("INTARSIA_THREADS", count)
        results.append(CpuDevice().load(region_files(graph, blob)).run([image(graph)]).outputs)
    for outputs in results[1:]:
        assert all(np.array_equal(one, other) for one, other in zip(outputs, results[0]))


def test_a_region_runs_without_tvm_and_onnx(tmp_path: Path) -> None:
    graph = network()
    blob = CpuTarget().compile(graph)
    for name, content in blob.files.items():
        (tmp_path / name).write_bytes(content)
    x = image(graph)
    np.save(tmp_path / "x.npy", x)
    (tmp_path / "metadata.json").write_text(json.dumps(dict(blob.metadata)))
    (tmp_path / "program.py").write_text(
        """
import json, os, pathlib, sys
for name in ("tvm", "tvm_ffi", "onnx", "networkx", "ml_dtypes"):
    sys.modules[name] = None
import numpy as np
from intarsia.runtime.device import RegionFiles
from intarsia_backends.cpu.device import CpuDevice
here = pathlib.Path(sys.argv[1])
files = {name: (here / name).read_bytes() for name in ("region.so", "weights.bin")}
image = ("float32", (1, 24, 32, 32))
outputs = (("logits", "float32", (1, 10)), ("first", *image), ("flat", "float32", (1, 24)), ("x", *image))
region = CpuDevice().load(
    RegionFiles("r", "cpu", (("x", *image),), outputs, files, json.loads((here / "metadata.json").read_text()))
)
x = np.load(here / "x.npy")
first = region.run([x]).outputs[0]
child = os.fork()  # a child has no worker threads; it must neither hang nor differ
if child == 0:
    os._exit(0 if np.array_equal(region.run([x]).outputs[0], first) else 1)
assert os.waitpid(child, 0)[1] == 0
np.save(here / "y.npy", first)
"""
    )
    subprocess.run([sys.executable, str(tmp_path / "program.py"), str(tmp_path)], check=True, timeout=60)
    expected = evaluate(graph, {"x": x})[0]
    assert np.allclose(np.load(tmp_path / "y.npy"), expected, atol=1e-4)


def test_a_portable_build_uses_no_extension() -> None:
    target = find_target("cpu{level=portable}")
    assert isinstance(target, CpuTarget) and target.machine.features == ()
    graph = network()
    x = image(graph)
    (logits, *_) = load(graph, target).run([x]).outputs
    assert np.allclose(logits, evaluate(graph, {"x": x})[0], atol=1e-4)


# ---- what a user reads


def test_no_compiler(monkeypatch: pytest.MonkeyPatch, golden: Callable[[str], None]) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CompileError) as error:
        CpuTarget().compile(network())
    golden(str(error.value))


def test_a_compiler_that_does_not_exist(monkeypatch: pytest.MonkeyPatch, golden: Callable[[str], None]) -> None:
    monkeypatch.setenv("CC", "no-such-cc -m32")
    with pytest.raises(CompileError) as error:
        CpuTarget().compile(network())
    golden(str(error.value))


def test_another_machine(golden: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    graph = network()
    files = region_files(graph, CpuTarget().compile(graph))
    foreign = {**files.metadata, "machine": "x86_64", "features": []}
    monkeypatch.setattr("platform.machine", lambda: "armv7l")
    with pytest.raises(RunError) as error:
        CpuDevice().load(replace(files, metadata=foreign))
    golden(str(error.value))


def test_missing_features_and_another_interface(golden: Callable[[str], None]) -> None:
    graph = network()
    files = region_files(graph, CpuTarget().compile(graph))
    texts = []
    for change in ({"features": ["avx9000", "amx_dream"]}, {"interface": 99}):
        with pytest.raises(RunError) as error:
            CpuDevice().load(replace(files, metadata={**files.metadata, **change}))
        texts.append(str(error.value))
    golden("\n".join(texts) + "\n")


def test_refusals(golden: Callable[[str], None]) -> None:
    graph = Graph("refused")
    x = graph.add_input("x", tensor(1, 4, 8, 8))
    free = graph.add_input("free", TensorType("float32", (None, 4)))
    short = graph.add_input("short", TensorType("bfloat16", (2, 2)))
    axes = graph.add_input("axes", TensorType("int64", (1,)))
    empty = graph.add_input("empty", tensor(0, 4))
    nodes = [
        graph.add_node("NonMaxSuppression", [x], [x.type], opset=18),
        graph.add_node("Relu", [free], [free.type], opset=18),
        graph.add_node("Relu", [short], [short.type], opset=18),
        graph.add_node("ReduceSum", [x, axes], [tensor(1, 4, 8, 1)], opset=18),
        graph.add_node("GlobalMaxPool", [empty], [tensor(1, 4)], opset=18),
        graph.add_node("MaxPool", [x], [x.type, x.type], {"kernel_shape": (1, 1)}, opset=18),
        graph.add_node(
            "Conv",
            [x, graph.add_constant("w", np.ones((1, 4, 1, 1), np.float32))],
            [tensor(1, 1, 8, 8)],
            {**CONV, "activation": "Dream", "activation_arguments": ()},
            opset=18,
        ),
    ]
    answers = [CpuTarget().supports(node) for node in nodes]
    golden(
        "".join(f"{node.where}: {answer.rule}: {answer.reason}; {answer.fix}\n" for node, answer in zip(nodes, answers))
    )
    assert not any(answer.ok for answer in answers)


# ---- pieces


def test_buffers_that_live_at_once_do_not_share_memory() -> None:
    random = np.random.default_rng(0)
    kernel = nest((1,), [], Access("int8", (1,)), Constant("int8", 0))
    buffers = [Buffer("arena", int(size)) for size in random.integers(1, 5000, 60)]
    calls = [
        Call(kernel, (*(buffers[max(0, index - int(reach))] for reach in random.integers(0, 6, 3)), buffer))
        for index, buffer in enumerate(buffers)
    ]
    program = Program(calls)
    plan(program)
    last = {buffer: time for time, call in enumerate(calls) for buffer in call.operands}
    for index, buffer in enumerate(buffers):
        assert buffer.offset % 64 == 0 and buffer.offset + buffer.size <= program.arena
        for earlier in buffers[:index]:
            if last[earlier] >= index:
                apart = earlier.offset + earlier.size <= buffer.offset or buffer.offset + buffer.size <= earlier.offset
                assert apart
    assert program.arena < sum(buffer.size for buffer in buffers) / 2


def test_loops_join_where_every_walk_allows_it() -> None:
    whole = nest((2, 3, 4), [Access("float32", (12, 4, 1))], Access("float32", (12, 4, 1)), Input(0))
    flat = Access("float32", (1,))
    assert whole == Nest((24,), (), (flat,), flat, "", Accumulator(), Input(0), Accumulator())
    turned = nest((2, 3, 4), [Access("float32", (1, 8, 2))], Access("float32", (12, 4, 1)), Input(0))
    assert turned.kept == (2, 12) and turned.operands[0].strides == (1, 2)


@pytest.mark.parametrize("level, registers", [("avx512", 32), ("avx2", 16), ("baseline", 16)])
def test_tiles_fit_the_registers(level: str, registers: int) -> None:
    machine = Machine("x86_64", level, ())
    for outputs in (1, 8, 10, 24, 64, 1000):
        for row in (1, 2, 7, 14, 49, 56, 112):
            tile, vectors, _ = choose_tile(machine, outputs, row)
            assert tile <= row and tile * vectors + vectors + 1 <= registers
        rows, columns = split_row(machine, outputs, 12544)
        assert rows * columns == 12544
