"""How well compiled models agree with ONNX Runtime, on real models. A table, or --json.

    python tests/benchmarks/agreement.py --models ../shared/models [--pictures cifar10_jpeg_1000.npz] [--json]

Float models, target cpu: largest difference over the largest magnitude of the output. Models quantized by others,
target pynq-z2 on the simulator: share of inputs with the same argmax (auto-encoder: outputs within one step). ONNX
Runtime runs without graph optimisations, so that it executes QuantizeLinear and DequantizeLinear as they are written.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import intarsia

FLOAT = (
    "ad_ae_float",
    "digits_cnn",
    "efficientnet_lite0",
    "efficientnet_lite0_static",
    "fastestdet_coco",
    "fmnist_resnet8",
    "ic_resnet8_float",
    "kws_dscnn_float",
    "silero_vad_openvino_16k",
    "ic_resnet8_int8",
    "kws_dscnn_int8",
    "ad_ae_int8",
)
QUANTIZED = ("ic_resnet8_int8", "kws_dscnn_int8", "ad_ae_int8")


def reference(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(path), options)


def random_inputs(session: intarsia.Session, generator: np.random.Generator) -> dict[str, Any]:
    found = {}
    for info in session.inputs:
        if info.dtype == "int8":
            found[info.name] = generator.integers(-128, 128, info.dims).astype(np.int8)
        else:
            found[info.name] = generator.standard_normal(info.dims).astype(info.dtype)
    return found


def float_difference(path: Path, runs: int) -> dict[str, Any]:
    started = time.perf_counter()
    artifact = intarsia.compile_model(path, target="cpu")
    seconds = time.perf_counter() - started
    session, peer, generator = intarsia.load(artifact), reference(path), np.random.default_rng(0)
    worst = 0.0
    for _ in range(runs):
        inputs = random_inputs(session, generator)
        for mine, theirs in zip(session.run(**inputs), peer.run(None, inputs)):
            wide = theirs.astype(np.float64)
            worst = max(worst, float(np.abs(mine - wide).max() / max(np.abs(wide).max(), 1e-30)))
    evaluated = [row["name"] for row in artifact.manifest["placements"] if row["place"] == "evaluator"]
    return {"model": path.stem, "difference": worst, "evaluator_ops": evaluated, "compile_seconds": seconds}


def quantized_agreement(path: Path, count: int, pictures: Any = None) -> dict[str, Any]:
    """Agreement on random inputs, or on pictures: uint8 [N, ...], of which x - 128 is what the model takes."""
    session, peer = intarsia.load(intarsia.compile_model(path, target="pynq-z2")), reference(path)
    name, generator = session.inputs[0].name, np.random.default_rng(0)
    if pictures is not None:
        count = min(count, len(pictures))
    same = outputs = steps = 0
    largest = 0
    for index in range(count):
        inputs = random_inputs(session, generator)
        if pictures is not None:
            inputs[name] = (pictures[index : index + 1].astype(np.int16) - 128).astype(np.int8)
        (mine,), (theirs,) = session.run(**inputs), peer.run(None, {name: inputs[name]})
        difference = np.abs(mine.astype(np.int32) - theirs)
        largest, steps, outputs = (
            max(largest, int(difference.max())),
            steps + int((difference > 0).sum()),
            outputs + mine.size,
        )
        agrees = difference.max() <= 1 if path.stem.startswith("ad_ae") else mine.argmax() == theirs.argmax()
        same += bool(agrees)
    return {
        "model": path.stem,
        "data": "random" if pictures is None else "pictures",
        "inputs": count,
        "agreement": same / count,
        "outputs_that_differ": steps / outputs,
        "largest_difference_steps": largest,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, required=True, help="folder of the ONNX models")
    parser.add_argument("--inputs", type=int, default=500, help="random inputs for the quantized models")
    parser.add_argument("--pictures", type=Path, help=".npz with x, uint8: real inputs of ic_resnet8_int8")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    floats = [float_difference(options.models / f"{name}.onnx", 3) for name in FLOAT]
    quantized = [quantized_agreement(options.models / f"{name}.onnx", options.inputs) for name in QUANTIZED]
    if options.pictures is not None:
        pictures = np.load(options.pictures)["x"]
        quantized.append(quantized_agreement(options.models / "ic_resnet8_int8.onnx", options.inputs, pictures))
    if options.json:
        print(json.dumps({"float": floats, "quantized": quantized}))
        return
    for row in floats:
        evaluated = f", by the evaluator: {', '.join(row['evaluator_ops'])}" if row["evaluator_ops"] else ""
        print(f"{row['model']:<28} {row['difference']:.1e} of the range, {row['compile_seconds']:.0f} s{evaluated}")
    for row in quantized:
        print(
            f"{row['model']:<28} {row['agreement']:.1%} of {row['inputs']} {row['data']} agree; "
            f"{row['outputs_that_differ']:.2%} of outputs differ, by at most {row['largest_difference_steps']} steps"
        )


if __name__ == "__main__":
    main()
