// Fibers: the threads of a block take turns on one thread of the processor, each on a stack of its own.
//
// Those of glibc ask the kernel about signals at every switch, which takes a hundred times as long as the switch itself;
// where the processor is an x86-64, eight registers are kept instead.
#pragma once
#include <cstddef>
#include <cstdint>
#include <sys/mman.h>

#if defined(__x86_64__)
// Keeps what a function must keep, notes the top of this stack, and goes on with another one.
asm(R"(
  .text
  .local fiber_switch
  .type fiber_switch, @function
fiber_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size fiber_switch, .-fiber_switch
)");
extern "C" void fiber_switch(void** from, void* to) asm("fiber_switch");

struct Fiber {
  void* top = nullptr;
  void begin(char* stack, size_t size, void (*entry)()) {
    uint64_t* at = (uint64_t*)(((uintptr_t)stack + size) & ~(uintptr_t)15);
    *--at = 0;                // a return address that no one takes; the stack stands at 16 n + 8 then, as after a call
    *--at = (uint64_t)entry;  // where the first switch returns to
    for (int kept = 0; kept < 6; kept++) *--at = 0;
    top = at;
  }
  void go(Fiber& other) { fiber_switch(&top, other.top); }
};
#else
#include <ucontext.h>
struct Fiber {
  ucontext_t context;
  void begin(char* stack, size_t size, void (*entry)()) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = size;
    context.uc_link = nullptr;
    makecontext(&context, entry, 0);
  }
  void go(Fiber& other) { swapcontext(&context, &other.context); }
};
#endif

// Stacks with a page between them that nobody may touch: a kernel that needs more ends there.
inline char* new_stack(size_t size) {
  const size_t page = 4096;
  void* memory = mmap(nullptr, size + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  mprotect((char*)memory + page, size, PROT_READ | PROT_WRITE);
  return (char*)memory + page;
}
