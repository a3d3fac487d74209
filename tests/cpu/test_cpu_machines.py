"""The same bytes on every machine: all levels of x86, those that are missing here as Bochs runs them, and ARM as qemu
does."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cpu_regions import Layers, load
from emulated import EmulatedRegion, processor, runs_here
from foreign import TARGETS, ForeignRegion, build, emulator, runner
from hypothesis import assume, given, settings
from test_cpu_integer import scales, small_convolutions, weights
from test_cpu_region import image, network

from generated_graphs import examples, graphs, random_inputs
from intarsia.demo import load_demo
from intarsia.driver import lower
from intarsia.errors import CompileError, RunError
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph
from intarsia.runtime.device import LoadedRegion
from intarsia_backends.cpu.device import CpuDevice
from intarsia_backends.cpu.emit.kernels import EMITTERS
from intarsia_backends.cpu.image_rows import ImageRows
from intarsia_backends.cpu.lower.region import lower_region
from intarsia_backends.cpu.machine import Machine, machine_name, machine_of
from intarsia_backends.cpu.target import CpuTarget
from side_by_side import region_files

MODELS = Path(__file__).parents[1] / "models"
INT8 = ("digits", "fmnist", "ic_resnet8_int8", "kws_dscnn_int8", "ad_ae_int8")
LEVELS = [
    pytest.param(level, marks=() if runs_here(machine_of("x86_64", level)) else pytest.mark.slow)
    for level in ("baseline", "avx2", "avxvnni", "avx512", "avx512vnni")
]
FEW = settings(max_examples=examples(4))


@pytest.fixture(params=INT8)
def int8_model(request: pytest.FixtureRequest) -> tuple[Graph, list[Any]]:
    """A whole int8 network that the CPU takes all of, and three inputs."""
    name, calibration = request.param, None
    if name == "digits":
        path, data = MODELS / "digits_cnn.onnx", np.load(MODELS / "digits_test_450.npz")["x"]
        calibration, samples = data[:64], data[64:67]
    elif name == "fmnist":
        demo = load_demo()
        path, calibration, samples = demo.model_path, demo.calibration[:32], demo.images[:3]
    else:
        path, samples = request.getfixturevalue("shared_models") / f"{name}.onnx", None
    graph = lower(path, target="cpu", precision="int8", calibration=calibration).graph
    assert all(CpuTarget().supports(node).ok for node in graph.nodes)
    if samples is None:
        shape = graph.inputs[0].shape
        samples = np.random.default_rng(0).integers(-128, 128, (3, *shape[1:])).astype(graph.inputs[0].dtype)
    return graph, [samples[index : index + 1] for index in range(3)]


def compare(graph: Graph, inputs: dict[str, Any], outputs: list[Any]) -> None:
    for value, wanted, found in zip(graph.outputs, evaluate(graph, inputs), outputs):
        assert found.dtype == wanted.dtype and found.tobytes() == wanted.tobytes(), value


def x86_region(graph: Graph, level: str) -> LoadedRegion:
    """A region of that level, on an emulated processor where this one cannot run it."""
    if machine_name() != "x86_64":
        pytest.skip(f"needs an x86 processor, and this is {machine_name()}")
    machine = machine_of("x86_64", level)
    target = CpuTarget(machine)
    if runs_here(machine):
        return load(graph, target)
    processor(machine)  # or skip, before the work
    return EmulatedRegion(region_files(graph, target.compile(graph)), machine)


def check_layers(made: Layers, level: str, tolerance: float = 0.0) -> None:
    """Byte for byte, floats within `tolerance` of an output's range."""
    for (node, wanted), found in zip(made.expected, x86_region(made.graph, level).run(made.inputs).outputs):
        if wanted.dtype.kind == "f":
            span = float(np.abs(wanted).max())
            assert np.allclose(found, wanted, rtol=0, atol=tolerance * span), node.where
        else:
            assert found.tobytes() == wanted.tobytes(), node.where


# ---- levels of x86


@pytest.mark.parametrize("level", LEVELS)
def test_int8_models_on_x86(level: str, int8_model: tuple[Graph, list[Any]]) -> None:
    graph, samples = int8_model
    region = x86_region(graph, level)
    for x in samples:
        compare(graph, {graph.inputs[0].name: x}, region.run([x]).outputs)


