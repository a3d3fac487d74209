"""Edits of artifacts, as somebody would make them who computes the hashes again."""

from __future__ import annotations

import copy
import hashlib
import json
import random
from collections.abc import Callable
from typing import Any

from intarsia.artifact import Artifact
from intarsia.artifact.archive import pack
from intarsia.artifact.manifest import DIGEST_NAME, MANIFEST_NAME, digest_file
from intarsia_backends.overlay.machine.config import OverlayConfig

STRANGE: tuple[Any, ...] = (
    None,
    True,
    False,
    -(1 << 63),
    -128,
    -1,
    0,
    1,
    2,
    3,
    15,
    16,
    255,
    4096,
    1 << 20,
    1 << 31,
    (1 << 32) - 16,
    1 << 40,
    (1 << 63) - 1,
    1 << 64,
    10**30,
    -0.0,
    0.5,
    1e-300,
    1e300,
    "",
    "x",
    "..",
    "float32",
    "int8",
    "string",
    "sequence(float32)",
    "evaluator",
    "cpu",
    "overlay",
    "\x1b[31m\u202e\0",
    "n" * 5000,
    [],
    [0],
    [-1],
    [None],
    [[[]]],
    {},
    {"a": 1},
    {"float": "nan"},
)
RAW = (
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"9" * 5000,
    b'"\\ud800"',
    b"[" * 5000,
    b"[" * 60 + b"]" * 60,
    b'{"a": 1, "a": 2}',
    b"\xff",
    b"",
    b",",
)
"""What stands in a manifest's text in place of a value."""

MEANINGLESS = {
    *("producer", "model_name", "target", "precision", "placements", "vectors", "metadata", "batch", "format_version"),
    *("layers", "sha256", "bytes"),
}
"""Entries that say nothing of what is computed: an artifact that runs with another value gives the same outputs."""

Files = dict[str, bytes]


