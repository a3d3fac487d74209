"""Tutorial 4: int8 is worse than float: where did the accuracy go, and how to get it back.

Run it with `python tutorials/04_where_accuracy_goes.py`, or cell by cell as `tutorials/04_where_accuracy_goes.ipynb`.
It needs nothing but intarsia and takes about fifteen seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx

import intarsia
from intarsia.comparison import compare_with_model
from intarsia.driver import lower
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Value

# ---- 1. A model that int8 harms -------------------------------------------------------------------
# The digits of tutorial 2, with a fault that trained networks bring: one channel is much larger than all others. Here
# it is made so: channel 5 behind the second convolution grows by 400, and what reads it takes 400 times less. In float
# nothing changes. In int8 all channels of a layer share one scale, and the others have few steps left.

FOLDER = next(folder for folder in (Path("tutorials"), Path()) if (folder / "digits.onnx").exists())
with np.load(FOLDER / "digits.npz") as data:
    calibration, pixels, labels = data["calibration"], data["pixels"], data["labels"]


def prepare(pictures: np.ndarray) -> np.ndarray:
    """uint8 [N, 8, 8] to what the model takes, float32 [N, 1, 8, 8]."""
    return np.asarray((pictures[:, None].astype(np.float32) - 77.9) / 95.9, np.float32)


model = onnx.load(FOLDER / "digits.onnx")
convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
weights = {tensor.name: tensor for tensor in model.graph.initializer}
CHANNEL, TIMES = 5, np.float32(400)


def change(name: str, where: Any, factor: np.float32) -> None:
    """Multiply a part of some weights."""
    array = onnx.numpy_helper.to_array(weights[name]).copy()
    array[where] *= factor
    weights[name].CopyFrom(onnx.numpy_helper.from_array(array, name))


_, second, third = convolutions
change(second.input[1], CHANNEL, TIMES)
change(second.input[2], CHANNEL, TIMES)
change(third.input[1], np.s_[:, CHANNEL], 1 / TIMES)

# ---- 2. How much is lost? -------------------------------------------------------------------------
# First of all: is the float model right here? If it is not, the preprocessing is at fault, and nothing below helps.


def compiled(precision: str, **options: Any) -> intarsia.Artifact:
    """The model for this machine's CPU; for the overlay, int8 gives the very same bytes."""
    data = prepare(calibration) if precision == "int8" else None
    return intarsia.compile_model(model, target="cpu", precision=precision, calibration=data, **options)


def accuracy(artifact: intarsia.Artifact) -> float:
    """Per cent of the labelled pictures that an artifact gets right."""
    with intarsia.load(artifact) as session:
        (scores,) = session.run(prepare(pixels))
    return 100 * float(np.mean(scores.argmax(axis=1) == labels))


int8 = compiled("int8")
print(f"float32 {accuracy(compiled('float32')):.1f} %, int8 {accuracy(int8):.1f} %")

# > float32 99.1 %, int8 13.3 %

# ---- 3. Where? ------------------------------------------------------------------------------------
# `intarsia verify model.intarsia --against model.onnx --input images.npz` puts every layer beside the float model: the
# ratio of signal to quantization noise, in dB. 30 and more is good, and 6 dB are a bit. Look for the layer at which it
# falls, not for the lowest one: noise travels on.


def noise(artifact: intarsia.Artifact) -> None:
    """Print the SQNR of every layer that computes."""
    with intarsia.load(artifact) as session:
        found = compare_with_model(session, model, session.batches([prepare(pixels[:50])]))
    for layer in found.layers:
        if layer.op in ("qconv", "Conv", "MaxPool", "lookup", "qaveragepool", "qmatmul"):
            print(f"{layer.name:<45} {layer.op:<12} {layer.sqnr:5.1f} dB")


noise(int8)

