"""Resized pictures have the bytes of Pillow's."""

from __future__ import annotations

import numpy as np
import PIL
import pytest
from PIL import Image

from intarsia.resampling import FILTERS, Resampling, resample

_PILLOW = {"bilinear": 2, "bicubic": 3, "lanczos": 1, "box": 4}
_FORMER = int(PIL.__version__.partition(".")[0]) < 13


def _compare(pairs: int, largest: float) -> None:
    random, compared = np.random.default_rng(1), 0
    while compared < pairs:
        height, width, rows, columns = (int(size) for size in np.exp(random.uniform(0, np.log(largest), 4)))
        filter = FILTERS[compared % len(FILTERS)]
        pixels = random.integers(0, 256, (height, width, 3), np.uint8)
        how = Resampling.whole((height, width), (rows, columns), filter)
        if how.height_first and _FORMER:
            continue
        wanted = np.asarray(Image.fromarray(pixels).resize((columns, rows), Image.Resampling(_PILLOW[filter])))
        assert resample(pixels, how).tobytes() == wanted.tobytes(), how
        compared += 1


def test_bytes_are_pillows() -> None:
    _compare(100, 300)


@pytest.mark.slow
def test_bytes_are_pillows_for_a_thousand_pairs() -> None:
    _compare(1000, 900)
