"""Artifacts for OpenCL, changed and hashed again: whatever is not refused has all its places where they should be.

No kernel runs: what was changed may be text, which is as good as machine code.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from array_lane import ArrayLane

sys.path.append(str(Path(__file__).resolve().parents[1] / "artifact"))

from forging import Forgery, forge

import intarsia
from intarsia.artifact import Artifact
from intarsia.errors import RunError
from intarsia.runtime.device import LoadedRegion, RegionFiles
from intarsia_backends.gpu.region import LAUNCHES, GpuRegion, read_region, with_mark
from intarsia_backends.opencl.device import SOURCE, OpenClDevice

MODEL = """<ir_version: 9, opset_import: ["" : 17]> net (float[1,3,8,8] x, int64[2] i) => (float[2,5] y, float[1,5] z) {
    a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w)  b = Relu (a)  c = GlobalAveragePool (b)
    f = Flatten (c)  e = Gemm (f, v)  z = Softmax (e)  g = Transpose (v)  j = Add (i, i)
    h = MatMul (v2, v)  y = Gather <axis = 0> (h, j) }"""


def artifact_of_a_network() -> Artifact:
    import onnx
    from onnx import numpy_helper

    model, rng = onnx.parser.parse_model(MODEL), np.random.default_rng(0)
    for name, shape in (("w", (8, 3, 3, 3)), ("v", (8, 5)), ("v2", (7, 8))):
        model.graph.initializer.append(numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name))
    return intarsia.compile_model(model, target="opencl")


def remark(forgery: Forgery) -> None:
    """Make the text say that it was made with the launches as they are now."""
    for path in [path for path in forgery.files if path.endswith(SOURCE)]:
        launches = forgery.files.get(path.replace(SOURCE, LAUNCHES))
        if launches is not None:
            text = forgery.files[path].decode("ascii", "replace").partition("\n")[2]
            forgery.files[path] = with_mark(text, launches).encode("ascii", "replace")


def test_each_is_refused_or_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def load(self: OpenClDevice, region: RegionFiles) -> LoadedRegion:
        launches, text = read_region(region, SOURCE)
        return GpuRegion(region, launches, text, lambda: ArrayLane(launches))

    monkeypatch.setattr(OpenClDevice, "load", load)
    artifact = artifact_of_a_network()
    inputs = [np.zeros((1, 3, 8, 8), np.float32), np.array([0, 1])]
    outcomes: Counter[str] = Counter()
    said = set()
    for index in range(400):
        forgery = forge(artifact, random.Random(f"opencl {index}"))
        if index % 2:
            remark(forgery)
        path = tmp_path / "forged"
        path.write_bytes(forgery.zipped())
        try:
            with intarsia.load(path) as session:
                session.run(*inputs)
            outcomes["ran"] += 1
        except RunError as error:
            outcomes["refused"] += 1
            said.add(f"{error.where[-24:]}: {error.what[:60]}")
        except Exception as error:
            raise AssertionError(f"{index}: {forgery.edits}") from error
    assert outcomes["ran"] > 40 and outcomes["refused"] > 150 and len(said) > 60, (outcomes, len(said))
    assert any("launches.json" in text for text in said)
