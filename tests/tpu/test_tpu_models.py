"""Real networks on XLA's CPU: in int8 the bytes of `evaluate`, in float32 its numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from xla_regions import load

import intarsia
from intarsia.artifact.parts import whole_graph
from intarsia.driver import lower
from intarsia.ir.evaluate import evaluate
from intarsia.ir.extract import extract
from intarsia.ir.graph import Graph
from intarsia.ir.ops import INTEGER_OPS
from intarsia.vectors import pick_inputs
from real_inputs import real_inputs

NAMES = (
    "ad_ae_float",
    "ad_ae_int8",
    "digits_cnn",
    "efficientnet_lite0",
    "efficientnet_lite0_static",
    "espcn_x3",
    "fastestdet_coco",
    "fmnist_resnet8",
    "ic_resnet8_float",
    "ic_resnet8_int8",
    "kws_dscnn_float",
    "kws_dscnn_int8",
    "silero_vad_openvino_16k",
    "sinet_seg",
    "ultraface_rfb320",
    "yolox_nano_coco",
)

CASES = [(name, kind) for name in NAMES for kind in ("float32", "int8") if kind == "int8" or "int8" not in name]
"""What others quantized is not taken for floats again."""


def noise(model: Path) -> Any:
    """Calibration for what has no scales of its own."""
    return pick_inputs(lower(model, target="cpu", precision="float32", until="imported").graph, None, 4)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "precision"), CASES)
def test_shared_models(name: str, precision: str, shared_models: Path) -> None:
    """Where integers make the outputs, not a byte differs; the regions between floats are compared one by one."""
    model = shared_models / f"{name}.onnx"
    calibration = noise(model) if precision == "int8" and not name.endswith("int8") else None
    artifact = intarsia.compile_model(model, target="tpu{ahead=false}", precision=precision, calibration=calibration)
    graph, session = whole_graph(artifact.files), intarsia.load(artifact)
    assert "tpu" in {row["place"] for row in artifact.manifest["placements"]}
    exact = all(entry.absolute_tolerance == 0 for entry in artifact.contents.vectors)
    pictures = real_inputs(name, shared_models.parent)
    samples = [{graph.inputs[0].name: each} for each in pictures] if pictures else pick_inputs(graph, None, 2)
    for inputs in samples:
        found, wanted = session.execute(inputs).outputs, evaluate(graph, inputs)
        for one, other in zip(found, wanted):
            if exact:
                assert one.tobytes() == other.tobytes()
            elif precision == "float32":
                size = float(np.abs(other[np.isfinite(other)]).max(initial=1e-3))
                assert np.allclose(one, other, rtol=0, atol=1e-4 * size, equal_nan=True)
    if precision == "int8":
        check_integers(graph)


def check_integers(graph: Graph) -> None:
    """Every integer node by itself, on what `evaluate` gives it: floats between them hide nothing."""
    (inputs,) = pick_inputs(graph, None, 1)
    seen: dict[str, Any] = dict(inputs)
    evaluate(graph, inputs, observe=lambda value, data: seen.update({value.name: data}))
    nodes = [node for node in graph.nodes if node.op in INTEGER_OPS and node.op != "dequantize"]
    alone = extract(graph, nodes, "integers")
    alone.outputs = [node.output for node in alone.nodes]
    found = load(alone).run([seen[value.name] for value in alone.inputs]).outputs
    for value, output in zip(alone.outputs, found):
        assert output.tobytes() == seen[value.name].tobytes(), value
