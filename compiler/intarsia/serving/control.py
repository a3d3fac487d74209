"""Models that clients load and unload: who may, and who they say that they are. The same for both transports."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Any

from intarsia.errors import IntarsiaError
from intarsia.serving.refusal import Outcome, Refusal, invalid, quoted
from intarsia.serving.repository import Repository

CLIENT = "intarsia-client"
"""The header, or the metadata of a call, by which a client names itself."""

_CLIENT = re.compile(r"[A-Za-z0-9_.@\-]{1,100}")


class Control(Enum):
    """Who says which models are served: nobody once they are loaded, their folders, or clients."""

    NONE = "none"
    POLL = "poll"
    API = "api"


def load(repository: Repository, control: Control, name: str, client: str, parameters: Mapping[str, Any]) -> None:
    """A client has a model loaded; a Refusal where that may not be, or cannot."""
    holder = _holder(control, client, parameters, ())
    try:
        repository.load(name, holder)
    except IntarsiaError as error:
        raise invalid(f"model {quoted(name)} could not be loaded: {error.where}: {error.what}") from error


def unload(repository: Repository, control: Control, name: str, client: str, parameters: Mapping[str, Any]) -> None:
    """A client gives a model up; a Refusal where that may not be."""
    holder = _holder(control, client, parameters, ("unload_dependents",))
    repository.unload(name, holder, members=parameters.get("unload_dependents") is True)


def _holder(control: Control, client: str, parameters: Mapping[str, Any], known: tuple[str, ...]) -> str:
    if control is not Control.API:
        raise Refusal(Outcome.FORBIDDEN, "clients do not load and unload models here: the server has no --control api")
    other = [name for name in parameters if name not in known]
    if other:
        raise invalid(f"the parameter {quoted(other[0])} is not taken: models come from the server's own files alone")
    if client and not _CLIENT.fullmatch(client):
        raise invalid(f"{CLIENT} is {quoted(client)}: up to 100 letters, digits, '_', '.', '@' and '-' are taken")
    return client
