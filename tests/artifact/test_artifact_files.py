"""Artifacts on disk: equal bytes from equal contents, and nothing read that was not written so."""

from __future__ import annotations

import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from artifact_examples import evaluator_artifact, small_graph
from intarsia.artifact import Artifact, archive, storage
from intarsia.artifact.archive import pack, unpack
from intarsia.artifact.manifest import DIGEST_NAME, MANIFEST_NAME, digest_file, from_json, parse, to_json
from intarsia.errors import RunError
from intarsia.runtime.session import load
from intarsia.runtime.vectors import verify_vectors


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return evaluator_artifact(small_graph())


def tampered(artifact: Artifact, files: dict[str, bytes], **entries: object) -> bytes:
    """A zip as a stranger would make it: any files, any manifest, all digests right."""
    text = to_json({**artifact.manifest, **entries})
    return b"".join(pack({**files, MANIFEST_NAME: text, DIGEST_NAME: digest_file(text)}))


def refused(path: Path) -> RunError:
    with pytest.raises(RunError) as caught:
        Artifact.read(path)
    return caught.value


def test_two_builds_in_two_folders_give_equal_bytes(tmp_path: Path) -> None:
    for folder in ("one", "another"):
        made = evaluator_artifact(small_graph())
        made.save(tmp_path / folder / "model.intarsia")
        made.save(f"{tmp_path}/{folder}/model/")
    one, another = (tmp_path / folder / "model.intarsia" for folder in ("one", "another"))
    assert one.read_bytes() == another.read_bytes()
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one/model").rglob("*") if path.is_file())
    assert len(files) == 8
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "another" / file).read_bytes()


def test_zip_and_folder_hold_the_same(artifact: Artifact, tmp_path: Path) -> None:
    artifact.save(tmp_path / "a.intarsia")
    artifact.save(f"{tmp_path}/a/")
    for path in (tmp_path / "a.intarsia", tmp_path / "a"):
        again = Artifact.read(path)
        assert again.manifest == artifact.manifest
        assert again.files == artifact.files
    with zipfile.ZipFile(tmp_path / "a.intarsia") as other:
        assert other.testzip() is None
        assert other.read("graph/graph.json") == artifact.files["graph/graph.json"]
        other.extractall(tmp_path / "unzipped")
    assert Artifact.read(tmp_path / "unzipped").manifest == artifact.manifest


def test_every_flipped_byte_of_the_zip_is_refused(artifact: Artifact, tmp_path: Path) -> None:
    path = tmp_path / "flipped.intarsia"
    artifact.save(path)
    whole, rng = path.read_bytes(), np.random.default_rng(1000)
    for place in rng.integers(0, len(whole), 1000):
        flipped = bytearray(whole)
        flipped[place] ^= int(rng.integers(1, 256))
        path.write_bytes(flipped)
        error = refused(path)
        assert "flipped.intarsia" in error.where, (place, str(error))


def test_every_byte_of_headers_and_directory_is_guarded(artifact: Artifact, tmp_path: Path) -> None:
    """Bits of every byte that is not payload, one after the other."""
    path = tmp_path / "flipped.intarsia"
    artifact.save(path)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as opened:
        infos, start = opened.infolist(), opened.start_dir
    places = [info.header_offset + byte for info in infos for byte in range(30 + len(info.filename))]
    for place in [*places, *range(start, len(whole))]:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        refused(path)


def test_every_flipped_byte_of_a_folder_is_refused(artifact: Artifact, tmp_path: Path) -> None:
    artifact.save(f"{tmp_path}/model/")
    rng = np.random.default_rng(400)
    files = sorted(path for path in (tmp_path / "model").rglob("*") if path.is_file())
    sizes = np.array([path.stat().st_size for path in files])
    for number in range(400):
        path = files[number % len(files) if number < 80 else int(rng.choice(len(files), p=sizes / sizes.sum()))]
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[int(rng.integers(len(whole)))] ^= int(rng.integers(1, 256))
        path.write_bytes(flipped)
        name = str(path.relative_to(tmp_path / "model"))
        error = refused(tmp_path / "model")
        assert name in error.where or (name == DIGEST_NAME and name in error.what)
        path.write_bytes(whole)
    Artifact.read(tmp_path / "model")


