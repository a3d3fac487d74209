// What Python calls. Ports are given by their number in the table; -1 is a port that the module does not have.
#include "ia_memory.h"
#include "ia_model.h"
#include "ia_streams.h"

thread_local ia::Model* ia::Model::current = nullptr;

namespace {

void note(const char* text) {
  if (ia::Model::current != nullptr && ia::Model::current->log.size() < 65536) ia::Model::current->log += text;
}

void stop(const char* file, int line, const char* hierarchy, const char* what) {
  char text[600];
  std::snprintf(text, sizeof text, "%s:%d: %s in %s\n", file, line, what, hierarchy);
  note(text);
  if (ia::Model::current != nullptr) ia::Model::current->stopped = true;
}

ia::Port* port(ia::Model* model, int32_t number) { return number < 0 ? nullptr : &model->ports[number]; }

template <class Pins, size_t Count>
Pins pins(ia::Model* model, const int32_t* numbers) {
  static_assert(sizeof(Pins) == Count * sizeof(ia::Port*));
  ia::Port* found[Count];
  for (size_t i = 0; i < Count; i++) found[i] = port(model, numbers[i]);
  Pins result;
  std::memcpy(&result, found, sizeof result);
  return result;
}

template <class Kind>
Kind* attach(ia::Model* model, Kind* item) {
  model->attached.emplace_back(item);
  return item;
}

}  // namespace

int ia_vprintf(const char* format, va_list arguments) {
  char text[2000];
  const int length = std::vsnprintf(text, sizeof text, format, arguments);
  note(text);
  return length;
}
int ia_printf(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const int length = ia_vprintf(format, arguments);
  va_end(arguments);
  return length;
}
void vl_finish(const char* file, int line, const char* hierarchy) { stop(file, line, hierarchy, "$finish"); }
void vl_stop(const char* file, int line, const char* hierarchy) { stop(file, line, hierarchy, "stopped"); }
void vl_fatal(const char* file, int line, const char* hierarchy, const char* what) { stop(file, line, hierarchy, what); }
void vl_warn(const char* file, int line, const char* hierarchy, const char* what) { stop(file, line, hierarchy, what); }

