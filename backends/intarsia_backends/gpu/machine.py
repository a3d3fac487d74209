"""What kernels for GPUs are made for: limits that every device must have, so that one text serves all."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GpuMachine:
    """A kind of GPU, as far as kernels depend on it.

    block         threads of a block where every thread makes an element of its own
    shared_bytes  memory that the threads of a block may share
    floats_64     whether there are float64 numbers
    halves        whether float32 numbers lie in memory as float16 between kernels
    tensor_cores  whether the dialect has what `intarsia_backends.gpu.source.intrinsics` tells of
    lanes         numbers in a vector: threads stand for vectors
    fuses_multiply_add, wide_products
                  as lowering asks: the fused multiply-add of float32 rounds once on every GPU; products of 53 bits are
                  made of whole numbers, since float64 is slow or missing
    """

    block: int = 128
    shared_bytes: int = 32 << 10
    floats_64: bool = False
    halves: bool = False
    tensor_cores: bool = False
    lanes: int = 1
    fuses_multiply_add: bool = True
    wide_products: str = "int64"
