"""How int8 tensors stand in DRAM, and the NumPy that packs and unpacks them. Host, simulator and driver share it.

Two forms, both cut into 16-byte words:

blocks  [ceil(C / 16)][H][W][16]: 16 channels of one pixel are one word. Lanes past C are 0 where the host packs; what
        the overlay leaves in them is unspecified, and unpacking drops them.
pixels  [H][pitch] bytes, a row being [W][C] packed tight and filled with zeros to `pitch`, a multiple of 16: images
        with at most 4 channels, as a camera gives them. Only the patch builder reads this form.

A tensor of any rank is seen as C, H, W by its record: [N,C], [N,C,W] and [N,C,H,W] with N = 1, or with the channel axis
last for the rows of a matrix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from intarsia.dtypes import Array
from intarsia_backends.overlay.machine.config import LANES, WORD_BYTES


@dataclass(frozen=True)
class TensorLayout:
    """Where one tensor stands.

    name           value name
    form           "blocks" or "pixels"
    shape          shape of the tensor as the graph has it
    channels       C
    height, width  H, W
    channels_last  True where the last axis of `shape` is the channels (a matrix [rows, C] has H = 1, W = rows)
    offset         bytes from the base of its segment, a multiple of 16
    dtype          "int8" or "uint8": how the host reads the bytes
    """

    name: str
    form: str
    shape: tuple[int, ...]
    channels: int
    height: int
    width: int
    channels_last: bool = False
    offset: int = 0
    dtype: str = "int8"

    @property
    def blocks(self) -> int:
        """Channel blocks of 16."""
        return -(-self.channels // LANES)

    @property
    def row_pitch_bytes(self) -> int:
        """Bytes from a row to the next: of one block, or of the image."""
        if self.form == "pixels":
            return -(-self.width * self.channels // WORD_BYTES) * WORD_BYTES
        return self.width * WORD_BYTES

    @property
    def size_bytes(self) -> int:
        """Bytes of the whole tensor."""
        if self.form == "pixels":
            return self.height * self.row_pitch_bytes
        return self.blocks * self.height * self.row_pitch_bytes

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {**asdict(self), "shape": list(self.shape)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TensorLayout:
        """From what to_dict gave."""
        return cls(**{**data, "shape": tuple(data["shape"])})


def pack(array: Array, layout: TensorLayout) -> Array:
    """The bytes of a tensor as they stand in DRAM.

    array    int8 or uint8, of layout.shape
    returns  uint8 [layout.size_bytes]
    """
    assert array.shape == layout.shape, f"{array.shape} is not {layout.shape}"
    planes: Array = np.ascontiguousarray(array).view(np.uint8)
    if layout.channels_last:
        planes = np.moveaxis(planes.reshape(-1, layout.channels), 1, 0)
    planes = planes.reshape(layout.channels, layout.height, layout.width)
    if layout.form == "pixels":
        image = np.zeros((layout.height, layout.row_pitch_bytes), np.uint8)
        image[:, : layout.width * layout.channels] = planes.transpose(1, 2, 0).reshape(layout.height, -1)
        return image.reshape(-1)
    lanes = np.zeros((layout.blocks * LANES, layout.height, layout.width), np.uint8)
    lanes[: layout.channels] = planes
    blocks = lanes.reshape(layout.blocks, LANES, layout.height, layout.width)
    return np.ascontiguousarray(blocks.transpose(0, 2, 3, 1)).reshape(-1)


def unpack(data: Array, layout: TensorLayout) -> Array:
    """The tensor of some bytes of DRAM.

    data     uint8 [layout.size_bytes]
    returns  array of layout.dtype and layout.shape, fresh
    """
    planes: Array
    assert data.dtype == np.uint8 and data.shape == (layout.size_bytes,), f"{data.dtype}{data.shape} for {layout}"
    if layout.form == "pixels":
        image = data.reshape(layout.height, layout.row_pitch_bytes)[:, : layout.width * layout.channels]
        planes = image.reshape(layout.height, layout.width, layout.channels).transpose(2, 0, 1)
    else:
        blocks = data.reshape(layout.blocks, layout.height, layout.width, LANES).transpose(0, 3, 1, 2)
        planes = blocks.reshape(layout.blocks * LANES, layout.height, layout.width)[: layout.channels]
    if layout.channels_last:
        planes = np.moveaxis(planes.reshape(layout.channels, -1), 0, 1)
    return np.array(planes, order="C").reshape(layout.shape).view(np.dtype(layout.dtype))


def pack_all(arrays: Sequence[Array], layouts: Sequence[TensorLayout], size_bytes: int) -> Array:
    """A whole segment (inputs) as uint8 [size_bytes]: each array at its layout's offset."""
    segment = np.zeros(size_bytes, np.uint8)
    for array, layout in zip(arrays, layouts):
        segment[layout.offset : layout.offset + layout.size_bytes] = pack(array, layout)
    return segment


def unpack_all(segment: Array, layouts: Sequence[TensorLayout]) -> list[Array]:
    """The tensors of a whole segment (outputs)."""
    return [unpack(segment[layout.offset : layout.offset + layout.size_bytes], layout) for layout in layouts]
