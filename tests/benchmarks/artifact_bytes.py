"""Whether a change leaves artifacts as they were: hashes of every file that compilations of many models make.

python tests/benchmarks/artifact_bytes.py write before.json      in a checkout of the revision before, with its packages
python tests/benchmarks/artifact_bytes.py compare before.json    in the changed one; exit code 1 where anything differs

Machine code depends on the processor: both runs belong on one machine. The manifest is left out, since it tells of the
compiler (its version, options of targets); so is the graph of whole models with --code. `--models` and `--builds` take
parts of names; without ../shared the models of the repository are compared.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))

from network_models import NETWORKS

import intarsia
from intarsia.errors import CompileError
from intarsia.importer import import_model
from intarsia.vectors import pick_inputs

ROOT = Path(__file__).resolve().parents[2]
CALIBRATION_SAMPLES = 4


class Build(NamedTuple):
    """One compilation of every model: a target's name and a precision."""

    target: str
    precision: str

    def __str__(self) -> str:
        return f"{self.target} {self.precision}"


BUILDS = (
    Build("cpu", "float32"),
    Build("cpu", "int8"),
    Build("cpu-armv7", "float32"),
    Build("cpu-armv7", "int8"),
    Build("cpu-aarch64", "float32"),
    Build("cpu-aarch64", "int8"),
    Build("pynq-z2", "int8"),
    Build("kv260", "int8"),
    Build("tiny", "int8"),
)


def models() -> dict[str, Any]:
    """Paths, or bytes, of the models by name, small files first."""
    found: list[Path] = [*(ROOT / "tests" / "models").glob("*.onnx"), *(ROOT / "compiler/intarsia/demo").glob("*.onnx")]
    found += (ROOT.parent / "shared" / "models").glob("*.onnx")
    paths = {path.stem: path for path in sorted(found, key=lambda path: (path.stat().st_size, path.name))}
    networks = {name: NETWORKS[name](name).SerializeToString() for name in ("mobilenetv2", "minilm")}
    return {**paths, **networks}


def digests(model: Any, build: Build) -> dict[str, str]:
    """sha256 of every file of the artifact, or of the refusal, by path."""
    options: dict[str, Any] = {"target": build.target, "precision": build.precision}
    try:
        if build.precision == "int8":
            # Nothing is deployed: any numbers that are the same in both runs will do.
            options["calibration"] = pick_inputs(import_model(model, batch=1), None, CALIBRATION_SAMPLES)
        artifact = intarsia.compile_model(model, **options)
    except CompileError as error:
        return {"refused": f"{error.where}: {error.what}"}
    return {path: hashlib.sha256(data).hexdigest() for path, data in sorted(artifact.files.items())}


def chosen(names: Sequence[str], builds: Sequence[str]) -> Iterator[tuple[str, Any, Build]]:
    """Every model in every build of which a part of the name was asked for; all where none was."""
    for name, model in models().items():
        for build in BUILDS:
            if any(part in name for part in names or [""]) and any(part in str(build) for part in builds or [""]):
                yield name, model, build


def differences(before: Mapping[str, str], after: Mapping[str, str], code_only: bool) -> list[str]:
    """Paths whose contents are not the same."""
    paths = sorted({*before, *after})
    return [
        path for path in paths if before.get(path) != after.get(path) and not (code_only and path.startswith("graph/"))
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("write", "compare"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--models", nargs="*", default=[], metavar="PART")
    parser.add_argument("--builds", nargs="*", default=[], metavar="PART", help="such as cpu-armv7, or int8")
    parser.add_argument("--code", action="store_true", help="leave out the graph of the whole model")
    options = parser.parse_args()
    before = json.loads(options.file.read_text()) if options.what == "compare" else {}
    after: dict[str, dict[str, str]] = {}
    different = 0
    for name, model, build in chosen(options.models, options.builds):
        key = f"{name}, {build}"
        started = time.perf_counter()
        after[key] = digests(model, build)
        told = f"{len(after[key])} files"
        if options.what == "compare":
            if key not in before:
                sys.exit(f"{options.file} says nothing of {key}: write it again")
            unlike = differences(before[key], after[key], options.code)
            different += bool(unlike)
            told = f"DIFFERS: {', '.join(unlike)}" if unlike else f"equal, {told}"
        print(f"{time.perf_counter() - started:7.1f} s  {key:<50} {told}", flush=True)
    if options.what == "write":
        options.file.write_text(json.dumps(after, indent=1, sort_keys=True))
    elif different:
        sys.exit(f"{different} of {len(after)} artifacts differ")
    else:
        print(f"all {len(after)} artifacts are equal")


if __name__ == "__main__":
    main()
