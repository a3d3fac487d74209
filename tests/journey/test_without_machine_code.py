"""`native=False`: regions of machine code by the evaluator, with the same integers, and nothing is mapped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import numpy_helper, parser

import intarsia
from intarsia.artifact import Artifact
from intarsia.cli.commands import intarsia as command
from intarsia.errors import RunError
from intarsia.runtime.vectors import verify_vectors
from intarsia_backends.cpu import device as cpu_device
from intarsia_backends.cpu.machine import machine_name


def small_network() -> Any:
    """A convolution, a pool and a classifier, with a Softmax that no overlay takes."""
    model = parser.parse_model("""<ir_version: 9, opset_import: ["" : 17]>
    net (float[1,3,12,12] x) => (float[1,6] y, float[1,8] features) {
      a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w)
      b = Relu (a)
      c = GlobalAveragePool (b)
      features = Flatten (c)
      e = Gemm (features, v)
      y = Softmax (e) }""")
    random = np.random.default_rng(0)
    for name, shape in (("w", (8, 3, 3, 3)), ("v", (8, 6))):
        array = random.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


SAMPLES = np.random.default_rng(1).standard_normal((6, 3, 12, 12)).astype(np.float32)


@pytest.fixture(scope="module")
def overlay() -> Artifact:
    return intarsia.compile_model(small_network(), target="tiny", calibration=SAMPLES)


@pytest.fixture(scope="module")
def integers() -> Artifact:
    return intarsia.compile_model(small_network(), target="cpu", precision="int8", calibration=SAMPLES)


@pytest.fixture(scope="module")
def floats() -> Artifact:
    return intarsia.compile_model(small_network(), target="cpu")


def test_nothing_is_mapped_and_integers_are_the_same(
    overlay: Artifact, integers: Artifact, floats: Artifact, mapped: list[str]
) -> None:
    made: list[tuple[Artifact, str | None]] = [
        (overlay, "simulator"),
        (overlay, None),
        (integers, None),
        (floats, None),
    ]
    sessions = [intarsia.load(artifact, device=device, native=False) for artifact, device in made]
    found = [session.run(SAMPLES[:3]) for session in sessions]
    assert mapped == []
    assert set(sessions[0].devices.values()) == {"simulator", "evaluator"}
    assert set(sessions[2].devices.values()) == set(sessions[3].devices.values()) == {"evaluator"}
    for session in sessions:
        assert all(result.ok for result in verify_vectors(session))
    for (artifact, device), outputs in zip(made, found):
        wanted = intarsia.load(artifact, device=device).run(SAMPLES[:3])
        for one, other in zip(outputs, wanted):
            if artifact is floats:
                assert np.allclose(one, other, atol=1e-5)
            else:
                assert one.tobytes() == other.tobytes()
    assert len(mapped) >= 3


def test_code_for_other_machines_runs_so(floats: Artifact) -> None:
    manifest = Artifact(floats.manifest, floats.files).manifest
    manifest["regions"][0]["metadata"].update(machine="vax", interface=2)
    made = Artifact(manifest, floats.files)
    with pytest.raises(RunError, match="native=False"):
        intarsia.load(made)
    with intarsia.load(made, native=False) as session:
        assert np.allclose(session.run(SAMPLES[:1])[0], intarsia.load(floats).run(SAMPLES[:1])[0], atol=1e-5)
    assert machine_name() != "vax"


def test_refusals(floats: Artifact, golden: Callable[[str], None]) -> None:
    letters = []

    def said(artifact: Artifact, device: str | None = None) -> None:
        with pytest.raises(RunError) as caught:
            intarsia.load(artifact, device=device, native=False)
        letters.append(str(caught.value))

    said(floats, "cpu")
    said(Artifact({**floats.manifest, "placements": []}, floats.files))
    fewer = {path: data for path, data in floats.files.items() if path != "graph/graph.json"}
    said(Artifact(floats.manifest, fewer))
    golden("\n".join(letters) + "\n")


def test_commands(overlay: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, inputs = tmp_path / "model.intarsia", tmp_path / "x.npy"
    overlay.save(path)
    np.save(inputs, SAMPLES[:1])

    def refuses(code: bytes) -> None:
        raise AssertionError("machine code is mapped")

    monkeypatch.setattr(cpu_device, "open_library", refuses)
    for words in (["run", str(path), "--input", str(inputs)], ["verify", str(path)], ["report", str(path), "--run"]):
        result = CliRunner().invoke(command, [*words, "--no-native"])
        assert result.exit_code == 0, result.output
