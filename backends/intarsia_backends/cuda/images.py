"""The machine code in an artifact: files named for what they run on, bound to the launches that they were made with."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from intarsia.errors import RunError

MARKS = "images"
"""Entry of a region's metadata that holds `image_marks`."""

_NAME = re.compile(r"(sm|compute)_([0-9]{2,3})(?:\.[0-9]{1,3})?\.(cubin|ptx)")
_SUFFIXES = {"sm": "cubin", "compute": "ptx"}


def image_marks(launches: bytes, images: Mapping[str, bytes]) -> dict[str, str]:
    """What the metadata of a region says of its images, by file: which bytes belong to these launches.

    Kernels write where the launches say; with other ones they might write anywhere.
    """
    return {name: _mark(launches, image) for name, image in sorted(images.items())}


def _mark(launches: bytes, image: bytes) -> str:
    return hashlib.sha256(hashlib.sha256(launches).digest() + image).hexdigest()


def is_image(name: str) -> bool:
    """Whether a file is named as machine code or PTX is."""
    return _read(name) is not None


def _read(name: str) -> tuple[str, tuple[int, int]] | None:
    found = _NAME.fullmatch(name)
    if found is None or _SUFFIXES[found[1]] != found[3]:
        return None
    return found[1], (int(found[2][:-1]), int(found[2][-1]))


def choose_images(names: Iterable[str], capability: tuple[int, int]) -> list[str]:
    """The files for a GPU of that capability, in order; none where it is too old for all of them, or of another kind.

    Machine code runs on GPUs of the same major number from its minor one on. PTX is compiled by the driver for any
    later one, which takes a while. Of several, the nearest is taken.
    """
    best: tuple[int, tuple[int, int]] | None = None
    chosen: list[str] = []
    for name in sorted(names):
        read = _read(name)
        if read is None:
            continue
        kind, made_for = read
        fits = made_for <= capability and (kind == "compute" or made_for[0] == capability[0])
        rank = (int(kind == "sm"), made_for)
        if fits and (best is None or rank > best):
            best, chosen = rank, [name]
        elif fits and rank == best:
            chosen.append(name)
    return chosen


def images_for(files: Mapping[str, bytes], capability: tuple[int, int], card: str, where: str) -> list[str]:
    """As `choose_images`. RunError that says what there is, where none of it runs on the card."""
    chosen = choose_images(files, capability)
    if not chosen:
        there = ", ".join(sorted(name.rpartition(".")[0] for name in files if is_image(name)))
        raise RunError(
            where=where,
            what=f"{card} has compute capability {capability[0]}.{capability[1]}, and the artifact's code is for "
            f"{there or 'no GPU at all'}",
            help=f"compile the model for it: the target 'cuda{{arch=sm_{capability[0]}{capability[1]}}}', or 'cpu'",
        )
    return chosen


def check_images(
    files: Mapping[str, bytes],
    names: Iterable[str],
    metadata: Mapping[str, Any],
    launches: bytes,
    where: str,
    help: str,
) -> None:
    """Whether images were made with these launches. RunError that names the one that was not."""
    marks = metadata.get(MARKS)
    for name in names:
        if not isinstance(marks, Mapping) or marks.get(name) != _mark(launches, files[name]):
            raise RunError(
                where=f"{where}, file '{name}'",
                what="it is not the code that was made with the region's launches",
                help=help,
            )
