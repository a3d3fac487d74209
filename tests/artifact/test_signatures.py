"""Signed artifacts: what nobody vouches for, and what was changed since, is refused before anything of it is used."""

from __future__ import annotations

import hashlib
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import parser

import intarsia
from artifact_examples import evaluator_artifact, small_graph
from intarsia.artifact import Artifact
from intarsia.artifact.archive import pack
from intarsia.artifact.manifest import DIGEST_NAME, MANIFEST_NAME, SIGNATURES_NAME, digest_file, to_json
from intarsia.artifact.signatures import Signature, from_file, key_name, new_key, read_public_keys, to_file
from intarsia.cli.commands import intarsia as command
from intarsia.errors import RunError
from intarsia.runtime.session import load

pytest.importorskip("cryptography", reason="needs the package cryptography, which signs and checks")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two pairs of keys."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("release", "other"):
        assert new_key(folder / name) == folder / f"{name}.pub"
    return folder


@pytest.fixture
def artifact() -> Artifact:
    return evaluator_artifact(small_graph())


@pytest.fixture(scope="module")
def compiled() -> Artifact:
    """One with machine code."""
    model = parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 17]>\ng (float[4] x) => (float[4] y) { y = Exp (x) }'
    )
    return intarsia.compile_model(model, target="cpu")


def rehashed(artifact: Artifact, path: str, data: bytes) -> bytes:
    """A zip with one file changed and every hash made right; signatures stay as they were."""
    manifest = {
        **artifact.manifest,
        "files": {
            **artifact.manifest["files"],
            path: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)},
        },
    }
    text = to_json(manifest)
    files = {**artifact.files, path: data, MANIFEST_NAME: text, DIGEST_NAME: digest_file(text)}
    files[SIGNATURES_NAME] = to_file(artifact.signatures)
    return b"".join(pack(files))


def said(path: Path, keys: Any) -> str:
    with pytest.raises(RunError) as caught:
        load(path, trusted_keys=keys)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".intarsia", "/"])
def test_signed_and_trusted(artifact: Artifact, keys: Path, tmp_path: Path, suffix: str) -> None:
    path = f"{tmp_path}/model{suffix}"
    unsigned = {**artifact.files}
    artifact.sign(keys / "release")
    artifact.save(path)
    places: list[Any] = [
        keys / "release.pub",
        str(keys / "release.pub"),
        keys,
        [keys / "other.pub", keys / "release.pub"],
    ]
    for trusted in places:
        session = load(path, trusted_keys=trusted)
        assert session.run(np.zeros((1, 2, 5, 5), np.float32))[0].shape == (1, 3, 5, 5)
    again = Artifact.read(path)
    assert again.signatures == artifact.signatures and again.files == unsigned
    again.save(path)  # signatures stay
    load(path, trusted_keys=keys / "release.pub")
    load(again, trusted_keys=keys / "release.pub")
    load(path)  # who trusts everything needs no keys


def test_a_changed_library_is_refused_before_it_is_mapped(
    compiled: Artifact, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mapped: list[str]
) -> None:
    """One byte of region.so, all hashes made right: nothing is mapped, nor is any JSON read."""
    path = tmp_path / "model.intarsia"
    signed = Artifact(compiled.manifest, compiled.files)
    signed.sign(keys / "release")
    signed.save(path)
    load(path, trusted_keys=keys / "release.pub").close()
    assert len(mapped) == 1
    code = bytearray(signed.files["regions/0_cpu/region.so"])
    code[len(code) // 2] ^= 1
    path.write_bytes(rehashed(signed, "regions/0_cpu/region.so", bytes(code)))
    mapped.clear()

    def never(*_: object) -> None:
        raise AssertionError("the manifest of an artifact that is not trusted is read")

    with monkeypatch.context() as patch:
        patch.setattr("intarsia.artifact.from_json", never)
        assert "is not that of this manifest" in said(path, keys / "release.pub")
    assert mapped == []
    assert (
        "regions/0_cpu/region.so" in Artifact.read(path).files
    )  # without keys only its hashes count, and they are right


def test_every_file_is_covered(artifact: Artifact, keys: Path, tmp_path: Path) -> None:
    artifact.sign(keys / "release")
    path = tmp_path / "a"
    for name, data in artifact.files.items():
        path.write_bytes(rehashed(artifact, name, data[:-1] + bytes([data[-1] ^ 1])))
        assert "is not that of this manifest" in said(path, keys)


def test_refusals(artifact: Artifact, keys: Path, tmp_path: Path, golden: Callable[[str], None]) -> None:
    path = tmp_path / "model.intarsia"
    artifact.save(path)
    names = {key_name(key): name for name in ("release", "other") for key in read_public_keys(keys / f"{name}.pub")}
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.pub").write_text("ssh-ed25519 AAAA")
    (tmp_path / "wrong.pub").write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    letters = [said(path, keys)]
    artifact.sign(keys / "other")
    artifact.save(path)
    files = [
        keys / "release.pub",
        keys / "release",
        *(tmp_path / f"{name}.pub" for name in ("nowhere", "text", "wrong")),
    ]
    letters += [said(path, trusted) for trusted in [*files, tmp_path / "empty", []]]
    for key in (keys / "release.pub", tmp_path / "nowhere"):
        with pytest.raises(RunError) as caught:
            artifact.sign(key)
        letters.append(str(caught.value))
    with pytest.raises(RunError) as caught:
        new_key(keys / "release")
    letters.append(str(caught.value))
    text = "\n".join(letters).replace(str(tmp_path), "/here").replace(str(keys), "/keys")
    text = text.replace("ValueError", "SomeError")
    for name, owner in names.items():
        text = text.replace(name, f"<{owner}>")
    golden(text + "\n")


def test_two_signatures(artifact: Artifact, keys: Path, tmp_path: Path) -> None:
    path = tmp_path / "a"
    for name in ("release", "other", "release"):
        artifact.sign(keys / name)
    artifact.save(path)
    assert len(Artifact.read(path).signatures) == 2
    for name in ("release", "other"):
        load(path, trusted_keys=keys / f"{name}.pub")
    # A wrong one of a trusted key does not outweigh a right one of another.
    wrong = Signature(artifact.signatures[0].key, bytes(64))
    artifact.signatures = (wrong, artifact.signatures[1])
    artifact.save(path)
    load(path, trusted_keys=keys)
    assert "is not that of this manifest" in said(path, keys / "other.pub")


def test_an_artifact_in_memory_is_made_anew(artifact: Artifact, keys: Path) -> None:
    artifact.sign(keys / "release")
    load(artifact, trusted_keys=keys)
    artifact.files["graph/weights.bin"] = b"?"
    with pytest.raises(RunError, match=r"weights\.bin"):
        load(artifact, trusted_keys=keys)
    artifact.manifest["batch"] = 7
    with pytest.raises(RunError, match="not that of this manifest"):
        load(artifact, trusted_keys=keys)


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"ed25519 aa bb\n", b"rsa " + b"a" * 64 + b" " + b"b" * 128 + b"\n", b"\xff" * 100]
)
def test_files_that_hold_no_signatures(data: bytes, artifact: Artifact, tmp_path: Path) -> None:
    line = b"ed25519 " + b"a" * 64 + b" " + b"b" * 128 + b"\n"
    for content in (data, line + data if data else line[:-1], line * 65):
        text = to_json(artifact.manifest)
        files = {**artifact.files, MANIFEST_NAME: text, DIGEST_NAME: digest_file(text), SIGNATURES_NAME: content}
        (tmp_path / "a").write_bytes(b"".join(pack(files)))
        with pytest.raises(RunError, match="does not hold signatures"):
            Artifact.read(tmp_path / "a")
    assert from_file(line, "a") == (Signature(b"\xaa" * 32, b"\xbb" * 64),)