def test_cut_and_lengthened_archives_are_refused(artifact: Artifact, tmp_path: Path) -> None:
    path = tmp_path / "a.intarsia"
    artifact.save(path)
    whole = path.read_bytes()
    for end in (0, 3, 40, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:end])
        refused(path)
    path.write_bytes(whole + b"\0")
    assert "1 bytes follow" in refused(path).what


def test_error_texts(artifact: Artifact, tmp_path: Path, golden: Callable[[str], None]) -> None:
    path = tmp_path / "a.intarsia"

    def said(make: Callable[[], object]) -> None:
        make()
        letters.append(str(refused(path)).replace(str(tmp_path), "/there"))

    letters: list[str] = []
    said(lambda: None)
    said(lambda: path.write_bytes(b"\x08\x07\x12\x04onnx"))
    said(lambda: path.write_bytes(tampered(artifact, artifact.files, format_version=7, producer="intarsia 9.0")))
    said(lambda: path.write_bytes(tampered(artifact, {**artifact.files, "more.bin": b"?"})))
    fewer = {name: data for name, data in artifact.files.items() if name != "graph/weights.bin"}
    said(lambda: path.write_bytes(tampered(artifact, fewer)))
    said(lambda: path.write_bytes(tampered(artifact, {**artifact.files, "graph/weights.bin": b"?" * 204})))
    said(lambda: path.write_bytes(tampered(artifact, {**artifact.files, "graph/weights.bin": b"?"})))
    said(lambda: path.write_bytes(tampered(artifact, {**artifact.files, "../../etc/passwd": b"?"})))
    said(lambda: path.write_bytes(tampered(artifact, artifact.files, surprise=1)))
    said(lambda: path.write_bytes(tampered(artifact, artifact.files, batch="one")))
    golden("\n".join(letters) + "\n")


