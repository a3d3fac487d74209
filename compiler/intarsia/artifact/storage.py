"""Artifacts on disk: a zip or a folder, written beside the place and renamed into it, so that no half is ever seen."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from intarsia.artifact.archive import pack, unpack
from intarsia.artifact.manifest import DIGEST_NAME, MANIFEST_NAME, Manifest, digest_file
from intarsia.artifact.names import complaint
from intarsia.errors import RunError
from intarsia.outputs import check_output, write_output


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
    beside = Path(os.path.realpath(place)) / "artifact"  # a file in it can be written: so can the folder
    check_output(beside, "artifact", needed_bytes=needed_bytes, error=RunError)
    _check_folder(place)
    for item in inputs:
        if item is not None and Path(os.path.realpath(item)).is_relative_to(beside.parent):
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
    beside = place.parent / f".{place.name[:100]}.{secrets.token_hex(4)}.part"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _check_folder(place)
        _write_folder(place, beside, files)
    except OSError as error:
        raise RunError(
            where=f"artifact {path}",
            what=f"it cannot be written: {error.strerror or error}",
            help="check the folder, its permissions and the free space; what stood there before is unharmed",
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _check_folder(path: Path) -> None:
    if path.exists() and (not path.is_dir() or (any(path.iterdir()) and not is_artifact(path))):
        raise RunError(
            where=f"artifact {path}",
            what="something that is not an artifact stands there",
            help="give another path; intarsia replaces a folder only where it holds an artifact or nothing",
        )


def _write_folder(path: Path, beside: Path, files: Mapping[str, bytes]) -> None:
    beside.mkdir()
    for name, data in files.items():
        target = beside / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    if not path.exists():
        os.rename(beside, path)
        return
    old = beside.with_suffix(".old")
    os.rename(path, old)
    try:
        os.rename(beside, path)
    except OSError:
        os.rename(old, path)
        raise
    shutil.rmtree(old)


def read(path: Path) -> dict[str, bytes]:
    """All files of the artifact at `path`, manifest and digest included, not yet compared with the manifest."""
    where = f"artifact {path}"
    try:
        if path.is_dir():
            return _read_folder(path, where)
        if path.exists() and not path.is_file():
            raise RunError(where=where, what="it is neither a file nor a folder", help="check the path")
        return unpack(path.read_bytes(), where)
    except FileNotFoundError as error:
        raise RunError(where=where, what="there is no such file", help="check the path") from error
    except OSError as error:
        raise RunError(
            where=where, what=f"it cannot be read: {error.strerror or error}", help="check the path and its permissions"
        ) from error


def _read_folder(path: Path, where: str) -> dict[str, bytes]:
    files, waiting = {}, [""]
    while waiting:
        prefix = waiting.pop()
        for entry in sorted(os.scandir(path / prefix), key=lambda item: item.name):
            name = prefix + entry.name
            trouble = complaint(name)
            if trouble is None and entry.is_symlink():
                trouble = "it is a link"
            if trouble is not None:
                raise RunError(
                    where=f"{where}, file {name!r}",
                    what=f"it may not be part of an artifact: {trouble}",
                    help="remove it, or copy the artifact again",
                )
            if entry.is_dir():
                waiting.append(f"{name}/")
            else:
                files[name] = Path(entry.path).read_bytes()
    return files


def guarded_manifest(files: Mapping[str, bytes], where: str) -> bytes:
    """The manifest's text, after comparison with the digest beside it."""
    for name in (MANIFEST_NAME, DIGEST_NAME):
        if name not in files:
            raise RunError(where=where, what=f"'{name}' is missing", help="it is no artifact, or a part of one only")
    if files[DIGEST_NAME] != digest_file(files[MANIFEST_NAME]):
        raise _changed(where, MANIFEST_NAME, f"its SHA-256 is not the one in '{DIGEST_NAME}'")
    return files[MANIFEST_NAME]


def check_files(files: Mapping[str, bytes], manifest: Manifest, where: str) -> None:
    """Compare files (without manifest and digest) with the manifest: all there, none besides, every byte as written."""
    for name in sorted(set(files) - set(manifest.files)):
        raise _changed(where, name, "the manifest does not know it")
    for name in sorted(manifest.files):
        entry = manifest.files[name]
        if name not in files:
            raise _changed(where, name, "it is missing")
        if len(files[name]) != entry.bytes:
            raise _changed(where, name, f"it has {len(files[name])} bytes, the manifest says {entry.bytes}")
        if hashlib.sha256(files[name]).hexdigest() != entry.sha256:
            raise _changed(where, name, "its SHA-256 is not the one in the manifest")


def _changed(where: str, name: str, what: str) -> RunError:
    return RunError(
        where=f"{where}, file '{name}'",
        what=what,
        help="the artifact was changed after it was written; copy it again or compile the model again",
    )
