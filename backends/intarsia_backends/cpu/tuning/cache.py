"""What searches found, kept from one compilation to the next: a JSON file for each processor and version."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

from intarsia.cache import cache_folder
from intarsia_backends.cpu.machine import Machine

_PROCESSOR_FIELDS = ("vendor_id", "cpu family", "model", "model name", "CPU implementer", "CPU part")
"""Lines of /proc/cpuinfo that say which processor it is."""


@dataclass(frozen=True)
class Found:
    """What is known of a task.

    config        the text of the fastest config: the heuristic's own where nothing is faster
    tried         the texts of the others that were timed; a search goes on with those that are missing
    seconds       of a call of it, as a share of the heuristic's in the same race times `heuristic_seconds`
    heuristic_seconds
                  of a call of the heuristic's
    """

    config: str
    tried: tuple[str, ...]
    seconds: float
    heuristic_seconds: float


class ConfigCache:
    """What was found for one processor and version, by the key of a task.

    context  what the figures hold for; another context has another file
    notes    for the user: why what is on the disk was not used, or could not be written
    """

    def __init__(self, context: Mapping[str, str], folder: Path | None = None) -> None:
        self.context, self.notes = dict(context), list[str]()
        name = hashlib.sha256(json.dumps(self.context, sort_keys=True).encode()).hexdigest()[:16]
        self.path = (folder or cache_folder("cpu")) / f"configs-{name}.json"
        self._entries = self._read()
        self._added: dict[str, Found] = {}

    def get(self, key: str) -> Found | None:
        return self._added.get(key) or self._entries.get(key)

    def add(self, key: str, found: Found) -> None:
        """Remember; `save` writes it."""
        self._added[key] = found

    def save(self) -> None:
        """Write what was added beside what stands there now: another process may have written meanwhile.

        The file is replaced at once, so that nobody ever reads a half of one.
        """
        if not self._added:
            return
        entries = {**self._read(), **self._added}
        text = json.dumps(
            {"context": self.context, "entries": {key: asdict(found) for key, found in sorted(entries.items())}},
            indent=1,
        )
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, beside = tempfile.mkstemp(prefix=self.path.stem, suffix=".tmp", dir=self.path.parent)
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(text)
                os.replace(beside, self.path)
            except BaseException:
                os.unlink(beside)
                raise
        except OSError as error:
            self.notes.append(
                f"what was found is not kept: '{self.path}' cannot be written: {error.strerror or error}; set "
                "INTARSIA_CACHE to a folder that can be written"
            )

    def _read(self) -> dict[str, Found]:
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            self.notes.append(f"the cache '{self.path}' was not used, as it cannot be read: {error}")
            return {}
        try:
            data = json.loads(text)
            if data["context"] != self.context:
                raise ValueError("it is for another processor or version")
            return {str(key): _found(entry) for key, entry in data["entries"].items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            self.notes.append(f"the cache '{self.path}' was not used, as it is damaged ({error}); it is written anew")
            return {}


def _found(entry: Any) -> Found:
    tried = entry["tried"]
    if not isinstance(entry["config"], str) or not isinstance(tried, list):
        raise TypeError("an entry has parts of another type")
    return Found(entry["config"], tuple(map(str, tried)), float(entry["seconds"]), float(entry["heuristic_seconds"]))


def context_of(machine: Machine, threads: int) -> dict[str, str]:
    """What timings depend on beside the layer: the processor, what code may use of it, threads, and what makes code."""
    return {
        "processor": _processor(),
        "machine": f"{machine.name} {machine.level} {' '.join(machine.features)}".strip(),
        "threads": str(threads),
        "intarsia": _version("intarsia"),
        "tvm": _version("apache-tvm"),
        "emitters": _emitters(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return ", ".join(f"{name} {facts[name]}" for name in _PROCESSOR_FIELDS if name in facts) or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _emitters() -> str:
    """The generation of the kernels: a digest of what makes them, which nobody can forget to raise."""
    digest = hashlib.sha256()
    for folder in (files("intarsia_backends.cpu") / "emit", files("intarsia_backends.tir")):
        for file in sorted(folder.iterdir(), key=lambda file: file.name):
            if file.name.endswith(".py"):
                digest.update(file.name.encode() + file.read_bytes())
    digest.update((files("intarsia_backends.cpu") / "runtime.c").read_bytes())
    return digest.hexdigest()[:16]
