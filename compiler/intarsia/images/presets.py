"""Ways to bring pictures to a model that many models share, by name; and others, as a file or in Python.

imagenet           as torchvision's classifiers: shorter side to 256 of 224, centre, mean and deviation of ImageNet
inception          as TensorFlow's: the centre of 87.5 %, numbers from -1 to 1
efficientnet-lite  the same, bicubic, (pixel - 127) / 128
unit               stretched, pixel / 255
bytes              stretched, pixels from 0 to 255
yolo               as YOLOv5 to v11: letterbox in the centre, RGB, pixel / 255
yolox              letterbox in the upper left corner, BGR, pixels from 0 to 255
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from intarsia.arguments import near, shown
from intarsia.errors import CompileError, either
from intarsia.images.options import ImageOptions, check_options
from intarsia.resampling import SIZE_LIMIT

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pixels from 0 to 1, as torchvision's models were trained with."""

PRESETS: Mapping[str, ImageOptions] = {
    "imagenet": ImageOptions(
        mean=tuple(255 * mean for mean in _MEAN),
        scale=tuple(1 / (255 * deviation) for deviation in _DEVIATION),
        fit="cover",
        share=0.875,
    ),
    "inception": ImageOptions(mean=127.5, scale=1 / 127.5, fit="crop", share=0.875),
    "efficientnet-lite": ImageOptions(mean=127.0, scale=1 / 128, fit="crop", filter="bicubic", share=0.875),
    "unit": ImageOptions(scale=1 / 255),
    "bytes": ImageOptions(),
    "yolo": ImageOptions(scale=1 / 255, fit="letterbox"),
    "yolox": ImageOptions(colour="BGR", fit="letterbox", corner=True),
}


@dataclass(frozen=True)
class Preprocess:
    """How a model takes pictures as part of an artifact: its input then is uint8 [N, H, W, C].

    images  what is done to them
    input   name of the model's input; the only one that takes pictures where it is empty
    frame   (height, width) of the frames of a camera: the artifact resizes them itself, then. Else it takes pictures of
            the model's size, and whoever reads files brings them to it
    """

    images: ImageOptions = field(default_factory=ImageOptions)
    input: str = ""
    frame: tuple[int, int] | None = None

    @property
    def reading(self) -> ImageOptions:
        """What is left to do for who reads files."""
        whole = self.images if self.frame is None else ImageOptions(fit="crop", colour=self.images.colour)
        return whole.pixels_alone()


_OWN = ("like", "input", "frame")
_OPTIONS = tuple(item.name for item in fields(ImageOptions))

Given = str | PathLike[str] | Mapping[str, Any] | ImageOptions | Preprocess


def preprocess_of(given: Given | object, changed: Mapping[str, Any] | None = None) -> Preprocess:
    """What is asked for: the name of a preset, the path of a .json file, what such a file holds, or options.

    changed  options in place of those

    Raises CompileError for anything else.
    """
    if isinstance(given, Preprocess):
        found = given
    elif isinstance(given, ImageOptions):
        found = Preprocess(given)
    elif isinstance(given, Mapping):
        found = _of_object(given, either("--preprocess", "preprocess"))
    elif isinstance(given, (str, PathLike)):
        found = _of_text(fspath(given))
    else:
        what = f"{shown(given)} says not how pictures are taken"
        raise CompileError(where="preprocess", what=what, help=_HELP)
    found = replace(found, images=replace(found.images, **dict(changed or {})))
    check_options(found.images)
    return found


_HELP = f"give {', '.join(PRESETS)}, the path of a .json file, or ImageOptions"


def _of_text(text: str) -> Preprocess:
    if text in PRESETS:
        return Preprocess(PRESETS[text])
    where = either(f"--preprocess {text}", f"preprocess '{text}'")
    if not text.endswith(".json"):
        raise CompileError(where=where, what=f"nothing has that name{near(text, PRESETS)}", help=_HELP)
    try:
        data = json.loads(Path(text).read_text("utf-8-sig"))
    except FileNotFoundError:
        raise CompileError(where=where, what="there is no such file", help="check the path") from None
    except OSError as error:
        what = f"it cannot be read: {error.strerror or error}"
        raise CompileError(where=where, what=what, help="check the path and its permissions") from None
    except (ValueError, RecursionError):
        raise CompileError(
            where=where, what="it is no JSON", help='such as {"like": "imagenet", "fit": "crop"}'
        ) from None
    return _of_object(data, where)


def _of_object(data: Any, where: str) -> Preprocess:
    """Preset and options by name, and what is particular to one model."""
    help = f"it may have: {', '.join((*_OWN, *_OPTIONS))}"
    if not isinstance(data, Mapping):
        raise CompileError(where=where, what=f"{shown(data)} is no object of options", help=help)
    for name in data:
        if name not in (*_OWN, *_OPTIONS):
            raise CompileError(where=where, what=f"it has no option {name!r}{near(str(name), _OPTIONS)}", help=help)
    like, input, frame = data.get("like", "bytes"), data.get("input", ""), data.get("frame")
    if not isinstance(like, str) or like not in PRESETS:
        raise CompileError(where=where, what=f"'like' is {shown(like)}", help=f"choose of {', '.join(PRESETS)}")
    if not isinstance(input, str):
        raise CompileError(where=where, what=f"'input' is {shown(input)}", help="give the name of an input")
    if frame is not None:
        sizes = list(frame) if isinstance(frame, (list, tuple)) else []
        if len(sizes) != 2 or not all(type(size) is int and 0 < size < SIZE_LIMIT for size in sizes):
            raise CompileError(
                where=where, what=f"'frame' is {shown(frame)}", help="give [height, width] of the frames"
            )
        frame = (sizes[0], sizes[1])
    chosen: dict[str, Any] = {
        name: tuple(item) if isinstance(item, list) else item for name, item in data.items() if name in _OPTIONS
    }
    return Preprocess(replace(PRESETS[like], **chosen), input, frame)
