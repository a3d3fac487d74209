"""OpenCL C, kept to what all compilers of it take, clspv's for Vulkan included: no pointers to pointers, no recursion,
no functions of our own, arrays of known size, blocks of known size."""

from __future__ import annotations

from intarsia_backends.gpu.source.dialect import Dialect

_PREAMBLE = """\
// Products and sums are rounded each, as NumPy does, save where a kernel asks for both at once.
#pragma OPENCL FP_CONTRACT OFF
#ifdef FP_FAST_FMAF
#define MULTIPLY_ADD(a, b, c) fma(a, b, c)
#else
#define MULTIPLY_ADD(a, b, c) ((a) * (b) + (c))
#endif
"""

_TYPES = {
    "bool": "bool",
    "int8": "char",
    "uint8": "uchar",
    "int16": "short",
    "uint16": "ushort",
    "int32": "int",
    "uint32": "uint",
    "int64": "long",
    "uint64": "ulong",
    "float32": "float",
    "float64": "double",
}

_SAME_SIZE = (("int32", "uint32", "float32"), ("int64", "uint64", "float64"))

_SPACES = {"global": "__global ", "shared": "__local ", "own": ""}

OPENCL_C = Dialect(
    preamble=_PREAMBLE,
    types=_TYPES,
    kernel=lambda block: "__kernel __attribute__((reqd_work_group_size({}, {}, {}))) void".format(*block),
    pointer=lambda kind, only_read, name: f"__global {'const ' * only_read}{kind} *restrict {name}",
    shared="__local",
    barrier="barrier(CLK_LOCAL_MEM_FENCE);",
    block_index={axis: f"(int)get_group_id({number})" for number, axis in enumerate("xyz")},
    thread_index={axis: f"(int)get_local_id({number})" for number, axis in enumerate("xyz")},
    reinterpret={(start, end): f"as_{_TYPES[end]}" for kinds in _SAME_SIZE for start in kinds for end in kinds},
    functions={},
    long_suffix="L",
    extensions={"float64": "cl_khr_fp64"},
    # Pointers to half are in OpenCL 1.2 itself, numbers of that type in cl_khr_fp16 alone.
    load_half=lambda memory, array, index: f"vload_half({index}, (const {_SPACES[memory]}half *){array})",
    store_half=lambda memory, array, index, value: (
        f"vstore_half_rte({value}, {index}, ({_SPACES[memory]}half *){array});"
    ),
)
