"""Which GPU is used, and what it offers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from intarsia.errors import RunError
from intarsia_backends.cuda.driver import Driver

CHOICE = "INTARSIA_CUDA"
"""Environment variable: the number of the GPU, from 0 on, where there are several."""


@dataclass(frozen=True)
class Card:
    """A GPU.

    handle        the driver's
    number        from 0 on, as the driver counts
    capability    its compute capability, such as (8, 6)
    memory_bytes  of the GPU
    shared_bytes  that the threads of a block may share
    """

    handle: Any
    number: int
    name: str
    capability: tuple[int, int]
    memory_bytes: int
    shared_bytes: int

    def __str__(self) -> str:
        return f"GPU {self.number} '{self.name}'"


def find_card() -> Card:
    """The first GPU, or that which INTARSIA_CUDA chooses. RunError where there is no driver, or no such GPU."""
    wish = os.environ.get(CHOICE, "").strip()
    driver = Driver("device 'cuda'")
    driver("cuInit", 0)
    count = int(driver("cuDeviceGetCount"))
    if count == 0:
        raise driver.failure("cuDeviceGetCount", "CUDA_ERROR_NO_DEVICE")
    handles = [driver("cuDeviceGet", number) for number in range(count)]
    number = int(wish) if wish.isascii() and wish.isdigit() and len(wish) < 10 else -1 if wish else 0
    if not 0 <= number < count:
        names = ", ".join(f"{index} '{_name(driver, handle)}'" for index, handle in enumerate(handles))
        raise RunError(
            where="device 'cuda'",
            what=f"{CHOICE} is {wish!r}, and there is no such GPU",
            help=f"give the number of one of these: {names}",
        )
    handle, asked = handles[number], driver.CUdevice_attribute

    def attribute(name: str) -> int:
        return int(driver("cuDeviceGetAttribute", getattr(asked, f"CU_DEVICE_ATTRIBUTE_{name}"), handle))

    return Card(
        handle,
        number,
        _name(driver, handle),
        (attribute("COMPUTE_CAPABILITY_MAJOR"), attribute("COMPUTE_CAPABILITY_MINOR")),
        int(driver("cuDeviceTotalMem", handle)),
        attribute("MAX_SHARED_MEMORY_PER_BLOCK"),
    )


def _name(driver: Driver, handle: Any) -> str:
    name: bytes = driver("cuDeviceGetName", 96, handle)
    return name.split(b"\0")[0].decode("utf-8", "replace").strip()
