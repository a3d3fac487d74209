"""What no GPU could run as it is meant, and is refused when it is compiled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from intarsia.errors import CompileError
from intarsia_backends.cuda.limits import check_blocks, check_resources
from intarsia_backends.cuda.toolchain import nvrtc
from intarsia_backends.cuda.toolchain.build import compile_text
from intarsia_backends.cuda.toolchain.find import VARIABLE, tool
from intarsia_backends.cuda.toolchain.resources import Resources
from intarsia_backends.cuda.toolchain.sass import Code, Codes
from intarsia_backends.gpu.launches import KernelFacts

KERNEL = KernelFacts("conv_3", (), (10, 1, 1), (256, 1, 1), 0)
TAKEN = Resources(64, 0, 0, 0, 0)
UNKNOWN = Codes(None, {})


class Told(Codes):
    """What one kernel's hot loop has."""

    def __init__(self, **loop: int) -> None:
        super().__init__("nvdisasm", {})
        self._found = {"sm_80": {"conv_3": Code(loop, loop)}}


@pytest.mark.parametrize(
    ("kernel", "told"),
    [
        (replace(KERNEL, shared_bytes=49153), "its blocks share 49153 bytes, and every GPU has 49152"),
        (replace(KERNEL, block=(33, 32, 1)), "its blocks have 1056 threads, at most 1024"),
    ],
)
def test_blocks_that_are_too_large(kernel: KernelFacts, told: str) -> None:
    check_blocks([KERNEL, replace(KERNEL, shared_bytes=49152)])
    with pytest.raises(CompileError, match="kernel 'conv_3'") as caught:
        check_blocks([KERNEL, kernel])
    assert told in caught.value.what and "please report it" in (caught.value.help or "")


@pytest.mark.parametrize(
    ("taken", "threads", "told"),
    [
        (replace(TAKEN, registers=80), 1024, "1024 threads take 80 registers for each thread, and there are 65536"),
        (replace(TAKEN, shared_bytes=102000), 256, "256 threads share 102000 bytes, and there are 101376 for one"),
    ],
)
def test_blocks_that_fit_no_multiprocessor(taken: Resources, threads: int, told: str) -> None:
    kernel = replace(KERNEL, block=(threads, 1, 1))
    with pytest.raises(CompileError, match="kernel 'conv_3' for sm_86") as caught:
        check_resources({"sm_90": {"conv_3": TAKEN}, "sm_86": {"conv_3": taken}}, UNKNOWN, [kernel], ())
    assert told in caught.value.what


def test_spills_in_the_hot_loop_of_what_multiplies() -> None:
    resources = {"sm_80": {"conv_3": replace(TAKEN, spill_store_bytes=40, spill_load_bytes=80)}}
    few = Told(IMMA=98, LDL=1, STL=1)
    for codes, multiplying in ((Told(IMMA=8, LDL=2), ()), (few, ("conv_3",)), (UNKNOWN, ("conv_3",))):
        check_resources(resources, codes, [KERNEL], multiplying)
    check_resources({"sm_80": {"conv_3": TAKEN}}, Told(IMMA=8, LDL=2), [KERNEL], ("conv_3",))
    with pytest.raises(CompileError, match="kernel 'conv_3' for sm_80") as caught:
        check_resources(resources, Told(IMMA=8, LDL=2, STL=1), [KERNEL], ("conv_3",))
    assert "27% of the instructions of its hot loop move registers to memory and back" in caught.value.what


_SPILLING = """
extern "C" __global__ void __launch_bounds__(1024) conv_3(const float *a, float *b) {
  float r[80];
#pragma unroll
  for (int i = 0; i < 80; ++i) r[i] = a[i * 1024 + threadIdx.x];
#pragma unroll 1
  for (int k = 0; k < 100; ++k) {
    const float x = a[k];
#pragma unroll
    for (int i = 0; i < 80; ++i) r[i] = __fmaf_rn(x, a[k * 80 + i], r[i]);
  }
#pragma unroll
  for (int i = 0; i < 80; ++i) b[i * 1024 + threadIdx.x] = r[i];
}
"""


def test_a_kernel_that_spills_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """80 sums of each of 1024 threads, who have 64 registers each."""
    program = tool("nvdisasm")
    if nvrtc.absent() or program is None:
        pytest.skip(nvrtc.absent() or "needs nvdisasm")
    monkeypatch.setenv("INTARSIA_CACHE", str(tmp_path))
    monkeypatch.setenv(VARIABLE, "nvrtc")
    made = compile_text(_SPILLING, ("sm_80",))
    kernel = replace(KERNEL, block=(1024, 1, 1))
    with pytest.raises(CompileError, match="kernel 'conv_3' for sm_80") as caught:
        check_resources(made.resources, Codes(program, made.files), [kernel], ("conv_3",))
    assert "no more than 64" in caught.value.what