def test_the_private_key_is_for_its_owner_alone(keys: Path) -> None:
    assert stat.S_IMODE((keys / "release").stat().st_mode) == 0o600


def test_keys_are_those_of_openssl(artifact: Artifact, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl")
    private, public = tmp_path / "key.pem", tmp_path / "public.pem"
    subprocess.run([openssl, "genpkey", "-algorithm", "ed25519", "-out", private], check=True)
    subprocess.run([openssl, "pkey", "-in", private, "-pubout", "-out", public], check=True)
    artifact.sign(private)
    artifact.save(tmp_path / "a")
    load(tmp_path / "a", trusted_keys=public)


def test_without_cryptography_artifacts_load_and_keys_are_refused(
    artifact: Artifact, keys: Path, tmp_path: Path
) -> None:
    artifact.sign(keys / "release")
    artifact.save(tmp_path / "a")
    program = """
import sys
sys.modules["cryptography"] = None
import intarsia
intarsia.load(sys.argv[1])
try:
    intarsia.load(sys.argv[1], trusted_keys=sys.argv[2])
except intarsia.RunError as error:
    print(error)
"""
    words = [sys.executable, "-c", program, str(tmp_path / "a"), str(keys)]
    result = subprocess.run(words, check=True, capture_output=True, text=True)
    assert "signatures need the package cryptography" in result.stdout and "intarsia[sign]" in result.stdout


def test_commands(artifact: Artifact, tmp_path: Path) -> None:
    path, key = tmp_path / "model.intarsia", tmp_path / "release.key"
    artifact.save(path)

    def run(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(command, list(words))
        assert result.exit_code == code, result.output
        return result.output

    trusted = ("--trusted-keys", f"{key}.pub")
    run("sign", "--key", str(key), str(path), code=2)  # there is none yet
    made = run("sign", "--new-key", "--key", str(key), str(path))
    name = key_name(Artifact.read(path).signatures[0].key)
    assert f"signed by {name}" in made and f"{key}.pub" in made
    assert "verified and signed by a trusted key" in run("verify", str(path), *trusted)
    assert name in run("verify", str(path), *trusted, "--json")
    assert f"says that it is signed by {name}" in run("dump", str(path))
    np.save(tmp_path / "x.npy", np.zeros((1, 2, 5, 5), np.float32))
    run("run", str(path), "--input", str(tmp_path / "x.npy"), *trusted)
    run("report", str(path), *trusted)
    artifact.save(path)  # unsigned again
    for words in (["verify"], ["report"], ["run", "--input", str(tmp_path / "x.npy")]):
        assert "it is not signed" in run(words[0], str(path), *words[1:], *trusted, code=2)
    run("sign", "--key", str(key), str(path))
    assert "verified and signed" in run("verify", str(path), *trusted)
    run("sign", "--new-key", "--key", str(key), code=2)  # never replaced
    run("sign", "--key", str(key), code=2)
    run("sign", "--new-key", "--key", str(tmp_path / "more.key"))
    assert (tmp_path / "more.key.pub").exists()
