"""Tensors come back from DRAM as they went in, and stand there as the page says."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia_backends.overlay.machine.layout import TensorLayout, pack, pack_all, unpack, unpack_all


@given(
    st.sampled_from(["blocks", "pixels", "rows"]),
    st.integers(1, 40),
    st.integers(1, 7),
    st.integers(1, 7),
    st.sampled_from(["int8", "uint8"]),
)
@settings(max_examples=100, deadline=None)
def test_unpack_is_the_inverse_of_pack(form: str, channels: int, height: int, width: int, dtype: str) -> None:
    if form == "rows":
        layout = TensorLayout("x", "blocks", (width, channels), channels, 1, width, channels_last=True, dtype=dtype)
    else:
        layout = TensorLayout("x", form, (1, channels, height, width), channels, height, width, dtype=dtype)
    array = np.random.default_rng(0).integers(0, 256, layout.shape).astype(np.uint8).view(dtype)
    data = pack(array, layout)
    assert data.dtype == np.uint8 and data.size == layout.size_bytes and layout.size_bytes % 16 == 0
    assert np.array_equal(unpack(data, layout), array)
    assert TensorLayout.from_dict(layout.to_dict()) == layout


def test_a_word_is_sixteen_channels_of_one_pixel() -> None:
    layout = TensorLayout("x", "blocks", (1, 20, 2, 3), 20, 2, 3)
    array = np.arange(120, dtype=np.int8).reshape(1, 20, 2, 3)
    words = pack(array, layout).view(np.int8).reshape(2, 2, 3, 16)
    assert np.array_equal(words[0, 1, 2], array[0, :16, 1, 2])
    assert np.array_equal(words[1, 1, 2], [*array[0, 16:, 1, 2], *[0] * 12])


def test_an_image_is_rows_of_packed_pixels() -> None:
    layout = TensorLayout("x", "pixels", (1, 3, 2, 6), 3, 2, 6)
    array = np.arange(36, dtype=np.int8).reshape(1, 3, 2, 6)
    rows = pack(array, layout).view(np.int8).reshape(2, 32)
    assert np.array_equal(rows[1, :18].reshape(6, 3), array[0, :, 1].T)
    assert not rows[:, 18:].any()


def test_segments_hold_tensors_at_their_offsets() -> None:
    layouts = [TensorLayout("a", "blocks", (1, 4), 4, 1, 1), TensorLayout("b", "blocks", (1, 4), 4, 1, 1, offset=32)]
    arrays = [np.arange(4, dtype=np.int8).reshape(1, 4), np.arange(4, 8, dtype=np.int8).reshape(1, 4)]
    segment = pack_all(arrays, layouts, 48)
    assert segment.size == 48 and not segment[16:32].any()
    assert all(np.array_equal(a, b) for a, b in zip(arrays, unpack_all(segment, layouts)))