@pytest.mark.parametrize("level", LEVELS)
def test_generated_graphs_on_x86(level: str) -> None:
    @FEW
    @given(graphs())
    def check(graph: Graph) -> None:
        inputs = random_inputs(graph, 0)
        region = x86_region(graph, level)
        assume(not isinstance(region, EmulatedRegion) or not region.is_misread())
        compare(graph, inputs, region.run([inputs[value.name] for value in graph.inputs]).outputs)

    check()


@pytest.mark.parametrize("level", LEVELS)
def test_layers_of_integers_on_x86(level: str) -> None:
    check_layers(small_convolutions(), level)


@pytest.mark.parametrize("level", LEVELS)
def test_a_float_network_on_x86(level: str) -> None:
    graph = network()
    x = image(graph)
    for value, wanted, found in zip(
        graph.outputs, evaluate(graph, {"x": x}), x86_region(graph, level).run([x]).outputs
    ):
        assert np.allclose(found, wanted, atol=1e-4), value


@pytest.mark.parametrize("level", LEVELS)
def test_every_kind_of_kernel_on_x86(level: str) -> None:
    made = kinds_of_kernels()
    machine = machine_of("x86_64", level)
    program = lower_region(made.graph, machine)
    # Rows of several images have tests of their own.
    assert {type(call.kernel) for call in program.calls} >= set(EMITTERS) - {ImageRows}
    check_layers(made, level, tolerance=2e-5)


