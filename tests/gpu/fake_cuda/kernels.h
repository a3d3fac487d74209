// Images and their kernels. What an image does is told by files of a folder, named for its bytes: KEY.so has the kernels
// as code of this machine (see tests/gpu/cuda_on_cpu), KEY.kernels says what it is for and what each of them takes:
//
//   sm 80                                            or compute 80
//   NAME THREADS PARAMETERS {ITEM_BYTES ELEMENTS WRITTEN}...
#pragma once
#include <dlfcn.h>
#include <elf.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "state.h"

namespace fake {

constexpr size_t GUARD_BYTES = 512;

inline uint32_t crc32(const uint8_t* bytes, size_t size_bytes) {
  uint32_t sum = ~0u;
  for (size_t i = 0; i < size_bytes; i++) {
    sum ^= bytes[i];
    for (int bit = 0; bit < 8; bit++) sum = sum >> 1 ^ (0xedb88320u & -(sum & 1));
  }
  return ~sum;
}

inline bool is_elf(const void* image) { return !memcmp(image, ELFMAG, SELFMAG); }

inline size_t elf_bytes(const uint8_t* image) {
  Elf64_Ehdr header;
  memcpy(&header, image, sizeof header);
  size_t end = header.e_shoff + size_t(header.e_shnum) * header.e_shentsize;
  end = std::max<size_t>(end, header.e_phoff + size_t(header.e_phnum) * header.e_phentsize);
  for (unsigned i = 0; i < header.e_shnum; i++) {
    Elf64_Shdr section;
    memcpy(&section, image + header.e_shoff + size_t(i) * header.e_shentsize, sizeof section);
    if (section.sh_type != SHT_NOBITS) end = std::max<size_t>(end, section.sh_offset + section.sh_size);
  }
  return end;
}

// A PTX version is refused by drivers of earlier releases: 9.x came with CUDA 13.x, 8.x with 12.x.
inline bool too_new(const char* ptx) {
  int major = 0, minor = 0;
  const char* line = strstr(ptx, ".version");
  if (!line || sscanf(line, ".version %d.%d", &major, &minor) != 2) return false;
  return (major + 4) * 1000 + minor * 10 > state->driver_version;
}

inline CUresult load(const void* image, Context* context, std::unique_ptr<Module>& made) {
  bool elf = is_elf(image);
  if (!elf && !strstr((const char*)image, ".version")) return refused(CUDA_ERROR_INVALID_IMAGE, "no ELF and no PTX");
  size_t size_bytes = elf ? elf_bytes((const uint8_t*)image) : strlen((const char*)image);
  char key[40];
  snprintf(key, sizeof key, "%08x-%zu", crc32((const uint8_t*)image, size_bytes), size_bytes);
  std::string path = state->registry + "/" + key;
  std::ifstream table(path + ".kernels");
  if (!table) return refused(elf ? CUDA_ERROR_INVALID_IMAGE : CUDA_ERROR_INVALID_PTX, "nothing is known of " + path);
  std::string kind;
  int made_for = 0;
  table >> kind >> made_for;
  const Card& card = state->cards[context->card];
  if (elf != (kind == "sm")) return refused(CUDA_ERROR_INVALID_IMAGE, "of the other kind: " + path);
  bool fits = made_for <= card.major * 10 + card.minor && (!elf || made_for / 10 == card.major);
  if (!fits) return refused(elf ? CUDA_ERROR_NO_BINARY_FOR_GPU : CUDA_ERROR_INVALID_PTX, "for another card");
  if (!elf && too_new((const char*)image)) return refused(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, "newer than the driver");
  made = std::make_unique<Module>();
  made->context = context;
  std::string line;
  while (std::getline(table, line)) {
    std::istringstream words(line);
    auto function = std::make_unique<Function>();
    Kernel& kernel = function->kernel;
    size_t parameters = 0;
    if (!(words >> kernel.name >> kernel.threads >> parameters)) continue;
    kernel.parameters.resize(parameters);
    for (auto& each : kernel.parameters) words >> each.item_bytes >> each.elements >> each.written;
    function->module = made.get();
    made->functions[kernel.name] = std::move(function);
  }
  made->library = dlopen((path + ".so").c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!made->library) return refused(CUDA_ERROR_INVALID_IMAGE, dlerror());
  made->launch = (Launch)dlsym(made->library, "cuda_on_cpu_launch");
  made->message = (const char* (*)())dlsym(made->library, "cuda_on_cpu_message");
  return made->launch ? CUDA_SUCCESS : refused(CUDA_ERROR_INVALID_IMAGE, "it has no kernels");
}

struct Argument {
  CUdeviceptr address;
  int32_t start;
};

// Memory of a parameter, as long as the kernel says, with guards around it: kernels that write beside it are found out.
struct Guarded {
  std::vector<uint8_t> bytes;
  uint8_t *inside, *home;
  size_t size_bytes;

  Guarded(uint8_t* from, size_t size) : bytes(size + 2 * GUARD_BYTES + 64, 0xc7), home(from), size_bytes(size) {
    inside = bytes.data() + GUARD_BYTES;
    inside += -(uintptr_t)inside % 64;
    memcpy(inside, from, size);
  }
  bool is_whole() const {
    auto same = [](uint8_t byte) { return byte == 0xc7; };
    return std::all_of(bytes.data(), (const uint8_t*)inside, same) &&
           std::all_of((const uint8_t*)inside + size_bytes, bytes.data() + bytes.size(), same);
  }
};

inline CUresult run(const Module* module, const Kernel& kernel, const std::vector<unsigned>& shape,
                    std::vector<Argument> arguments) {
  if (state->fault_in && --state->fault_in == 0) return state->fault_with;
  std::vector<Guarded> memories;
  memories.reserve(arguments.size());
  for (size_t i = 0; i < arguments.size(); i++) {
    const auto& parameter = kernel.parameters[i];
    CUdeviceptr first = arguments[i].address + arguments[i].start * (long long)parameter.item_bytes;
    uint8_t* bytes = bytes_at(first, parameter.item_bytes * parameter.elements);
    if (!bytes) return refused(CUDA_ERROR_ILLEGAL_ADDRESS, kernel.name + ": a parameter is in no memory");
    if (first % parameter.item_bytes) return refused(CUDA_ERROR_MISALIGNED_ADDRESS, kernel.name);
    memories.emplace_back(bytes, parameter.item_bytes * parameter.elements);
  }
  std::vector<uintptr_t> addresses;
  std::vector<void*> values;
  for (size_t i = 0; i < arguments.size(); i++)
    addresses.push_back((uintptr_t)memories[i].inside -
                        arguments[i].start * (long long)kernel.parameters[i].item_bytes);
  for (size_t i = 0; i < arguments.size(); i++) {
    values.push_back(&addresses[i]);
    values.push_back(&arguments[i].start);
  }
  if (module->launch(kernel.name.c_str(), shape.data(), shape.data() + 3, values.data(), 0))
    return refused(CUDA_ERROR_LAUNCH_FAILED, module->message ? module->message() : kernel.name);
  for (size_t i = 0; i < arguments.size(); i++) {
    auto& memory = memories[i];
    bool changed = memcmp(memory.home, memory.inside, memory.size_bytes) && !kernel.parameters[i].written;
    if (changed || !memory.is_whole()) return refused(CUDA_ERROR_ILLEGAL_ADDRESS, kernel.name + " writes beside");
  }
  for (size_t i = 0; i < arguments.size(); i++)
    if (kernel.parameters[i].written) memcpy(memories[i].home, memories[i].inside, memories[i].size_bytes);
  return CUDA_SUCCESS;
}

}  // namespace fake
