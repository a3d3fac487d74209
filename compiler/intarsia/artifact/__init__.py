"""Artifacts: what a compilation makes, as a folder or its zip. Read on boards, with NumPy alone."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from intarsia.arguments import check_path
from intarsia.artifact import storage
from intarsia.artifact.manifest import (
    DIGEST_NAME,
    FORMAT_VERSION,
    MANIFEST_NAME,
    SIGNATURES_NAME,
    Manifest,
    digest_file,
    from_json,
    parse,
    producer,
    to_json,
)
from intarsia.artifact.report import Report, ReportRow, make_report
from intarsia.artifact.signatures import Signature, TrustedKeys, check, from_file, sign, to_file
from intarsia.errors import RunError
from intarsia.images import ImageOptions, from_data

__all__ = ["Artifact", "Manifest", "Report", "ReportRow"]


class Artifact:
    """A compiled model.

    manifest     what it holds, as JSON has it; see `intarsia.artifact.manifest` for the entries
    contents     the same with types, checked
    files        contents by path, e.g. "regions/0_cpu/region.so"
    signatures   who vouches for it, unchecked

    Equal manifests and files give equal bytes on disk, wherever and whenever they are saved.
    """

    def __init__(self, manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        """Put an artifact together.

        manifest  `files` is made anew, `format_version` and `producer` are filled in where they are missing

        Raises RunError where manifest and files do not fit each other.
        """
        listed = {
            path: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
            for path, data in sorted(files.items())
        }
        whole = {"format_version": FORMAT_VERSION, "producer": producer(), **manifest, "files": listed}
        self.manifest: dict[str, Any] = from_json(to_json(whole), "manifest")
        self.contents: Manifest = parse(self.manifest, "manifest")
        self.files: dict[str, bytes] = dict(files)
        self.signatures: tuple[Signature, ...] = ()

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, trusted_keys: TrustedKeys | None = None) -> Artifact:
        """Read a zip or a folder that `save` wrote.

        trusted_keys  where they are given, one of these public keys must have signed the artifact; else nothing of it
                      but its manifest's hash is looked at

        Every byte is compared with its hash. Raises RunError, naming the file, where anything was changed, is missing
        or is there besides, where a newer version wrote it, and where nobody vouches for it who is trusted.
        """
        where = f"artifact {check_path(RunError, 'artifact', path)}"
        artifact = cls.__new__(cls)
        with storage.opened(Path(path)) as stored:
            text = storage.guarded_manifest(stored, where)
            artifact.signatures = ()
            if SIGNATURES_NAME in stored:
                artifact.signatures = from_file(stored[SIGNATURES_NAME], f"{where}, file '{SIGNATURES_NAME}'")
            if trusted_keys is not None:
                check(text, artifact.signatures, trusted_keys, where)
            artifact.manifest = from_json(text, f"{where}, file '{MANIFEST_NAME}'")
            artifact.contents = parse(artifact.manifest, f"{where}, file '{MANIFEST_NAME}'")
            artifact.files = storage.read_files(stored, artifact.contents)
        return artifact

    def trusted(self, trusted_keys: TrustedKeys) -> Artifact:
        """The same artifact, made anew from its manifest, where one of these public keys signed that; else RunError."""
        where = f"artifact '{self.contents.model_name}'"
        check(to_json(self.manifest), self.signatures, trusted_keys, where)
        artifact = Artifact.__new__(Artifact)
        artifact.manifest, artifact.files, artifact.signatures = self.manifest, dict(self.files), self.signatures
        artifact.contents = parse(self.manifest, where)
        storage.check_files(artifact.files, artifact.contents, where)
        return artifact

    def sign(self, key_file: str | os.PathLike[str]) -> Signature:
        """Sign it with the private key in a PEM file; an earlier signature by that key is replaced. Then `save` it.

        Raises RunError where the key cannot be read, or the files are not those of the manifest.
        """
        storage.check_files(self.files, self.contents, f"artifact '{self.contents.model_name}'")
        made = sign(to_json(self.manifest), key_file)
        self.signatures = (*(item for item in self.signatures if item.key != made.key), made)
        return made

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write it as one zip file, or as a folder where `path` ends with a slash or is a folder.

        overwrite  replace a regular file that is no artifact, too

        An artifact that stands there is replaced in one step; a process that dies before leaves it as it was. A link is
        followed. Raises RunError where the place cannot be written, or something other than an artifact stands there.
        """
        check_path(RunError, "artifact", path)
        storage.check_place(path, overwrite=overwrite)
        storage.check_files(self.files, self.contents, f"artifact {os.fspath(path)}")
        text = to_json(self.manifest)
        files = {**self.files, MANIFEST_NAME: text, DIGEST_NAME: digest_file(text)}
        if self.signatures:
            files[SIGNATURES_NAME] = to_file(self.signatures)
        ends_as_folder = os.fspath(path).endswith(("/", os.sep))
        storage.write(Path(path), files, folder=ends_as_folder or Path(path).is_dir())

    @property
    def images(self) -> ImageOptions | None:
        """How pictures become inputs; None where the compilation was not told."""
        kept = self.contents.metadata.get("images")
        return None if kept is None else from_data(kept)

    def report(
        self, counters: Mapping[str, Sequence[Mapping[str, Any]]] | None = None, *, source: str = "run"
    ) -> Report:
        """Every layer with its place and its cost, as recorded at compile time.

        counters  by region name, layers with figures of one run, which replace those recorded; see `RunResult.counters`
        source    where these come from: "run", or "model" for `Session.expected`
        """
        size_bytes = sum(map(len, self.files.values()))
        return make_report(self.contents, size_bytes, counters or {}, source if counters else "compiler")

    def __repr__(self) -> str:
        contents = self.contents
        return f"<Artifact {contents.model_name!r} for {contents.target}, {contents.precision}>"
