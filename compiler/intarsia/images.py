"""Pictures as inputs, for calibration and for runs. Pillow reads them; it is imported here alone, when it is needed."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from intarsia.arguments import shown
from intarsia.dtypes import FLOATING, Array, numpy_dtype
from intarsia.errors import FOREIGN, CompileError, IntarsiaError, either

_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
_CHANNELS = {"RGB": 3, "BGR": 3, "L": 1}
COLOURS = tuple(_CHANNELS)
LAYOUTS = ("NCHW", "NHWC")
FITS = ("stretch", "crop")


@dataclass(frozen=True)
class ImageOptions:
    """How an image becomes an input: number = (pixel - mean) * scale, with pixels from 0 to 255.

    mean    one number, or one a channel
    scale   one number, or one a channel
    colour  "RGB", "BGR" or "L" (grey); by default grey for one channel and RGB for three
    layout  "NCHW" or "NHWC"; by default the one in which the input has one or three channels, NCHW where both do
    fit     "stretch" to the input's size, or "crop": scale so that the image covers it, and keep the centre
    """

    mean: float | tuple[float, ...] = 0.0
    scale: float | tuple[float, ...] = 1.0
    colour: str = ""
    layout: str = ""
    fit: str = "stretch"

    def to_data(self) -> dict[str, Any]:
        """As JSON has it, for an artifact's manifest; of options that `check_options` lets through."""
        return {**asdict(self), **{name: np.asarray(getattr(self, name)).tolist() for name in ("mean", "scale")}}


def from_data(data: Mapping[str, Any]) -> ImageOptions:
    """The options that `to_data` wrote."""
    fields: dict[str, Any] = {name: tuple(item) if isinstance(item, list) else item for name, item in data.items()}
    return ImageOptions(**fields)


def is_image(path: Path) -> bool:
    """Whether a name ends as those of images do."""
    return path.suffix.lower() in _SUFFIXES


def image_files(folder: Path) -> list[Path]:
    """Images in a folder and the folders in it, sorted by path."""
    return sorted(path for path in folder.rglob("*") if is_image(path) and path.is_file())


# What Pillow's readers raise for damaged files.
_OF_READERS = (OSError, EOFError, SyntaxError, struct.error, zlib.error)


def how_pixels() -> str:
    """What to give where nothing says how pixels become numbers, as help."""
    how = either(
        "--scale and --mean as in training: number = (pixel - mean) * scale, pixels 0 to 255; "
        "for example --scale 0.00392156862745098 for pixel / 255",
        "ImageOptions(mean=..., scale=...): number = (pixel - mean) * scale, pixels 0 to 255",
    )
    return f"give {how}"


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

    Raises `error` where the file is no image, Pillow is missing, or the options do not fit the shape.
    """
    pillow = _pillow(error)
    check_options(options, error)
    layout = options.layout or ("NHWC" if shape[2] in (1, 3) and shape[0] not in (1, 3) else "NCHW")
    channels, height, width = shape if layout == "NCHW" else (shape[2], shape[0], shape[1])
    colour = options.colour or ("L" if channels == 1 else "RGB")
    _check(options, colour, channels, dtype, error)
    try:
        with pillow.open(path) as image:
            whole = _eight_bits(_upright(image), image.format).convert("L" if colour == "L" else "RGB")
            pixels = _fitted(whole, width, height, options.fit)
    except (
        *FOREIGN,
        *_OF_READERS,
        pillow.DecompressionBombError,
    ) as trouble:
        raise error(
            where=f"image '{path}'", what=f"it cannot be read: {trouble}", help="take it away, or write it anew"
        ) from None
    array = np.asarray(pixels, np.float32).reshape(height, width, channels)
    if colour == "BGR":
        array = array[..., ::-1]
    array = (array - np.asarray(options.mean, np.float32)) * np.asarray(options.scale, np.float32)
    return np.ascontiguousarray(array.transpose(2, 0, 1) if layout == "NCHW" else array, numpy_dtype(dtype))


def _pillow(error: type[IntarsiaError]) -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise error(where="images", what="reading them needs Pillow", help="pip install 'intarsia[images]'") from None
    return Image


def _bad(error: type[IntarsiaError], what: str, help: str) -> IntarsiaError:
    return error(where="image options", what=f"{what} does not fit", help=help)


def check_options(options: ImageOptions, error: type[IntarsiaError] = CompileError) -> None:
    """Raise `error` for options that fit no image at all."""
    for name, known in (("colour", ("", *_CHANNELS)), ("layout", ("", *LAYOUTS)), ("fit", FITS)):
        text = getattr(options, name)
        if not isinstance(text, str):
            raise _bad(error, f"{name} {shown(text)}", "give it as text")
        if text not in known:
            choices = [choice for choice in known if choice]
            raise _bad(error, f"{name} '{text}'", f"choose {', '.join(choices[:-1])} or {choices[-1]}")
    for name, numbers in (("mean", options.mean), ("scale", options.scale)):
        try:
            finite = bool(np.isfinite(np.asarray(numbers, np.float32)).all()) and np.ndim(numbers) < 2
        except (TypeError, ValueError, OverflowError):
            finite = False
        if not finite:
            raise _bad(error, f"{name} {shown(numbers)}", "give one number, or one a channel")


def _check(options: ImageOptions, colour: str, channels: int, dtype: str, error: type[IntarsiaError]) -> None:
    """Hold them against an input of so many channels and that type."""
    if _CHANNELS[colour] != channels:
        help = "check layout and colour against the model's input"
        raise _bad(error, f"colour {colour} for {channels} channels", help)
    for name, numbers in (("mean", options.mean), ("scale", options.scale)):
        if np.ndim(numbers) and np.shape(numbers) != (channels,):
            raise _bad(error, f"{name} {numbers} for {channels} channels", "give one number, or one a channel")
    plain = bool(np.all(np.equal(options.mean, 0.0)) and np.all(np.equal(options.scale, 1.0)))
    if dtype not in FLOATING and not (dtype == "uint8" and plain):
        what = f"mean {options.mean} and scale {options.scale} for an input of {dtype}"
        help = "an input of uint8 takes pixels as they are, mean 0 and scale 1; for others give arrays"
        raise _bad(error, what, help)


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


def _fitted(image: Any, width: int, height: int, fit: str) -> Any:
    from PIL import Image, ImageOps

    if image.size == (width, height):
        return image
    if fit == "crop":
        return ImageOps.fit(image, (width, height), method=Image.Resampling.BILINEAR)
    return image.resize((width, height), Image.Resampling.BILINEAR)
