"""Artifacts that somebody made to harm: what they cost is known before it is spent, and each is refused by a letter."""

from __future__ import annotations

import os
import resource
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from artifact_examples import evaluator_artifact, small_graph
from intarsia.artifact import Artifact, storage
from intarsia.artifact.archive import ARCHIVE_LIMIT, pack
from intarsia.artifact.arrays import from_npy, to_npy
from intarsia.artifact.manifest import DIGEST_NAME, MANIFEST_NAME, digest_file, to_json
from intarsia.artifact.strict_json import DEPTH_LIMIT, DIGITS_LIMIT, VALUES_LIMIT, parse_json
from intarsia.errors import RunError
from intarsia.runtime.session import load
from intarsia.runtime.vectors import verify_vectors


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return evaluator_artifact(small_graph())


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """A hang ends by SIGALRM."""
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def refused(path: Path) -> RunError:
    with within(20), pytest.raises(RunError) as caught:
        Artifact.read(path)
    return caught.value


def with_manifest(artifact: Artifact, text: bytes, path: Path) -> Path:
    files = {**artifact.files, MANIFEST_NAME: text, DIGEST_NAME: digest_file(text)}
    path.write_bytes(b"".join(pack(files)))
    return path


# ---- files


def test_a_pipe_in_a_folder_is_not_opened(artifact: Artifact, tmp_path: Path) -> None:
    artifact.save(f"{tmp_path}/model/")
    os.mkfifo(tmp_path / "model/more")
    error = refused(tmp_path / "model")
    assert "'more'" in error.where and "neither a file nor a folder" in error.what


def test_a_pipe_in_place_of_a_file_is_not_opened(artifact: Artifact, tmp_path: Path) -> None:
    """Also where it takes the file's place between the listing and the opening."""
    artifact.save(f"{tmp_path}/model/")
    with storage.opened(tmp_path / "model") as stored:
        weights = tmp_path / "model/graph/weights.bin"
        weights.unlink()
        os.mkfifo(weights)
        with within(20), pytest.raises(RunError, match=r"weights\.bin.*no file any more"):
            stored["graph/weights.bin"]
        weights.unlink()
        weights.symlink_to("/etc/passwd")
        with pytest.raises(OSError):
            stored["graph/weights.bin"]
    assert "it is a link" in refused(tmp_path / "model").what


@pytest.mark.parametrize("place", ["/dev/zero", "/dev", "a\0b"])
def test_places_that_are_no_artifact(place: str) -> None:
    refused(Path(place))


