"""Pictures in files to pixels: JPEG by simplejpeg where it is, everything else by Pillow. Both are imported when asked.

orientation  what the camera noted (EXIF) is undone, so that up is up
alpha        is left out: the colours beneath it count, as in what networks were trained on
palettes     become the colours that they stand for
CMYK         becomes RGB without a colour profile
16 bits      the upper 8 count; 32 bits and floats are refused, since nothing says which number is white
animations   the first picture counts
damage       is refused, also where only the end is missing
"""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np

from intarsia.dtypes import Array
from intarsia.errors import FOREIGN, IntarsiaError, RunError, said
from intarsia.resampling import SIZE_LIMIT

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What Pillow may read: none of these runs another program, and none refers to other files."""

PIXELS_LIMIT = (1 << 28) // 3
"""Pixels of a picture, 268 MB in memory; a small file can claim more. Pillow warns from here on."""

_OF_READERS = (*FOREIGN, OSError, EOFError, SyntaxError, struct.error, zlib.error)
"""What Pillow's readers raise for damaged files."""

_ORIENTATION = 0x0112
_TURNS = {
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x.swapaxes(0, 1)[:, ::-1],
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: x.swapaxes(0, 1)[::-1],
}


def decode(data: bytes, colour: str, where: str = "image", error: type[IntarsiaError] = RunError) -> Array:
    """The pixels of a picture.

    data     contents of a file
    colour   "RGB", "BGR" or "L"
    where    how an error names the picture
    returns  uint8 [height, width, channels], C-contiguous

    Raises `error` where it is no picture, is damaged or too large, or what reads it is not installed.
    """
    if not data:
        raise _unreadable(error, where, "it is empty")
    pixels = _by_simplejpeg(data, colour, where, error) if data[:3] == b"\xff\xd8\xff" else None
    return np.ascontiguousarray(_by_pillow(data, colour, where, error) if pixels is None else pixels)


def _unreadable(error: type[IntarsiaError], where: str, what: str) -> IntarsiaError:
    return error(where=where, what=f"it cannot be read: {what}", help="take it away, or write it anew")


def _check_size(height: int, width: int, where: str, error: type[IntarsiaError]) -> None:
    if height * width > PIXELS_LIMIT or max(height, width) >= SIZE_LIMIT:
        what = f"it has {width} x {height} pixels; at most {PIXELS_LIMIT} are read, and {SIZE_LIMIT - 1} in a row"
        raise error(where=where, what=what, help="make it smaller")


def _by_simplejpeg(data: bytes, colour: str, where: str, error: type[IntarsiaError]) -> Array | None:
    """None where Pillow has to do it: without simplejpeg, for CMYK, and for colours that are to become grey."""
    try:
        import simplejpeg
    except ImportError:
        return None
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
        _check_size(height, width, where, error)
        grey = space == "Gray"
        if space not in ("Gray", "YCbCr") or (colour == "L" and not grey):
            return None
        pixels = simplejpeg.decode_jpeg(data, colorspace="GRAY" if colour == "L" else colour)
    except ValueError as trouble:
        raise _unreadable(error, where, said(trouble)) from None
    turn = _TURNS.get(_orientation(data))
    return np.asarray(pixels if turn is None else turn(pixels))


def _orientation(data: bytes) -> int:
    """What a JPEG file notes of how the camera was held; 1 where it notes nothing that can be read."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] not in (0xDA, 0xD9):
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            return _noted(data[at + 10 : at + 2 + length])
        at += 2 + length
    return 1


def _noted(block: bytes) -> int:
    """The orientation in a block of EXIF, which is laid out as a TIFF file."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, start)
        for index in range(count):
            tag, kind, _, number = struct.unpack_from(f"{order}2HIH", block, start + 2 + 12 * index)
            if tag == _ORIENTATION:
                return int(number) if kind == 3 else 1
    except struct.error:
        pass
    return 1


def pillow(error: type[IntarsiaError] = RunError) -> Any:
    """Pillow's module Image. Raises `error` where it is not installed."""
    try:
        from PIL import Image
    except ImportError:
        raise error(where="images", what="reading them needs Pillow", help="pip install 'intarsia[images]'") from None
    return Image


def _by_pillow(data: bytes, colour: str, where: str, error: type[IntarsiaError]) -> Array:
    library = pillow(error)
    try:
        library.init()
        with library.open(BytesIO(data), formats=[name for name in FORMATS if name in library.OPEN]) as image:
            _check_size(image.height, image.width, where, error)
            whole = _eight_bits(_upright(image), image.format).convert("L" if colour == "L" else "RGB")
    except library.UnidentifiedImageError:
        raise _unreadable(error, where, f"it is none of {', '.join(FORMATS)}") from None
    except (*_OF_READERS, library.DecompressionBombError) as trouble:
        raise _unreadable(error, where, said(trouble)) from None
    pixels = np.asarray(whole).reshape(whole.height, whole.width, -1)
    return pixels[..., ::-1] if colour == "BGR" else pixels


def _upright(image: Any) -> Any:
    """Cameras store what they see, and beside it how it was held."""
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)


def _eight_bits(image: Any, kind: str | None) -> Any:
    """Pixels of 16 bits by their upper 8; Pillow would cut off what is above 255."""
    from PIL import Image

    if image.mode.startswith("I;16") or (image.mode == "I" and kind == "PNG"):
        return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("its pixels have 32 bits, and nothing says which of their numbers is white")
    return image
