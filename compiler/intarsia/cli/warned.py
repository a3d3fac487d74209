"""Warnings of the library, as commands tell them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from intarsia.cli.output import warn
from intarsia.errors import IntarsiaWarning


@contextmanager
def as_remarks() -> Iterator[None]:
    """While it is open, ours are remarks on stderr; those of other packages stay what they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", IntarsiaWarning)
        usual = warnings.showwarning

        def show(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, IntarsiaWarning):
                warn(f"warning: {message}")
            else:
                usual(message, category, *place, **more)

        warnings.showwarning = show
        yield


@contextmanager
def unsaid() -> Iterator[None]:
    """While it is open, ours are not told: the command tells them in another way."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IntarsiaWarning)
        yield
