"""Signatures: who vouches for an artifact. Ed25519 over the manifest, which has the hash of every other file.

    manifest.signatures = one line a signature, "ed25519 <public key> <signature>", both in hexadecimal, sorted

Keys are PEM files as OpenSSL writes them. The package cryptography does the arithmetic, imported when it is asked for:
artifacts are read and run without it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intarsia.errors import RunError, either

SIGNATURES_LIMIT = 64
KEY_LIMIT_BYTES = 1 << 16

_ABOUT = b"intarsia artifact, SHA-256 of its manifest: "
"""What is signed begins so: the keys may sign other things too, which then are no artifacts."""

_LINE = re.compile("ed25519 ([0-9a-f]{64}) ([0-9a-f]{128})")
_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----.+?-----END \1-----", re.DOTALL)

TrustedKeys = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""A file with public keys, a folder of such files (*.pub, *.pem), or several of those."""


@dataclass(frozen=True, order=True)
class Signature:
    """One signature.

    key        the public key, 32 bytes
    signature  64 bytes
    """

    key: bytes
    signature: bytes


def key_name(key: bytes) -> str:
    """How messages name a public key: the first half of its SHA-256, in hexadecimal."""
    return hashlib.sha256(key).hexdigest()[:32]


def to_file(signatures: Iterable[Signature]) -> bytes:
    """Contents of the file of signatures."""
    lines = [f"ed25519 {item.key.hex()} {item.signature.hex()}\n" for item in sorted(signatures)]
    return "".join(lines).encode("ascii")


def from_file(data: bytes, where: str) -> tuple[Signature, ...]:
    """The signatures of such a file; none of them is checked yet. RunError for any other file."""
    lines = data.decode("latin-1").split("\n")
    found = [_LINE.fullmatch(line) for line in lines[:-1]]
    signatures = tuple(Signature(bytes.fromhex(item[1]), bytes.fromhex(item[2])) for item in found if item is not None)
    if not 0 < len(signatures) <= SIGNATURES_LIMIT or to_file(signatures) != data:
        raise RunError(
            where=where,
            what="it does not hold signatures as intarsia writes them",
            help="the artifact was changed after it was written; copy it again",
        )
    return signatures


def check(manifest: bytes, signatures: Sequence[Signature], trusted: TrustedKeys, where: str) -> bytes:
    """The trusted public key that has signed a manifest.

    Raises RunError where none has: not signed, signed by others, or changed since.
    """
    keys = read_public_keys(trusted)
    if not signatures:
        raise RunError(
            where=where,
            what="it is not signed, and only signed artifacts are trusted here",
            help="sign it with `intarsia sign` where it was made, or load it without trusted keys",
        )
    known = [item for item in signatures if item.key in keys]
    if not known:
        names = ", ".join(key_name(item.key) for item in signatures[:4])
        raise RunError(
            where=where,
            what=f"it is signed by {names}, which is none of the {len(keys)} trusted keys",
            help="get it from who has a trusted key, or add the public key to the trusted ones if it is to be trusted",
        )
    for item in known:
        if _is_right(item, manifest):
            return item.key
    raise RunError(
        where=where,
        what=f"the signature by {key_name(known[0].key)} is not that of this manifest",
        help="the artifact was changed after it was signed; copy it again, and do not run it",
    )


def sign(manifest: bytes, key_file: str | os.PathLike[str]) -> Signature:
    """A signature of a manifest by the private key in a PEM file. RunError where there is no such key."""
    key = _private_key(Path(key_file))
    return Signature(_raw(key.public_key()), key.sign(_message(manifest)))


def new_key(key_file: str | os.PathLike[str]) -> Path:
    """Make a key: the private one at the path, for its owner alone to read, and the public one beside it, at PATH.pub.

    Raises RunError where one of them exists, or cannot be written.
    """
    ed25519, serialization = _cryptography(f"key {os.fspath(key_file)}")
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    path = Path(key_file)
    beside = path.with_name(path.name + ".pub")
    for place, content, mode in ((beside, public, 0o644), (path, private, 0o600)):
        try:
            with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(content)
        except FileExistsError:
            raise RunError(
                where=f"key {place}",
                what="a file stands there, and keys that exist are never replaced",
                help="sign with the key that exists, "
                + either("without --new-key", "Artifact.sign")
                + ", or give another path",
            ) from None
        except OSError as error:
            raise RunError(
                where=f"key {place}",
                what=f"it cannot be written: {error.strerror or error}",
                help="give another path; keys that exist are never replaced",
            ) from error
    return beside


