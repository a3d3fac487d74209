"""The program `intarsia`, with models of which every run takes a while: python serve_slowly.py SECONDS serve ..."""

from __future__ import annotations

import sys
import time
from typing import Any

from intarsia.cli.main import main
from intarsia.runtime.session import Session


def slow_down(seconds: float) -> None:
    run = Session.run

    def slower(self: Session, *arrays: Any, **named: Any) -> Any:
        time.sleep(seconds)
        return run(self, *arrays, **named)

    Session.run = slower  # type: ignore[method-assign]


if __name__ == "__main__":
    seconds = float(sys.argv.pop(1))
    if seconds:
        slow_down(seconds)
    main()
