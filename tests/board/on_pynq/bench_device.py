"""A pynq device whose hardware is a core on this machine. pynq's own Overlay, DefaultIP, MMIO, allocate and Interrupt
run on it unchanged.

What the processor sees of memory and what the core sees are two arrays. They meet where the driver flushes and
invalidates, and nowhere else: a forgotten flush gives the core stale bytes, as on a board whose ports are not coherent.
"""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import pynq
from fixture_hwh import CONTROLLER_SPAN, CORE_SPAN, PROCESSORS
from pynq.buffer import PynqBuffer
from pynq.pl_server.device import Device
from pynq.pl_server.embedded_device import DEFAULT_XCLBIN, _unify_dictionaries
from pynq.pl_server.xclbin_parser import XclBin
from pynq.ps import Clocks
from pynqmetadata.frontends import Metadata

from intarsia_backends.overlay.machine import registers

try:
    from pynq.metadata.runtime_metadata_parser import RuntimeMetadataParser
except ImportError:  # pynq 4
    from pynqmetadata.views.runtime import RuntimeMetadataParser

PYNQ_MAJOR = int(pynq.__version__.split(".")[0])

DRAM_BASE = 0x1000_0000
DRAM_BYTES = 16 << 20
PAGE_BYTES = 4096

MACHINES = {"pynq-z2": "armv7l", "kv260": "aarch64"}

ZYNQ_CLOCKS = {0xF8000100: 0x28000, 0xF8000104: 0x20000, 0xF8000108: 0x1E000, 0xF8000120: 0x1F000200}
ZYNQ_CLOCKS |= {0xF8000170 + 0x10 * index: 0x00400400 for index in range(4)}
ULTRASCALE_CLOCKS = {0xFF5E0020 + 4 * index: 0x00014800 for index in range(0, 12)}
ULTRASCALE_CLOCKS |= {0xFF5E00C0 + 4 * index: 0x01010A00 for index in range(4)}


class Core(Protocol):
    """What stands behind the registers."""

    def read(self, offset: int) -> int: ...
    def write(self, offset: int, value: int) -> None: ...
    def advance(self) -> None:
        """Let time pass."""

    @property
    def interrupt(self) -> bool: ...


class Controller:
    """Xilinx's AXI interrupt controller with one input, as far as pynq drives it."""

    def __init__(self) -> None:
        self.pending = self.enabled = self.master = 0

    def write(self, offset: int, value: int) -> None:
        if offset == 0x08:
            self.enabled = value
        elif offset == 0x0C:
            self.pending &= ~value
        elif offset == 0x10:
            self.enabled |= value
        elif offset == 0x14:
            self.enabled &= ~value
        elif offset == 0x1C:
            self.master = value

    def read(self, offset: int) -> int:
        return {0x00: self.pending, 0x04: self.pending & self.enabled, 0x08: self.enabled}.get(offset, 0)

    def output(self, line: bool) -> bool:
        self.pending |= int(line)
        return bool(self.master & 1 and self.pending & self.enabled)


