"""The device that runs regions of the overlay on a board's FPGA. NumPy alone until the first region is loaded."""

from __future__ import annotations

import os
import platform
import sys
import time
import warnings
import weakref
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from intarsia.dtypes import Array
from intarsia.errors import RunError
from intarsia.runtime.device import Device, LoadedRegion, RegionFiles, RegionResult
from intarsia_backends.overlay.machine.core_driver import Job
from intarsia_backends.overlay.machine.disassembler import disassemble
from intarsia_backends.overlay.machine.isa import Segment
from intarsia_backends.overlay.machine.parameters import core_parameters
from intarsia_backends.overlay.machine.region import KIND, OverlayRegion, read_region
from intarsia_backends.pynq.design import BITSTREAM_VARIABLE, find_bitstream, no_bitstream

if TYPE_CHECKING:
    from intarsia_backends.pynq.board import Board

FPGA_MANAGER = Path("/sys/class/fpga_manager/fpga0")

BOARD_MACHINES = ("armv7l", "aarch64")

XRT_VARIABLE = "XILINX_XRT"
"""pynq 3.1 and 4.0 look for boards only where it is set, which the images' profiles do and sudo undoes."""

ROOT_SHELL = "sudo -i, then the files of /etc/profile.d that docs/board_guide.md names"


class PynqDevice(Device):
    """The FPGA of a board that runs PYNQ."""

    name = "pynq"
    kinds = (KIND,)
    priority = 100

    def absent(self) -> str | None:
        """Looks at files alone; only where the program has imported pynq itself are its devices asked for."""
        if find_spec("pynq") is None:
            return "the package pynq is not installed" + (f" in this environment ({ROOT_SHELL})" if _is_zynq() else "")
        if not _device_of_pynq():
            if not FPGA_MANAGER.exists():
                return f"this {platform.machine()} machine has no FPGA that Linux can load ({FPGA_MANAGER})"
            if os.geteuid() != 0:
                # sudo itself takes PATH back to the system's Python: -E does not help.
                return f"loading the FPGA needs root: open a root shell with pynq's environment ({ROOT_SHELL})"
            if not os.environ.get(XRT_VARIABLE):
                return f"{XRT_VARIABLE} is not set, and pynq finds no board without it ({ROOT_SHELL})"
        trouble = no_bitstream(platform.machine())
        if trouble is None:
            return None
        return f"{trouble} (set {BITSTREAM_VARIABLE}; docs/board_guide.md says where one comes from)"

    def expected(self) -> bool:
        """On every Zynq, whether or not its FPGA can be used."""
        return _is_zynq() or _device_of_pynq()

    def unfit(self, region: RegionFiles) -> RunError | None:
        """That there is no bitstream of its configuration. Raised is RunError where the region is damaged."""
        config = read_region(region).config
        try:
            find_bitstream(config)
        except RunError as error:
            return error
        return None

    def load(self, region: RegionFiles) -> LoadedRegion:
        """Load the FPGA where that has not been done, and put program and constants into its memory.

        RunError where the region is damaged, no bitstream of its configuration is found, or memory is short.
        """
        described = read_region(region)
        try:
            from intarsia_backends.pynq import board
        except ImportError as error:
            raise RunError(
                where=described.where,
                what=f"pynq cannot be imported: {error}",
                help="run it in the environment of the board's image; pynq 3.1.2 needs pycparser<3 and numpy<2",
            ) from error
        holder = board.acquire(described.config, described.where)
        try:
            return PynqRegion(described, holder, board.give_back)
        except BaseException:
            board.give_back()
            raise


def _is_zynq() -> bool:
    """Whether Linux knows the FPGA of a Zynq, by the name of what loads it: "Xilinx Zynq FPGA Manager", say."""
    try:
        return "zynq" in (FPGA_MANAGER / "name").read_text().lower()
    except OSError:
        return False


def _device_of_pynq() -> bool:
    """Whether the program has imported pynq, and pynq has found a board's FPGA."""
    pynq = sys.modules.get("pynq")
    if pynq is None:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return any(getattr(found, "arch", None) in BOARD_MACHINES for found in pynq.Device.devices)


class PynqRegion(LoadedRegion):
    """A region whose program, constants and working memory lie where the core reads them."""

    def __init__(self, region: OverlayRegion, board: Board, give_back: Any) -> None:
        self._region, self._board = region, board
        with board.lock:
            board.driver.check(region.config, region.where)
        self._program = _filled(board, region.program)
        self._segments = {Segment.CONSTANTS: _filled(board, region.constants)}
        for segment in (Segment.ARENA, Segment.INPUTS, Segment.OUTPUTS):
            host = segment != Segment.ARENA
            self._segments[segment] = board.allocate(region.segments[segment], host=host)
        addresses = {segment: _address(buffer, region) for segment, buffer in self._segments.items()}
        self._job = Job(region, _address(self._program, region), addresses)
        self._finalizer = weakref.finalize(self, give_back)

    def listing(self) -> str:
        """The program, disassembled, with the names of its layers."""
        return disassemble(self._region.program, self._region.config, self._region.tags)

    def run(self, inputs: Sequence[Array]) -> RegionResult:
        """Execute the program on the board, one run at a time; counters are measured."""
        return self._run(inputs, None)

    def run_within(self, inputs: Sequence[Array], seconds: float) -> RegionResult:
        """Run once. RunTimeout where runs in other threads, or this one, take longer; the core is stopped then."""
        return self._run(inputs, seconds)

    def _run(self, inputs: Sequence[Array], seconds: float | None) -> RegionResult:
        image = self._region.pack(inputs)
        with self._board.turn(self._region, seconds) as left:
            if not self._segments:
                raise RunError(where=self._region.where, what="its session is closed", help="load the artifact again")
            given, made = self._segments[Segment.INPUTS], self._segments[Segment.OUTPUTS]
            np.asarray(given)[: image.size] = image
            given.flush()
            start = time.perf_counter()
            figures = self._board.run(self._job, (self._program, *self._segments.values()), left)
            taken = time.perf_counter() - start
            made.invalidate()
            stored = np.array(np.asarray(made)[: self._region.segments[Segment.OUTPUTS]])
        counters = figures.to_counters(self._region.config, self._region.layers)
        return RegionResult(self._region.unpack(stored), {**counters, "seconds": taken})

    def close(self) -> None:
        """Give the memory back. A run in another thread ends first."""
        with self._board.lock:
            self._segments = {}
            self._program = None
        self._finalizer()


def _filled(board: Board, content: bytes) -> Any:
    """Memory with this content, written back so that the core sees it."""
    buffer = board.allocate(len(content), host=False)
    np.asarray(buffer)[: len(content)] = np.frombuffer(content, np.uint8)
    buffer.flush()
    return buffer


def _address(buffer: Any, region: OverlayRegion) -> int:
    """Where the core finds it. RunError where that is beyond the core's addresses: they would wrap."""
    address, bits = int(buffer.device_address), core_parameters(region.config)["AddressBits"]
    assert isinstance(bits, int)
    if address + buffer.nbytes > 1 << bits:
        raise RunError(
            where=region.where,
            what=f"the kernel gave memory at {address:#x}, the core's addresses have {bits} bits",
            help="boot with a cma= area below that limit",
        )
    return address
