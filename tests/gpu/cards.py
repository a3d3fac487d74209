"""The driver that tests of the device `cuda` meet: one that pretends, or that of a GPU.

A process has one of them. `pytest -m cuda tests/gpu` meets the GPU of this machine; without that, it is the other.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Mapping
from pathlib import Path

import pytest
from cuda_regions import compiled
from fake_cuda import FakeDriver, build_driver, header_folder, pretended_images

from intarsia.artifact import Artifact
from intarsia.errors import CompileError
from intarsia.ir.graph import Graph
from intarsia.runtime.device import LoadedRegion, RegionFiles
from intarsia.targets import Blob
from intarsia_backends.cuda.card import find_card
from intarsia_backends.cuda.device import KIND, SOURCE, CudaDevice
from intarsia_backends.cuda.images import MARKS, image_marks, is_image
from intarsia_backends.cuda.toolchain.build import compile_text
from intarsia_backends.cuda.toolchain.find import find_compiler
from intarsia_backends.gpu.launches import read_launches
from intarsia_backends.gpu.region import LAUNCHES
from intarsia_backends.gpu.target import files_of
from side_by_side import region_files


class Cards:
    """What compiles regions for the GPU that is there.

    fake  the driver that pretends; None where a GPU is there
    """

    def __init__(self, fake: FakeDriver | None) -> None:
        self.fake = fake

    @property
    def target(self) -> str:
        """For which models are compiled."""
        return "cuda" if self.fake is None else "cuda{arch=sm_80}"

    def blob(self, graph: Graph, images: tuple[str, ...] = ("sm_80.cubin", "compute_90.ptx")) -> Blob:
        """A region whose nodes are supported as they are, as an artifact holds it."""
        code = compiled(graph)
        if self.fake is None:
            made: Mapping[str, bytes] = compiled_images(code.text)
        else:
            made = pretended_images(code.text, images)
            self.fake.know(made, code.text, code.launches)
        files = files_of(code, SOURCE)
        return Blob(KIND, {**files, **made}, {MARKS: image_marks(files[LAUNCHES], made)})

    def files(self, graph: Graph, images: tuple[str, ...] = ("sm_80.cubin", "compute_90.ptx")) -> RegionFiles:
        """The same as the runtime hands it to the device."""
        return region_files(graph, self.blob(graph, images))

    def load(self, graph: Graph) -> LoadedRegion:
        """A region, open."""
        return CudaDevice().load(self.files(graph))

    def know(self, artifact: Artifact) -> None:
        """What the machine code in an artifact does, for the driver that pretends."""
        if self.fake is None:
            return
        for region in artifact.contents.regions:
            if region.kind == KIND:
                files = {name: artifact.files[region.path(name)] for name in region.files}
                text = files[SOURCE].decode().partition("\n")[2]
                inputs, outputs = (
                    [(item.name, item.dtype, tuple(size or 0 for size in item.shape or ())) for item in items]
                    for items in (region.inputs, region.outputs)
                )
                launches = read_launches(files[LAUNCHES], region.name, inputs, outputs)
                self.fake.know({name: files[name] for name in files if is_image(name)}, text, launches)

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
    return Cards(None)


def needs_compiler() -> None:
    """Skips a test where CUDA's compiler is not here."""
    try:
        find_compiler(("sm_80",))
    except CompileError as error:
        pytest.skip(f"CUDA's compiler is not installed: {error.what}")


def compiled_images(text: str) -> Mapping[str, bytes]:
    """Machine code for the GPU of this machine."""
    major, minor = find_card().capability
    return compile_text(text, (f"sm_{major}{minor}",)).files
