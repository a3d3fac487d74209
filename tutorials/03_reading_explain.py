"""Tutorial 3: reading `explain`, and mending what is not on the overlay.

Run it with `python tutorials/03_reading_explain.py`; it needs nothing but intarsia and takes a few seconds.
"""

from __future__ import annotations

import numpy as np
import onnx

import intarsia
from intarsia.partition.explanation import Explanation

# ---- 1. A model with two ops that the overlay does not take ---------------------------------------
# The head of a network that finds things in pictures, much shortened: features become four times as large, then twice
# as large again, smoothly. On the command line this tutorial is `intarsia explain model.onnx --target pynq-z2`.


def model(four: str, twice: str) -> onnx.ModelProto:
    """A model with these two parts: from features to wide, and from wide to large."""
    made = onnx.parser.parse_model(
        f"""
        <ir_version: 8, opset_import: ["" : 17]>
        finder (float[1,3,16,16] image) => (float[1,2,64,64] mask)
        <float[4] by_two = {{1.0, 1.0, 2.0, 2.0}}, float[4] by_four = {{1.0, 1.0, 4.0, 4.0}}> {{
          raw = Conv <kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]> (image, first)
          features = Relu (raw)
          {four}
          {twice}
          mask = Conv <kernel_shape=[3,3], pads=[1,1,1,1]> (large, last)
        }}"""
    )
    rng = np.random.default_rng(0)
    for name, shape in (("first", (16, 3, 3, 3)), ("last", (2, 16, 3, 3))):
        weights = rng.standard_normal(shape).astype(np.float32) * np.float32(0.2)
        made.graph.initializer.append(onnx.numpy_helper.from_array(weights, name))
    return made


NEAREST = 'mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"'
FOUR = f"wide = Resize <{NEAREST}> (features, , by_four)"
LINEAR = 'large = Resize <mode="linear"> (wide, , by_two)'

# ---- 2. Where does each op run? -------------------------------------------------------------------
# An op's place stands in a row. `quantize` and `dequantize` at the border of the model are no fault: callers give and
# want floats. Inside of it they say that something between them stays float.


def show(made: onnx.ModelProto) -> Explanation:
    """Print a row for each op."""
    explanation = intarsia.explain(made, target="pynq-z2")
    for row in explanation.rows:
        print(f"{row.op:<10}  {row.name:<20}  {row.place}")
    print(f"regions: {explanation.summary['regions']}")
    return explanation


first = show(model(FOUR, LINEAR))

# > quantize    quantize_image        cpu
# > qconv       raw                   pynq-z2
# > Resize      wide                  cpu
# > dequantize  dequantize_wide       cpu
# > Resize      large                 cpu
# > quantize    quantize_large        cpu
# > qconv       mask                  pynq-z2
# > dequantize  dequantize_mask_int8  cpu
# > regions: 5

# ---- 3. The reason, and what to change ------------------------------------------------------------
# A refusal has a rule, what was found against the limit, and what to change. What the quantizer leaves in float says so
# in a note. Either costs crossings: what the CPU makes goes through memory, and the overlay waits.

for row in first.rows:
    if row.name == "wide":
        print(f"{row.op}: {row.reasons[0].rule}: {row.reasons[0].reason}")
        print(f"  fix: {row.reasons[0].fix}")
for name, text in first.notes:
    if name == "large":
        print(f"note: {text}")

# > Resize: scale: resize of int8[1,16,8,8] to int8[1,16,32,32], not to twice height and width
# >   fix: resize by 2 and 2
# > note: stays float: it interpolates (linear); only nearest has an integer form

# ---- 4. Mend it -----------------------------------------------------------------------------------
# Twice by two is by four, to the last bit: nothing has to be trained again. `nearest` in the place of `linear` is
# another function: change it in PyTorch, `nn.Upsample(scale_factor=2, mode="nearest")`, train a little more, export.

TWICE_TWO = f"half = Resize <{NEAREST}> (features, , by_two) wide = Resize <{NEAREST}> (half, , by_two)"
mended = show(model(TWICE_TWO, f"large = Resize <{NEAREST}> (wide, , by_two)"))

# > quantize    quantize_image        cpu
# > qconv       raw                   pynq-z2
# > Resize      half                  pynq-z2
# > Resize      wide                  pynq-z2
# > Resize      large                 pynq-z2
# > qconv       mask                  pynq-z2
# > dequantize  dequantize_mask_int8  cpu
# > regions: 3

# ---- 5. Was it worth it? --------------------------------------------------------------------------
# Times off the accelerator are estimates for a board's CPU; nothing was compiled for either figure.

for name, explanation in (("before", first), ("mended", mended)):
    seconds = explanation.summary["fallback_seconds_estimated"]
    print(f"{name}: {explanation.summary['regions']} regions, about {1e3 * seconds:.2f} ms on the CPU")
assert all(row.place == "pynq-z2" for row in mended.rows if row.op not in ("quantize", "dequantize"))

# Where nothing can be mended, the op stays on the CPU and the model runs all the same. An op that int8 harms may stay
# in float on purpose: `--keep-float`, see tutorial 4.

# > before: 5 regions, about 2.00 ms on the CPU
# > mended: 3 regions, about 0.11 ms on the CPU
