"""How many blocks a multiprocessor holds: by hand, and by the header that comes with CUDA."""

from __future__ import annotations

import ctypes
import itertools
import shutil
import subprocess
from pathlib import Path

import pytest

from intarsia_backends.cuda.toolchain.find import package_folders
from intarsia_backends.cuda.toolchain.multiprocessors import MULTIPROCESSORS, Occupancy, occupancy
from intarsia_backends.cuda.toolchain.resources import Resources

_JUDGE = """
#include <cuda_occupancy.h>
extern "C" int judged(int major, int minor, int warps, int shared, int block_shared, int reserved,
                      int registers, int static_bytes, int threads, int dynamic_bytes) {
  cudaOccDeviceProp device;
  device.computeMajor = major; device.computeMinor = minor;
  device.maxThreadsPerBlock = 1024; device.maxThreadsPerMultiprocessor = 32 * warps;
  device.regsPerBlock = device.regsPerMultiprocessor = 65536;
  device.warpSize = 32; device.numSms = 1;
  device.sharedMemPerBlock = 49152; device.sharedMemPerMultiprocessor = shared;
  device.sharedMemPerBlockOptin = block_shared; device.reservedSharedMemPerBlock = reserved;
  cudaOccFuncAttributes kernel;
  kernel.maxThreadsPerBlock = 1024; kernel.numRegs = registers; kernel.sharedSizeBytes = static_bytes;
  kernel.partitionedGCConfig = PARTITIONED_GC_OFF; kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
  kernel.maxDynamicSharedSizeBytes = block_shared; kernel.numBlockBarriers = 1; kernel.virtualResourceCount = 0;
  cudaOccDeviceState state;
  cudaOccResult result;
  if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &kernel, &state, threads, dynamic_bytes)) return -1;
  return result.activeBlocksPerMultiprocessor;
}
"""


def taken(registers: int, shared_bytes: int = 0) -> Resources:
    return Resources(registers, 0, 0, 0, shared_bytes)


@pytest.mark.parametrize(
    ("capability", "registers", "threads", "shared_bytes", "expected"),
    [
        # 65536 registers, 128 * 256 threads' worth: 4 quarters with 16384 / (64 * 32) = 8 warps each.
        (80, 64, 256, 0, Occupancy(4, 0.5, "registers")),
        (80, 32, 256, 0, Occupancy(8, 1.0, "warps")),
        (80, 16, 32, 0, Occupancy(32, 0.5, "blocks")),
        # 48 KiB and 1 KiB that is reserved: 164 / 49 = 3 blocks.
        (80, 32, 128, 48 << 10, Occupancy(3, 12 / 64, "shared memory")),
        (86, 32, 128, 48 << 10, Occupancy(2, 8 / 48, "shared memory")),
        # Nothing is reserved on Turing: 64 / 16 = 4.
        (75, 32, 128, 16 << 10, Occupancy(4, 0.5, "shared memory")),
        (89, 40, 256, 0, Occupancy(6, 1.0, "warps")),
        # 33 registers are handed out as 40 are: 16384 / 1280 = 12 warps a quarter.
        (90, 33, 128, 0, Occupancy(12, 0.75, "registers")),
        (90, 255, 512, 0, Occupancy(0, 0.0, "registers")),
        (120, 32, 2048, 0, Occupancy(0, 0.0, "warps")),
        (80, 32, 32, 200 << 10, Occupancy(0, 0.0, "shared memory")),
    ],
)
def test_by_hand(capability: int, registers: int, threads: int, shared_bytes: int, expected: Occupancy) -> None:
    assert occupancy(capability, taken(registers, shared_bytes), threads) == expected


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    headers = [folder.parent / "include" for folder in package_folders()]
    headers = [folder for folder in headers if (folder / "cuda_occupancy.h").exists()]
    if not headers or shutil.which("g++") is None:
        pytest.skip("needs nvidia-cuda-runtime, whose header judges, and g++")
    place: Path = tmp_path_factory.mktemp("judge")
    (place / "judge.cpp").write_text(_JUDGE)
    command = ["g++", "-shared", "-fPIC", "-w", f"-I{headers[0]}", "judge.cpp", "-o", "judge.so"]
    subprocess.run(command, cwd=place, check=True)
    return ctypes.CDLL(str(place / "judge.so"))


@pytest.mark.parametrize("capability", MULTIPROCESSORS)
def test_as_the_header_says(capability: int, judge: ctypes.CDLL) -> None:
    room = MULTIPROCESSORS[capability]
    counted = set()
    for registers, threads, static, dynamic in itertools.product(
        (16, 33, 64, 96, 128, 168, 255), (32, 96, 128, 224, 256, 512, 1024), (0, 100, 4096, 49152), (0, 30000, 51000)
    ):
        if static + dynamic > room.block_shared_bytes:
            continue  # the header says that this is wrong, not that there is room for none
        limits = (room.warps, room.shared_bytes, room.block_shared_bytes, room.reserved_bytes)
        wanted = judge.judged(*divmod(capability, 10), *limits, registers, static, threads, dynamic)
        found = occupancy(capability, taken(registers, static), threads, dynamic).blocks
        assert found == wanted, (registers, threads, static, dynamic)
        counted.add(found)
    assert len(counted) > 8, "limits of every kind were met"
