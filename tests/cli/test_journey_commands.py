"""Commands that read models: compile for the overlay, explain, and what verify and report say of the result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from intarsia.cli.commands import intarsia
from intarsia.driver import lower
from intarsia.ir.graph import Graph
from intarsia.ir.types import Quantization, TensorType
from intarsia.runtime.sqnr import compare_layers

MODELS = Path(__file__).parents[1] / "models"
MODEL = str(MODELS / "digits_cnn.onnx")


def call(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(intarsia, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return str(result.stdout)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the digits model compiled for the overlay, and test images."""
    folder = tmp_path_factory.mktemp("compiled")
    with np.load(MODELS / "digits_test_450.npz") as data:
        np.save(folder / "calibration.npy", data["x"][:64])
        np.save(folder / "x.npy", data["x"][64:96].astype(np.float32))
        np.save(folder / "labels.npy", data["y"][64:96])
    place = str(folder / "digits.intarsia")
    told = call(
        "compile", MODEL, "--target", "pynq-z2", "--calibration", str(folder / "calibration.npy"), "-o", place, "--json"
    )
    assert {region["kind"] for region in json.loads(told)["regions"]} == {"cpu", "overlay"}
    return folder


def test_the_compiled_model_classifies(compiled: Path) -> None:
    told = json.loads(
        call(
            *("run", str(compiled / "digits.intarsia"), "--input", str(compiled / "x.npy")),
            *("--output", str(compiled / "y.npy"), "--json"),
        )
    )
    right = np.mean(np.load(compiled / "y.npy").argmax(axis=1) == np.load(compiled / "labels.npy"))
    assert right > 0.9
    assert told["counters"]["images"] == 32 and told["counters"]["cycles"] > 0


def test_report_has_the_cycles_of_the_model(compiled: Path) -> None:
    artifact = str(compiled / "digits.intarsia")
    data = json.loads(call("report", artifact, "--json"))
    assert data["source"] == "model"
    layers = [row for row in data["rows"] if row["place"] == "pynq-z2"]
    assert layers and all(row["cycles"] > 0 and row["onchip_peak_bytes"] > 0 for row in layers)
    assert all(0 < row["utilisation"] <= 1 for row in layers if row["macs"])
    assert "by the device's model" in call("report", artifact)
    counted = json.loads(call("report", artifact, "--run", "--json"))
    assert counted["source"] == "run" and counted["summary"]["cycles"] == data["summary"]["cycles"]


def test_verify_against_the_float_model(compiled: Path) -> None:
    arguments = ("verify", str(compiled / "digits.intarsia"), "--against", MODEL)
    data = json.loads(call(*arguments, "--input", str(compiled / "x.npy"), "--json"))
    assert data["ok"] and len(data["reference"]) == 32
    assert all(result["different"] == 0 for result in data["reference"])
    noise = {layer["name"]: layer["sqnr"] for layer in data["layers"]}
    assert len(noise) >= 4 and all(sqnr > 15 for sqnr in noise.values())
    assert "SQNR dB" in call(*arguments)


def test_a_float_model_has_no_noise_against_itself() -> None:
    graph = lower(MODEL, target="cpu", precision="float32", until="fused").graph
    sample = {graph.inputs[0].name: np.ones(graph.inputs[0].shape, np.float32)}
    layers = compare_layers(graph, graph.copy(), [sample], lambda what, done, total: None)
    assert len(layers) == len(graph.nodes) and all(layer.sqnr == float("inf") for layer in layers)


def test_integers_of_the_reference_stand_at_the_same_scale() -> None:
    """int8 beside the same integers as int8 and as uint8; and beside others."""
    graphs = [Graph("quantized"), Graph("int8"), Graph("uint8"), Graph("other")]
    for graph, dtype in zip(graphs, ("int8", "int8", "uint8", "int8")):
        type = TensorType(dtype, (3,))
        graph.add_input("x", type)
        table = np.array([-128, 5, 127]) + (128 if dtype == "uint8" else 0) - (graph.name == "other")
        constant = graph.add_constant("table", table.clip(-128).astype(dtype))
        index = graph.add_constant("index", np.arange(3))
        node = graph.add_node("Gather", [constant, index], [type], {"axis": 0}, output_names=["y"], opset=18)
        graph.outputs = [node.output]
    graphs[0].outputs[0].quantization = Quantization(0.5, 3)
    feed = [{"x": np.zeros(3, np.int8)}]
    noise = [compare_layers(graphs[0], graph, feed, lambda what, done, total: None)[0].sqnr for graph in graphs[1:]]
    assert noise[:2] == [float("inf")] * 2 and 30 < noise[2] < 60


