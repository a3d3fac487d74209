"""One thread at a time makes or compiles code: TVM fails now and then when several do."""

from __future__ import annotations

import os
import threading


class _Turn:
    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Also in a child process: another thread of its parent may have held the lock."""
        self.lock = threading.Lock()


TURN = _Turn()
"""`with TURN.lock:` around all that calls TVM."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=TURN.renew)
