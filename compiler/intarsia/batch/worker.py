"""What runs in a worker: the artifact loaded once, and one file's arrays at a time. NumPy alone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

from intarsia.artifact import Artifact
from intarsia.dtypes import Array
from intarsia.runtime.session import Session


@dataclass(frozen=True)
class Parcel:
    """An artifact on its way to a worker.

    digest    SHA-256 of its manifest, which has the hashes of all else
    manifest  as JSON has it
    files     contents by path
    device    as `intarsia.load` takes it
    native    False where machine code is not to be run
    """

    digest: str
    manifest: Mapping[str, Any]
    files: Mapping[str, bytes]
    device: str | None = None
    native: bool = True


@dataclass(frozen=True)
class Done:
    """What came of a file: outputs by name, and the seconds of its run."""

    outputs: Mapping[str, Array]
    seconds: float


_sessions: dict[str, Session] = {}
_loading = threading.Lock()


def prepare(parcel: Parcel) -> None:
    """Load an artifact for the runs that name its digest; a second time is free."""
    with _loading:
        if parcel.digest not in _sessions:
            artifact = Artifact(parcel.manifest, parcel.files)
            session = Session(artifact, device=parcel.device, threads=1, native=parcel.native)
            _sessions[parcel.digest] = session


def start_process(parcel: Parcel) -> None:
    """Begin a worker process: ctrl-C is its parent's to handle, whose death ends it too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        sentinel = parent.sentinel
        threading.Thread(target=_end_with, args=(sentinel,), daemon=True).start()
    prepare(parcel)


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def run(digest: str, parcel: Parcel | None, arrays: Sequence[Array]) -> Done | None:
    """Run one file's arrays. None where the artifact is not here yet: ask again, with its parcel."""
    if parcel is not None:
        prepare(parcel)
    session = _sessions.get(digest)
    if session is None:
        return None
    started = time.perf_counter()
    result = session.execute(arrays)
    return Done(result.by_name, time.perf_counter() - started)


def forget(digest: str) -> None:
    """Close an artifact where threads of this process ran it."""
    session = _sessions.pop(digest, None)
    if session is not None:
        session.close()