def kinds_of_kernels() -> Layers:
    """Layers of floats and integers that take all kernels there are, of sizes that are no whole vectors too."""
    made = Layers()
    plain = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1), "group": 1, "kernel_shape": (3, 3)}
    relu = {"activation": "Relu", "activation_arguments": ()}
    changes: list[tuple[int, int, dict[str, Any]]] = [
        (32, 32, {}),
        (3, 21, {"strides": (2, 2)}),
        (35, 35, {"group": 35}),
    ]
    for channels, outputs, change in changes:
        facts: dict[str, Any] = {**plain, **change, **relu}
        w = made.floats(outputs, channels // facts["group"], 3, 3)
        made.add("Conv", [made.floats(1, channels, 15, 15), w, made.floats(outputs)], facts, constants=(1, 2))
        zeros = {"input_zero_point": 5, "output_zero_point": -7}
        whole = [made.bytes(1, channels, 15, 15), weights(made, *w.shape), *scales(made, outputs)]
        made.add("qconv", whole, {**plain, **change, **zeros}, constants=(1, 2, 3, 4))
    made.add("dense", [made.floats(5, 70), made.floats(70, 37), made.floats(37)], relu, constants=(1, 2))
    made.add("MatMul", [made.floats(2, 19, 33), made.floats(2, 33, 50)])
    made.add("qmatmul", [made.bytes(9, 65), weights(made, 65, 50), *scales(made, 50)], zeros, constants=(1, 2, 3, 4))
    made.add("qsoftmax", [made.bytes(3, 37), made.random.integers(0, 1 << 16, 256).astype(np.int32)], constants=(1,))
    made.add("Softmax", [made.floats(5, 67) * 9], {"axis": -1})
    made.add("Erf", [made.floats(3, 45)])
    made.add("LayerNormalization", [made.floats(5, 67), made.floats(67), made.floats(67)], {"axis": -1})
    made.add("ReduceSum", [made.floats(4, 9, 37), np.array([1])], constants=(1,))
    made.add("CumSum", [made.floats(3, 21), np.array(1)], constants=(1,))
    made.add("ArgMax", [made.floats(3, 37)], {"axis": 1})
    made.add("TopK", [made.floats(3, 37), np.array([5])], constants=(1,), outputs=2)
    made.add("ScatterND", [made.floats(4, 5), np.array([[0], [2]]), made.floats(2, 5)])
    recurrent = [made.floats(4, 2, 6), made.floats(1, 4 * 21, 6), made.floats(1, 4 * 21, 21), made.floats(1, 8 * 21)]
    made.add("LSTM", recurrent, {"hidden_size": 21}, constants=(1, 2, 3), outputs=3, opset=14)
    return made


# ---- ARM


@pytest.mark.parametrize("name", TARGETS)
def test_int8_models_on_arm(name: str, int8_model: tuple[Graph, list[Any]], tmp_path: Path) -> None:
    graph, samples = int8_model
    region = ForeignRegion(graph, TARGETS[name](), tmp_path)
    for threads, x in enumerate(samples, 1):
        compare(graph, {graph.inputs[0].name: x}, region.run([x], threads))


@pytest.mark.parametrize("name", TARGETS)
def test_generated_graphs_on_arm(name: str) -> None:
    target = TARGETS[name]()
    emulator(target)

    @FEW
    @given(graphs())
    def check(graph: Graph) -> None:
        inputs = random_inputs(graph, 0)
        with tempfile.TemporaryDirectory() as folder:
            region = ForeignRegion(graph, target, Path(folder))
            compare(graph, inputs, region.run([inputs[value.name] for value in graph.inputs], threads=2))

    check()


@pytest.mark.parametrize("name", TARGETS)
def test_layers_of_integers_on_arm(name: str, tmp_path: Path) -> None:
    made = small_convolutions()
    found = ForeignRegion(made.graph, TARGETS[name](), tmp_path).run(made.inputs)
    for (node, wanted), array in zip(made.expected, found):
        assert array.tobytes() == wanted.tobytes(), node.where


@pytest.mark.parametrize("name", TARGETS)
def test_a_float_network_on_arm(name: str, tmp_path: Path) -> None:
    graph = network()
    x = image(graph)
    region = ForeignRegion(graph, TARGETS[name](), tmp_path)
    for threads in (1, 3):
        for value, wanted, found in zip(graph.outputs, evaluate(graph, {"x": x}), region.run([x], threads)):
            assert np.allclose(found, wanted, atol=1e-4), value


@pytest.mark.parametrize("name", TARGETS)
def test_the_pool_on_arm(name: str, tmp_path: Path) -> None:
    """Without forks: children of programs with threads end in qemu itself."""
    target = TARGETS[name]()
    command, static = runner(target)
    stress = Path(__file__).with_name("pool_stress.c")
    runtime = files("intarsia_backends.cpu") / "runtime.c"
    build(target, [f'-DRUNTIME="{runtime}"', "-DROUNDS=200", "-DFORKS=0", str(stress)], tmp_path, static=static)
    subprocess.run([*command, "./program"], cwd=tmp_path, check=True, timeout=400)


# ---- artifacts for other machines


@pytest.mark.parametrize("name", TARGETS)
def test_two_builds_for_a_board_give_equal_bytes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    emulator(TARGETS[name]())
    builds = []
    for folder in ("one", "two/deeper"):
        (tmp_path / folder).mkdir(parents=True)
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / folder))
        builds.append(dict(TARGETS[name]().compile(network()).files))
    assert builds[0] == builds[1]
    assert str(tmp_path).encode() not in builds[0]["region.so"]


def test_code_for_a_board_says_so(golden: Callable[[str], None]) -> None:
    emulator(TARGETS["cpu-armv7"]())
    graph = network()
    blob = TARGETS["cpu-armv7"]().compile(graph)
    facts = json.loads(json.dumps(dict(blob.metadata)))
    assert (facts["system"], facts["machine"], facts["features"]) == ("Linux", "armv7l", ["neon"])
    if machine_name() != "x86_64":
        pytest.skip(f"the letter names the machine, and this is {machine_name()}")
    with pytest.raises(RunError) as error:
        CpuDevice().load(region_files(graph, blob))
    golden(f"{error.value}\n")


def test_no_zig(monkeypatch: pytest.MonkeyPatch, golden: Callable[[str], None]) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CompileError) as error:
        TARGETS["cpu-aarch64"]().compile(network())
    golden(f"{error.value}\n")


def test_every_level_is_one_that_machines_have() -> None:
    assert machine_of("x86_64", "avx512").lanes == 16
    assert machine_of("x86_64", "avxvnni").adds_products and not machine_of("x86_64", "avx512").adds_products
    assert machine_of("armv7l", "neon") == Machine("armv7l", "neon", ("neon",))
