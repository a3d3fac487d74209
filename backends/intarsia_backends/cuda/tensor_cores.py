"""What `intarsia_backends.gpu.source.intrinsics` tells of, as inline functions of CUDA C++.

Cards from sm_80 on copy to shared memory by themselves, and multiply 16 x 8 x 32 bytes at once; an sm_75 loads and
stores, and multiplies the same in parts.
"""

from __future__ import annotations

_COPIES = r"""
// Bytes to shared memory, from memory.
__device__ __forceinline__ unsigned int SHARED_PLACE(const void *memory, int place) {
  return (unsigned int)__cvta_generic_to_shared(memory) + place;
}
#if __CUDA_ARCH__ >= 800
#define COPY(BYTES, WAY, KIND) \
  __device__ __forceinline__ void COPY_##BYTES(void *memory, int place, const void *source, bool inside) { \
    asm volatile("cp.async." WAY ".shared.global [%0], [%1], " #BYTES ", %2;" \
                 : : "r"(SHARED_PLACE(memory, place)), "l"(source), "r"(inside ? BYTES : 0) : "memory"); \
  }
#define COPY_COMMIT() asm volatile("cp.async.commit_group;" : : : "memory")
#define COPY_WAIT(GROUPS) asm volatile("cp.async.wait_group %0;" : : "n"(GROUPS) : "memory")
#else
#define COPY(BYTES, WAY, KIND) \
  __device__ __forceinline__ void COPY_##BYTES(void *memory, int place, const void *source, bool inside) { \
    KIND value = {}; \
    if (inside) value = *(const KIND *)source; \
    *(KIND *)((char *)memory + place) = value; \
  }
#define COPY_COMMIT()
#define COPY_WAIT(GROUPS)
#endif
COPY(4, "ca", unsigned int)
COPY(8, "ca", uint2)
COPY(16, "cg", uint4)
__device__ __forceinline__ void PUT_1(void *memory, int place, signed char value) {
  ((signed char *)memory)[place] = value;
}
__device__ __forceinline__ void PUT_2(void *memory, int place, unsigned short value) {
  *(unsigned short *)((char *)memory + place) = value;
}
__device__ __forceinline__ void PUT_4(void *memory, int place, float value) {
  *(float *)((char *)memory + place) = value;
}
"""

_FOURS = r"""
// Four elements at once.
#define FOUR(KIND, VECTOR) \
  __device__ __forceinline__ void FETCH_4(KIND *target, const KIND *source) { \
    VECTOR found = *(const VECTOR *)source; \
    target[0] = found.x, target[1] = found.y, target[2] = found.z, target[3] = found.w; \
  } \
  __device__ __forceinline__ void STORE_4(KIND *target, const KIND *source) { \
    VECTOR made; \
    made.x = source[0], made.y = source[1], made.z = source[2], made.w = source[3]; \
    *(VECTOR *)target = made; \
  }
FOUR(signed char, char4)
FOUR(unsigned char, uchar4)
FOUR(short, short4)
FOUR(unsigned short, ushort4)
FOUR(int, int4)
FOUR(unsigned int, uint4)
FOUR(float, float4)
"""

_MATRICES = r"""
// Small matrices, by all lanes of a warp.
__device__ __forceinline__ void LOAD_MATRIX_4(unsigned int *fragments, const void *memory, int place) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(fragments[0]), "=r"(fragments[1]), "=r"(fragments[2]), "=r"(fragments[3])
               : "r"(SHARED_PLACE(memory, place)) : "memory");
}
__device__ __forceinline__ void LOAD_MATRIX_2(unsigned int *fragments, const void *memory, int place) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(fragments[0]), "=r"(fragments[1]) : "r"(SHARED_PLACE(memory, place)) : "memory");
}
#if __CUDA_ARCH__ >= 800
__device__ __forceinline__ void MULTIPLY_INT8(int *sums, const unsigned int *first, const unsigned int *second) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
      : "r"(first[0]), "r"(first[1]), "r"(first[2]), "r"(first[3]), "r"(second[0]), "r"(second[1]));
}
__device__ __forceinline__ void MULTIPLY_FLOAT16(float *sums, const unsigned int *first, const unsigned int *second) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(first[0]), "r"(first[1]), "r"(first[2]), "r"(first[3]), "r"(second[0]), "r"(second[1]));
}
#else
__device__ __forceinline__ void MULTIPLY_8_8_16(int *sums, unsigned int first, unsigned int second) {
  asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};"
      : "+r"(sums[0]), "+r"(sums[1]) : "r"(first), "r"(second));
}
__device__ __forceinline__ void MULTIPLY_16_8_8(float *sums, const unsigned int *first, unsigned int second) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3]) : "r"(first[0]), "r"(first[1]), "r"(second));
}
#define MULTIPLY_INT8 MULTIPLY_INT8_IN_PARTS
#define MULTIPLY_FLOAT16 MULTIPLY_FLOAT16_IN_PARTS
#define IN_PARTS
#endif
"""

_PARTS = r"""
#ifdef IN_PARTS  // for cards before sm_80, and for who wants to see that parts make the same
__device__ __forceinline__ void MULTIPLY_INT8_IN_PARTS(int *sums, const unsigned int *first,
                                                       const unsigned int *second) {
  for (int half = 0; half < 2; ++half) {
    MULTIPLY_8_8_16(sums, first[2 * half], second[half]);
    MULTIPLY_8_8_16(sums + 2, first[2 * half + 1], second[half]);
  }
}
__device__ __forceinline__ void MULTIPLY_FLOAT16_IN_PARTS(float *sums, const unsigned int *first,
                                                          const unsigned int *second) {
  for (int half = 0; half < 2; ++half) MULTIPLY_16_8_8(sums, first + 2 * half, second[half]);
}
#endif
"""

TENSOR_CORES = f"#ifndef CUDA_ON_CPU{_COPIES}{_FOURS}{_MATRICES}#endif{_PARTS}"
"""Text for a dialect's preamble."""
