"""What kernels for NVIDIA's GPUs are made for: all cards from sm_75 on."""

from __future__ import annotations

from intarsia_backends.gpu.machine import GpuMachine

CUDA = GpuMachine(shared_bytes=48 << 10, floats_64=True, tensor_cores=True)
