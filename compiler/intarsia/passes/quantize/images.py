"""Folders of images as model inputs. Pillow reads them; it is imported only here, and only when it is needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from intarsia.arguments import shown
from intarsia.dtypes import Array
from intarsia.errors import CompileError

_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


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


def image_files(folder: Path) -> list[Path]:
    """Images in a folder and the folders in it, sorted by path."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())


def read_image(path: Path, shape: tuple[int, ...], options: ImageOptions) -> Array:
    """One image as one row of an input.

    shape    [C, H, W] or [H, W, C]
    returns  float32 of that shape
    """
    pillow = _pillow()
    layout = _layout(shape, options)
    channels, height, width = shape if layout == "NCHW" else (shape[2], shape[0], shape[1])
    colour = options.colour or ("L" if channels == 1 else "RGB")
    _check(options, colour, channels)
    try:
        with pillow.open(path) as image:
            pixels = _fitted(image.convert("L" if colour == "L" else "RGB"), width, height, options.fit)
    except OSError as error:
        raise CompileError(where=f"image '{path}'", what=f"it cannot be read: {error}", help="remove it") from None
    array = np.asarray(pixels, np.float32).reshape(height, width, channels)
    if colour == "BGR":
        array = array[..., ::-1]
    array = (array - np.asarray(options.mean, np.float32)) * np.asarray(options.scale, np.float32)
    return np.ascontiguousarray(array.transpose(2, 0, 1) if layout == "NCHW" else array)


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise CompileError(
            where="calibration data", what="reading images needs Pillow", help="pip install intarsia[images]"
        ) from None
    return Image


def _layout(shape: tuple[int, ...], options: ImageOptions) -> str:
    for name, text in (("colour", options.colour), ("layout", options.layout), ("fit", options.fit)):
        if not isinstance(text, str):
            raise _bad(f"{name} {shown(text)}", "give it as text")
    if options.layout in ("NCHW", "NHWC"):
        return options.layout
    if options.layout:
        raise _bad(f"layout '{options.layout}'", "choose NCHW or NHWC")
    return "NHWC" if shape[2] in (1, 3) and shape[0] not in (1, 3) else "NCHW"


def _bad(what: str, help: str) -> CompileError:
    return CompileError(where="image options", what=f"{what} does not fit", help=help)


def _check(options: ImageOptions, colour: str, channels: int) -> None:
    wanted = {"L": 1, "RGB": 3, "BGR": 3}.get(colour)
    if wanted is None:
        raise _bad(f"colour '{colour}'", "choose RGB, BGR or L")
    if wanted != channels:
        raise _bad(f"colour {colour} for {channels} channels", "check layout and colour against the model's input")
    for name, numbers in (("mean", options.mean), ("scale", options.scale)):
        try:
            known = bool(np.isfinite(np.asarray(numbers, np.float32)).all())
        except (TypeError, ValueError, OverflowError):
            known = False
        if not known:
            raise _bad(f"{name} {shown(numbers)}", "give one number, or one a channel")
        if np.ndim(numbers) and np.shape(numbers) != (channels,):
            raise _bad(f"{name} {numbers} for {channels} channels", "give one number, or one a channel")
    if options.fit not in ("stretch", "crop"):
        raise _bad(f"fit '{options.fit}'", "choose stretch or crop")


def _fitted(image: Any, width: int, height: int, fit: str) -> Any:
    from PIL import Image, ImageOps

    if image.size == (width, height):
        return image
    if fit == "crop":
        return ImageOps.fit(image, (width, height), method=Image.Resampling.BILINEAR)
    return image.resize((width, height), Image.Resampling.BILINEAR)
