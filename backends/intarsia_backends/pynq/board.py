"""The FPGA with the overlay loaded. The one file that imports pynq; `device` imports it when a region is loaded."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pynq
from pynq import DefaultIP, Overlay

from intarsia.errors import RunError, either
from intarsia.runtime.limits import RunTimeout
from intarsia_backends.overlay.machine.config import OverlayConfig
from intarsia_backends.overlay.machine.core_driver import CoreDriver, CoreStuck, Figures, Job
from intarsia_backends.overlay.machine.isa import WORD_BYTES
from intarsia_backends.overlay.machine.parameters import VLNV
from intarsia_backends.overlay.machine.region import OverlayRegion
from intarsia_backends.pynq.design import INTERRUPT, find_bitstream
from intarsia_backends.pynq.waiting import InterruptThread, poll

TIMEOUT_VARIABLE = "INTARSIA_PYNQ_TIMEOUT"
TIMEOUT_SECONDS = 10.0
"""The largest network that we know of takes 0.1 s."""

INTERRUPT_VARIABLE = "INTARSIA_PYNQ_INTERRUPT"

LOCK_FILE = Path("/run/lock/intarsia-fpga")


class CoreIp(DefaultIP):  # type: ignore[misc]
    """pynq's face of the core; pynq makes one for every core that it finds in the design."""

    bindto = [VLNV]

    def __init__(self, description: dict[str, Any]) -> None:
        super().__init__(description=description)
        self.driver = CoreDriver(self.read, self.write, f"overlay core '{description['fullpath']}'")


class Board:
    """The overlay on the FPGA. One program runs at a time; regions in any thread take turns.

    driver  the core's; to be used under `lock` alone
    """

    def __init__(self, bitstream: Path) -> None:
        """Load a bitstream. RunError where it is not one of ours, or another process holds the FPGA."""
        self.bitstream = bitstream
        self.lock = threading.Lock()
        self._process = os.getpid()
        self._stuck: list[Any] = []
        self._timeout_seconds = _timeout(os.environ.get(TIMEOUT_VARIABLE))
        self._guard = _hold(LOCK_FILE)
        self._thread = InterruptThread()
        try:
            self._overlay = self._thread.call(lambda: _load(bitstream))
            core = self._thread.call(lambda: _core(self._overlay, bitstream))
        except BaseException:
            self.release()
            raise
        self.driver: CoreDriver = core.driver
        self._pin = getattr(core, INTERRUPT, None) if os.environ.get(INTERRUPT_VARIABLE) == "1" else None

    def allocate(self, size_bytes: int, *, host: bool) -> Any:
        """Memory that the core can address, at least a word of it: a PynqBuffer of uint8, in agreement with the caches.

        host  whether this processor reads and writes it at each run: then it is cached
        """
        try:
            buffer = pynq.allocate(max(size_bytes, WORD_BYTES), np.uint8, cacheable=int(host))
        except (MemoryError, RuntimeError, OSError) as error:
            raise RunError(
                where=f"board with {self.bitstream.name}",
                what=f"{size_bytes} bytes of contiguous memory cannot be had: {error}",
                help="close other sessions and programs that hold such memory, or boot with a larger cma= area",
            ) from None
        # A line of the cache that was dirtied before must not be written back over what the core stores.
        buffer.flush()
        return buffer

    @contextmanager
    def turn(self, region: OverlayRegion, seconds: float | None) -> Iterator[float | None]:
        """Hold `lock` for a run of a region; gives the seconds that are left then.

        seconds  how long the run may take, waiting for its turn included; None for any time

        RunTimeout where other runs take longer; RunError in a child of the process that loaded the FPGA.
        """
        if os.getpid() != self._process:
            raise RunError(
                where=region.where,
                what="the FPGA belongs to the process that loaded it, and this is a child of that",
                help="load the artifact in the child, after the parent has ended or closed the FPGA",
            )
        start = time.monotonic()
        if not self.lock.acquire(timeout=-1 if seconds is None else min(max(seconds, 0.0), threading.TIMEOUT_MAX)):
            raise RunTimeout(
                where=region.where,
                what=f"other runs on the FPGA took the {seconds:.3g} s that were left for it",
                help="give the run more time, or start fewer at once",
                region=region.name,
            )
        try:
            yield None if seconds is None else seconds - (time.monotonic() - start)
        finally:
            self.lock.release()

    def run(self, job: Job, buffers: tuple[Any, ...], seconds: float | None = None) -> Figures:
        """Run a program; the caller holds `lock`.

        buffers  kept for ever where the core cannot be stopped and may still write to them
        seconds  how long the caller waits, where that is shorter than the board's own time-out

        Raises RunTimeout where those seconds were over, RunError as `CoreDriver.run`; the core is stopped then.
        """
        if self._stuck:
            raise RunError(
                where=f"{job.region.where} on {self.driver.where}",
                what="the core did not stop after an earlier error",
                help="restart the board",
            )
        pin = self._pin
        allowed = self._timeout_seconds if seconds is None else min(max(seconds, 0.0), self._timeout_seconds)
        ended = True

        def wait(finished: Callable[[], bool]) -> bool:
            nonlocal ended
            ended = poll(finished, allowed) if pin is None else self._thread.wait(pin, finished, allowed)
            return ended

        try:
            return self.driver.run(job, wait, interrupt=pin is not None)
        except CoreStuck:
            self._stuck.extend(buffers)
            raise
        except RunError as error:
            if ended or allowed == self._timeout_seconds:
                raise
            raise RunTimeout(
                where=error.where,
                what=f"the {allowed:.3g} s that were left for it are over: {error.what}",
                help="give the run more time; the core was stopped, and takes the next run",
                region=job.region.name,
            ) from None

    def release(self) -> None:
        """Let other processes load the FPGA."""
        self._thread.close()
        os.close(self._guard)

    def disown(self) -> None:
        """In a child process: the FPGA stays with the parent, which a shared descriptor must not outlive."""
        self.lock = threading.Lock()
        os.close(self._guard)


