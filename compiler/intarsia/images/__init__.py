"""Pictures as inputs, for calibration and for runs: files, pixels, sizes, numbers. NumPy, and what reads files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from intarsia.dtypes import Array, numpy_dtype
from intarsia.errors import CompileError, IntarsiaError
from intarsia.images.decoding import decode
from intarsia.images.fitting import Fitting, Resample, fitted, fitting
from intarsia.images.options import (
    COLOURS,
    FITS,
    LAYOUTS,
    ImageOptions,
    check_fits,
    check_options,
    colour_of,
    from_data,
    how_pixels,
    layout_of,
)
from intarsia.resampling import resample

__all__ = [
    "COLOURS",
    "FITS",
    "LAYOUTS",
    "Fitting",
    "ImageOptions",
    "as_input",
    "check_options",
    "from_data",
    "how_pixels",
    "image_files",
    "is_image",
    "read_image",
]

_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def is_image(path: Path) -> bool:
    """Whether a name ends as those of images do."""
    return path.suffix.lower() in _SUFFIXES


def image_files(folder: Path) -> list[Path]:
    """Images in a folder and the folders in it, sorted by path."""
    return sorted(path for path in folder.rglob("*") if is_image(path) and path.is_file())


def read_image(
    path: Path,
    shape: tuple[int, ...],
    options: ImageOptions,
    *,
    dtype: str = "float32",
    error: type[IntarsiaError] = CompileError,
) -> Array:
    """One image as one row of an input.

    shape    [C, H, W] or [H, W, C]
    dtype    of the input: a floating one, or uint8, which holds pixels as they are where mean and scale leave them so
    error    what is raised
    returns  an array of that shape and type

    Raises `error` where the file is no image, what reads it is missing, or the options do not fit the shape.
    """
    try:
        data = path.read_bytes()
    except OSError as trouble:
        what = f"it cannot be read: {trouble.strerror or trouble}"
        raise error(where=f"image '{path}'", what=what, help="take it away, or write it anew") from None
    return as_input(data, shape, options, dtype=dtype, where=f"image '{path}'", error=error)[0]


def as_input(
    picture: bytes | Array,
    shape: tuple[int, ...],
    options: ImageOptions,
    *,
    dtype: str = "float32",
    where: str = "image",
    error: type[IntarsiaError] = CompileError,
    by: Resample = resample,
) -> tuple[Array, Fitting]:
    """One picture as one row of an input, and where it stands there.

    picture  contents of a file; or pixels, uint8 [H, W, C], in the order of colours that the input takes
    where    how an error names it
    by       what resizes it

    Other arguments, and errors, are those of `read_image`.
    """
    check_options(options, error)
    layout = layout_of(options, shape)
    channels, height, width = shape if layout == "NCHW" else (shape[2], shape[0], shape[1])
    colour = colour_of(options, channels)
    check_fits(options, colour, channels, dtype, error)
    pixels = decode(picture, colour, where, error) if isinstance(picture, bytes) else picture
    how = fitting((pixels.shape[0], pixels.shape[1]), (height, width), options)
    array = fitted(pixels, how, by)
    if dtype != "uint8":
        array = (array.astype(np.float32) - np.asarray(options.mean, np.float32)) * np.asarray(
            options.scale, np.float32
        )
    return np.ascontiguousarray(array.transpose(2, 0, 1) if layout == "NCHW" else array, numpy_dtype(dtype)), how