@pytest.mark.parametrize(
    "name",
    [
        "../up",
        "/root",
        "a/../b",
        "a//b",
        "",
        ".",
        "..",
        ".hidden",
        "c:\\x",
        "a\\b",
        "a\0b",
        "ä",
        "a b",
        "x" * 241,
        "a/",
    ],
)
def test_names_that_leave_the_folder_are_refused(artifact: Artifact, tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.intarsia"
    files = {**artifact.files, name: b"x"}
    entries = {**artifact.manifest["files"], name: {"sha256": "0" * 64, "bytes": 1}}
    text = to_json({**artifact.manifest, "files": entries})
    files.update({MANIFEST_NAME: text, DIGEST_NAME: digest_file(text)})
    with zipfile.ZipFile(path, "w") as other:
        for key in sorted(files):
            other.writestr(zipfile.ZipInfo(key or "_"), files[key])
    refused(path)
    with pytest.raises(RunError):
        Artifact(artifact.manifest, {**artifact.files, name: b"x"})
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.intarsia"]


def test_names_that_differ_by_case_or_are_a_folder_too_are_refused(artifact: Artifact) -> None:
    for name in ("graph/Graph.json", "graph/graph.json/x"):
        with pytest.raises(RunError, match="cannot stand in one folder"):
            Artifact(artifact.manifest, {**artifact.files, name: b"x"})
        with pytest.raises(RunError, match="cannot stand in one folder"):
            unpack(b"".join(pack({**artifact.files, name: b"x"})), "a")


def test_a_compressed_bomb_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "bomb.intarsia"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as other:
        other.writestr(zipfile.ZipInfo("manifest.json"), b"0" * (64 << 20), zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    assert "not as intarsia writes" in refused(path).what


def test_a_size_that_the_archive_does_not_have_is_refused(artifact: Artifact, tmp_path: Path) -> None:
    path = tmp_path / "a.intarsia"
    whole = bytearray(b"".join(pack({"a": b"abc"})))
    struct.pack_into("<2I", whole, 18, 0xFFFF_FFF0, 0xFFFF_FFF0)
    path.write_bytes(whole)
    assert "announced" in refused(path).what


def test_deep_and_broken_json_are_refused(artifact: Artifact, tmp_path: Path) -> None:
    path = tmp_path / "a.intarsia"
    for text in (b"[" * 100_000, b'{"format_version": 1', b"[]", b"\xff", b'{"format_version": true}', b"{}"):
        path.write_bytes(b"".join(pack({MANIFEST_NAME: text, DIGEST_NAME: digest_file(text)})))
        assert MANIFEST_NAME in refused(path).where


def test_links_in_a_folder_are_refused(artifact: Artifact, tmp_path: Path) -> None:
    artifact.save(f"{tmp_path}/model/")
    weights = tmp_path / "model/graph/weights.bin"
    weights.rename(tmp_path / "elsewhere")
    weights.symlink_to(tmp_path / "elsewhere")
    assert "it is a link" in refused(tmp_path / "model").what


# ---- never half written


@pytest.mark.parametrize("suffix", [".intarsia", "/"])
def test_a_save_that_dies_leaves_what_was_there(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    place = f"{tmp_path}/model{suffix}"
    artifact.save(place)
    other = evaluator_artifact(small_graph(2), batch=2)
    seen = 0

    def fails(descriptor: int) -> None:
        nonlocal seen
        seen += 1
        if seen == (1 if suffix == ".intarsia" else 3):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(RunError, match="No space left"):
        other.save(place)
    monkeypatch.undo()
    assert Artifact.read(place).contents.batch == 1
    assert [path.name for path in tmp_path.iterdir()] == [Path(place).name]
    other.save(place)
    assert Artifact.read(place).contents.batch == 2
    assert [path.name for path in tmp_path.iterdir()] == [Path(place).name]


def test_a_folder_comes_back_when_the_last_rename_fails(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact.save(f"{tmp_path}/model/")
    rename = os.rename

    def fails(source: Path, target: Path) -> None:
        if Path(source).suffix == ".part":
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fails)
    with pytest.raises(RunError, match="Input/output"):
        artifact.save(f"{tmp_path}/model/")
    assert Artifact.read(tmp_path / "model").manifest == artifact.manifest


def test_a_killed_process_leaves_no_half_artifact(artifact: Artifact, tmp_path: Path) -> None:
    """The child dies, without any cleaning up, when half of the pieces are written."""
    path, artifacts = tmp_path / "model.intarsia", [artifact, evaluator_artifact(small_graph(2), batch=2)]
    artifacts[0].save(path)
    child = os.fork()
    if child == 0:
        pieces = 0

        def dying(files: dict[str, bytes]) -> object:
            nonlocal pieces
            for piece in archive.pack(files):
                pieces += 1
                if pieces == 8:
                    os._exit(9)
                yield piece

        setattr(storage, "pack", dying)  # noqa: B010
        artifacts[1].save(path)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert Artifact.read(path).manifest == artifacts[0].manifest


def test_a_folder_of_somebody_else_is_not_replaced(artifact: Artifact, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter1.tex").write_text("...")
    with pytest.raises(RunError, match="not an artifact"):
        artifact.save(tmp_path / "thesis")
    assert (tmp_path / "thesis/chapter1.tex").read_text() == "..."


def test_changed_files_are_not_saved(artifact: Artifact, tmp_path: Path) -> None:
    copy = Artifact(artifact.manifest, artifact.files)
    copy.files["graph/weights.bin"] = b"?"
    with pytest.raises(RunError, match=r"weights\.bin"):
        copy.save(tmp_path / "a.intarsia")
    assert not list(tmp_path.iterdir())


# ---- manifest


def test_manifest_text(artifact: Artifact, golden: Callable[[str], None]) -> None:
    manifest = {**artifact.manifest, "producer": "intarsia"}
    text = to_json(manifest).decode("ascii")
    assert json.loads(text) == manifest
    golden(to_json({**manifest, "files": {}}).decode("ascii"))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"model_name": 3}, "'model_name' is 3, not text"),
        ({"batch": 0}, "'batch' is 0"),
        ({"batch": True}, "'batch' is True"),
        ({"inputs": {}}, "not a list"),
        ({"inputs": [{"name": "image", "dtype": "float31", "shape": []}]}, "no element type is called 'float31'"),
        ({"inputs": [{"name": "image", "dtype": "float32", "shape": [-1]}]}, "is not a shape"),
        ({"inputs": []}, "region '0_evaluator' reads 'image', which nothing before it makes"),
        ({"outputs": [{"name": "y", "dtype": "float32", "shape": [1]}]}, "the output 'y' is 'y', which nothing makes"),
        ({"placements": [{"name": "a", "op": "b"}]}, "'place' is missing"),
        ({"vectors": [{"inputs": ["nowhere.npy"], "outputs": []}]}, "'nowhere.npy' is used"),
        ({"vectors": [{"inputs": [], "outputs": []}]}, "does not have a file for each"),
        ({"metadata": 1}, "'metadata' is 1, not an object"),
        ({"licence": "mine"}, "'licence' is unknown"),
    ],
)
def test_a_manifest_that_breaks_a_rule_is_refused(
    artifact: Artifact, change: dict[str, object], complaint: str
) -> None:
    with pytest.raises(RunError) as caught:
        Artifact({**artifact.manifest, **change}, artifact.files)
    assert complaint in str(caught.value)


