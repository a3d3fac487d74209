"""Products in pieces are products."""

from __future__ import annotations

import numpy as np
import pytest

from intarsia.ir.products import matrix_product


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (300, 144, 16), (16, 144, 1025), (7, 3000, 40), (65, 700, 900), (0, 3, 4)]
)
def test_pieces_make_the_whole(shape: tuple[int, int, int]) -> None:
    rows, depth, columns = shape
    rng = np.random.default_rng(3)
    left = rng.integers(-9, 10, (rows, depth)).astype(np.float32)
    right = rng.integers(-9, 10, (depth, columns)).astype(np.float32)
    found = matrix_product(left, right)
    assert found.dtype == np.float32
    assert np.array_equal(found, left.astype(np.int64) @ right.astype(np.int64))
