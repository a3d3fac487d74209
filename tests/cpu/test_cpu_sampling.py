"""GridSample in every mode, inside and far outside of the picture."""

from __future__ import annotations

import numpy as np
import pytest
from cpu_regions import Layers


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_grid_sample(padding: str) -> None:
    made = Layers()
    for corners in (0, 1):
        facts = {"padding_mode": padding, "align_corners": corners}
        for mode in ("nearest", "linear", "cubic"):
            grid = (made.floats(2, 3, 5, 2) * np.float32(1.2)).astype(np.float32)
            made.add("GridSample", [made.floats(2, 3, 4, 6), grid], {"mode": mode, **facts}, opset=20)
        deep = made.floats(1, 2, 3, 4, 3)
        made.add("GridSample", [made.floats(1, 2, 4, 3, 5), deep], {"mode": "linear", **facts}, opset=20)
        made.add("GridSample", [made.floats(1, 2, 4, 3, 5), deep], {"mode": "nearest", **facts}, opset=20)
    made.check(tolerance=1e-5)
