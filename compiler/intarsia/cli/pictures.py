"""Pictures as inputs of commands: the options that say how they become numbers, and the arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from intarsia.errors import RunError

if TYPE_CHECKING:
    from intarsia.dtypes import Array
    from intarsia.images import ImageOptions
    from intarsia.runtime.arguments import TensorInfo


def image_options(command: Any) -> Any:
    """Options of every command that reads pictures; each is None where it is not given."""
    for option in reversed(
        (
            click.option(
                "--mean",
                metavar="M[,M,M]",
                callback=_channels,
                help="For images: the input is (pixel - mean) * scale; 0 by default, ...",
            ),
            click.option(
                "--scale",
                metavar="S[,S,S]",
                callback=_channels,
                help="... with pixels of 0 to 255; one number, or one a channel.",
            ),
            click.option(
                "--colour",
                type=click.Choice(["RGB", "BGR", "L"]),
                help="For images: by default L for one channel, else RGB.",
            ),
            click.option(
                "--fit",
                type=click.Choice(["stretch", "crop"]),
                help="For images of another size than the input's; by default stretch.",
            ),
        )
    ):
        command = option(command)
    return command


def _channels(ctx: click.Context, param: click.Parameter, text: str | None) -> float | tuple[float, ...] | None:
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        what = f"{text!r} is not one number, or one a channel with commas between"
        raise click.BadParameter(what, ctx, param) from None
    return numbers[0] if len(numbers) == 1 else numbers


def chosen(kept: ImageOptions | None, given: dict[str, Any]) -> ImageOptions | None:
    """What holds for pictures: what was given, and for the rest what is kept.

    given    mean, scale, colour and fit, None where the option was left out
    returns  None where nothing says how pixels become numbers: nothing is kept, and no scale is given
    """
    from intarsia.images import ImageOptions

    named = {name: item for name, item in given.items() if item is not None}
    if kept is None and "scale" not in named:
        return None
    return replace(kept or ImageOptions(), **named)


def pictures_of(paths: Sequence[Path]) -> list[Path]:
    """Those that are pictures by their names, and for folders the pictures in them. RunError for a folder of none."""
    from intarsia.images import image_files, is_image

    found = []
    for path in paths:
        if path.is_dir():
            inside = image_files(path)
            if not inside:
                raise RunError(
                    where=f"folder {path}", what="there is no picture in it", help="put .jpg or .png files there"
                )
            found += inside
        elif is_image(path):
            found.append(path)
    return found


def read_pictures(paths: Sequence[Path], info: TensorInfo, options: ImageOptions | None) -> Array:
    """Pictures as rows of an input.

    info     of the input, [N, C, H, W] or [N, H, W, C]
    options  None where nothing says how pixels become numbers, which an input of uint8 needs not be told
    returns  an array of the input's type with a row for each picture
    """
    import numpy as np

    from intarsia.images import ImageOptions, how_pixels, read_image

    shape = tuple(size or 0 for size in (info.shape or ())[1:])
    if len(shape) != 3 or not all(shape):
        raise RunError(
            where=f"picture {paths[0]}",
            what=f"the input {info} takes no pictures",
            help="pictures serve inputs of shape [N, C, H, W] or [N, H, W, C]; give a .npz file",
        )
    if options is None and info.dtype != "uint8":
        what = "the artifact does not say how pixels become the numbers that the model takes"
        raise RunError(where=f"picture {paths[0]}", what=what, help=how_pixels())
    for path in paths:
        if not path.exists():
            raise RunError(where=f"picture {path}", what="there is no such file", help="check the path")
    rows = [read_image(path, shape, options or ImageOptions(), dtype=info.dtype, error=RunError) for path in paths]
    return np.stack(rows)
