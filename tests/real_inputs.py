"""Pictures as networks want them, from the data that stands beside the repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from intarsia.dtypes import Array

PICTURES = Path("data/coco_calib_64")
"""Photographs, in the folder of shared data."""


def letterboxed(picture: Path, side: int = 416, fill: int = 114) -> Array:
    """A photograph as YOLOX takes it: float32 [1, 3, side, side], BGR, 0 to 255, in the upper left corner."""
    with Image.open(picture) as opened:
        image = opened.convert("RGB")
    scale = side / max(image.size)
    image = image.resize((int(image.width * scale), int(image.height * scale)))
    whole = np.full((side, side, 3), fill, np.uint8)
    whole[: image.height, : image.width] = np.asarray(image)
    return np.ascontiguousarray(whole[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32))


def real_inputs(model: str, shared: Path) -> list[Array] | None:
    """What a model is to be compared on where noise will not do: roundings grow in what it makes of noise.

    model   the name of its file, without the ending
    shared  the folder that has data/ and models/
    """
    if model != "yolox_nano_coco":
        return None
    return [letterboxed(picture) for picture in sorted((shared / PICTURES).glob("*.jpg"))[:2]]