def test_dump_disassembles(compiled: Path) -> None:
    artifact = str(compiled / "digits.intarsia")
    regions = json.loads(call("dump", artifact, "--json"))["manifest"]["regions"]
    name = next(region["name"] for region in regions if region["kind"] == "overlay")
    listing = call("dump", artifact, "--region", name)
    assert "Conv" in listing and "End" in listing.splitlines()[-1]


def test_stop_after_writes_the_graph(compiled: Path, tmp_path: Path) -> None:
    text = call("compile", MODEL, "--target", "pynq-z2", "--stop-after", "imported")
    assert text.startswith("graph ") and "Conv(" in text
    place = tmp_path / "regions.txt"
    arguments = ("--target", "pynq-z2", "--calibration", str(compiled / "calibration.npy"))
    call(
        "compile", MODEL, *arguments, "--stop-after", "partitioned", "-o", str(place), "--dump", str(tmp_path / "dump")
    )
    assert "qconv(" in place.read_text()
    assert (tmp_path / "dump/00_imported.txt").exists()


def test_int8_needs_calibration() -> None:
    result = CliRunner().invoke(intarsia, ["compile", MODEL, "--target", "pynq-z2"])
    assert result.exit_code == 2 and "calibration" in result.stderr


def test_explain() -> None:
    text = call("explain", MODEL, "--target", "pynq-z2", "--all")
    assert "computing ops on pynq-z2" in text and "qconv" in text
    data: Any = json.loads(call("explain", MODEL, "--target", "pynq-z2", "--json"))
    assert data["summary"]["compute_ops_on_target"] > 0


def test_explain_a_pass_that_did_not_fire(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> shared (float[1,4,8,8] x) => (float[1,4,8,8] y, float[1,4,8,8] z) '
        "<float[4,4,1,1] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}> "
        "{ y = Conv(x, w)  z = Relu(y) }"
    )
    path = str(tmp_path / "shared.onnx")
    onnx.save(model, path)
    text = call("explain", path, "--target", "cpu", "--pass", "fuse-activation")
    assert "Relu" in text and "y" in text
    data = json.loads(call("explain", path, "--target", "cpu", "--pass", "fuse-activation", "--json"))
    assert len(data["refusals"]) == 1
    assert "left alone" in call("explain", path, "--target", "cpu", "--pass", "make-dense")
    result = CliRunner().invoke(intarsia, ["explain", path, "--target", "cpu", "--pass", "fuse-everything"])
    assert result.exit_code == 2 and "the passes are " in result.stderr


def test_demo_tells_the_whole_journey() -> None:
    data = json.loads(call("demo", "--images", "8", "--json"))
    assert data["accuracy"] >= 0.5 and data["report"]["summary"]["cycles"] > 0


def test_a_pipeline_is_printed_and_taken(compiled: Path, tmp_path: Path) -> None:
    calibration = ("--calibration", str(compiled / "calibration.npy"))
    printed = call("compile", MODEL, "--target", "pynq-z2", "--calibrator", "percentile", "--pipeline")
    assert printed.splitlines()[-5:] == [
        "calibrate{method='percentile', percentile=99.99},",
        "quantize,",
        "fuse-pixels,",
        "flatten-rows{targets=('pynq-z2', 'cpu')},",
        "decompose{targets=('pynq-z2', 'cpu')}",
    ]
    data = json.loads(call("compile", MODEL, "--target", "pynq-z2", "--json", "--pipeline"))
    assert ",\n".join(data["pipeline"]) + "\n" == printed.replace("percentile'", "minmax'")
    place = tmp_path / "again.intarsia"
    usual = call("compile", MODEL, "--target", "pynq-z2", "--pipeline")
    call("compile", MODEL, "--target", "pynq-z2", *calibration, "--pipeline", usual, "-o", str(place))
    assert place.read_bytes() == (compiled / "digits.intarsia").read_bytes()
    result = CliRunner().invoke(intarsia, ["compile", MODEL, "--target", "cpu", "--pipeline", "fuse-everything"])
    assert result.exit_code == 2 and "no pass is called 'fuse-everything'" in result.stderr


