// CUDA C++ as C++: what our kernels use of it, for one thread of the processor.
//
// Blocks run one after the other, the threads of a block as fibers. A thread goes on until it waits: at a barrier, or for
// its warp where the lanes show each other something. Who goes first is the caller's choice, so that a result which
// depends on it, because a barrier is missing, comes out differently. Barriers that some threads never reach, and warps
// whose lanes do not meet, end the launch with a message.
#pragma once
#define CUDA_ON_CPU 1
#include <math.h>
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <type_traits>
#include <vector>
#include "fibers.h"

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static  // of one block at a time
#define __align__(n) __attribute__((aligned(n)))

struct dim3 { unsigned x, y, z; };
struct __attribute__((aligned(8))) uint2 { unsigned x, y; };
struct __attribute__((aligned(16))) uint4 { unsigned x, y, z, w; };
struct __attribute__((aligned(8))) int2 { int x, y; };
struct __attribute__((aligned(16))) int4 { int x, y, z, w; };
struct __attribute__((aligned(8))) float2 { float x, y; };
struct __attribute__((aligned(16))) float4 { float x, y, z, w; };

namespace device {
enum Order { FORWARD = 0, BACKWARD = 1 };  // any other number is the seed of a random order
enum State { READY, AT_BARRIER, IN_WARP, DONE };
constexpr unsigned WARP = 32, MOST = 1024;
constexpr size_t STACK_BYTES = 64 << 10, SLOT_BYTES = 64;

struct Copy { char* to; const char* from; unsigned bytes; bool inside; };
struct Thread { Fiber fiber; State state; dim3 index; unsigned lane, warp; std::vector<std::vector<Copy>> copies; };
inline Thread threads[MOST];
inline Thread* now;
inline Fiber scheduler;
inline dim3 block, grid, shape;
inline char slots[MOST][SLOT_BYTES];  // what the lanes of a warp show each other
inline void (*kernel)(void**);
inline void** arguments;
inline std::string message;

inline void entry() {
  kernel(arguments);
  now->state = DONE;
  now->fiber.go(scheduler);
}
inline void wait(State what) {
  now->state = what;
  now->fiber.go(scheduler);
}

inline bool fail(const char* what, unsigned number) {
  char text[160];
  snprintf(text, sizeof text, "block (%u, %u, %u), thread %u: %s", block.x, block.y, block.z, number, what);
  message = text;
  return false;
}

// Ends the launch from within a thread, which does not go on.
inline bool stopped;
inline void stop(const char* what) {
  stopped = true;
  fail(what, (unsigned)(now - threads));
  wait(AT_BARRIER);
}

// Lets threads first..last go on if all of them have come to what they wait for. False where some never will.
inline bool release(State what, unsigned first, unsigned last, const char* missed) {
  unsigned waiting = 0, done = 0;
  for (unsigned i = first; i < last; i++) waiting += threads[i].state == what, done += threads[i].state == DONE;
  if (!waiting || waiting + done < last - first) return true;
  if (done) return fail(missed, first);
  for (unsigned i = first; i < last; i++) threads[i].state = READY;
  return true;
}

// A warp goes as far as it can without the others: what these should have done before is missing then.
inline bool run_warp(unsigned first, const std::vector<unsigned>& order, std::mt19937* random) {
  unsigned last = std::min((unsigned)order.size(), first + WARP);
  std::vector<unsigned> lanes;
  for (unsigned i : order)
    if (i / WARP * WARP == first) lanes.push_back(i);
  for (bool ran = true; ran;) {
    ran = false;
    if (random) std::shuffle(lanes.begin(), lanes.end(), *random);
    for (unsigned i : lanes) {
      if (threads[i].state != READY) continue;
      ran = true;
      now = &threads[i];
      scheduler.go(now->fiber);
      if (stopped) return false;
    }
    if (!release(IN_WARP, first, last, "its warp waits for lanes that are done")) return false;
  }
  return true;
}

inline bool run_block(std::vector<unsigned>& order, std::mt19937* random) {
  static std::vector<char*> stacks;
  unsigned count = (unsigned)order.size();
  while (stacks.size() < count) stacks.push_back(new_stack(STACK_BYTES));
  for (unsigned i = 0; i < count; i++) {
    threads[i].state = READY;
    threads[i].copies.clear();
    threads[i].fiber.begin(stacks[i], STACK_BYTES, entry);
  }
  for (bool ran = true; ran;) {
    ran = false;
    if (random) std::shuffle(order.begin(), order.end(), *random);
    for (unsigned i : order) {
      if (threads[i].state != READY) continue;
      ran = true;
      if (!run_warp(i / WARP * WARP, order, random)) return false;
    }
    if (!release(AT_BARRIER, 0, count, "a barrier waits for threads that are done")) return false;
  }
  for (unsigned i = 0; i < count; i++)
    if (threads[i].state != DONE) return fail("it waits for ever", i);
  return true;
}

// alone  whether no thread of the kernel ever waits: it needs no fibers then
inline bool launch(void (*what)(void**), void** with, const unsigned* blocks, const unsigned* block_shape, unsigned order,
                   bool alone) {
  stopped = false;
  kernel = what;
  arguments = with;
  grid = {blocks[0], blocks[1], blocks[2]};
  shape = {block_shape[0], block_shape[1], block_shape[2]};
  unsigned count = shape.x * shape.y * shape.z;
  if (!count || count > MOST) return fail("no such shape of a block", count);
  std::vector<unsigned> turns(count);
  for (unsigned i = 0; i < count; i++) {
    turns[i] = order == BACKWARD ? count - 1 - i : i;
    threads[i].index = {i % shape.x, i / shape.x % shape.y, i / shape.x / shape.y};
    threads[i].lane = i % WARP;
    threads[i].warp = i / WARP;
  }
  std::mt19937 random(order);
  std::mt19937* shuffled = order > BACKWARD ? &random : nullptr;
  for (block.z = 0; block.z < grid.z; block.z++)
    for (block.y = 0; block.y < grid.y; block.y++)
      for (block.x = 0; block.x < grid.x; block.x++) {
        if (!alone) {
          if (!run_block(turns, shuffled)) return false;
          continue;
        }
        if (shuffled) std::shuffle(turns.begin(), turns.end(), random);
        for (unsigned i : turns) {
          now = &threads[i];
          kernel(arguments);
        }
      }
  return true;
}
}  // namespace device

