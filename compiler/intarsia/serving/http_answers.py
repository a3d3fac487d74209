"""What is sent back over HTTP: a status, headers, and parts of a body."""

from __future__ import annotations

from typing import Any

from intarsia.serving.refusal import Outcome, Refusal
from intarsia.serving.rest_messages import to_json
from intarsia.serving.tensors import Data

JSON = (b"content-type", b"application/json")


class Answer:
    """Status, headers, and the parts that are the body."""

    __slots__ = ("headers", "parts", "status", "unread")

    def __init__(self, status: int, parts: list[Data], *headers: tuple[bytes, bytes], unread: bool = False) -> None:
        self.status = status
        self.parts = parts
        self.headers = headers
        self.unread = unread  # whether the body of the request may still be on its way


def told(data: Any, status: int = 200) -> Answer:
    """JSON."""
    return Answer(status, [to_json(data)], JSON)


def refused(error: Refusal, *, unread: bool) -> Answer:
    """A letter."""
    headers = [JSON]
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after))
    if error.outcome is Outcome.UNAUTHENTICATED:
        headers.append((b"www-authenticate", b"Bearer"))
    if error.allow:
        headers.append((b"allow", error.allow.encode()))
    return Answer(error.outcome.status, [to_json({"error": error.what})], *headers, unread=unread)