# > /layers/layers.2/Relu_output_0                qconv         44.6 dB
# > /layers/layers.5/Relu_output_0                qconv         35.9 dB
# > /layers/layers.6/MaxPool_output_0             MaxPool       36.5 dB
# > /layers/layers.9/HardSwish_output_0           lookup        -3.6 dB
# > /layers/layers.10/GlobalAveragePool_output_0  qaveragepool  -3.8 dB
# > /layers/layers.12/Gemm_int8                   qmatmul       -3.8 dB

# ---- 4. Why? --------------------------------------------------------------------------------------
# It falls in the third convolution, which reads what the second made. The largest number of each channel there, in
# float: one channel takes the scale of all. int8 has 127 steps up to it, and the others are smaller than one.

lowered = lower(model, target="cpu", precision="float32", until="fused")
tops: dict[str, np.ndarray] = {}


def observe(value: Value, array: np.ndarray) -> None:
    """Note the largest number of each channel."""
    if array.ndim == 4:
        tops[value.name] = np.maximum(tops.get(value.name, 0), np.abs(array).max(axis=(0, 2, 3)))


for row in prepare(calibration[:50]):
    evaluate(lowered.graph, {"image": row[np.newaxis]}, observe=observe)
top = tops["/layers/layers.5/Relu_output_0"]
print(
    f"channel {top.argmax()}: {top.max():.0f}; the median of all: {np.median(top):.1f}; a step: {top.max() / 255:.1f}"
)

# > channel 5: 1437; the median of all: 3.2; a step: 5.6

# ---- 5. Mend it in int8 ---------------------------------------------------------------------------
# What the fault did can be undone by anyone who finds it: a positive factor goes through Relu and MaxPool, so every
# channel may be brought to the same range, and the next layer takes the factor back. That costs nothing at run time.

for channel, high in enumerate(top):
    if high > 0:
        factor = np.float32(np.median(top) / high)
        change(second.input[1], channel, factor)
        change(second.input[2], channel, factor)
        change(third.input[1], np.s_[:, channel], 1 / factor)
print(f"equalized: {accuracy(compiled('int8')):.1f} %")

# > equalized: 99.1 %

# ---- 6. Or leave ops in float ---------------------------------------------------------------------
# Where nothing can be undone, the ops that lose it stay in float: those that make the large numbers, and those that
# read them. Names are those of the table above; on the command line, `--keep-float NAME` for each. On a board these
# ops run on the CPU: `explain` says what that costs.

change(second.input[1], CHANNEL, TIMES)
change(second.input[2], CHANNEL, TIMES)
change(third.input[1], np.s_[:, CHANNEL], 1 / TIMES)
print(f"unlucky again: {accuracy(compiled('int8')):.1f} %")
KEPT = ["/layers/layers.3/Conv", "/layers/layers.6/MaxPool", "/layers/layers.7/Conv"]
mixed = compiled("int8", keep_float=KEPT)
print(f"three ops in float: {accuracy(mixed):.1f} %")
noise(mixed)
summary = intarsia.explain(model, target="pynq-z2", keep_float=KEPT).summary
print(f"{summary['macs_on_target'] / summary['macs']:.0%} of the multiply-accumulates are left on the overlay")

# > unlucky again: 12.0 %
# > three ops in float: 99.1 %
# > /layers/layers.2/Relu_output_0                qconv         44.6 dB
# > /layers/layers.5/Relu_output_0                Conv          44.0 dB
# > /layers/layers.6/MaxPool_output_0             MaxPool       45.7 dB
# > /layers/layers.9/HardSwish_output_0           lookup        37.5 dB
# > /layers/layers.10/GlobalAveragePool_output_0  qaveragepool  31.7 dB
# > /layers/layers.12/Gemm_int8                   qmatmul       34.6 dB
# > 2% of the multiply-accumulates are left on the overlay

# ---- 7. What else it may be -----------------------------------------------------------------------
# One sample unlike all others stretches every range: `--calibrator percentile` leaves the rarest numbers out, and
# `compile` says which sample it was. Too few samples: 100 to 500 are usual. A model trained with quantization in mind
# brings scales of its own, and needs no calibration: docs/quantized_models.md.

assert accuracy(mixed) > 97 > accuracy(int8)
