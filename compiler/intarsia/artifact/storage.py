"""Artifacts on disk: a zip or a folder, written beside the place and renamed into it, so that no half is ever seen."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from zipfile import BadZipFile, ZipFile

from intarsia.artifact.archive import FILES_LIMIT, content, members, pack
from intarsia.artifact.manifest import (
    DIGEST_NAME,
    GUARDS,
    MANIFEST_LIMIT_BYTES,
    MANIFEST_NAME,
    SIGNATURES_NAME,
    SIZE_LIMIT,
    Manifest,
    digest_file,
)
from intarsia.artifact.names import complaint
from intarsia.errors import RunError
from intarsia.outputs import beside, check_output, unwritable, write_output

LIMITS = {MANIFEST_NAME: MANIFEST_LIMIT_BYTES, DIGEST_NAME: 1 << 10, SIGNATURES_NAME: 1 << 16}
"""Most bytes of files by name; others have at most SIZE_LIMIT."""


def is_artifact(path: Path) -> bool:
    """Whether a file or folder looks like an artifact, whole or not: it has a manifest."""
    if path.is_dir():
        return (path / MANIFEST_NAME).is_file()
    try:
        with ZipFile(path) as archive:
            return MANIFEST_NAME in archive.namelist()
    except (OSError, BadZipFile, ValueError, RuntimeError, NotImplementedError):
        return False


def check_place(
    path: str | os.PathLike[str],
    *,
    inputs: Sequence[str | os.PathLike[str] | None] = (),
    overwrite: bool = False,
    needed_bytes: int = 0,
) -> None:
    """Look at a place for an artifact before there is any work.

    Arguments are those of `intarsia.outputs.check_output`. Raises RunError where no artifact can be written there, or
    something that is no artifact would be lost; folders other than artifacts are never replaced.
    """
    text = os.fspath(path)
    place = Path(text)
    if not text.endswith(("/", os.sep)) and not place.is_dir():
        check_output(
            path,
            "artifact",
            inputs=inputs,
            ours=is_artifact,
            kind="an artifact",
            overwrite=overwrite,
            needed_bytes=needed_bytes,
            error=RunError,
        )
        return
    inside = Path(os.path.realpath(place)) / "artifact"  # a file in it can be written: so can the folder
    check_output(inside, "artifact", needed_bytes=needed_bytes, error=RunError)
    _check_folder(place)
    for item in inputs:
        if item is not None and Path(os.path.realpath(item)).is_relative_to(inside.parent):
            what = f"the same command reads '{os.fspath(item)}', which lies in it"
            raise RunError(where=f"artifact {text}", what=what, help="choose another folder")


def write(path: Path, files: Mapping[str, bytes], *, folder: bool) -> None:
    """Put all files (manifest and digest included) at `path`, replacing what is there; links are followed.

    Until the last step, a rename, the place holds what it held before. Raises RunError where the place cannot be
    written, or is a folder that holds something other than an artifact.
    """
    if not folder:
        write_output(path, "artifact", pack(files), error=RunError)
        return
    place = Path(os.path.realpath(path))
    part = beside(place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _check_folder(place)
        _write_folder(place, part, files)
    except OSError as error:
        raise unwritable(f"artifact {path}", error, RunError) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _check_folder(path: Path) -> None:
    if path.exists() and (not path.is_dir() or (any(path.iterdir()) and not is_artifact(path))):
        raise RunError(
            where=f"artifact {path}",
            what="something that is not an artifact stands there",
            help="give another path; intarsia replaces a folder only where it holds an artifact or nothing",
        )


def _write_folder(path: Path, part: Path, files: Mapping[str, bytes]) -> None:
    part.mkdir()
    for name, data in files.items():
        target = part / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    if not path.exists():
        os.rename(part, path)
        return
    old = part.with_suffix(".old")
    os.rename(path, old)
    try:
        os.rename(part, path)
    except OSError:
        os.rename(old, path)
        raise
    shutil.rmtree(old)


class Stored(Mapping[str, bytes]):
    """The files of an artifact on disk, read when they are asked for; their sizes are known before.

    Looking a file up raises RunError where it cannot be read, is not what it was when it was listed, or is larger than
    one of its name may be.
    """

    def __init__(self, where: str, sizes: Mapping[str, int], read: Callable[[str], bytes]) -> None:
        self.where = where
        self.sizes = dict(sizes)
        self._read = read

    def __getitem__(self, name: str) -> bytes:
        size_bytes, limit = self.sizes[name], LIMITS.get(name, SIZE_LIMIT)
        if size_bytes > limit:
            raise RunError(
                where=f"{self.where}, file '{name}'",
                what=f"it has {size_bytes} bytes, at most {limit}",
                help="the artifact was not written by intarsia; compile the model again",
            )
        try:
            return self._read(name)
        except MemoryError as error:
            raise RunError(
                where=f"{self.where}, file '{name}'",
                what=f"there is no memory for its {size_bytes} bytes",
                help="close other programs, or load it on a machine with more memory",
            ) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self.sizes)

    def __len__(self) -> int:
        return len(self.sizes)


@contextmanager
def opened(path: Path) -> Iterator[Stored]:
    """The files of the artifact at `path`, manifest and digest included, not yet compared with the manifest."""
    where = f"artifact {path}"
    try:
        if path.is_dir():
            yield _folder(path, where)
        else:
            if path.exists() and not path.is_file():
                raise RunError(where=where, what="it is neither a file nor a folder", help="check the path")
            with open(path, "rb", buffering=0, opener=_open_unblocked) as stream:
                yield _zip(stream, where)
    except FileNotFoundError as error:
        raise RunError(where=where, what="there is no such file", help="check the path") from error
    except (OSError, ValueError) as error:  # ValueError for a path that no file can have
        said = getattr(error, "strerror", None) or error
        raise RunError(
            where=where, what=f"it cannot be read: {said}", help="check the path and its permissions"
        ) from error


def _zip(stream: IO[bytes], where: str) -> Stored:
    def read(start: int, size_bytes: int) -> bytes:
        stream.seek(start)
        pieces = []
        while size_bytes > 0:
            piece = stream.read(size_bytes)
            if not piece:
                break
            pieces.append(piece)
            size_bytes -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    found = {member.name: member for member in members(read, os.fstat(stream.fileno()).st_size, where)}
    sizes = {name: member.size_bytes for name, member in found.items()}
    return Stored(where, sizes, lambda name: content(read, found[name], where))


def _folder(path: Path, where: str) -> Stored:
    sizes: dict[str, int] = {}
    waiting, seen = [""], 0
    while waiting:
        prefix = waiting.pop()
        with os.scandir(path / prefix) as entries:
            for entry in entries:
                name, status = prefix + entry.name, entry.stat(follow_symlinks=False)
                seen += 1
                trouble = complaint(name) or _kind_trouble(status.st_mode)
                if trouble is None and seen > FILES_LIMIT:
                    trouble = f"there are more than {FILES_LIMIT} files and folders"
                if trouble is not None:
                    raise _no_part(where, name, trouble)
                if stat.S_ISDIR(status.st_mode):
                    waiting.append(f"{name}/")
                else:
                    sizes[name] = status.st_size

    def read(name: str) -> bytes:
        # Between listing and opening anything may have taken its place: a pipe, say, which would never end.
        with open(path / name, "rb", opener=_open_itself) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _no_part(where, name, "it is no file any more")
            data = stream.read(sizes[name] + 1)
        if len(data) != sizes[name]:
            raise _changed(where, name, "it changed while it was read")
        return data

    return Stored(where, dict(sorted(sizes.items())), read)


def _kind_trouble(mode: int) -> str | None:
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    return "it is a link" if stat.S_ISLNK(mode) else "it is neither a file nor a folder"


def _no_part(where: str, name: str, trouble: str) -> RunError:
    return RunError(
        where=f"{where}, file {name!r}",
        what=f"it may not be part of an artifact: {trouble}",
        help="remove it, or copy the artifact again",
    )


def _open_unblocked(path: str, flags: int) -> int:
    """Open without waiting for whoever writes to a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))


