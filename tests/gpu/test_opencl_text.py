"""OpenCL C as clspv takes it, which makes SPIR-V for Vulkan of it: a way to GPUs whose makers have no OpenCL."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from gpu_kernels import chain, every_kind, functions

from intarsia_backends.gpu.compiler import compile_region
from intarsia_backends.gpu.emit.generate import generate
from intarsia_backends.gpu.machine import GpuMachine
from intarsia_backends.lowering.kernel import Kernel
from intarsia_backends.opencl.dialect import OPENCL_C

pyclspv = pytest.importorskip("pyclspv", reason="needs the package pyclspv: pip install '.[dev]' on an x86-64 Linux")

MACHINE = GpuMachine()
_SPIRV = b"\x03\x02\x23\x07"


def _alone(text: str) -> list[str]:
    """The kernels of a text, each as a text of its own, so that a refusal names one."""
    head, *kernels = re.split(r"(?=^__kernel)", text, flags=re.MULTILINE)
    return [head + kernel for kernel in kernels]


def _functions() -> str:
    """Functions of expressions; Vulkan has float64 where the device says so, and clspv takes none of its functions."""
    names: dict[Kernel, str] = {kernel: f"function_{number}" for number, kernel in enumerate(functions())}
    made = generate(names, GpuMachine(floats_64=True), OPENCL_C).values()
    return OPENCL_C.preamble + "\n".join(source.text for source in made if "double" not in source.text)


def test_clspv_takes_every_kernel() -> None:
    regions = ((every_kind(), MACHINE), (chain(), replace(MACHINE, halves=True)))
    texts = _alone(_functions())
    for kinds, machine in regions:
        texts += _alone(compile_region(kinds.graph, machine, OPENCL_C).text)
    assert len(texts) > 300
    for text in texts:
        assert pyclspv.compile(text)[:4] == _SPIRV, text


def test_clspv_refuses_what_it_does_not_take(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError):
        pyclspv.compile("__kernel void f(__global int **x) { x[0][0] = 1; }\n")
    assert "pointer" in "".join(capfd.readouterr())