#pragma GCC visibility push(default)
extern "C" {

ia::Model* ia_new(uint64_t seed) { return new ia::Model(seed); }
void ia_free(ia::Model* model) { delete model; }

uint32_t ia_ports(ia::Model* model) { return static_cast<uint32_t>(model->ports.size()); }
const ia::Port* ia_port(ia::Model* model, uint32_t number) { return &model->ports[number]; }

void ia_eval(ia::Model* model) { model->eval(); }
uint64_t ia_run(ia::Model* model, int32_t number, uint64_t value, uint64_t limit) {
  return model->run(port(model, number), value, limit);
}
uint64_t ia_cycle(ia::Model* model) { return model->cycle; }
int ia_stopped(ia::Model* model) { return model->stopped; }
const char* ia_log(ia::Model* model) { return model->log.c_str(); }
void ia_clear_log(ia::Model* model) { model->log.clear(); }

// Each cycle sets `inputs` ports from rows of bytes, settles, and copies `outputs` ports into rows of bytes.
uint64_t ia_play(ia::Model* model, uint64_t cycles, uint32_t inputs, const int32_t* input_ports,
                 const uint8_t* const* input_rows, uint32_t outputs, const int32_t* output_ports,
                 uint8_t* const* output_rows) {
  uint64_t done = 0;
  for (; done < cycles && !model->stopped; done++) {
    for (uint32_t i = 0; i < inputs; i++) {
      const ia::Port& item = model->ports[input_ports[i]];
      const size_t bytes = (item.bits + 7) / 8;
      std::memcpy(item.data, input_rows[i] + done * bytes, bytes);
    }
    model->eval();
    for (uint32_t i = 0; i < outputs; i++) {
      const ia::Port& item = model->ports[output_ports[i]];
      const size_t bytes = (item.bits + 7) / 8;
      std::memcpy(output_rows[i] + done * bytes, item.data, bytes);
    }
    model->step();
  }
  return done;
}

ia::Memory* ia_memory(ia::Model* model, const ia::MemoryOptions* options) {
  return attach(model, new ia::Memory(*options));
}
void ia_memory_configure(ia::Memory* memory, const ia::MemoryOptions* options) { memory->configure(*options); }
void ia_memory_region(ia::Memory* memory, uint64_t base, uint64_t bytes, uint8_t* data) {
  memory->regions.push_back({base, bytes, data});
}
void ia_memory_clear(ia::Memory* memory) {
  memory->regions.clear();
  memory->faults.clear();
}
void ia_memory_reset(ia::Memory* memory) { memory->reset(); }
int ia_memory_idle(ia::Memory* memory) { return memory->idle(); }
uint32_t ia_memory_read_port(ia::Model* model, ia::Memory* memory, const char* name, const int32_t* numbers) {
  return static_cast<uint32_t>(memory->add_read(name, pins<ia::Memory::ReadPins, 9>(model, numbers)));
}
uint32_t ia_memory_write_port(ia::Model* model, ia::Memory* memory, const char* name, const int32_t* numbers) {
  return static_cast<uint32_t>(memory->add_write(name, pins<ia::Memory::WritePins, 12>(model, numbers)));
}
void ia_memory_fault(ia::Memory* memory, int write, uint64_t low, uint64_t high, uint32_t response, uint32_t count) {
  memory->faults.push_back({write != 0, low, high, response, count});
}
uint64_t* ia_memory_counters(ia::Memory* memory, uint32_t number) { return memory->counters[number].data(); }
void ia_memory_begin(ia::Memory* memory) { memory->begin(); }
const char* ia_memory_violations(ia::Memory* memory) { return memory->violations.c_str(); }
uint64_t ia_memory_outside(ia::Memory* memory, uint64_t* address) {
  *address = memory->outside_address;
  return memory->outside_reads + memory->outside_writes;
}

ia::Source* ia_source(ia::Model* model, int32_t valid, int32_t ready, int32_t data, uint32_t stall, uint64_t seed) {
  return attach(model, new ia::Source(port(model, valid), port(model, ready), port(model, data), stall, seed));
}
void ia_source_add(ia::Source* source, const uint8_t* items, uint64_t count) { source->add(items, count); }
uint64_t ia_source_left(ia::Source* source) { return source->left(); }

ia::Sink* ia_sink(ia::Model* model, int32_t valid, int32_t ready, int32_t data, uint32_t stall, uint64_t seed) {
  return attach(model, new ia::Sink(port(model, valid), port(model, ready), port(model, data), stall, seed));
}
uint64_t ia_sink_count(ia::Sink* sink) { return sink->cycles.size(); }
const uint8_t* ia_sink_items(ia::Sink* sink) { return sink->items.data(); }
const uint64_t* ia_sink_cycles(ia::Sink* sink) { return sink->cycles.data(); }

ia::Histogram* ia_histogram(ia::Model* model, int32_t gate, int32_t value) {
  return attach(model, new ia::Histogram(port(model, gate), port(model, value)));
}
uint64_t ia_histogram_size(ia::Histogram* histogram) { return histogram->counts.size(); }
uint64_t* ia_histogram_counts(ia::Histogram* histogram) { return histogram->counts.data(); }

ia::Trace* ia_trace(ia::Model* model, int32_t valid, int32_t ready, int32_t word, int32_t done, uint64_t run_opcodes) {
  return attach(model, new ia::Trace(port(model, valid), port(model, ready), port(model, word), port(model, done),
                                     run_opcodes));
}
uint64_t ia_trace_size(ia::Trace* trace, int ends) { return ends ? trace->ends.size() : trace->starts.size(); }
const uint64_t* ia_trace_cycles(ia::Trace* trace, int ends) { return ends ? trace->ends.data() : trace->starts.data(); }
void ia_trace_clear(ia::Trace* trace) {
  trace->starts.clear();
  trace->ends.clear();
}

int ia_lite_write(ia::Model* model, const int32_t* numbers, uint32_t address, uint32_t data, uint32_t strobes,
                  uint64_t limit) {
  return pins<ia::Lite, 17>(model, numbers).write(*model, address, data, strobes, limit);
}
int ia_lite_read(ia::Model* model, const int32_t* numbers, uint32_t address, uint32_t* data, uint64_t limit) {
  return pins<ia::Lite, 17>(model, numbers).read(*model, address, data, limit);
}

}  // extern "C"
#pragma GCC visibility pop