def _open_itself(path: str, flags: int) -> int:
    """The same, and not through a link."""
    return _open_unblocked(path, flags | getattr(os, "O_NOFOLLOW", 0))


def guarded_manifest(files: Mapping[str, bytes], where: str) -> bytes:
    """The manifest's text, after comparison with the digest beside it."""
    for name in (MANIFEST_NAME, DIGEST_NAME):
        if name not in files:
            raise RunError(where=where, what=f"'{name}' is missing", help="it is no artifact, or a part of one only")
    if files[DIGEST_NAME] != digest_file(files[MANIFEST_NAME]):
        raise _changed(where, MANIFEST_NAME, f"its SHA-256 is not the one in '{DIGEST_NAME}'")
    return files[MANIFEST_NAME]


def read_files(stored: Stored, manifest: Manifest) -> dict[str, bytes]:
    """All files but the guards, compared with the manifest: names and sizes before any is read, then every byte."""
    _check_names(stored.sizes, manifest, stored.where)
    return {name: _checked(stored[name], name, manifest, stored.where) for name in sorted(manifest.files)}


def check_files(files: Mapping[str, bytes], manifest: Manifest, where: str) -> None:
    """Compare files (without guards) with the manifest: all there, none besides, every byte as written."""
    _check_names({name: len(data) for name, data in files.items()}, manifest, where)
    for name in sorted(manifest.files):
        _checked(files[name], name, manifest, where)


def _check_names(sizes: Mapping[str, int], manifest: Manifest, where: str) -> None:
    for name in sorted(set(sizes) - set(manifest.files) - set(GUARDS)):
        raise _changed(where, name, "the manifest does not know it")
    for name in sorted(manifest.files):
        if name not in sizes:
            raise _changed(where, name, "it is missing")
        if sizes[name] != manifest.files[name].bytes:
            raise _changed(where, name, f"it has {sizes[name]} bytes, the manifest says {manifest.files[name].bytes}")


def _checked(data: bytes, name: str, manifest: Manifest, where: str) -> bytes:
    if hashlib.sha256(data).hexdigest() != manifest.files[name].sha256:
        raise _changed(where, name, "its SHA-256 is not the one in the manifest")
    return data


def _changed(where: str, name: str, what: str) -> RunError:
    return RunError(
        where=f"{where}, file '{name}'",
        what=what,
        help="the artifact was changed after it was written; copy it again or compile the model again",
    )