def test_steps_are_timed(compiled: Path, tmp_path: Path) -> None:
    place = str(tmp_path / "timed.intarsia")
    arguments = ("compile", MODEL, "--target", "tiny", "--calibration", str(compiled / "calibration.npy"), "-o", place)
    steps = json.loads(call(*arguments, "--time-passes", "--json"))["steps"]
    names = [row["step"] for row in steps]
    assert names[0] == "import" and names[-1] == "assemble" and "quantize" in names and "partition" in names
    assert any(name.startswith("compile region ") for name in names)
    assert all(row["seconds"] >= 0 for row in steps)
    lines = call(*arguments, "--time-passes").splitlines()
    head = next(index for index, line in enumerate(lines) if line.startswith("step "))
    assert len(lines) == head + 1 + len(names) + 1 and lines[-1].startswith("all ")
    assert "steps" not in json.loads(call(*arguments, "--json"))
    stopped = json.loads(call("compile", MODEL, "--target", "cpu", "--stop-after", "fused", "--time-passes", "--json"))
    assert stopped["steps"][0]["step"] == "import" and stopped["text"].startswith("graph ")
    assert "fuse-activation" in call("compile", MODEL, "--target", "cpu", "--stop-after", "fused", "--time-passes")


def test_measured_ranges_are_kept_and_used_again(compiled: Path, tmp_path: Path) -> None:
    ranges, data = str(tmp_path / "ranges.json"), str(compiled / "calibration.npy")
    options = ("--target", "pynq-z2", "--stop-after", "quantized")
    first = call("compile", MODEL, *options, "--calibration", data, "--save-calibration", ranges)
    assert call("compile", MODEL, *options, "--calibration", ranges) == first
    result = CliRunner().invoke(intarsia, ["compile", MODEL, *options, "--calibration", ranges, "--batch", "2"])
    assert result.exit_code == 2 and "measured on another graph" in result.stderr


def test_what_goes_on_is_told_when_asked_for(tmp_path: Path) -> None:
    place = str(tmp_path / "digits.intarsia")
    compiling = ("compile", MODEL, "--target", "cpu", "-o", place)
    for arguments in ((*compiling, "-v"), ("-v", *compiling), ("-v", *compiling, "-v")):
        told = CliRunner().invoke(intarsia, arguments).stderr.splitlines()
        assert sum("intarsia.driver: import: " in line for line in told) == 1
        assert not any("move-transposes" in line for line in told)
    assert "0 changes" in CliRunner().invoke(intarsia, (*compiling, "-vv")).stderr
    assert CliRunner().invoke(intarsia, compiling).stderr == ""


def test_explain_a_quantizer() -> None:
    assert "left alone" in call("explain", MODEL, "--target", "pynq-z2", "--pass", "quantize")


def test_a_device_that_would_run_nothing_is_told_and_another_runs(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[1,4] x) => (float[1,4] y) { y = Relu (x) }'
    )
    onnx.save(model, tmp_path / "m.onnx")
    place = str(tmp_path / "m.intarsia")
    call("compile", str(tmp_path / "m.onnx"), "--target", "cpu", "--precision", "float32", "-o", place)
    np.save(tmp_path / "x.npy", np.ones((2, 4), np.float32))
    arguments = ["run", place, "--input", str(tmp_path / "x.npy"), "--device", "simulator"]
    told = CliRunner().invoke(intarsia, arguments)
    assert told.exit_code == 0 and "on cpu" in told.stdout
    assert told.stderr == "device 'simulator' runs regions of kind 'overlay', and there are none: 'cpu' runs them\n"
    refused = CliRunner().invoke(intarsia, ["verify", place, "--device", "simulator"])
    assert refused.exit_code == 2
    assert "and 'm' has 'cpu', which device 'cpu' would run" in refused.stderr
