"""A driver of NVIDIA's without a GPU: a shared object with the functions that the device `cuda` calls.

It keeps memory of host and card apart, looks at all arguments, does work when somebody waits for it and not before,
counts what is not given back, and fails on demand. Kernels run on the processor, by `cuda_on_cpu`.
"""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import struct
import subprocess
import zlib
from collections.abc import Mapping
from pathlib import Path

from cuda_on_cpu import build

from intarsia_backends.gpu.launches import Launches

HERE = Path(__file__).resolve().parent

OUT_OF_MEMORY, NO_DEVICE, SYSTEM_NOT_READY, NOT_FOUND, UNKNOWN = 2, 100, 802, 500, 999
ILLEGAL_ADDRESS, LAUNCH_FAILED = 700, 719
"""Errors, as cuda.h numbers them."""


def header_folder() -> Path | None:
    """Where cuda.h is: in the wheel nvidia-cuda-runtime, or in a toolkit beside nvcc."""
    found = importlib.util.find_spec("nvidia")
    places = [Path(place) for place in (found.submodule_search_locations or ())] if found else []
    tool = shutil.which("nvcc")
    toolkits = [Path(tool).resolve().parents[1]] if tool else []
    headers = [*(path for place in places for path in place.glob("cu*/include/cuda.h"))]
    headers += [toolkit / "include" / "cuda.h" for toolkit in [*toolkits, Path("/usr/local/cuda")]]
    return next((path.parent for path in headers if path.exists()), None)


def build_driver(folder: Path, headers: Path) -> Path:
    """The shared object, under the name that programs look for."""
    path = folder / "libcuda.so.1"
    flags = ["-std=c++17", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", f"-I{headers}", f"-Wl,-soname,{path.name}"]
    done = subprocess.run(
        ["c++", *flags, "-o", str(path), str(HERE / "driver.cpp"), "-ldl"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[:4000]
    return path


class FakeDriver:
    """The library, loaded into this process before anybody looks for the real one, and what tests tell and ask it.

    folder  where it looks for what images do
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self.folder = folder
        self._library = ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
        for name in ("fake_cuda_alive", "fake_cuda_failed", "fake_cuda_note"):
            getattr(self._library, name).restype = ctypes.c_char_p
        self._library.fake_cuda_calls.restype = ctypes.c_long
        self._library.fake_cuda_registry(str(folder).encode())

    def reset(self) -> None:
        """As if the process had just begun, with one card."""
        self._library.fake_cuda_reset()

    def configure(self, **numbers: int) -> None:
        """cards, capability (80 for 8.0), memory_bytes, shared_bytes of each, and the driver's version (13050)."""
        for name, number in numbers.items():
            self._library.fake_cuda_configure(name.encode(), ctypes.c_longlong(number))

    def fail(self, function: str = "*", nth: int = 1, error: int = UNKNOWN) -> None:
        """The n-th call from now on of a function, or of any, fails and does nothing."""
        self._library.fake_cuda_fail(function.encode(), ctypes.c_long(nth), error)

    def fault(self, nth: int = 1, error: int = ILLEGAL_ADDRESS) -> None:
        """The n-th kernel from now on ends in the middle, and its context with it."""
        self._library.fake_cuda_fault(ctypes.c_long(nth), error)

    def no_fault(self) -> None:
        """Nothing fails any more."""
        self.fail(nth=0)
        self.fault(nth=0)

    def calls(self, function: str = "*") -> int:
        """How often a function was called, or any."""
        return int(self._library.fake_cuda_calls(function.encode()))

    @property
    def note(self) -> str:
        """Why it last refused something."""
        note: bytes = self._library.fake_cuda_note()
        return note.decode()

    @property
    def failed(self) -> str:
        """The function that failed on demand; "" where none has."""
        name: bytes = self._library.fake_cuda_failed()
        return name.decode()

    def alive(self) -> dict[str, int]:
        """What has not been given back, by kind."""
        told: bytes = self._library.fake_cuda_alive()
        rows = (line.rpartition(" ") for line in told.decode().splitlines())
        return {kind: int(count) for kind, _, count in rows if int(count)}

    def know(self, images: Mapping[str, bytes], text: str, launches: Launches) -> None:
        """What images do: the kernels of a text, as these launches say of them."""
        library = build(text, self.folder)
        rows = [
            " ".join(
                [
                    kernel.name,
                    str(kernel.block[0] * kernel.block[1] * kernel.block[2]),
                    str(len(kernel.parameters)),
                    *(
                        f"{each.size_bytes // max(1, each.elements)} {each.elements} {int(each.written)}"
                        for each in kernel.parameters
                    ),
                ]
            )
            for kernel in launches.kernels
        ]
        for name, image in images.items():
            kind, number = name.partition(".")[0].split("_")
            key = f"{zlib.crc32(image):08x}-{len(image)}"
            self.folder.joinpath(f"{key}.kernels").write_text("\n".join([f"{kind} {number}", *rows]) + "\n")
            self.folder.joinpath(f"{key}.so").unlink(missing_ok=True)
            self.folder.joinpath(f"{key}.so").symlink_to(library)


def pretended_images(text: str, names: tuple[str, ...] = ("sm_80.cubin", "compute_90.ptx")) -> dict[str, bytes]:
    """Files that look as a compiler's do, for who has none. Each has other bytes, as the text has."""
    return {name: _cubin(name, text) if name.endswith("cubin") else _ptx(name, text) for name in names}


def _cubin(name: str, text: str) -> bytes:
    """The header of an ELF file for a GPU (machine 190) whose table of sections, at its end, is empty."""
    rest = f"{name} {zlib.crc32(text.encode())} {len(text)}".encode()
    header = struct.pack(
        "<4sBBBBB7xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 0x33, 7, 2, 190, 1, 0, 0, 64 + len(rest), 0, 64, 56, 0, 64, 0, 0
    )
    return header + rest


def _ptx(name: str, text: str) -> bytes:
    number = name.partition(".")[0].partition("_")[2]
    rest = f"// {zlib.crc32(text.encode())} {len(text)}"
    return f".version 9.0\n.target sm_{number}\n.address_size 64\n{rest}\n".encode()
