"""What is said of pictures: how they are brought to an input's size, and how their pixels become numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from intarsia.arguments import shown
from intarsia.dtypes import FLOATING
from intarsia.errors import CompileError, IntarsiaError, either
from intarsia.resampling import FILTERS

CHANNELS = {"RGB": 3, "BGR": 3, "L": 1}
COLOURS = tuple(CHANNELS)
LAYOUTS = ("NCHW", "NHWC")
FITS = ("stretch", "crop", "cover", "letterbox")


@dataclass(frozen=True)
class ImageOptions:
    """How an image becomes an input: number = (pixel - mean) * scale, with pixels from 0 to 255.

    mean    one number, or one a channel
    scale   one number, or one a channel
    colour  "RGB", "BGR" or "L" (grey); by default grey for one channel and RGB for three
    layout  "NCHW" or "NHWC"; by default the one in which the input has one or three channels, NCHW where both do
    fit     "stretch" to the input's size;
            "crop": cut the largest part of the input's proportions out of the centre, then scale that;
            "cover": scale, to whole pixels, so that the image covers the input, then cut out the centre;
            "letterbox": scale so that the input holds all of the image, and fill up
    filter  "bilinear", "bicubic", "lanczos" or "box"; where images shrink, all that a pixel covers counts
    share   for crop and cover, the part of the sides that is kept: 0.875 keeps 224 of 256
    fill    for letterbox, what stands beside the image: a byte for all channels
    corner  for letterbox, whether the image stands in the upper left corner in place of the centre
    """

    mean: float | tuple[float, ...] = 0.0
    scale: float | tuple[float, ...] = 1.0
    colour: str = ""
    layout: str = ""
    fit: str = "stretch"
    filter: str = "bilinear"
    share: float = 1.0
    fill: int = 114
    corner: bool = False

    def to_data(self) -> dict[str, Any]:
        """As JSON has it, for an artifact's manifest; of options that `check_options` lets through.

        What versions before 0.2 do not know is left out where it is as they do it.
        """
        data = {**asdict(self), **{name: np.asarray(getattr(self, name)).tolist() for name in ("mean", "scale")}}
        return {name: item for name, item in data.items() if name not in LATER or item != LATER[name]}

    def pixels_alone(self) -> ImageOptions:
        """The same for an input of uint8 [N, H, W, C], which takes pixels as they are."""
        return replace(self, mean=0.0, scale=1.0, layout="NHWC")


LATER = {
    field.name: field.default for field in fields(ImageOptions) if field.name in ("filter", "share", "fill", "corner")
}
"""Options that artifacts may leave out, with what they then are."""


def from_data(data: Mapping[str, Any]) -> ImageOptions:
    """The options that `to_data` wrote."""
    fields: dict[str, Any] = {name: tuple(item) if isinstance(item, list) else item for name, item in data.items()}
    return ImageOptions(**fields)


def how_pixels() -> str:
    """What to give where nothing says how pixels become numbers, as help."""
    how = either(
        "--scale and --mean as in training: number = (pixel - mean) * scale, pixels 0 to 255; "
        "for example --scale 0.00392156862745098 for pixel / 255",
        "ImageOptions(mean=..., scale=...): number = (pixel - mean) * scale, pixels 0 to 255",
    )
    return f"give {how}"


def _bad(error: type[IntarsiaError], what: str, help: str) -> IntarsiaError:
    return error(where="image options", what=f"{what} does not fit", help=help)


def check_options(options: ImageOptions, error: type[IntarsiaError] = CompileError) -> None:
    """Raise `error` for options that fit no image at all."""
    words = (("colour", ("", *CHANNELS)), ("layout", ("", *LAYOUTS)), ("fit", FITS), ("filter", FILTERS))
    for name, known in words:
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
    share, fill = options.share, options.fill
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0.01 <= share <= 1.0:
        raise _bad(error, f"share {shown(share)}", "give a number from 0.01 to 1, the part of the sides that is kept")
    if isinstance(fill, bool) or not isinstance(fill, int) or not 0 <= fill <= 255:
        raise _bad(error, f"fill {shown(fill)}", "give a whole number from 0 to 255")
    if not isinstance(options.corner, bool):
        raise _bad(error, f"corner {shown(options.corner)}", "give True or False")


def check_fits(
    options: ImageOptions, colour: str, channels: int, dtype: str, error: type[IntarsiaError] = CompileError
) -> None:
    """Hold options against an input of so many channels and that type. Raises `error` where they do not fit."""
    if CHANNELS[colour] != channels:
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


def layout_of(options: ImageOptions, shape: tuple[int, ...]) -> str:
    """How an input of a shape without its first axis, [C, H, W] or [H, W, C], lies."""
    return options.layout or ("NHWC" if shape[2] in (1, 3) and shape[0] not in (1, 3) else "NCHW")


def colour_of(options: ImageOptions, channels: int) -> str:
    """The colours of an input of so many channels."""
    return options.colour or ("L" if channels == 1 else "RGB")
