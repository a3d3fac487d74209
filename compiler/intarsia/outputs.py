"""Files that are made for users: a place is looked at before there is any work, and written whole or not at all.

A link is followed: what it leads to is written, and the link stays. What is no regular file, or a file that the same
command reads, is never replaced; another file only where it is of the kind that is written, or where the user says so.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

from intarsia.errors import CompileError, IntarsiaError, either, said

Place: TypeAlias = "str | os.PathLike[str]"

_TAKE_AWAY = "choose another name, or take it away yourself"


def _replace() -> str:
    return f"choose another name, or replace it: {either('--force', 'overwrite=True')}"


def check_output(
    path: Place,
    what: str,
    *,
    inputs: Sequence[Place | None] = (),
    ours: Callable[[Path], bool] = lambda place: False,
    kind: str = "of the kind that is written",
    overwrite: bool | None = False,
    needed_bytes: int = 0,
    error: type[IntarsiaError] = CompileError,
) -> Path:
    """Where a file goes, links followed; nothing is written yet, and no folder made.

    path          as the user gave it
    what          how errors name it, such as "artifact"
    inputs        files that are read by the same command: none of them is written over, whatever `overwrite` says
    ours          whether the regular file that stands there may be replaced; an empty one always may
    kind          of what `ours` knows, for the error: "an artifact"
    overwrite     replace any other regular file too; None where the user has no way to say so
    needed_bytes  room that is wanted on the disk
    error         what is raised

    Raises `error` where nothing can be written there, or something would be lost.
    """
    where = f"{what} {os.fspath(path)}"
    try:
        place = Path(os.path.realpath(path))
        status = place.stat() if os.path.lexists(place) else None
        folder = _existing(place.parent)
        for item in inputs:
            if item is not None and status is not None and os.path.exists(item) and os.path.samefile(item, place):
                raise error(where=where, what="the same command reads that file", help="choose another name")
        if status is not None and not stat.S_ISREG(status.st_mode):
            raise error(where=where, what=f"{_kind_of(status.st_mode)} stands there", help="choose another name")
        way = _TAKE_AWAY if overwrite is None else _replace()
        if status is not None and status.st_size and not overwrite and not ours(place):
            raise error(where=where, what=f"a file that is not {kind} stands there", help=way)
        if not folder.is_dir():
            shown = _existing(Path(path).parent)  # as the user spells it
            raise error(where=where, what=f"'{shown}' is no folder", help="choose another place")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise error(where=where, what=f"the folder '{folder}' may not be written", help="check its permissions")
        free = shutil.disk_usage(folder).free
        if free < needed_bytes:
            raise error(
                where=where,
                what=f"{free:,} bytes are free there, and about {needed_bytes:,} are needed",
                help="make room, or choose another place",
            )
    except (OSError, ValueError) as trouble:  # ValueError: a name with a zero byte
        raise unwritable(where, trouble, error) from trouble
    return place


def _existing(folder: Path) -> Path:
    """The nearest that exists of a folder and those that it lies in."""
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder


def _kind_of(mode: int) -> str:
    kinds = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
    return next((name for known, name in kinds.items() if known(mode)), "a device")


def write_output(
    path: Place, what: str, pieces: bytes | Iterable[bytes], *, error: type[IntarsiaError] = CompileError
) -> None:
    """Write a file beside its place and rename it into it, so that no half is ever seen; links are followed.

    path    folders that it lies in are made
    what    how errors name it
    pieces  the content, whole or in parts

    What stood there keeps its permissions. Raises `error` where it cannot be written, or where what stands there is no
    regular file; what stood there before is unharmed then.
    """
    where = f"{what} {os.fspath(path)}"
    try:
        place = Path(os.path.realpath(path))
        if os.path.lexists(place) and not place.is_file():
            raise error(where=where, what=f"{_kind_of(place.stat().st_mode)} stands there", help="choose another name")
        part = beside(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(part, "xb") as stream:
                for piece in (pieces,) if isinstance(pieces, bytes) else pieces:
                    stream.write(piece)
                stream.flush()
                os.fsync(stream.fileno())
            if place.exists():
                shutil.copymode(place, part)
            os.replace(part, place)
        finally:
            part.unlink(missing_ok=True)
    except (OSError, ValueError) as trouble:
        raise unwritable(where, trouble, error) from trouble


def beside(place: Path) -> Path:
    """A new name in the same folder, for what is renamed into its place when it is whole."""
    return place.parent / f".{place.name[:100]}.{secrets.token_hex(4)}.part"


def unwritable(where: str, trouble: OSError | ValueError, error: type[IntarsiaError]) -> IntarsiaError:
    """The letter about a place that something was not written to."""
    found = trouble.strerror if isinstance(trouble, OSError) and trouble.strerror else said(trouble)
    return error(
        where=where,
        what=f"it cannot be written: {found}",
        help="check the folder, its permissions and the free space; what stood there before is unharmed",
    )
