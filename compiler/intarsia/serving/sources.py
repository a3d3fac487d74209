"""What lies in the files and folders that a server was given: models by name, their versions, and when they changed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from intarsia.artifact.manifest import MANIFEST_NAME
from intarsia.errors import RunError
from intarsia.serving.model_settings import SUFFIX, ModelSettings, is_version, read_settings

ENSEMBLE_SUFFIX = ".ensemble.json"

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")

Stamp = tuple[tuple[str, int, int, int], ...]
"""Name, time, size and number of every file: equal while nothing was written."""


@dataclass(frozen=True)
class Source:
    """Where a model comes from.

    versions  paths by number; of an ensemble, one
    settings  path of the file that may hold its settings
    ensemble  whether its file describes an ensemble
    """

    name: str
    versions: dict[str, Path]
    settings: Path
    ensemble: bool = False

    def read_settings(self) -> ModelSettings:
        """The settings in its file. Raises RunError where they are none."""
        return read_settings(self.settings)

    def stamp(self, version: str) -> Stamp:
        """Of one version, and of the settings. Raises OSError where something goes away meanwhile."""
        return (*_stamps(self.versions[version]), *(_stamps(self.settings) if self.settings.exists() else ()))


def find_sources(paths: Sequence[str], *, may_be_empty: bool = False) -> dict[str, Source]:
    """The models that the command line names, by name: NAME=PATH or PATH, of an artifact or of a folder of some.

    may_be_empty  whether a folder may hold none: more may come

    Raises RunError where a folder holds none, or one has no name of its own.
    """
    found: dict[str, Source] = {}
    for given in paths:
        name, equals, path = given.partition("=")
        if not equals or os.path.exists(given):
            name, path = "", given
        for source in _sources(name, Path(path), may_be_empty):
            place = next(iter(source.versions.values()))
            if not _NAME.fullmatch(source.name):
                raise RunError(
                    where=f"artifact {place}",
                    what=f"'{source.name}' cannot be a model's name in an address: letters, digits, '_', '-' and '.' "
                    "can",
                    help=f"give NAME={place}",
                )
            if source.name in found:
                other = next(iter(found[source.name].versions.values()))
                raise RunError(
                    where=f"artifact {place}",
                    what=f"{other} is called '{source.name}' too",
                    help=f"give one of them another name: NAME={place}",
                )
            found[source.name] = source
    return found


def _sources(name: str, path: Path, may_be_empty: bool) -> Iterator[Source]:
    one = _source(name, path)
    if one is not None:
        yield one
        return
    entries = sorted(path.iterdir()) if path.is_dir() else []
    found = [
        source
        for entry in entries
        if entry.name.endswith((".intarsia", ENSEMBLE_SUFFIX)) or entry.is_dir()
        if (source := _source("", entry)) is not None
    ]
    if name and len(found) > 1:
        raise RunError(
            where=f"folder {path}", what=f"it holds {len(found)} models for the one name '{name}'", help="name a file"
        )
    if not found and not may_be_empty:
        raise RunError(
            where=f"folder {path}",
            what="it is no artifact, and no file in it ends with .intarsia",
            help="give an artifact that `intarsia compile` wrote, or a folder of some",
        )
    yield from (Source(name or item.name, item.versions, item.settings, item.ensemble) for item in found)


def _source(name: str, path: Path) -> Source | None:
    """The one model that a path is; None for a folder that is none."""
    called = Path(os.path.abspath(path)).name
    if path.name.endswith(ENSEMBLE_SUFFIX):
        name = name or called.removesuffix(ENSEMBLE_SUFFIX)
        return Source(name, {"1": path}, path.with_name(f"{name}{SUFFIX}"), ensemble=True)
    plain = called.removesuffix(".intarsia")
    if not path.is_dir() or (path / MANIFEST_NAME).exists():
        return Source(name or plain, {"1": path}, path.with_name(f"{plain}{SUFFIX}"))
    versions = {
        entry.name: artifact
        for entry in path.iterdir()
        if is_version(entry.name) and entry.is_dir() and (artifact := _artifact(entry)) is not None
    }
    return Source(name or called, versions, path / "settings.json") if versions else None


def _artifact(folder: Path) -> Path | None:
    """The artifact of one version: the folder itself, or the one file in it."""
    if (folder / MANIFEST_NAME).exists():
        return folder
    return next(iter(sorted(folder.glob("*.intarsia"))), None)


def _stamps(path: Path) -> Stamp:
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    stats = [(str(file), file.stat()) for file in files]
    return tuple((name, stat.st_mtime_ns, stat.st_size, stat.st_ino) for name, stat in stats)
