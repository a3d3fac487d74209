"""Artifacts for NVIDIA's GPUs, changed and hashed again: whatever is not refused has all its places where they should
be, and machine code that was made with its launches.

No kernel runs: what was changed may be machine code, which nothing can check.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from array_lane import ArrayLane
from cards import needs_compiler

sys.path.append(str(Path(__file__).resolve().parents[1] / "artifact"))

from forging import forge
from test_opencl_forgeries import MODEL

import intarsia
from intarsia.artifact import Artifact
from intarsia.errors import RunError
from intarsia.runtime.device import LoadedRegion, RegionFiles
from intarsia_backends.cuda.device import SOURCE, CudaDevice
from intarsia_backends.cuda.images import check_images, images_for
from intarsia_backends.gpu.region import LAUNCHES, GpuRegion, read_region


def artifact_of_a_network() -> Artifact:
    import onnx
    from onnx import numpy_helper

    model, rng = onnx.parser.parse_model(MODEL), np.random.default_rng(0)
    for name, shape in (("w", (8, 3, 3, 3)), ("v", (8, 5)), ("v2", (7, 8))):
        model.graph.initializer.append(numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name))
    return intarsia.compile_model(model, target="cuda{arch=sm_80}")


def test_each_is_refused_or_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    needs_compiler()

    def load(self: CudaDevice, region: RegionFiles) -> LoadedRegion:
        launches, text = read_region(region, SOURCE)
        names = images_for(region.files, (8, 6), "GPU 0", region.name)
        check_images(region.files, names, region.metadata, region.files[LAUNCHES], region.name, "")
        return GpuRegion(region, launches, text, lambda: ArrayLane(launches))

    monkeypatch.setattr(CudaDevice, "load", load)
    artifact = artifact_of_a_network()
    inputs = [np.zeros((1, 3, 8, 8), np.float32), np.array([0, 1])]
    outcomes: Counter[str] = Counter()
    said = set()
    for index in range(300):
        forgery = forge(artifact, random.Random(f"cuda {index}"))
        path = tmp_path / "forged"
        path.write_bytes(forgery.zipped())
        try:
            with intarsia.load(path, device="cuda") as session:
                session.run(*inputs)
            outcomes["ran"] += 1
        except RunError as error:
            outcomes["refused"] += 1
            said.add(f"{error.where[-24:]}: {error.what[:60]}")
        except Exception as error:
            raise AssertionError(f"{index}: {forgery.edits}") from error
    assert outcomes["ran"] > 20 and outcomes["refused"] > 100 and len(said) > 40, (outcomes, len(said))
    assert any(LAUNCHES in text for text in said) and any("made with the region's launches" in text for text in said)