#define threadIdx (device::now->index)
#define blockIdx device::block
#define blockDim device::shape
#define gridDim device::grid

inline void __syncthreads() { device::wait(device::AT_BARRIER); }
inline void __syncwarp(unsigned = ~0u) { device::wait(device::IN_WARP); }

// What a lane of this warp shows; all lanes call it together.
template <class T> T shown(const T& value, unsigned lane) {
  static_assert(sizeof(T) <= device::SLOT_BYTES, "");
  memcpy(device::slots[device::now->warp * device::WARP + device::now->lane], &value, sizeof value);
  __syncwarp();
  T found;
  memcpy(&found, device::slots[device::now->warp * device::WARP + lane], sizeof found);
  __syncwarp();
  return found;
}
template <class T> T __shfl_sync(unsigned, T value, int lane, int width = 32) {
  int own = device::now->lane;
  return shown(value, own / width * width + lane % width);
}
template <class T> T __shfl_xor_sync(unsigned, T value, int mask, int = 32) { return shown(value, device::now->lane ^ mask); }
template <class T> T __shfl_down_sync(unsigned, T value, int by, int width = 32) {
  int own = device::now->lane;
  return shown(value, own % width + by < width ? own + by : own);
}
template <class T> T __shfl_up_sync(unsigned, T value, int by, int width = 32) {
  int own = device::now->lane;
  return shown(value, own % width >= by ? own - by : own);
}

inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
template <class To, class From> To same_bits(From value) {
  static_assert(sizeof(To) == sizeof(From), "");
  To result;
  memcpy(&result, &value, sizeof result);
  return result;
}
inline float __int_as_float(int x) { return same_bits<float>(x); }
inline float __uint_as_float(unsigned x) { return same_bits<float>(x); }
inline int __float_as_int(float x) { return same_bits<int>(x); }
inline unsigned __float_as_uint(float x) { return same_bits<unsigned>(x); }
inline double __longlong_as_double(long long x) { return same_bits<double>(x); }
inline long long __double_as_longlong(double x) { return same_bits<long long>(x); }
inline int __dp4a(int a, int b, int c) {
  for (int byte = 0; byte < 32; byte += 8) c += (signed char)(a >> byte) * (signed char)(b >> byte);
  return c;
}
// As CUDA has them: what is narrower than an int is compared as one.
template <class A, class B> std::common_type_t<A, B> max(A a, B b) { return a > b ? a : b; }
template <class A, class B> std::common_type_t<A, B> min(A a, B b) { return a < b ? a : b; }

struct half { _Float16 bits; };
typedef half __half;
inline float __half2float(half x) { return (float)x.bits; }
inline half __float2half_rn(float x) { return {(_Float16)x}; }
inline float half_to_float(unsigned short bits) { return (float)same_bits<_Float16>(bits); }
inline unsigned short float_to_half(float x) { return same_bits<unsigned short>((_Float16)x); }

#include "tensor_cores.h"
