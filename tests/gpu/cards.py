"""The driver that tests of the device `cuda` meet: one that pretends, or that of a GPU.

A process has one of them. `pytest -m cuda tests/gpu` meets the GPU of this machine; without that, it is the other.
"""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cuda_regions import compiled
from fake_cuda import FakeDriver, build_driver, header_folder, pretended_images

from intarsia.ir.graph import Graph
from intarsia.runtime.device import LoadedRegion, RegionFiles
from intarsia.targets import Blob
from intarsia_backends.cuda.device import KIND, SOURCE, CudaDevice
from intarsia_backends.cuda.images import MARKS, image_marks
from intarsia_backends.gpu.region import LAUNCHES, WEIGHTS_FILE, with_mark
from side_by_side import region_files


class Cards:
    """What compiles regions for the GPU that is there.

    fake  the driver that pretends; None where a GPU is there
    """

    def __init__(self, fake: FakeDriver | None) -> None:
        self.fake = fake

    def blob(self, graph: Graph, images: tuple[str, ...] = ("sm_80.cubin", "compute_90.ptx")) -> Blob:
        """A region whose nodes are supported as they are, as an artifact holds it."""
        code = compiled(graph)
        if self.fake is None:
            made: Mapping[str, bytes] = compiled_images(code.text)
        else:
            made = pretended_images(code.text, images)
            self.fake.know(made, code.text, code.launches)
        launches = code.launches.to_json()
        files = {SOURCE: with_mark(code.text, launches).encode(), LAUNCHES: launches, WEIGHTS_FILE: code.weights}
        return Blob(KIND, {**files, **made}, {MARKS: image_marks(launches, made)})

    def files(self, graph: Graph, images: tuple[str, ...] = ("sm_80.cubin", "compute_90.ptx")) -> RegionFiles:
        """The same as the runtime hands it to the device."""
        return region_files(graph, self.blob(graph, images))

    def load(self, graph: Graph) -> LoadedRegion:
        """A region, open."""
        return CudaDevice().load(self.files(graph))

    def is_clean(self) -> bool:
        """Whether all that the driver has given was given back; true of a GPU's, which does not tell."""
        return self.fake is None or not self.fake.alive()


def pretending(folder: Path) -> Cards:
    """A driver without a GPU, loaded into this process."""
    if importlib.util.find_spec("cuda") is None or importlib.util.find_spec("cuda.bindings") is None:
        pytest.skip("cuda-bindings is not installed: pip install 'intarsia[cuda]'")
    headers = header_folder()
    if headers is None:
        pytest.skip("cuda.h is not installed: pip install nvidia-cuda-runtime")
    return Cards(FakeDriver(build_driver(folder, headers), folder))


def of_this_machine() -> Cards:
    """The GPU that is here."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        pytest.skip("needs an NVIDIA GPU, and there is no driver of one (libcuda.so.1)")
    count = ctypes.c_int()
    if library.cuInit(0) or library.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        pytest.skip("needs an NVIDIA GPU, and the driver finds none")
    if shutil.which("nvcc") is None:
        pytest.skip("needs nvcc to compile for the GPU of this machine")
    return Cards(None)


def compiled_images(text: str) -> dict[str, bytes]:
    """Machine code for the GPU of this machine, by nvcc, as the compiler's options are."""
    from intarsia_backends.cuda.card import find_card

    major, minor = find_card().capability
    return {f"sm_{major}{minor}.cubin": nvcc(text, f"sm_{major}{minor}")}


def nvcc(text: str, architecture: str) -> bytes:
    """A cubin."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder) / "kernels.cu", Path(folder) / "kernels.cubin"
        source.write_text(text)
        command: list[Any] = ["nvcc", "-cubin", f"-arch={architecture}", "-fmad=false", "-o", made, source]
        subprocess.run(command, check=True, capture_output=True)
        return made.read_bytes()