def test_a_sparse_file_is_not_read(artifact: Artifact, tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with open(path, "wb") as file:
        file.truncate(6 << 30)
    assert "does not begin as an artifact does" in refused(path).what
    artifact.save(path, overwrite=True)
    with open(path, "r+b") as file:
        file.truncate(6 << 30)
    assert f"a zip has at most {ARCHIVE_LIMIT}" in refused(path).what
    with open(path, "r+b") as file:
        file.truncate(3 << 30)
    assert "follow the end" in refused(path).what
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # KiB


def test_a_sparse_file_of_a_folder_is_not_read(artifact: Artifact, tmp_path: Path) -> None:
    for name, complaint in (
        ("graph/weights.bin", "the manifest says"),
        (MANIFEST_NAME, "at most 67108864"),
        (DIGEST_NAME, "at most 1024"),
        ("manifest.signatures", "at most 65536"),
    ):
        artifact.save(f"{tmp_path}/model/")
        with open(tmp_path / "model" / name, "ab") as file:
            file.truncate(6 << 30)
        if name == "manifest.signatures":
            with storage.opened(tmp_path / "model") as stored, pytest.raises(RunError, match=complaint):
                stored[name]
            continue
        error = refused(tmp_path / "model")
        assert name in error.where and complaint in error.what


# ---- JSON

HOSTILE_JSON = {
    "values": b"[" + b",".join([b"[]"] * VALUES_LIMIT) + b"]",
    "depth": b"[" * (DEPTH_LIMIT + 2) + b"]" * (DEPTH_LIMIT + 2),
    "far_too_deep": b"[" * 500_000,
    "digits": b'{"a": ' + b"9" * (DIGITS_LIMIT + 1) + b"}",
    "minus": b'{"a": -' + b"9" * DIGITS_LIMIT + b"}",
    "many_digits": b'{"a": ' + b"9" * 2_000_000 + b"}",
    "infinite": b'{"a": 1e999}',
    "infinity": b'{"a": -Infinity}',
    "not_a_number": b'{"a": NaN}',
    "twice": b'{"a": {"b": 1, "c": 2, "b": 1}}',
    "half_a_character": b'{"a": ["\\ud83d"]}',
    "half_a_name": b'{"\\ude00": 1}',
    "not_ascii": "{'ä': 1}".encode(),
    "cut_short": b'{"a": [1, 2',
    "control": b'{"a": "\n"}',
    "empty": b"",
}


@pytest.mark.parametrize("name", HOSTILE_JSON)
def test_json_that_intarsia_does_not_write(name: str, golden: Callable[[str], None]) -> None:
    with within(20), pytest.raises(RunError) as caught:
        parse_json(HOSTILE_JSON[name], "artifact a, file 'b'", 64 << 20)
    golden(f"{caught.value}\n")


def test_json_that_intarsia_writes_comes_back() -> None:
    data = {"numbers": [0, -1, 1 << 64, 0.1, -1e300, 1e-320], "text": 'ä\u0000"\U0001f600', "deep": [[[{"": None}]]]}
    assert parse_json(to_json(data), "a", 1 << 20) == data
    assert parse_json(b"[" * DEPTH_LIMIT + b"]" * DEPTH_LIMIT, "a", 1 << 20) is not None


def test_each_json_of_an_artifact_is_read_so(artifact: Artifact, tmp_path: Path) -> None:
    hostile = b'{"a": 1, "a": 2}'
    error = refused(with_manifest(artifact, hostile, tmp_path / "a"))
    assert MANIFEST_NAME in error.where and "stands twice" in error.what
    files = {**artifact.files, "regions/0_evaluator/graph.json": hostile, "graph/graph.json": hostile}
    made = Artifact(artifact.manifest, files)
    with pytest.raises(RunError, match=r"graph\.json.*stands twice"):
        load(made)


# ---- arrays


def npy(header: str, content: bytes = b"") -> bytes:
    text = header.encode("latin-1") + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + content


@pytest.mark.parametrize(
    "data",
    [
        npy("(" * 60_000),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': " + "(" * 20_000 + ", }"),
        npy("{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }", bytes(4)),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", bytes(4)),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 99999999999999999999), }"),
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", bytes(8)),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1, " * 65 + "), }", bytes(4)),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), } or 1", bytes(4)),
        npy("{'descr': ('<f4', (4,)), 'fortran_order': False, 'shape': (1,), }", bytes(16)),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }", bytes(8)),
        b"\x93NUMPY\1\0\xff\xff",
        b"\x93NUMPY\2\0",
        b"",
    ],
)
def test_array_headers_that_intarsia_does_not_write(data: bytes) -> None:
    with within(20), pytest.raises(RunError, match=r"not a \.npy file of float32"):
        from_npy(data, "float32", "file 'a.npy'")


def test_texts_without_a_character_need_no_memory() -> None:
    with pytest.raises(RunError, match="empty texts"):
        from_npy(npy("{'descr': '<U0', 'fortran_order': False, 'shape': (100000000000,), }"), "string", "a")
    assert from_npy(npy("{'descr': '<U0', 'fortran_order': False, 'shape': (2,), }"), "string", "a").tolist() == [
        "",
        "",
    ]
    with pytest.raises(RunError):  # no character has this number
        from_npy(npy("{'descr': '<U1', 'fortran_order': False, 'shape': (1,), }", b"\xff" * 4), "string", "a")


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 1, 2)])
def test_arrays_come_back(shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)
    back = from_npy(to_npy(array), "float32", "a", shape)
    assert back.tobytes() == array.tobytes() and back.shape == shape
    with pytest.raises(RunError, match="the manifest says"):
        from_npy(to_npy(array), "float32", "a", (*shape, 1))


