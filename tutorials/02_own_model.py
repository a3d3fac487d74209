"""Tutorial 2: your own PyTorch model, to int8, with its preprocessing and its accuracy.

Run it with `python tutorials/02_own_model.py`, or cell by cell as `tutorials/02_own_model.ipynb`. It needs
intarsia with Pillow and what links code for boards (`pip install 'intarsia[images,boards]'`), no PyTorch, and about ten
seconds.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import intarsia
from intarsia.images import read_image

# ---- 1. Export ------------------------------------------------------------------------------------
# `digits.onnx` sorts handwritten digits of 8x8 pixels. It was trained in PyTorch and exported so:
#
#     model.eval()
#     torch.onnx.export(
#         model,
#         (images[:1],),
#         "digits.onnx",
#         input_names=["image"],
#         output_names=["scores"],
#         dynamic_axes={"image": {0: "N"}, "scores": {0: "N"}},
#         opset_version=17,
#         dynamo=False,
#     )
#
# `eval()` comes before: BatchNorm in training is refused. The first axis may stay open, all other sizes had better be
# fixed. `digits.npz` has pixels of 0 to 255: 200 pictures for calibration, 450 others with labels.

FOLDER = next(folder for folder in (Path("tutorials"), Path()) if (folder / "digits.onnx").exists())
MODEL = FOLDER / "digits.onnx"
with np.load(FOLDER / "digits.npz") as data:
    calibration, pixels, labels = data["calibration"], data["pixels"], data["labels"]
print(f"{len(calibration)} pictures for calibration, {len(pixels)} with labels, {pixels.dtype}{list(pixels.shape[1:])}")

# > 200 pictures for calibration, 450 with labels, uint8[8, 8]

# ---- 2. Preprocessing -----------------------------------------------------------------------------
# The model takes what it was trained on, and here that was (pixel - 77.9) / 95.9. The compiler cannot know it: what the
# numbers are is for you to say, in one place, for calibration as for runs. Layout (NCHW here) and the order of colours
# belong to it.

MEAN, SCALE = 77.9, 1 / 95.9


def prepare(pictures: np.ndarray) -> np.ndarray:
    """uint8 [N, 8, 8] to what the model takes, float32 [N, 1, 8, 8]."""
    return np.asarray((pictures[:, None].astype(np.float32) - MEAN) * SCALE, np.float32)


# ---- 3. Is the float model right? -----------------------------------------------------------------
# Before anything is quantized, the float model must give here what it gave in PyTorch. If it does not, the
# preprocessing is not that of the training: no later step would mend that.


def accuracy(artifact: intarsia.Artifact) -> float:
    """Per cent of the labelled pictures that an artifact gets right."""
    with intarsia.load(artifact) as session:
        (scores,) = session.run(prepare(pixels))
    return 100 * float(np.mean(scores.argmax(axis=1) == labels))


print(f"float32: {accuracy(intarsia.compile_model(MODEL, target='cpu')):.1f} %")

# > float32: 99.1 %

# ---- 4. Compile to int8 ---------------------------------------------------------------------------
# Scales are chosen by looking at real inputs. 100 to 500 are usual, and none of them counts for the accuracy. They may
# be an array, prepared as for a run; or a folder of pictures, and then the preprocessing is told as `ImageOptions`,
# which the artifact keeps. On the command line: `intarsia compile digits.onnx --target pynq-z2 --calibration pictures
# --mean 77.9 --scale 0.010428`.

with tempfile.TemporaryDirectory() as folder:
    for number, picture in enumerate(calibration):
        Image.fromarray(picture).save(f"{folder}/{number:03}.png")
    artifact = intarsia.compile_model(
        MODEL, target="pynq-z2", calibration=folder, images=intarsia.ImageOptions(mean=MEAN, scale=SCALE)
    )
places = [row["place"] for row in artifact.manifest["placements"]]
print(f"{places.count('pynq-z2')} of {len(places)} ops on the overlay")
print(f"int8:    {accuracy(artifact):.1f} %")

# > 8 of 10 ops on the overlay
# > int8:    99.1 %

# ---- 5. What does it cost? ------------------------------------------------------------------------
# Without a board the simulator runs the overlay's instructions. Cycles are those of its model; MHz are assumed.

with intarsia.load(artifact) as session:
    result = session.execute([prepare(pixels[:10])])
print(f"{result.counters['cycles'] / result.counters['images']:.0f} cycles an image")

# > 2797 cycles an image

# ---- 6. Pictures ----------------------------------------------------------------------------------
# On the command line pictures go in as they are: `intarsia run digits.intarsia photo.png --top 3`, or a whole folder.
# They are brought to the input's size, and to numbers as the artifact says. In Python the same is `read_image`.

with tempfile.TemporaryDirectory() as folder:
    photo = Path(folder) / "photo.png"
    Image.fromarray(pixels[3]).resize((64, 64), Image.Resampling.NEAREST).save(photo)
    assert artifact.images is not None
    row = read_image(photo, (1, 8, 8), artifact.images)
with intarsia.load(artifact) as session:
    (scores,) = session.run(row[np.newaxis])
print(f"the picture of a {labels[3]} is a {scores[0].argmax()}")

# > the picture of a 5 is a 5

# ---- 7. What next ---------------------------------------------------------------------------------
# Tutorial 3 reads `explain` where ops are not on the overlay, tutorial 4 looks for accuracy that got lost.

assert accuracy(artifact) > 97, "int8 should be about as good as float"
