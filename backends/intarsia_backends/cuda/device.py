"""The device `cuda`: an NVIDIA GPU, driven by the driver's own bindings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from intarsia.errors import RunError
from intarsia.runtime.device import Device, LoadedRegion, RegionFiles
from intarsia_backends.cuda.card import Card, find_card
from intarsia_backends.cuda.driver import missing
from intarsia_backends.cuda.images import check_images, images_for
from intarsia_backends.cuda.lane import CudaLane
from intarsia_backends.cuda.program import Program
from intarsia_backends.gpu.region import AGAIN, LAUNCHES, WEIGHTS_FILE, GpuRegion, read_region

KIND = "cuda"
SOURCE = "kernels.cu"

_LOADED = Path("/proc/driver/nvidia/version")
"""Is there where the system's part of the driver runs."""


class CudaDevice(Device):
    """The first NVIDIA GPU of this machine, or that which INTARSIA_CUDA numbers."""

    name = "cuda"
    kinds = (KIND,)
    native = True

    def absent(self) -> str | None:
        """Whether the bindings are installed. The driver is asked when a region is loaded, which takes longer."""
        return missing()

    def expected(self) -> bool:
        return _LOADED.exists()

    def lacking(self) -> str | None:
        """Whether there is a driver, and a GPU."""
        try:
            find_card()
        except RunError as error:
            return error.what
        return None

    def unfit(self, region: RegionFiles) -> RunError | None:
        """Whether there is a driver, and a GPU that some code of the region is for."""
        try:
            _images(region, find_card())
        except RunError as error:
            return error
        return None

    def load(self, region: RegionFiles) -> LoadedRegion:
        """Bring kernels and weights to the GPU. RunError where one of them cannot be done."""
        launches, text = read_region(region, SOURCE)
        card = find_card()
        names = _images(region, card)
        check_images(region.files, names, region.metadata, region.files[LAUNCHES], f"region '{region.name}'", AGAIN)
        images = {name: region.files[name] for name in names}
        program = Program(card, region.name, launches, images, region.files[WEIGHTS_FILE])
        open_lane = partial(CudaLane, program, _sizes(region.inputs), _sizes(region.outputs))
        try:
            return GpuRegion(region, launches, text, open_lane, home=(KIND, card.number), closed=program.leave)
        except BaseException:
            with suppress(RunError):  # what went wrong first is told
                program.leave()
            raise


def _images(region: RegionFiles, card: Card) -> list[str]:
    return images_for(region.files, card.capability, str(card), f"region '{region.name}'")


def _sizes(values: Sequence[tuple[str, str, tuple[int, ...]]]) -> list[int]:
    return [math.prod(shape) * np.dtype(dtype).itemsize for _, dtype, shape in values]
