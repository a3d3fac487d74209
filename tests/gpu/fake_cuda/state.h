// What a driver of GPUs knows: contexts, memory of the card and of the host, streams whose work is put off, graphs.
//
// Work is done when somebody waits for it, and not before: who reads without waiting finds old values. Memory of the
// card has addresses that no one can follow, and none is given out twice, so that what was freed is not found again.
#pragma once
#include <cuda.h>

#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace fake {

struct Card {
  int major = 8, minor = 0;
  size_t memory_bytes = size_t(4) << 30, shared_bytes = 48 << 10;
};

struct Context {
  int card = 0, users = 0;
  CUresult broken = CUDA_SUCCESS;  // what every call answers once a kernel has failed
};

struct Memory {
  size_t size_bytes = 0;
  std::vector<uint8_t> bytes;
  Context* context = nullptr;
};

struct Kernel {
  std::string name;
  unsigned threads = 0;
  struct Parameter {
    size_t item_bytes, elements;
    bool written;
  };
  std::vector<Parameter> parameters;
};

typedef int (*Launch)(const char*, const unsigned*, const unsigned*, void**, unsigned);

struct Module {
  Context* context = nullptr;
  void* library = nullptr;
  Launch launch = nullptr;
  const char* (*message)() = nullptr;
  std::map<std::string, std::unique_ptr<struct Function>> functions;
};

struct Function {
  Module* module = nullptr;
  Kernel kernel;
};

typedef std::function<CUresult()> Work;

struct Stream;

struct Marker {  // a place in a stream's work
  Stream* stream;
  bool reached = false;
};

struct Graph {
  Context* context;
  std::vector<Work> work;
};

struct Stream {
  Context* context = nullptr;
  std::deque<Work> waiting;
  std::unique_ptr<Graph> captured;  // what is asked for while it is there is only noted
};

struct Event {
  Context* context = nullptr;
  std::shared_ptr<Marker> marker;
};

struct State {
  std::recursive_mutex lock;
  std::vector<Card> cards{1};
  int driver_version = 13050;
  std::string registry, note, failed;
  int process = 0;  // that has called cuInit
  std::map<int, Context> contexts;
  std::map<CUdeviceptr, Memory> memory;
  std::map<uintptr_t, std::pair<size_t, Context*>> pinned;
  std::map<void*, std::unique_ptr<Module>> modules;
  std::map<void*, std::unique_ptr<Stream>> streams;
  std::map<void*, std::unique_ptr<Event>> events;
  std::map<void*, std::unique_ptr<Graph>> graphs, ready_graphs;
  std::map<std::string, long> calls;
  std::string fail_function;
  long fail_in = 0, fault_in = 0;
  CUresult fail_with = CUDA_SUCCESS, fault_with = CUDA_SUCCESS;
};

inline State* state = new State;  // other threads may still call when the process ends
inline thread_local std::vector<Context*> current;

inline CUresult refused(CUresult error, const std::string& why) {
  state->note = why;
  return error;
}

// The bytes of memory of a card; null where they are not all in one piece that is there.
inline uint8_t* bytes_at(CUdeviceptr address, size_t size_bytes) {
  auto next = state->memory.upper_bound(address);
  if (next == state->memory.begin()) return nullptr;
  auto& [start, memory] = *std::prev(next);
  if (address - start > memory.size_bytes || size_bytes > memory.size_bytes - (address - start)) return nullptr;
  return memory.bytes.data() + (address - start);
}

inline bool is_pinned(const void* place, size_t size_bytes) {
  auto next = state->pinned.upper_bound((uintptr_t)place);
  if (next == state->pinned.begin()) return false;
  auto& [start, owned] = *std::prev(next);
  return (uintptr_t)place - start <= owned.first && size_bytes <= owned.first - ((uintptr_t)place - start);
}

inline CUresult do_one(Stream& stream) {
  Work work = std::move(stream.waiting.front());
  stream.waiting.pop_front();
  Context& context = *stream.context;
  if (context.broken == CUDA_SUCCESS) context.broken = work();
  return context.broken;
}

inline CUresult do_all(Stream& stream) {
  while (!stream.waiting.empty()) do_one(stream);
  return stream.context->broken;
}

// To be done, or noted where the stream is captured.
inline CUresult ask(Stream& stream, Work work) {
  if (stream.captured)
    stream.captured->work.push_back(std::move(work));
  else
    stream.waiting.push_back(std::move(work));
  return CUDA_SUCCESS;
}

template <class Kept> Kept* find(std::map<void*, std::unique_ptr<Kept>>& all, const void* handle) {
  auto found = all.find((void*)handle);
  return found == all.end() ? nullptr : found->second.get();
}

template <class Kept> Kept* add(std::map<void*, std::unique_ptr<Kept>>& all, std::unique_ptr<Kept> made) {
  Kept* handle = made.get();
  all[handle] = std::move(made);
  return handle;
}

}  // namespace fake