class BenchMemory:
    """Contiguous memory, page by page; what is given back is poisoned."""

    def __init__(self, device: BenchDevice) -> None:
        self.device = device
        self.live: dict[int, int] = {}

    def allocate(self, shape: Any, dtype: Any, cacheable: int = 0) -> PynqBuffer:
        size_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        span = -(-size_bytes // PAGE_BYTES) * PAGE_BYTES
        address = DRAM_BASE
        for start in sorted(self.live):
            if start - address >= span:
                break
            address = start + self.live[start]
        if address + span > DRAM_BASE + DRAM_BYTES:
            raise RuntimeError("Allocate failed: 4294967295")  # what XRT's failure becomes
        self.live[address] = span
        place = address - DRAM_BASE
        self.device.host[place : place + span] = 0  # by the kernel, through the cache: dirty
        buffer = PynqBuffer(
            shape,
            dtype,
            device=self.device,
            device_address=address,
            bo=address,
            coherent=False,
            buffer=self.device.host.data,
            offset=place,
        )
        buffer.memory, buffer.pointer, buffer.return_to = self, address, self
        return buffer

    def return_pointer(self, address: int) -> None:
        place = address - DRAM_BASE
        span = self.live.pop(address)
        for memory in (self.device.host, self.device.synced, self.device.dram):
            memory[place : place + span] = 0xEE


class BenchDevice(Device):  # type: ignore[misc]
    """See the file.

    host          memory through the processor's cache
    dram          memory as the core reads and writes it
    evicts_late   True: lines that the processor has dirtied are written back when a program ends, as a cache may
    """

    _probe_priority_ = 900  # after every real device

    @classmethod
    def _probe_(cls) -> list[Device]:
        return [bench]

    def __init__(self) -> None:
        super().__init__("bench0")
        self.name = "bench"
        self.capabilities = {"REGISTER_RW": True}
        self.dram = np.full(DRAM_BYTES, 0xA5, np.uint8)
        self.host = self.dram.copy()
        self.synced = self.dram.copy()
        self.evicts_late = False
        self.started = False
        self.default_memory = BenchMemory(self)
        self.core: Core | None = None
        self.controller = Controller()
        self.downloads: list[str] = []
        self.be("pynq-z2")

    def be(self, board: str) -> None:
        """Take the processor of a board."""
        self.arch = MACHINES[board]
        self.core_base, self.controller_base = PROCESSORS[board].core_base, PROCESSORS[board].controller_base
        if hasattr(Clocks, "_real_instance"):
            del Clocks._real_instance  # pynq keeps the clocks of the first board that it saw
        self.system = dict(ZYNQ_CLOCKS if board == "pynq-z2" else ULTRASCALE_CLOCKS)

    # ---- registers

    def _place(self, address: int) -> tuple[str, int]:
        """What answers at an address, and the offset in it."""
        for name, base, span in (
            ("core", self.core_base, CORE_SPAN),
            ("controller", self.controller_base, CONTROLLER_SPAN),
        ):
            if base <= address < base + span:
                return name, address - base
        return "processor", address

    def read_registers(self, address: int, length: int) -> bytes:
        place, offset = self._place(address)
        if place == "core":
            assert self.core is not None
            value = self.core.read(offset)
            ended = offset == registers.STATUS.offset and not value & registers.STATUS.mask("running")
            if self.started and ended:
                self.started = False
                if self.evicts_late:
                    self._evict()
        elif place == "controller":
            self.interrupt  # noqa: B018 (its inputs are looked at)
            value = self.controller.read(offset)
        else:
            value = self.system.get(offset, 0)
        return value.to_bytes(4, "little")[:length]

    def write_registers(self, address: int, data: Any) -> None:
        content = bytes(data)
        for at in range(0, len(content), 4):
            self._write(*self._place(address + at), int.from_bytes(content[at : at + 4], "little"))

    def _write(self, place: str, offset: int, value: int) -> None:
        if place == "core":
            assert self.core is not None
            self.core.write(offset, value)
            if offset == registers.CONTROL.offset:
                self.started = bool(value & registers.CONTROL.mask("start"))
        elif place == "controller":
            self.controller.write(offset, value)
        else:
            self.system[offset] = value

    @property
    def interrupt(self) -> bool:
        """The line from the interrupt controller to the processor."""
        return self.controller.output(self.core is not None and self.core.interrupt)

    # ---- memory

    def flush(self, bo: int, offset: int, virtual_address: int, size_bytes: int) -> None:
        place = bo + offset - DRAM_BASE
        for memory in (self.dram, self.synced):
            memory[place : place + size_bytes] = self.host[place : place + size_bytes]

    def invalidate(self, bo: int, offset: int, virtual_address: int, size_bytes: int) -> None:
        place = bo + offset - DRAM_BASE
        for memory in (self.host, self.synced):
            memory[place : place + size_bytes] = self.dram[place : place + size_bytes]

    def _evict(self) -> None:
        dirty = self.host != self.synced
        self.dram[dirty] = self.synced[dirty] = self.host[dirty]

    # ---- bitstreams

    def get_bitfile_metadata(self, path: str, partial: bool = False) -> Any:
        parser = RuntimeMetadataParser(Metadata(input=os.path.splitext(path)[0] + ".hwh"))
        _unify_dictionaries(parser, XclBin(xclbin_data=DEFAULT_XCLBIN))
        parser.refresh_hierarchy_dict()
        return parser

    def gen_cache(self, *ignored: Any) -> None:
        pass

    def download(self, bitstream: Any, parser: Any = None) -> None:
        self.downloads.append(bitstream.bitfile_name)
        self.post_download(bitstream, parser, self.name)


class Uio:
    """The kernel's UIO device of the interrupt line: one event for each time that it is armed."""

    def __init__(self, line: Callable[[], bool]) -> None:
        self.line = line

    def add_event(self, event: Any, number: int) -> None:
        loop = asyncio.get_running_loop()

        def look() -> None:
            if self.line():
                event.set()
            else:
                loop.call_later(0.001, look)

        loop.call_soon(look)


bench = BenchDevice()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    Device.active_device = bench
