"""Tutorial 8: one model, five devices.

Run it with `python tutorials/08_five_devices.py` from the root of the repository. It needs intarsia with all that makes
code for GPUs, TPUs and boards (`pip install -e '.[dev]'` has it), no GPU, no TPU and no board, and takes less than a
minute.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np

import intarsia
from intarsia.demo import load_demo

# ---- 1. One model, int8 for each of five targets --------------------------------------------------
# The scales come from the same pictures, so all five quantize alike. An artifact holds what its target runs: a shared
# library for the CPU, machine code and its source for NVIDIA's GPUs, OpenCL C, StableHLO, a program for the overlay.

demo = load_demo()
TARGETS = ("cpu", "cuda{arch=sm_80}", "opencl", "tpu{ahead=false}", "pynq-z2")
artifacts = {
    target: intarsia.compile_model(demo.model_path, target=target, precision="int8", calibration=demo.calibration)
    for target in TARGETS
}
for target, artifact in artifacts.items():
    kinds = ", ".join(dict.fromkeys(region.kind for region in artifact.contents.regions))
    print(f"{target:<17} regions of kind {kinds}")

# > cpu               regions of kind cpu
# > cuda{arch=sm_80}  regions of kind cuda
# > opencl            regions of kind opencl
# > tpu{ahead=false}  regions of kind stablehlo
# > pynq-z2           regions of kind cpu, overlay

# ---- 2. What stands for hardware that is not here -------------------------------------------------
# The overlay has a simulator, StableHLO runs on XLA's CPU, OpenCL on the processor by PoCL. Where there is no NVIDIA
# GPU, the driver that the tests use stands for one: it looks at what the device asks of it, and runs the kernels' text
# on the processor. On a machine with the hardware leave all of this out: `intarsia.load(artifact)` finds it.

sys.path[:0] = ["tests/gpu", "tests"]
from cards import pretending  # noqa: E402
from pocl import name_processor  # noqa: E402

name_processor()
stack = ExitStack()
cards = pretending(Path(stack.enter_context(tempfile.TemporaryDirectory())))
cards.know(artifacts["cuda{arch=sm_80}"])
DEVICES = {"tpu{ahead=false}": "xla-cpu", "pynq-z2": "simulator"}

# ---- 3. Run each ----------------------------------------------------------------------------------
# Eight pictures, and the ten numbers that each gives. Integers are exact: the bytes are the same everywhere.

images = demo.images[:8]
outputs = {}
print(f"{'target':<17} {'device':<10} {'classes':<16} bytes")
for target, artifact in artifacts.items():
    with intarsia.load(artifact, device=DEVICES.get(target)) as session:
        (logits,) = session.run(images)
        device = next(name for name in session.devices.values() if name != "cpu" or target == "cpu")
    outputs[target] = logits
    same = "the same" if logits.tobytes() == outputs["cpu"].tobytes() else "others"
    classes = "".join(str(number) for number in np.argmax(logits, axis=1))
    print(f"{target:<17} {device:<10} {classes:<16} {same}")
stack.close()

# > target            device     classes          bytes
# > cpu               cpu        92116146         the same
# > cuda{arch=sm_80}  cuda       92116146         the same
# > opencl            opencl     92116146         the same
# > tpu{ahead=false}  xla-cpu    92116146         the same
# > pynq-z2           simulator  92116146         the same

# ---- 4. What a GPU would do with it ---------------------------------------------------------------
# Before any GPU has seen them, much is known of kernels: what the assembler gave them, which instructions they are, and
# the least time that a card needs for their bytes and operations. `intarsia report FILE --details` has a row for each.

(figures,) = artifacts["cuda{arch=sm_80}"].report().figures.values()
for name in ("kernels", "tensor_core_kernels", "spilled_bytes", "estimate_for"):
    print(f"{name:<20} {figures[name]}")

# > kernels              16
# > tensor_core_kernels  8
# > spilled_bytes        0
# > estimate_for         A100 40GB
