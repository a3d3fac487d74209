// What `intarsia_backends.gpu.source.intrinsics` tells of, by the processor. Copies to shared memory happen as late as
// they may, so that a kernel which does not wait for them sees what was there before; places that are not aligned, which
// no GPU takes, end the launch with a message.
#pragma once

namespace device {
inline void aligned(const void* place, unsigned bytes) {
  if ((uintptr_t)place % bytes) stop("a place is no multiple of what is read or written there");
}
// Groups of copies of this thread: those that were committed, then the open one.
inline std::vector<std::vector<Copy>>& groups() {
  if (now->copies.empty()) now->copies.emplace_back();
  return now->copies;
}
inline void copy(void* memory, int place, const void* source, bool inside, unsigned bytes) {
  char* to = (char*)memory + place;
  aligned(to, bytes), aligned(source, bytes);
  groups().back().push_back({to, (const char*)source, bytes, inside});
}
}  // namespace device

inline void COPY_4(void* m, int p, const void* s, bool inside) { device::copy(m, p, s, inside, 4); }
inline void COPY_8(void* m, int p, const void* s, bool inside) { device::copy(m, p, s, inside, 8); }
inline void COPY_16(void* m, int p, const void* s, bool inside) { device::copy(m, p, s, inside, 16); }
inline void COPY_COMMIT() { device::groups().emplace_back(); }
inline void COPY_WAIT(unsigned left) {
  auto& own = device::groups();
  while (own.size() > left + 1) {
    for (const auto& each : own.front())
      each.inside ? (void)memcpy(each.to, each.from, each.bytes) : (void)memset(each.to, 0, each.bytes);
    own.erase(own.begin());
  }
}
inline void PUT_1(void* memory, int place, signed char value) { ((signed char*)memory)[place] = value; }
inline void PUT_2(void* memory, int place, unsigned short value) {
  device::aligned((char*)memory + place, 2);
  memcpy((char*)memory + place, &value, 2);
}
inline void PUT_4(void* memory, int place, float value) {
  device::aligned((char*)memory + place, 4);
  memcpy((char*)memory + place, &value, 4);
}
template <class T> void FETCH_4(T* target, const T* source) {
  device::aligned(source, 4 * sizeof(T));
  memcpy(target, source, 4 * sizeof(T));
}
template <class T> void STORE_4(T* target, const T* source) {
  device::aligned(target, 4 * sizeof(T));
  memcpy(target, source, 4 * sizeof(T));
}

// All lanes show something, and see what the others do.
template <class T> void all_shown(const T& own, T* all) {
  static_assert(sizeof(T) <= device::SLOT_BYTES, "");
  char(*slots)[device::SLOT_BYTES] = device::slots + device::now->warp * device::WARP;
  memcpy(slots[device::now->lane], &own, sizeof own);
  __syncwarp();
  for (unsigned lane = 0; lane < device::WARP; lane++) memcpy(&all[lane], slots[lane], sizeof own);
  __syncwarp();
}
inline void load_matrix(unsigned* fragments, const void* memory, int place, unsigned count) {
  unsigned lane = device::now->lane;
  const char *own = (const char*)memory + place, *rows[device::WARP];
  device::aligned(own, 16);
  all_shown(own, rows);
  for (unsigned matrix = 0; matrix < count; matrix++)
    memcpy(&fragments[matrix], rows[8 * matrix + lane / 4] + lane % 4 * 4, 4);
  __syncwarp();
}
inline void LOAD_MATRIX_4(unsigned* f, const void* m, int p) { load_matrix(f, m, p, 4); }
inline void LOAD_MATRIX_2(unsigned* f, const void* m, int p) { load_matrix(f, m, p, 2); }

struct Fragments { unsigned first[4], second[2]; };
template <class Item, class Sum> void multiply(Sum* sums, const unsigned* first, const unsigned* second) {
  constexpr unsigned ITEMS = 4 / sizeof(Item);  // of a word
  Fragments own, all[device::WARP];
  memcpy(own.first, first, sizeof own.first), memcpy(own.second, second, sizeof own.second);
  all_shown(own, all);
  unsigned lane = device::now->lane;
  for (unsigned number = 0; number < 4; number++) {
    unsigned line = lane / 4, lower = number / 2, other = lane % 4 * 2 + number % 2;
    Sum sum = 0;
    for (unsigned half = 0; half < 2; half++)
      for (unsigned word = 0; word < 4; word++) {
        Item a[ITEMS], b[ITEMS];
        memcpy(a, &all[4 * line + word].first[2 * half + lower], 4);
        memcpy(b, &all[4 * other + word].second[half], 4);
        for (unsigned item = 0; item < ITEMS; item++) sum += (Sum)a[item] * (Sum)b[item];
      }
    sums[number] += sum;
  }
}

// What cards before sm_80 make them of.
#define IN_PARTS
template <class Item, unsigned GROUPS, class Sum> void multiply_part(Sum* sums, const unsigned* first, unsigned second) {
  constexpr unsigned ITEMS = 4 / sizeof(Item);
  struct Part { unsigned first[GROUPS], second; } own, all[device::WARP];
  memcpy(own.first, first, sizeof own.first), own.second = second;
  all_shown(own, all);
  unsigned lane = device::now->lane;
  for (unsigned number = 0; number < 2 * GROUPS; number++)
    for (unsigned word = 0; word < 4; word++) {
      Item a[ITEMS], b[ITEMS];
      memcpy(a, &all[lane / 4 * 4 + word].first[number / 2], 4);
      memcpy(b, &all[(lane % 4 * 2 + number % 2) * 4 + word].second, 4);
      for (unsigned item = 0; item < ITEMS; item++) sums[number] += (Sum)a[item] * (Sum)b[item];
    }
}
inline void MULTIPLY_8_8_16(int* s, unsigned a, unsigned b) { multiply_part<signed char, 1>(s, &a, b); }
inline void MULTIPLY_16_8_8(float* s, const unsigned* a, unsigned b) { multiply_part<_Float16, 2>(s, a, b); }

inline void MULTIPLY_INT8(int* s, const unsigned* a, const unsigned* b) { multiply<signed char>(s, a, b); }
inline void MULTIPLY_FLOAT16(float* s, const unsigned* a, const unsigned* b) { multiply<_Float16>(s, a, b); }
