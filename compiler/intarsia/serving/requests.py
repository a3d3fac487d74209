"""What both transports ask of a request: how long it may take, and which queue it waits in."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any, TypeGuard

from intarsia.serving.batcher import LEVELS
from intarsia.serving.refusal import invalid, quoted

_USUAL = LEVELS // 2


def level_of(parameters: Mapping[str, Any]) -> int:
    """The queue that the parameter `priority` names: 1 is the first to be served; 0, or none, the usual one."""
    priority = parameters.get("priority")
    if priority is None or priority == 0:
        return _USUAL
    if not _is_whole(priority) or not 1 <= priority <= LEVELS:
        raise invalid(
            f"the parameter priority is {quoted(priority)}, levels are 1 to {LEVELS}, and 0 for the usual one"
        )
    return priority - 1


def deadline_of(parameters: Mapping[str, Any], usual_seconds: float | None) -> float:
    """When the answer is due, of `time.monotonic`: after the parameter `timeout`, in microseconds, where it is given.

    usual_seconds  for requests that say nothing, or 0; None for no limit
    """
    timeout = parameters.get("timeout")
    if timeout is None or timeout == 0:
        return math.inf if usual_seconds is None else time.monotonic() + usual_seconds
    if not _is_whole(timeout) or not 0 < timeout < 1 << 63:
        raise invalid(f"the parameter timeout is {quoted(timeout)}, microseconds are whole and at least 1")
    return time.monotonic() + timeout / 1e6


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
