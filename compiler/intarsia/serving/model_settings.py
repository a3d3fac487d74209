"""What the owner of a model says of it beside its artifact: a JSON file in the repository."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from intarsia.errors import RunError

SUFFIX = ".settings.json"
"""Of the file beside NAME.intarsia; in a folder of versions it is called `settings.json`."""

_ALIAS = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")


@dataclass(frozen=True)
class ModelSettings:
    """versions  that are served: "latest", "all", or a list of numbers
    aliases   other names of versions
    labels    any texts by name, which clients are told
    cache     whether its answers are kept, where the server keeps any
    warmup    runs before it takes requests, beside those that its pace is measured by
    """

    versions: str | tuple[str, ...] = "latest"
    aliases: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    cache: bool = True
    warmup: int = 0

    def chosen(self, versions: Sequence[str], where: str) -> tuple[list[str], str]:
        """Of the versions that there are, those to serve, the least first, and the usual one; RunError where one is
        missing."""
        there = sorted(versions, key=int)
        if self.versions == "latest":
            chosen = there[-1:]
        elif self.versions == "all":
            chosen = there
        else:
            chosen = sorted(self.versions, key=int)
        missing = [version for version in (*chosen, *self.aliases.values()) if version not in there]
        if missing:
            raise RunError(
                where=where,
                what=f"it names version {missing[0]}, there are {', '.join(there)}",
                help="name versions that have a folder of their own",
            )
        return sorted({*chosen, *self.aliases.values()}, key=int), chosen[-1]


def read_settings(path: Path) -> ModelSettings:
    """The settings in a file, the usual ones where there is none. Raises RunError for what they cannot be."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ModelSettings()
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(where=f"file {path}", what=f"it cannot be read: {error}", help="make it a JSON file") from error
    data = json_object(text, path)
    unknown = sorted(set(data) - {"versions", "aliases", "labels", "cache", "warmup"})
    if unknown:
        raise _bad(path, f"'{unknown[0]}' is no setting", "versions, aliases, labels, cache and warmup are")
    return ModelSettings(
        _versions(path, data.get("versions", "latest")),
        {alias: _version(path, version) for alias, version in _texts(path, data, "aliases").items()},
        _texts(path, data, "labels"),
        _cache(path, data.get("cache", True)),
        _warmup(path, data.get("warmup", 0)),
    )


def json_object(text: str, path: Path) -> dict[str, Any]:
    """The JSON object that a file holds. Raises RunError where it holds none."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad(path, f"it is no JSON: {error}", "correct the file") from error
    if not isinstance(data, dict):
        raise _bad(path, "it is no JSON object", "write {...}")
    return data


def _versions(path: Path, value: object) -> str | tuple[str, ...]:
    if value in ("latest", "all"):
        return str(value)
    if not isinstance(value, list) or not value:
        raise _bad(path, f"versions is {value!r}", 'give "latest", "all" or a list of numbers')
    return tuple(_version(path, version) for version in value)


def _version(path: Path, value: object) -> str:
    text = str(value)
    if isinstance(value, bool) or not is_version(text):
        raise _bad(path, f"{value!r} is no version", "versions are whole numbers from 1 on")
    return text


def is_version(text: str) -> bool:
    """Whether a text is a version's number, as folders are called."""
    return text.isascii() and text.isdigit() and text[0] != "0" and len(text) <= 18


def _texts(path: Path, data: Mapping[str, Any], name: str) -> dict[str, str]:
    value = data.get(name, {})
    if not isinstance(value, dict) or any(isinstance(item, (dict, list)) for item in value.values()):
        raise _bad(path, f"{name} is {value!r}", "give an object of texts")
    if name == "aliases":
        odd = [alias for alias in value if not _ALIAS.fullmatch(alias)]
        if odd:
            raise _bad(path, f"'{odd[0]}' cannot be an alias", "letters first, then digits, '_', '-' and '.' too")
    return {key: item if isinstance(item, str) else json.dumps(item) for key, item in value.items()}


def _cache(path: Path, value: object) -> bool:
    if not isinstance(value, bool):
        raise _bad(path, f"cache is {value!r}", "give true or false")
    return value


def _warmup(path: Path, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 1000:
        raise _bad(path, f"warmup is {value!r}", "give a number of runs, 0 to 1000")
    return value


def _bad(path: Path, what: str, advice: str) -> RunError:
    return RunError(where=f"file {path}", what=what, help=advice)
