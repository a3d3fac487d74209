// The driver's library, as far as the device `cuda` calls it, without a GPU: see state.h and kernels.h. Every call looks
// at its arguments. Signatures are those of cuda.h, which the compiler compares.
#include <sys/mman.h>
#include <unistd.h>

#include "kernels.h"

using namespace fake;

namespace {

constexpr size_t SPACE_BYTES = size_t(1) << 38;  // of addresses alone

// As C programs call it: cuda.h gives later forms of a function names of their own.
std::string plain(std::string name) {
  for (const char* end : {"_v2", "WithFlags"})
    if (name.size() > strlen(end) && !name.compare(name.size() - strlen(end), strlen(end), end))
      name.resize(name.size() - strlen(end));
  return name;
}

CUresult begin(const char* function, bool initialized = true) {
  std::string name = plain(function);
  state->calls[name]++;
  state->calls["*"]++;
  if (state->fail_in && (state->fail_function == "*" || state->fail_function == name) && --state->fail_in == 0) {
    state->failed = name;
    return state->fail_with;
  }
  if (state->process && state->process != getpid()) return refused(CUDA_ERROR_NOT_INITIALIZED, "in a forked process");
  if (initialized && !state->process) return refused(CUDA_ERROR_NOT_INITIALIZED, "before cuInit");
  return CUDA_SUCCESS;
}

#define BEGIN(...)                                    \
  std::lock_guard<std::recursive_mutex> held(state->lock); \
  if (CUresult error = begin(__VA_ARGS__)) return error

#define CHECK(condition, error) \
  if (!(condition)) return refused(error, std::string(__func__) + ": " #condition)

// The context of this thread, alive.
#define IN_CONTEXT()                                                               \
  BEGIN(__func__);                                                                 \
  CHECK(!current.empty() && current.back()->users, CUDA_ERROR_INVALID_CONTEXT);    \
  Context* context = current.back();                                               \
  if (context->broken) return context->broken

#define STREAM(handle)                                        \
  Stream* stream = find(state->streams, handle);              \
  CHECK(stream, CUDA_ERROR_INVALID_HANDLE);                   \
  CHECK(stream->context == context, CUDA_ERROR_INVALID_CONTEXT)

bool is_card(CUdevice number) { return number >= 0 && number < (int)state->cards.size(); }

CUresult destroyed(Context* context) {
  for (auto& [handle, stream] : state->streams) if (stream->context == context) stream->waiting.clear();
  auto sweep = [&](auto& all) {
    for (auto each = all.begin(); each != all.end();)
      each = each->second->context == context ? all.erase(each) : std::next(each);
  };
  sweep(state->graphs), sweep(state->ready_graphs), sweep(state->streams), sweep(state->events), sweep(state->modules);
  for (auto each = state->memory.begin(); each != state->memory.end();)
    each = each->second.context == context ? state->memory.erase(each) : std::next(each);
  for (auto each = state->pinned.begin(); each != state->pinned.end();) {
    if (each->second.second != context) { ++each; continue; }
    free((void*)each->first);
    each = state->pinned.erase(each);
  }
  context->broken = CUDA_SUCCESS;
  return CUDA_SUCCESS;
}

}  // namespace

extern "C" {

CUresult CUDAAPI cuInit(unsigned flags) {
  BEGIN(__func__, false);
  CHECK(flags == 0, CUDA_ERROR_INVALID_VALUE);
  if (state->cards.empty()) return CUDA_ERROR_NO_DEVICE;
  state->process = getpid();
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDriverGetVersion(int* version) {
  BEGIN(__func__, false);
  *version = state->driver_version;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceGetCount(int* count) {
  BEGIN(__func__);
  *count = (int)state->cards.size();
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceGet(CUdevice* device, int ordinal) {
  BEGIN(__func__);
  CHECK(is_card(ordinal), CUDA_ERROR_INVALID_DEVICE);
  *device = ordinal;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceGetName(char* name, int length, CUdevice device) {
  BEGIN(__func__);
  CHECK(is_card(device), CUDA_ERROR_INVALID_DEVICE);
  snprintf(name, length, "Pretender %c", 'A' + device);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceTotalMem(size_t* bytes, CUdevice device) {
  BEGIN(__func__);
  CHECK(is_card(device), CUDA_ERROR_INVALID_DEVICE);
  *bytes = state->cards[device].memory_bytes;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
  BEGIN(__func__);
  CHECK(is_card(device), CUDA_ERROR_INVALID_DEVICE);
  const Card& card = state->cards[device];
  switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = card.major; return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = card.minor; return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK: *value = (int)card.shared_bytes; return CUDA_SUCCESS;
    default: return refused(CUDA_ERROR_INVALID_VALUE, "an attribute that is not known here");
  }
}

CUresult CUDAAPI cuDevicePrimaryCtxRetain(CUcontext* made, CUdevice device) {
  BEGIN(__func__);
  CHECK(is_card(device), CUDA_ERROR_INVALID_DEVICE);
  Context& context = state->contexts[device];
  context.card = device;
  context.users++;
  *made = (CUcontext)&context;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDevicePrimaryCtxRelease(CUdevice device) {
  BEGIN(__func__);
  CHECK(is_card(device) && state->contexts[device].users, CUDA_ERROR_INVALID_CONTEXT);
  Context& context = state->contexts[device];
  return --context.users ? CUDA_SUCCESS : destroyed(&context);
}

CUresult CUDAAPI cuCtxPushCurrent(CUcontext pushed) {
  BEGIN(__func__);
  bool known = false;
  for (auto& [device, each] : state->contexts) known |= (CUcontext)&each == pushed && each.users;
  CHECK(known, CUDA_ERROR_INVALID_CONTEXT);
  current.push_back((Context*)pushed);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxPopCurrent(CUcontext* popped) {
  BEGIN(__func__);
  CHECK(!current.empty(), CUDA_ERROR_INVALID_CONTEXT);
  if (popped) *popped = (CUcontext)current.back();
  current.pop_back();
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuModuleLoadData(CUmodule* made, const void* image) {
  IN_CONTEXT();
  std::unique_ptr<Module> module;
  if (CUresult error = load(image, context, module)) return error;
  *made = (CUmodule)add(state->modules, std::move(module));
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuModuleUnload(CUmodule handle) {
  IN_CONTEXT();
  CHECK(find(state->modules, handle), CUDA_ERROR_INVALID_HANDLE);
  state->modules.erase(handle);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuModuleGetFunction(CUfunction* found, CUmodule handle, const char* name) {
  IN_CONTEXT();
  Module* module = find(state->modules, handle);
  CHECK(module, CUDA_ERROR_INVALID_HANDLE);
  auto function = module->functions.find(name);
  CHECK(function != module->functions.end(), CUDA_ERROR_NOT_FOUND);
  *found = (CUfunction)function->second.get();
  return CUDA_SUCCESS;
}

static Function* function_of(CUfunction handle) {
  for (auto& [at, module] : state->modules)
    for (auto& [name, function] : module->functions)
      if ((CUfunction)function.get() == handle) return function.get();
  return nullptr;
}

CUresult CUDAAPI cuFuncGetAttribute(int* value, CUfunction_attribute attribute, CUfunction handle) {
  IN_CONTEXT();
  Function* function = function_of(handle);
  CHECK(function, CUDA_ERROR_INVALID_HANDLE);
  CHECK(attribute == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, CUDA_ERROR_INVALID_VALUE);
  *value = (int)function->kernel.threads;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemAlloc(CUdeviceptr* made, size_t size_bytes) {
  IN_CONTEXT();
  static const CUdeviceptr space = (CUdeviceptr)mmap(nullptr, SPACE_BYTES, PROT_NONE,
                                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  static CUdeviceptr next = space;
  CHECK(size_bytes, CUDA_ERROR_INVALID_VALUE);
  size_t used = 0;
  for (auto& [start, memory] : state->memory) used += memory.context == context ? memory.size_bytes : 0;
  if (size_bytes > state->cards[context->card].memory_bytes - used) return CUDA_ERROR_OUT_OF_MEMORY;
  CHECK(next + size_bytes + 4096 < space + SPACE_BYTES, CUDA_ERROR_OUT_OF_MEMORY);
  state->memory[next] = {size_bytes, std::vector<uint8_t>(size_bytes, 0xa5), context};
  *made = next;
  next += (size_bytes + 4096) / 512 * 512;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemFree(CUdeviceptr address) {
  IN_CONTEXT();
  auto found = state->memory.find(address);
  CHECK(found != state->memory.end() && found->second.context == context, CUDA_ERROR_INVALID_VALUE);
  state->memory.erase(found);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemHostAlloc(void** made, size_t size_bytes, unsigned flags) {
  IN_CONTEXT();
  CHECK(size_bytes && flags == 0, CUDA_ERROR_INVALID_VALUE);
  *made = aligned_alloc(4096, (size_bytes + 4095) / 4096 * 4096);
  memset(*made, 0x5a, size_bytes);
  state->pinned[(uintptr_t)*made] = {size_bytes, context};
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemFreeHost(void* memory) {
  IN_CONTEXT();
  CHECK(state->pinned.erase((uintptr_t)memory), CUDA_ERROR_INVALID_VALUE);
  free(memory);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamCreate(CUstream* made, unsigned flags) {
  IN_CONTEXT();
  CHECK(flags <= CU_STREAM_NON_BLOCKING, CUDA_ERROR_INVALID_VALUE);
  auto stream = std::make_unique<Stream>();
  stream->context = context;
  *made = (CUstream)add(state->streams, std::move(stream));
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamDestroy(CUstream handle) {
  IN_CONTEXT();
  STREAM(handle);
  do_all(*stream);
  state->streams.erase(handle);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamSynchronize(CUstream handle) {
  IN_CONTEXT();
  STREAM(handle);
  CHECK(!stream->captured, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  return do_all(*stream);
}

CUresult CUDAAPI cuMemcpyHtoDAsync(CUdeviceptr target, const void* source, size_t size_bytes, CUstream handle) {
  IN_CONTEXT();
  STREAM(handle);
  CHECK(source && bytes_at(target, size_bytes), CUDA_ERROR_INVALID_VALUE);
  bool direct = is_pinned(source, size_bytes);
  state->calls[direct ? "pinned to card" : "pageable to card"]++;
  std::vector<uint8_t> kept;  // of memory that is not pinned, the driver takes a copy at once
  if (!direct) kept.assign((const uint8_t*)source, (const uint8_t*)source + size_bytes);
  return ask(*stream, [=] {
    uint8_t* bytes = bytes_at(target, size_bytes);
    if (!bytes || (direct && !is_pinned(source, size_bytes))) return refused(CUDA_ERROR_ILLEGAL_ADDRESS, "freed too early");
    memcpy(bytes, direct ? source : kept.data(), size_bytes);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuMemcpyDtoHAsync(void* target, CUdeviceptr source, size_t size_bytes, CUstream handle) {
  IN_CONTEXT();
  STREAM(handle);
  CHECK(bytes_at(source, size_bytes) && is_pinned(target, size_bytes), CUDA_ERROR_INVALID_VALUE);
  state->calls["card to pinned"]++;
  return ask(*stream, [=] {
    uint8_t* bytes = bytes_at(source, size_bytes);
    if (!bytes || !is_pinned(target, size_bytes)) return refused(CUDA_ERROR_ILLEGAL_ADDRESS, "freed too early");
    memcpy(target, bytes, size_bytes);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuMemcpyDtoDAsync(CUdeviceptr target, CUdeviceptr source, size_t size_bytes, CUstream handle) {
  IN_CONTEXT();
  STREAM(handle);
  CHECK(bytes_at(source, size_bytes) && bytes_at(target, size_bytes), CUDA_ERROR_INVALID_VALUE);
  CHECK(source + size_bytes <= target || target + size_bytes <= source, CUDA_ERROR_INVALID_VALUE);
  return ask(*stream, [=] {
    uint8_t *from = bytes_at(source, size_bytes), *to = bytes_at(target, size_bytes);
    if (!from || !to) return refused(CUDA_ERROR_ILLEGAL_ADDRESS, "freed too early");
    memcpy(to, from, size_bytes);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuEventCreate(CUevent* made, unsigned flags) {
  IN_CONTEXT();
  CHECK(flags <= (CU_EVENT_DISABLE_TIMING | CU_EVENT_BLOCKING_SYNC), CUDA_ERROR_INVALID_VALUE);
  auto event = std::make_unique<Event>();
  event->context = context;
  *made = (CUevent)add(state->events, std::move(event));
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuEventDestroy(CUevent handle) {
  IN_CONTEXT();
  CHECK(find(state->events, handle), CUDA_ERROR_INVALID_HANDLE);
  state->events.erase(handle);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuEventRecord(CUevent handle, CUstream of) {
  IN_CONTEXT();
  STREAM(of);
  Event* event = find(state->events, handle);
  CHECK(event && event->context == context, CUDA_ERROR_INVALID_HANDLE);
  CHECK(!stream->captured, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  auto marker = std::make_shared<Marker>(Marker{stream});
  event->marker = marker;
  return ask(*stream, [=] { return marker->reached = true, CUDA_SUCCESS; });
}

CUresult CUDAAPI cuStreamWaitEvent(CUstream handle, CUevent event_handle, unsigned flags) {
  IN_CONTEXT();
  STREAM(handle);
  Event* event = find(state->events, event_handle);
  CHECK(event && flags == 0, CUDA_ERROR_INVALID_HANDLE);
  CHECK(!stream->captured, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  auto marker = event->marker;
  return ask(*stream, [=] {
    CUresult result = CUDA_SUCCESS;
    while (marker && !marker->reached && !marker->stream->waiting.empty() && !result) result = do_one(*marker->stream);
    return result;
  });
}

CUresult CUDAAPI cuStreamBeginCapture(CUstream handle, CUstreamCaptureMode mode) {
  IN_CONTEXT();
  STREAM(handle);
  CHECK(!stream->captured && mode <= CU_STREAM_CAPTURE_MODE_RELAXED, CUDA_ERROR_ILLEGAL_STATE);
  stream->captured = std::make_unique<Graph>(Graph{context, {}});
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamEndCapture(CUstream handle, CUgraph* made) {
  IN_CONTEXT();
  STREAM(handle);
  CHECK(stream->captured, CUDA_ERROR_ILLEGAL_STATE);
  *made = (CUgraph)add(state->graphs, std::move(stream->captured));
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuGraphInstantiate(CUgraphExec* made, CUgraph handle, unsigned long long flags) {
  IN_CONTEXT();
  Graph* graph = find(state->graphs, handle);
  CHECK(graph && flags == 0, CUDA_ERROR_INVALID_VALUE);
  *made = (CUgraphExec)add(state->ready_graphs, std::make_unique<Graph>(*graph));
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuGraphDestroy(CUgraph handle) {
  IN_CONTEXT();
  CHECK(state->graphs.erase(handle), CUDA_ERROR_INVALID_VALUE);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuGraphExecDestroy(CUgraphExec handle) {
  IN_CONTEXT();
  CHECK(state->ready_graphs.erase(handle), CUDA_ERROR_INVALID_VALUE);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuGraphLaunch(CUgraphExec handle, CUstream on) {
  IN_CONTEXT();
  STREAM(on);
  Graph* graph = find(state->ready_graphs, handle);
  CHECK(graph && graph->context == context && !stream->captured, CUDA_ERROR_INVALID_VALUE);
  for (auto& work : graph->work) stream->waiting.push_back(work);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuLaunchKernel(CUfunction handle, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                                unsigned bz, unsigned shared_bytes, CUstream on, void** parameters, void** extra) {
  IN_CONTEXT();
  STREAM(on);
  Function* function = function_of(handle);
  CHECK(function && function->module->context == context, CUDA_ERROR_INVALID_HANDLE);
  const Kernel& kernel = function->kernel;
  CHECK(gx && gy && gz && gx < 1u << 31 && gy < 65536 && gz < 65536, CUDA_ERROR_INVALID_VALUE);
  CHECK(bx && by && bz && bx <= 1024 && by <= 1024 && bz <= 64, CUDA_ERROR_INVALID_VALUE);
  CHECK(size_t(bx) * by * bz <= kernel.threads, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
  CHECK(shared_bytes <= state->cards[context->card].shared_bytes, CUDA_ERROR_INVALID_VALUE);
  CHECK((parameters || kernel.parameters.empty()) && !extra, CUDA_ERROR_INVALID_VALUE);
  std::vector<Argument> arguments;
  for (size_t i = 0; i < kernel.parameters.size(); i++) {
    CHECK(parameters[2 * i] && parameters[2 * i + 1], CUDA_ERROR_INVALID_VALUE);
    arguments.push_back({*(CUdeviceptr*)parameters[2 * i], *(int32_t*)parameters[2 * i + 1]});
  }
  std::vector<unsigned> shape{gx, gy, gz, bx, by, bz};
  return ask(*stream, [=] {
    Function* still = function_of(handle);
    if (!still) return refused(CUDA_ERROR_ILLEGAL_ADDRESS, "its module was unloaded too early");
    return run(still->module, still->kernel, shape, arguments);
  });
}

CUresult CUDAAPI cuGetErrorName(CUresult, const char** text) { return *text = "CUDA_ERROR", CUDA_SUCCESS; }

// What tests say and ask.

void fake_cuda_configure(const char* key, long long value) {
  std::lock_guard<std::recursive_mutex> held(state->lock);
  std::string name = key;
  if (name == "cards") state->cards.resize(value);
  if (name == "driver") state->driver_version = (int)value;
  for (Card& card : state->cards) {
    if (name == "capability") card.major = (int)value / 10, card.minor = (int)value % 10;
    if (name == "memory_bytes") card.memory_bytes = value;
    if (name == "shared_bytes") card.shared_bytes = value;
  }
}

void fake_cuda_registry(const char* folder) { state->registry = folder; }

// The n-th call from now on of a function ("*": of any) fails, without having done anything; n = 0: none.
void fake_cuda_fail(const char* function, long nth, int error) {
  std::lock_guard<std::recursive_mutex> held(state->lock);
  state->fail_function = function, state->fail_in = nth, state->fail_with = (CUresult)error;
}

// The n-th kernel that runs from now on ends so, and breaks its context.
void fake_cuda_fault(long nth, int error) {
  std::lock_guard<std::recursive_mutex> held(state->lock);
  state->fault_in = nth, state->fault_with = (CUresult)error;
}

long fake_cuda_calls(const char* name) {
  std::lock_guard<std::recursive_mutex> held(state->lock);
  auto found = state->calls.find(name);
  return found == state->calls.end() ? 0 : found->second;
}

// The function that failed on demand; "" where none has.
const char* fake_cuda_failed() { return state->failed.c_str(); }

const char* fake_cuda_note() { return state->note.c_str(); }

// What has not been given back, as "kind count" lines.
const char* fake_cuda_alive() {
  std::lock_guard<std::recursive_mutex> held(state->lock);
  static std::string text;
  long users = 0;
  for (auto& [device, context] : state->contexts) users += context.users;
  std::ostringstream out;
  out << "context " << users << "\nmemory " << state->memory.size() << "\npinned " << state->pinned.size()
      << "\nmodule " << state->modules.size() << "\nstream " << state->streams.size() << "\nevent "
      << state->events.size() << "\ngraph " << state->graphs.size() << "\nready graph " << state->ready_graphs.size();
  return (text = out.str()).c_str();
}

// As if the process had just begun.
void fake_cuda_reset() {
  std::lock_guard<std::recursive_mutex> held(state->lock);
  for (auto& [device, context] : state->contexts) context.users = 0, destroyed(&context);
  current.clear();
  state->cards.assign(1, Card());
  state->driver_version = 13050;
  state->process = 0;
  state->calls.clear();
  state->fail_in = state->fault_in = 0;
  state->note.clear();
  state->failed.clear();
}

CUresult CUDAAPI cuGetProcAddress(const char* symbol, void** found, int version, cuuint64_t flags,
                                  CUdriverProcAddressQueryResult* status) {
  static const std::map<std::string, void*> functions{
#define HAS(name) {#name, (void*)name}
      HAS(cuInit), HAS(cuDriverGetVersion), HAS(cuDeviceGetCount), HAS(cuDeviceGet), HAS(cuDeviceGetName),
      HAS(cuDeviceTotalMem), HAS(cuDeviceGetAttribute), HAS(cuDevicePrimaryCtxRetain), HAS(cuDevicePrimaryCtxRelease),
      HAS(cuCtxPushCurrent), HAS(cuCtxPopCurrent), HAS(cuModuleLoadData), HAS(cuModuleUnload),
      HAS(cuModuleGetFunction), HAS(cuFuncGetAttribute), HAS(cuMemAlloc), HAS(cuMemFree), HAS(cuMemHostAlloc),
      HAS(cuMemFreeHost), HAS(cuStreamCreate), HAS(cuStreamDestroy), HAS(cuStreamSynchronize), HAS(cuMemcpyHtoDAsync),
      HAS(cuMemcpyDtoHAsync), HAS(cuMemcpyDtoDAsync), HAS(cuEventCreate), HAS(cuEventDestroy), HAS(cuEventRecord),
      HAS(cuStreamWaitEvent), HAS(cuStreamBeginCapture), HAS(cuStreamEndCapture), HAS(cuGraphInstantiate),
      {"cuGraphInstantiateWithFlags", (void*)cuGraphInstantiate},
      HAS(cuGraphDestroy), HAS(cuGraphExecDestroy), HAS(cuGraphLaunch), HAS(cuLaunchKernel), HAS(cuGetErrorName)};
  auto entry = functions.find(symbol);
  *found = entry == functions.end() ? nullptr : entry->second;
  if (status) *status = *found ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
  return *found ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

}  // extern "C"
