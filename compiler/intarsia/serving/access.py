"""Who may ask for what: the role that a path or a call needs, and whether a request brings it."""

from __future__ import annotations

import os
import threading
import time
from urllib.parse import urlsplit

from intarsia.errors import RunError, warn
from intarsia.serving.refusal import Outcome, Refusal
from intarsia.serving.tokens import Role, Token, digest_of, read_tokens

_LOOK_SECONDS = 1.0
"""Between looks at whether the file of tokens has changed."""

ANY = frozenset(Role)
EVERYONE: frozenset[Role] = frozenset()

_CALLS = {
    "ServerLive": EVERYONE,
    "ServerReady": EVERYONE,
    "ServerMetadata": ANY,
    "ModelReady": ANY,
    "ModelMetadata": ANY,
    "ModelConfig": ANY,
    "ModelInfer": frozenset({Role.INFER}),
    "ModelStreamInfer": frozenset({Role.INFER}),
    "ModelStatistics": frozenset({Role.OBSERVE}),
    "RepositoryIndex": frozenset({Role.OBSERVE, Role.CONTROL}),
}
"""Roles of which a call over gRPC needs one; of a call that is not here, control."""


def needed_by_call(name: str) -> frozenset[Role]:
    """Roles of which a call over gRPC needs one; none where it is for everyone."""
    return _CALLS.get(name, frozenset({Role.CONTROL}))


def needed_by_path(method: str, path: str) -> frozenset[Role]:
    """Roles of which a request over HTTP needs one; none where it is for everyone.

    path  decoded, as the application takes it apart
    """
    looks = method in ("GET", "HEAD")
    match path.strip("/").split("/"):
        case ["v2", "health", _] | ["v2", "openapi.json"] if looks:
            return EVERYONE
        case ["metrics"] | ["v2", "models", "stats"] | ["v2", "models", _, "stats"] if looks:
            return frozenset({Role.OBSERVE})
        case ["v2", "models", _, "versions", _, "stats"] if looks:
            return frozenset({Role.OBSERVE})
        case ["v2", "repository", "index"]:
            return frozenset({Role.OBSERVE, Role.CONTROL})
        case ["v2", "models", _, *_] if not looks:
            return frozenset({Role.INFER})
    return ANY if looks else frozenset({Role.CONTROL})


class Access:
    """The tokens of a file, or nobody's.

    path      the file; None where everyone may do everything
    loopback  whether the server listens on this machine alone

    The file is read again when it has changed, so that a token ends with its line. One that cannot be read any more
    leaves those that there were.
    """

    def __init__(self, path: str | None, *, loopback: bool) -> None:
        self._path, self._loopback = path, loopback
        self._tokens = {} if path is None else read_tokens(path)
        self._state = self._look()
        self._looked = time.monotonic()
        self._lock = threading.Lock()

    def check(self, authorization: str | None, needed: frozenset[Role]) -> Token | None:
        """Whose request it is; None for anyone's. A Refusal where it brings no token of a role that is needed.

        authorization  the header of that name, None where there is none
        needed         roles of which one will do; none where everyone may ask
        """
        if self._path is None or not needed:
            return None
        self._refresh()
        kind, _, text = (authorization or "").partition(" ")
        token = self._tokens.get(digest_of(text.strip())) if kind.lower() == "bearer" else None
        if token is None:
            given = "an unknown one" if authorization else "none"
            raise Refusal(Outcome.UNAUTHENTICATED, f"a bearer token is needed, and {given} is given")
        if not token.roles & needed:
            roles = " or ".join(sorted(role.value for role in needed))
            raise Refusal(Outcome.FORBIDDEN, f"the token of {token.name} is not good for this, which needs {roles}")
        return token

    def check_origin(self, origin: str | None, host: str | None) -> None:
        """A Refusal for what the page of another site asks for, in the browser of someone who may reach this server.

        Without tokens that is all that tells such a page from a program; with tokens, it has none.
        """
        if origin is None or self._path is not None:
            return
        try:
            site = urlsplit(origin)
            own = site.netloc == host and (not self._loopback or _is_loopback_name(site.hostname or ""))
        except ValueError:  # brackets that do not close
            own = False
        if not own:
            raise Refusal(Outcome.FORBIDDEN, "pages of other sites may not ask this server")

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS or not self._lock.acquire(blocking=False):
            return
        try:
            self._looked = now
            state = self._look()
            if state == self._state or self._path is None:
                return
            self._state = state
            self._tokens = read_tokens(self._path)
        except RunError as error:
            warn(f"{error.where}: {error.what}; the tokens that there were are still good")
        finally:
            self._lock.release()

    def _look(self) -> tuple[int, int, int] | None:
        if self._path is None:
            return None
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def is_loopback(address: str) -> bool:
    """Whether an address is this machine's own."""
    return address.startswith("127.") or address == "::1"


def _is_loopback_name(name: str) -> bool:
    return name == "localhost" or is_loopback(name)
