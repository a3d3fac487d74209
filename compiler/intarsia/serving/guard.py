"""What stands before the application over HTTP: who asks, whether he may, and a line of it in the audit log."""

from __future__ import annotations

import time

from intarsia.serving.access import Access, needed_by_path
from intarsia.serving.app import App, Send
from intarsia.serving.audit import Audit
from intarsia.serving.bodies import Message, Receive
from intarsia.serving.refusal import Outcome, Refusal

_ASKED = (b"authorization", b"host", b"origin")


class Guard:
    """An ASGI application before another. Requests are refused before anything of their bodies is read."""

    def __init__(self, app: App, access: Access, audit: Audit | None) -> None:
        self._app, self._access, self._audit = app, access, audit

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        audit = self._audit
        if audit is None:
            await self._pass(scope, receive, send)
            return
        status, started, name = 0, time.monotonic(), None

        async def heard(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            name = await self._pass(scope, receive, heard)
        finally:
            if needed_by_path(scope["method"], scope["path"]) or status >= 400:
                host, port = scope["client"] or ("", 0)
                what = f"{scope['method']} {scope['path']}"
                audit.asked("http", f"{host}:{port}", name, what, status, time.monotonic() - started)

    async def _pass(self, scope: Message, receive: Receive, send: Send) -> str | None:
        """Answer a request, by the application where it may; whose it is."""
        try:
            found = _headers(scope)
            self._access.check_origin(found.get(b"origin"), found.get(b"host"))
            token = self._access.check(found.get(b"authorization"), needed_by_path(scope["method"], scope["path"]))
        except Refusal as error:
            await self._app.refuse(error, scope, receive, send)
            return None
        await self._app(scope, receive, send)
        return None if token is None else token.name


def _headers(scope: Message) -> dict[bytes, str]:
    found: dict[bytes, str] = {}
    for name, value in scope["headers"]:
        if name in _ASKED:
            if name in found:
                raise Refusal(Outcome.INVALID, f"the header {name.decode()} is given twice")
            found[name] = value.decode("latin-1")
    return found