def _load(bitstream: Path) -> Any:
    try:
        return Overlay(str(bitstream))
    except Exception as error:  # pynq, XRT and the kernel each have their own
        raise RunError(
            where=f"bitstream {bitstream}",
            what=f"pynq cannot load it: {type(error).__name__}: {error}",
            help="check that it is built for this board and that this process is root; "
            "pynq 4 no longer loads overlays on Zynq-7000 boards, install pynq 3.1.2 there",
        ) from error


def _core(overlay: Any, bitstream: Path) -> Any:
    """The driver that pynq bound to the core in a design."""
    names = [name for name, facts in overlay.ip_dict.items() if facts.get("type") == VLNV]
    if len(names) != 1:
        raise RunError(
            where=f"bitstream {bitstream}",
            what=f"its design has {len(names)} cores {VLNV}, not one; it holds {', '.join(sorted(overlay.ip_dict))}",
            help="load a bitstream that one of hw/boards/*/build.tcl made",
        )
    return reduce(getattr, names[0].split("/"), overlay)


def _hold(path: Path) -> int:
    """Take the FPGA for this process; the descriptor that holds it. RunError where another one has it."""
    try:
        guard = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise RunError(where="board", what=f"its lock cannot be opened: {error}", help="run it as root") from None
    try:
        fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(guard)
        raise RunError(
            where="board",
            what="another process runs models on the FPGA",
            help="wait until it has ended, "
            + either("or run on the simulator with --device simulator", "or run on the simulator: device='simulator'"),
        ) from None
    return guard


def _timeout(text: str | None) -> float:
    try:
        seconds = TIMEOUT_SECONDS if text is None else float(text)
    except ValueError:
        seconds = -1.0
    if not seconds > 0:
        raise RunError(where=TIMEOUT_VARIABLE, what=f"'{text}' is no number of seconds", help="give one above 0")
    return seconds


class _Loaded:
    board: Board | None = None
    users = 0

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def forget(self) -> None:
        """In a child process: what was loaded is the parent's, a thread of which may have held the lock."""
        board, self.board, self.users, self.lock = self.board, None, 0, threading.Lock()
        if board is not None:
            board.disown()


_loaded = _Loaded()
os.register_at_fork(after_in_child=_loaded.forget)


def acquire(config: OverlayConfig, where: str) -> Board:
    """The board with the bitstream of a configuration; it is loaded once, for all regions of this process.

    where  how errors name what is to be run

    RunError where the FPGA holds another overlay that open sessions still use. Every call needs one of `give_back`.
    """
    bitstream = find_bitstream(config)
    with _loaded.lock:
        board = _loaded.board
        if board is not None and board.bitstream != bitstream:
            if _loaded.users:
                raise RunError(
                    where=where,
                    what=f"it needs {bitstream}, and an open session uses the FPGA with {board.bitstream}",
                    help="close the other session first",
                )
            board.release()
            board = _loaded.board = None
        if board is None:
            board = _loaded.board = Board(bitstream)
        _loaded.users += 1
    return board


def give_back() -> None:
    """One region fewer uses the board. The overlay stays on the FPGA, so that the next session starts at once."""
    with _loaded.lock:
        _loaded.users = max(_loaded.users - 1, 0)  # in a child process, regions of the parent's end too