def read_public_keys(trusted: TrustedKeys) -> frozenset[bytes]:
    """All public keys of some files and folders, 32 bytes each. RunError where there are none, or one is no key."""
    places = [trusted] if isinstance(trusted, (str, os.PathLike)) else list(trusted)
    keys: set[bytes] = set()
    for place in map(Path, places):
        for file in _files(place):
            keys |= _public_keys(file)
    if not keys:
        shown = ", ".join(map(str, places)) or "nothing"
        raise RunError(
            where="trusted keys",
            what=f"there are none in {shown}",
            help="give a file that `intarsia sign --new-key` wrote (.pub), or a folder of them",
        )
    return frozenset(keys)


def _files(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place]
    try:
        return sorted(file for file in place.iterdir() if file.suffix in (".pub", ".pem"))
    except OSError as error:
        raise _no_key(f"trusted keys {place}", f"it cannot be read: {error.strerror or error}") from error


def _public_keys(path: Path) -> set[bytes]:
    where = f"trusted key {path}"
    ed25519, serialization = _cryptography(where)
    keys = set()
    data = _content(path, where)
    for block in _PEM.finditer(data):
        if b"PRIVATE" in block[1]:
            raise _no_key(
                where, "it holds a private key", f"trust the public one, {path.name}.pub, and keep this secret"
            )
        try:
            key = serialization.load_pem_public_key(block[0])
        except Exception as error:  # of the package's many kinds
            raise _no_key(where, f"it holds no public key: {type(error).__name__}") from error
        if not isinstance(key, ed25519.Ed25519PublicKey):
            raise _no_key(where, "it holds a key that is not of the kind Ed25519")
        keys.add(_raw(key))
    if not keys:
        raise _no_key(where, "it holds no public key")
    return keys


def _private_key(path: Path) -> Any:
    where = f"key {path}"
    ed25519, serialization = _cryptography(where)
    try:
        key = serialization.load_pem_private_key(_content(path, where), password=None)
    except RunError:
        raise
    except Exception as error:  # of the package's many kinds
        raise _no_key(where, "it holds no private key that can be read, or one behind a password") from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise _no_key(where, "it holds a key that is not of the kind Ed25519")
    return key


def _content(path: Path, where: str) -> bytes:
    try:
        if not path.is_file():
            raise _no_key(where, "there is no such file")
        with open(path, "rb") as file:
            data = file.read(KEY_LIMIT_BYTES + 1)
    except OSError as error:
        raise _no_key(where, f"it cannot be read: {error.strerror or error}") from error
    if len(data) > KEY_LIMIT_BYTES:
        raise _no_key(where, f"it has more than {KEY_LIMIT_BYTES} bytes")
    return data


def _no_key(
    where: str, what: str, help: str = "make one with `intarsia sign --new-key`, or openssl genpkey"
) -> RunError:
    return RunError(where=where, what=what, help=help)


def _raw(key: Any) -> bytes:
    return bytes(key.public_bytes_raw())


def _message(manifest: bytes) -> bytes:
    return _ABOUT + hashlib.sha256(manifest).hexdigest().encode("ascii")


def _is_right(item: Signature, manifest: bytes) -> bool:
    ed25519, _ = _cryptography("signature")
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(item.key).verify(item.signature, _message(manifest))
    except Exception:  # whatever goes wrong, it is no signature
        return False
    return True


def _cryptography(where: str) -> tuple[Any, Any]:
    """Its modules of Ed25519 and of key files."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise RunError(
            where=where,
            what=f"signatures need the package cryptography, which cannot be imported here ({error})",
            help="pip install 'intarsia[sign]', or `apt install python3-cryptography` on a board",
        ) from error
    return ed25519, serialization
