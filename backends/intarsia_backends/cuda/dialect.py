"""CUDA C++, kept to what nvcc, NVRTC and the C++ compiler behind `tests/gpu/cuda_on_cpu` take alike: no headers, no
templates of our own. What a processor lacks stands in the preamble where CUDA_ON_CPU is not defined; who defines it
says those things in another way."""

from __future__ import annotations

import math

from intarsia_backends.cuda.tensor_cores import TENSOR_CORES
from intarsia_backends.gpu.source.dialect import Dialect

_PREAMBLE = """\
#ifndef NAN
#define NAN __int_as_float(0x7fffffff)
#endif
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif
// All else is rounded step by step, as NumPy does: compiled with -fmad=false.
#define MULTIPLY_ADD(a, b, c) __fmaf_rn(a, b, c)
// float16 is bits to us, and the header that has a type for it is not everywhere.
#ifndef CUDA_ON_CPU
__device__ __forceinline__ float half_to_float(unsigned short bits) {
  float number;
  asm("cvt.f32.f16 %0, %1;" : "=f"(number) : "h"(bits));
  return number;
}
__device__ __forceinline__ unsigned short float_to_half(float number) {
  unsigned short bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(number));
  return bits;
}
#endif
"""

_TYPES = {
    "bool": "bool",
    "int8": "signed char",
    "uint8": "unsigned char",
    "int16": "short",
    "uint16": "unsigned short",
    "int32": "int",
    "uint32": "unsigned int",
    "int64": "long long",
    "uint64": "unsigned long long",
    "float32": "float",
    "float64": "double",
}

_REINTERPRET = {
    ("int32", "float32"): "__int_as_float",
    ("uint32", "float32"): "__uint_as_float",
    ("float32", "int32"): "__float_as_int",
    ("float32", "uint32"): "__float_as_uint",
    ("int64", "float64"): "__longlong_as_double",
    ("uint64", "float64"): "__longlong_as_double",
    ("float64", "int64"): "__double_as_longlong",
    ("float64", "uint64"): "(unsigned long long)__double_as_longlong",
    **{
        (start, end): f"({_TYPES[end]})"
        for kinds in (("int32", "uint32"), ("int64", "uint64"))
        for start in kinds
        for end in kinds
    },
}

_RESIDENT = 512
"""Threads for which a processor must have registers at a time: a quarter of those that the largest ones take."""


def _kernel(block: tuple[int, int, int]) -> str:
    threads = math.prod(block)
    return f'extern "C" __global__ void __launch_bounds__({threads}, {max(1, _RESIDENT // threads)})'


CUDA_CPP = Dialect(
    preamble=_PREAMBLE + TENSOR_CORES,
    types=_TYPES,
    kernel=_kernel,
    pointer=lambda kind, only_read, name: f"{'const ' * only_read}{kind} *__restrict__ {name}",
    shared="__shared__ __align__(16)",
    barrier="__syncthreads();",
    block_index={axis: f"(int)blockIdx.{axis}" for axis in "xyz"},
    thread_index={axis: f"(int)threadIdx.{axis}" for axis in "xyz"},
    reinterpret=_REINTERPRET,
    functions={(name, dtype): name for name, dtype in (("half_to_float", "float32"), ("float_to_half", "uint16"))},
    long_suffix="LL",
    extensions={},
)
