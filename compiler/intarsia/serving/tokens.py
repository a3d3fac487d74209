"""Bearer tokens: their roles, how one is made, and the file that names them, which has their SHA-256 alone."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from intarsia.errors import RunError

_NAME = re.compile(r"[A-Za-z0-9_.@\-]{1,64}")
_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_MOST_BYTES = 1 << 20


class Role(Enum):
    """What a token is good for. None of them holds another."""

    INFER = "infer"
    OBSERVE = "observe"
    CONTROL = "control"


@dataclass(frozen=True)
class Token:
    """What is known of a token: whose it is, and what it is good for."""

    name: str
    roles: frozenset[Role]


def read_tokens(path: str) -> dict[bytes, Token]:
    """Tokens of a file by their SHA-256. A line is NAME ROLE[,ROLE...] sha256:HEX; what begins with # says nothing.

    Raises RunError where it cannot be read, has no token, or a line is another.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(_MOST_BYTES + 1)
        lines = content.decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        what = getattr(error, "strerror", None) or "it is no text"
        raise RunError(where=f"tokens {path}", what=f"they cannot be read: {what}", help=_HELP) from error
    if len(content) > _MOST_BYTES:
        raise RunError(where=f"tokens {path}", what=f"the file has more than {_MOST_BYTES} bytes", help=_HELP)
    found: dict[bytes, Token] = {}
    names: set[str] = set()
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        parts = line.split()
        known = {role.value for role in Role}
        roles = set(parts[1].split(",")) if len(parts) == 3 else set()
        if not roles or not roles <= known or not _NAME.fullmatch(parts[0]) or not _HASH.fullmatch(parts[2]):
            raise RunError(
                where=f"tokens {path}, line {number}",
                what=f"it is not NAME ROLE[,ROLE...] sha256:HEX, with roles of {', '.join(sorted(known))}",
                help=_HELP,
            )
        digest = bytes.fromhex(parts[2].partition(":")[2])
        if digest in found or parts[0] in names:
            raise RunError(where=f"tokens {path}, line {number}", what="it is there twice", help="take one line away")
        names.add(parts[0])
        found[digest] = Token(parts[0], frozenset(Role(role) for role in roles))
    if not found:
        raise RunError(where=f"tokens {path}", what="there is none in it", help=_HELP)
    return found


_HELP = "`intarsia token NAME --role infer --tokens FILE` makes a token, and the file"


def digest_of(token: str) -> bytes:
    """What the file has of a token. Tokens are random and long, so that one round of SHA-256 tells nothing of them."""
    return hashlib.sha256(token.encode()).digest()


def add_token(path: str, name: str, roles: Collection[Role]) -> str:
    """Make a token and write its line to a file, which is made where it is not there, for its owner alone.

    Raises RunError for a name that is taken or none, and where the file cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise RunError(
            where=f"token '{name}'", what="that is no name", help="use 1 to 64 letters, digits, '_', '-', '.' and '@'"
        )
    if Path(path).exists() and name in {token.name for token in _there(path)}:
        raise RunError(
            where=f"tokens {path}", what=f"'{name}' has one", help="take its line away first: that ends the old token"
        )
    token = secrets.token_urlsafe(32)
    line = f"{name} {','.join(sorted(role.value for role in roles))} sha256:{digest_of(token).hex()}\n"
    try:
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)
    except OSError as error:
        raise RunError(
            where=f"tokens {path}", what=f"they cannot be written: {error.strerror}", help="name another file"
        ) from error
    return token


def _there(path: str) -> Sequence[Token]:
    if not Path(path).stat().st_size:
        return ()
    return tuple(read_tokens(path).values())