class Forgery:
    """One artifact, changed.

    files    by path, guards included, hashes right where `rehash` was not left out
    edits    what was done, for people
    meaning  whether an edit may make it another artifact that is as valid
    """

    def __init__(self, artifact: Artifact, rng: random.Random) -> None:
        self.rng = rng
        self.manifest: Any = copy.deepcopy(artifact.manifest)
        self.files: Files = dict(artifact.files)
        self.edits: list[str] = []
        self.meaning = False
        self.text: bytes | None = None

    def zipped(self) -> bytes:
        """As a zip file."""
        return b"".join(pack(self.all_files()))

    def all_files(self) -> Files:
        """Files, manifest and digest, every hash right."""
        text = self.text
        if text is None:
            listed = self.manifest.get("files")
            if isinstance(listed, dict):
                for path, data in self.files.items():
                    if isinstance(listed.get(path), dict) and f"files/{path}" not in self.edits:
                        listed[path].update(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
            text = json.dumps(self.manifest, sort_keys=True, indent=1).encode()
        return {**self.files, MANIFEST_NAME: text, DIGEST_NAME: digest_file(text)}

    # ---- edits

    def edit_manifest(self) -> None:
        """An entry of the manifest; every second time one of a region."""
        root: Any = self.manifest
        path: tuple[Any, ...] = ()
        if self.rng.random() < 0.5 and self.manifest["regions"]:
            index = self.rng.randrange(len(self.manifest["regions"]))
            root, path = self.manifest["regions"][index], ("regions", index)
            if self.rng.random() < 0.7:
                root, path = root["metadata"], (*path, "metadata")
        place = self._edit(root, path)
        if place is None:
            return
        named = [part for part in place if isinstance(part, str)]
        in_metadata = named[:2] == ["regions", "metadata"]
        if in_metadata:
            self.meaning |= len(named) > 2 and named[2] in ("inputs", "outputs", "segments")
        else:
            self.meaning |= not any(part in MEANINGLESS for part in named)
        if "config_data" in named and self.rng.random() < 0.8:
            metadata = self.manifest["regions"][place[1]]["metadata"]
            try:
                metadata["config_hash"] = OverlayConfig.from_dict(metadata["config_data"]).hash
            except Exception:
                self.edits.append("no hash can be made of it")

    def edit_graph(self) -> None:
        """An entry of a graph, or of what says how a GPU's kernels are launched."""
        paths = [path for path in self.files if path.endswith(("graph.json", "launches.json"))]
        path = self.rng.choice(paths)
        try:
            data = json.loads(self.files[path])
        except ValueError:
            return
        self._edit(data, (path,))
        self.files[path] = json.dumps(data, sort_keys=True, separators=(",", ":")).encode()
        self.meaning = True

    def edit_bytes(self) -> None:
        """Bytes of a file that holds numbers."""
        paths = [path for path in self.files if not path.endswith((".so", ".json")) and self.files[path]]
        path = self.rng.choice(paths)
        data = bytearray(self.files[path])
        for _ in range(self.rng.choice((1, 1, 2, 8))):
            place = self.rng.randrange(len(data))
            data[place] = self.rng.choice((data[place] ^ 1 << self.rng.randrange(8), 0, 255, self.rng.randrange(256)))
        self.files[path] = bytes(data)
        self.edits.append(f"bytes of {path}")
        self.meaning = True

    def edit_header(self) -> None:
        """The header of an array."""
        path = self.rng.choice([path for path in self.files if path.endswith(".npy")])
        data = self.files[path]
        words = [b"'<f4'", b"'<i8'", b"'|O'", b"'|V4'", b"(", b")", b",", b"9", b"-", b"True", b"'", b"0"]
        at = self.rng.randrange(8, min(len(data), 80))
        word = self.rng.choice(words) * self.rng.choice((1, 1, 5, 40))
        self.files[path] = data[:at] + word + data[at + self.rng.choice((0, len(word))) :]
        self.edits.append(f"header of {path} at {at}: {word[:20]!r}")
        self.meaning = True

    def edit_files(self) -> None:
        """Whole files: exchanged, cut, lengthened, emptied, taken out, put in. Code stays whole or is no library."""
        path, other = self.rng.sample(sorted(self.files), 2)
        data = self.files[path]
        cut = self.rng.randrange(len(data)) if data else 0
        what = self.rng.choice(("exchange", "cut", "lengthen", "empty", "take out", "put in"))
        if what == "exchange":
            self.files[path], self.files[other] = self.files[other], data
        elif what == "cut":
            self.files[path] = data[:cut]
        elif what == "lengthen":
            self.files[path] = data + bytes(self.rng.choice((1, 16, 4096)))
        elif what == "empty":
            self.files[path] = b""
        elif what == "take out":
            del self.files[path]
            if self.rng.random() < 0.5 and isinstance(self.manifest["files"], dict):
                self.manifest["files"].pop(path, None)
        else:
            name = self.rng.choice(("more.bin", "regions/more", f"{path}/x", path.upper(), "manifest.signatures"))
            self.files[name] = data
            self.manifest["files"][name] = {"sha256": "", "bytes": 0}
        self.edits.append(f"{what} {path}, {other}")
        self.meaning = True

    def edit_text(self) -> None:
        """The manifest's text, or a graph's."""
        paths = [MANIFEST_NAME, *(path for path in self.files if path.endswith("graph.json"))]
        path = self.rng.choice(paths)
        text = self.all_files()[path]
        places = [place for place, letter in enumerate(text) if letter in b':,[{"']
        at, raw = self.rng.choice(places) + 1, self.rng.choice(RAW)
        end = at + self.rng.choice((0, 1, 4))
        changed = text[:at] + raw + text[end:]
        if path == MANIFEST_NAME:
            self.text = changed
        else:
            self.files[path] = changed
        self.edits.append(f"text of {path} at {at}: {raw[:20]!r}")
        self.meaning = True

    def _edit(self, root: Any, prefix: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Change something inside of a JSON object or list; its place, or None where there is nothing."""
        places = [(holder, key, path) for holder, key, path in _places(root, prefix)]
        if not places:
            return None
        holder, key, path = self.rng.choice(places)
        old, what = holder[key], self.rng.random()
        if what < 0.1:
            del holder[key]
            new: Any = "(deleted)"
        elif what < 0.2 and isinstance(holder, list):
            new = self.rng.choice(("doubled", "reversed", "emptied"))
            if new == "doubled":
                holder.append(copy.deepcopy(old))
            elif new == "reversed":
                holder.reverse()
            else:
                holder.clear()
        elif what < 0.25 and isinstance(holder, dict):
            new = f"(renamed from {key})"
            holder[self.rng.choice((f"{key}x", "name", "file"))] = holder.pop(key)
        elif what < 0.5:
            alike = [other for _, _, other in _values(root) if type(other) is type(old)]
            new = holder[key] = copy.deepcopy(self.rng.choice(alike))
        elif what < 0.65 and isinstance(old, (int, float)) and not isinstance(old, bool):
            new = holder[key] = self.rng.choice((old + 1, old - 1, old * 2, -old, old // 2, float(old)))
        else:
            new = holder[key] = copy.deepcopy(self.rng.choice(STRANGE))
        self.edits.append(f"{'/'.join(map(str, path))}: {str(old)[:40]!r} -> {str(new)[:40]!r}")
        return path


def _places(data: Any, path: tuple[Any, ...]) -> list[tuple[Any, Any, tuple[Any, ...]]]:
    """(holder, key, path) of everything inside."""
    keys: Any = list(data) if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()
    return [found for key in keys for found in ((data, key, (*path, key)), *_places(data[key], (*path, key)))]


def _values(data: Any) -> list[tuple[Any, Any, Any]]:
    return [(holder, key, holder[key]) for holder, key, _ in _places(data, ())]


EDITS: tuple[tuple[Callable[[Forgery], None], int], ...] = (
    (Forgery.edit_manifest, 12),
    (Forgery.edit_graph, 4),
    (Forgery.edit_bytes, 4),
    (Forgery.edit_files, 2),
    (Forgery.edit_text, 2),
    (Forgery.edit_header, 1),
)


def forge(artifact: Artifact, rng: random.Random) -> Forgery:
    """One to three edits."""
    forgery = Forgery(artifact, rng)
    kinds, weights = zip(*EDITS)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        edit = rng.choices(kinds, weights)[0]
        try:
            edit(forgery)
        except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError) as error:
            # An edit of something that an edit before has taken away.
            forgery.edits.append(f"(no further: {type(error).__name__})")
    return forgery