def test_a_region_may_not_make_a_value_twice(artifact: Artifact) -> None:
    region = artifact.manifest["regions"][0]
    for other, complaint in ((region, "two regions"), ({**region, "name": "1"}, "which exists already")):
        with pytest.raises(RunError, match=complaint):
            Artifact({**artifact.manifest, "regions": [region, other]}, artifact.files)


def test_numpy_numbers_become_plain(artifact: Artifact) -> None:
    changed = Artifact({**artifact.manifest, "metadata": {"macs": np.int64(3), "rows": (1, 2)}}, artifact.files)
    assert changed.manifest["metadata"] == {"macs": 3, "rows": [1, 2]}


def places_in(data: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """Paths to everything inside a JSON object."""
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(place for key, value in entries for place in places_in(value, (*path, key)))]


def test_a_forged_manifest_is_refused_or_runs(artifact: Artifact) -> None:
    """One entry replaced by something else, all digests right: RunError, at worst, from reading, loading or running."""
    rng = np.random.default_rng(17)
    strange: list[Any] = [
        None,
        True,
        -1,
        0,
        1,
        2,
        10**30,
        1.5,
        "",
        "x",
        "..",
        "float32",
        "image",
        [],
        [1],
        [[]],
        {},
        {"a": 1},
    ]
    places = places_in(artifact.manifest)[1:]
    x, refusals = np.zeros((1, 2, 5, 5), np.float32), 0
    for _ in range(600):
        manifest = json.loads(json.dumps(artifact.manifest))
        *parents, last = places[rng.integers(len(places))]
        entry = manifest
        for key in parents:
            entry = entry[key]
        if rng.random() < 0.1:
            del entry[last]
        else:
            entry[last] = strange[rng.integers(len(strange))]
        text = json.dumps(manifest).encode()
        files = {**artifact.files, MANIFEST_NAME: text, DIGEST_NAME: digest_file(text)}
        try:
            forged = Artifact.__new__(Artifact)
            forged.manifest = from_json(storage.guarded_manifest(files, "forged"), "forged")
            forged.contents = parse(forged.manifest, "forged")
            forged.files = artifact.files
            storage.check_files(forged.files, forged.contents, "forged")
            forged.report().to_dict()
            session = load(forged)
            session.run(x)
            verify_vectors(session)
        except RunError:
            refusals += 1
    assert refusals > 300
