"""Tutorial 1: a first model, from ONNX to bytes out.

Run it with `python tutorials/01_first_model.py`; it needs intarsia with what links code for boards
(`pip install 'intarsia[boards]'`), and takes about half a minute.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import intarsia
from intarsia.demo import load_demo

# ---- 1. A model and real data ---------------------------------------------------------------------
# Any ONNX model will do. This one comes with intarsia: a small residual network that sorts pictures of clothes.

demo = load_demo()
print(f"model {demo.model_path.name}, {len(demo.images)} labelled images of shape {demo.images.shape[1:]}")

# > model fmnist_resnet8.onnx, 400 labelled images of shape (1, 28, 28)

# ---- 2. Where would each op run? ------------------------------------------------------------------
# `explain` needs no calibration data and generates no code. For every op that is not on the overlay it says why.

explanation = intarsia.explain(demo.model_path, target="pynq-z2")
for row in explanation.rows:
    if row.place != "pynq-z2":
        print(f"  {row.op:<12} {row.name:<24} -> {row.place}: {row.reasons[0].reason}")

# >   quantize     quantize_input           -> cpu: the model takes float32, and the CPU makes integers of it
# >   dequantize   dequantize_/8/Gemm_int8  -> cpu: the model gives float32, and the CPU makes it of integers

# ---- 3. Compile -----------------------------------------------------------------------------------
# The overlay computes in int8, so the compiler must see real inputs to choose scales. It never invents them:
# without `calibration=` this call is refused.

artifact = intarsia.compile_model(demo.model_path, target="pynq-z2", calibration=demo.calibration)

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "fashion.intarsia"
    artifact.save(path)
    print(f"artifact: {path.name}, {'less' if path.stat().st_size < 1 << 20 else 'more'} than a MiB")

    # ---- 4. Run ---------------------------------------------------------------------------------------
    # `load` needs NumPy alone. On a board it drives the FPGA; elsewhere the simulator executes the same instructions.
    # `session.run(images)` gives the outputs alone; `execute` also says what this run, and no other, counted.

    session = intarsia.load(path)
    result = session.execute([demo.images[:50]])

(logits,), counters = result.outputs, result.counters
accuracy = np.mean(logits.argmax(axis=1) == demo.labels[:50])
print(f"accuracy on 50 images: {accuracy:.1%}")
print(f"cycles per image: {counters['cycles'] / counters['images']:.0f} (simulated)")
assert accuracy > 0.7, "the compiled model should sort clothes about as well as the float model"

# > artifact: fashion.intarsia, less than a MiB
# > accuracy on 50 images: 82.0%
# > cycles per image: 23269 (simulated)
