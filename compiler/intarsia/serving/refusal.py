"""What becomes of a request, and the letter to a client whose request is not served."""

from __future__ import annotations

from enum import Enum


class Outcome(Enum):
    """How a request ended: its name in metrics, HTTP's status for it, and gRPC's."""

    OK = "ok", 200, "OK"
    INVALID = "invalid", 400, "INVALID_ARGUMENT"
    UNAUTHENTICATED = "unauthenticated", 401, "UNAUTHENTICATED"
    FORBIDDEN = "forbidden", 403, "PERMISSION_DENIED"
    UNKNOWN = "unknown", 404, "NOT_FOUND"
    METHOD = "method", 405, "UNIMPLEMENTED"
    CONFLICT = "conflict", 409, "FAILED_PRECONDITION"
    TOO_LARGE = "too_large", 413, "RESOURCE_EXHAUSTED"
    ENCODED = "encoded", 415, "UNIMPLEMENTED"
    FULL = "full", 429, "RESOURCE_EXHAUSTED"
    LATE = "late", 503, "DEADLINE_EXCEEDED"
    BUSY = "busy", 503, "RESOURCE_EXHAUSTED"
    DRAINING = "draining", 503, "UNAVAILABLE"
    CANCELLED = "cancelled", 499, "CANCELLED"
    FAILED = "failed", 500, "INTERNAL"

    def __init__(self, label: str, status: int, code: str) -> None:
        self.label = label
        self.status = status
        self.code = code


class Refusal(Exception):
    """A request that is not served.

    outcome      why, in kind
    what         why, in words for the client; of what it sent, quoted parts are cut short by `quoted`
    retry_after  seconds after which it may be worth to ask again, whole and at least 1; None where it never is
    allow        for METHOD: what is allowed instead, as HTTP lists it
    """

    def __init__(self, outcome: Outcome, what: str, retry_after: int | None = None, allow: str = "") -> None:
        super().__init__(what)
        self.outcome = outcome
        self.what = what
        self.retry_after = retry_after
        self.allow = allow


def invalid(what: str) -> Refusal:
    """A request that can never be served."""
    return Refusal(Outcome.INVALID, what)


def quoted(text: object) -> str:
    """What a client sent, as its letter quotes it: printable and short."""
    shown = repr(text if isinstance(text, str) else str(text)[:100])
    return shown if len(shown) <= 60 else f"{shown[:56]}...'"