def test_vectors_have_the_shapes_of_the_manifest(artifact: Artifact) -> None:
    for path in ("vectors/0/inputs/0.npy", "vectors/0/outputs/0.npy"):
        made = Artifact(artifact.manifest, {**artifact.files, path: to_npy(np.zeros((1, 2), np.float32))})
        with load(made) as session, pytest.raises(RunError) as caught:
            verify_vectors(session)
        assert path in caught.value.where


# ---- the manifest's entries beside each other


TABLE = {"title": "t", "columns": ["a"], "rows": []}


@pytest.mark.parametrize(
    ("place", "value", "complaint"),
    [
        (("vectors", 0, "absolute_tolerance"), 10**39, "ok"),
        (("vectors", 0, "absolute_tolerance"), -1, "'absolute_tolerance' is -1"),
        (("inputs", 0, "shape"), [1, 2, 5, 6], "the inputs of region '0_evaluator' has the shape [1, 2, 5, 5]"),
        (("inputs", 0, "dtype"), "float64", "the value has float64"),
        (("outputs", 0, "dtype"), "int8", "the output 'scores' has the dtype int8"),
        (("outputs", 0, "shape"), None, "the output 'scores' has the shape None"),
        (("inputs", 0, "dtype"), "sequence(float31)", "no element type is called 'sequence(float31)'"),
        (("inputs", 0, "dtype"), "sequence(" * 50, "no element type is called"),
        (("regions", 0, "files"), ["graph.json", "graph.json"], "'files' names one twice"),
        (("regions", 0, "layers"), [{"name": 3}], "regions[0], layers[0]: 'name' is 3"),
        (("regions", 0, "layers"), [{"macs": "x"}], "'macs' is 'x'"),
        (("regions", 0, "metadata"), {"blockings": [1]}, "metadata, blockings: [1] stands where an object should"),
        (("regions", 0, "metadata"), {"blockings": {"rule": -1}}, "'rule' is -1"),
        (("regions", 0, "metadata"), {"tables": {}}, "metadata: 'tables' is {}, not a list"),
        (("regions", 0, "metadata"), {"tables": [{"title": "t", "rows": []}]}, "the entry 'columns' is missing"),
        (("regions", 0, "metadata"), {"tables": [TABLE | {"rows": [[1, 2]]}]}, "a row of 1 cells is [1, 2]"),
        (("regions", 0, "metadata"), {"tables": [TABLE | {"rows": [[[]]]}]}, "a cell is [], neither a text nor a numb"),
        (("regions", 0, "metadata"), {"tables": [TABLE | {"more": 1}]}, "metadata, tables[0]: "),
        (("regions", 0, "outputs", 0, "value"), "x", "has a 'value' or a 'file' of its own"),
        (("placements", 0, "region"), ["0"], "placements[0]: 'region' is ['0'], not text"),
        (("placements", 0, "macs"), -1, "placements[0]: 'macs' is -1"),
        (("placements", 1, "name"), "image_q_quantize", "placements[1]: the 'name' 'image_q_quantize' stands twice"),
        (("metadata", "notes"), 3, "metadata: 'notes' is 3, not a list"),
        (("metadata", "notes"), [["a"]], "'notes'[0] is not a topic and a text"),
        (("metadata", "facts"), {"clock_mhz_assumption": "x"}, "metadata, facts: 'clock_mhz_assumption' is 'x'"),
        (("metadata", "facts"), {"macs_per_cycle": -1}, "'macs_per_cycle' is -1"),
        (("metadata", "host_code"), 1, "metadata, host_code: 1 stands where an object should"),
    ],
)
def test_entries_agree(artifact: Artifact, place: tuple[Any, ...], value: object, complaint: str) -> None:
    manifest = Artifact(artifact.manifest, artifact.files).manifest
    entry: Any = manifest
    for key in place[:-1]:
        entry = entry.setdefault(key, {}) if isinstance(entry, dict) else entry[key]
    entry[place[-1]] = value
    if complaint == "ok":
        Artifact(manifest, artifact.files)
        return
    with pytest.raises(RunError) as caught:
        Artifact(manifest, artifact.files)
    assert complaint in str(caught.value)


def test_what_json_cannot_spell_is_refused(artifact: Artifact) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (float("nan"), object(), deep):
        with pytest.raises(RunError, match="no spelling as JSON"):
            Artifact({**artifact.manifest, "metadata": {"a": value}}, artifact.files)
