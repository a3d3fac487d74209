// A Verilated module with named ports, clocked from here, and what may be attached to its ports.
//
// The clock stands at 0 and everything is settled between two steps. A step samples what is attached to the ports,
// raises the clock, lets the attachments drive the inputs of the next cycle, and lowers the clock.
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "verilated.h"

namespace ia {

enum Direction : uint8_t { kInput = 0, kOutput = 1, kInner = 2 };

struct Port {
  const char* name;
  uint8_t* data;      // value, little-endian
  uint32_t bits;      // of one element
  uint32_t elements;  // more than 1 for a memory
  uint32_t stride;    // bytes from element to element
  uint8_t direction;
};

// What Verilator made. Nothing else here depends on the design, so that all of it is compiled once for all designs.
class Top {
 public:
  virtual ~Top() = default;
  virtual void eval() = 0;
  virtual void final() = 0;
};
std::unique_ptr<Top> new_top(VerilatedContext& context, std::vector<Port>& ports);

// Numbers that look random and come again with the same seed.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15ull + 0xD1B54A32D192ED03ull) {}
  uint32_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return static_cast<uint32_t>(state_ >> 32);
  }
  // True in `share` of 65536 cases.
  bool chance(uint32_t share) { return share != 0 && (next() & 0xFFFF) < share; }
  uint32_t below(uint32_t limit) { return limit == 0 ? 0 : next() % limit; }

 private:
  uint64_t state_;
};

class Attachment {
 public:
  virtual ~Attachment() = default;
  // Before the rising edge: outputs are settled, inputs are those of this cycle.
  virtual void sample(uint64_t cycle) = 0;
  // After the rising edge: set the inputs of the next cycle.
  virtual void drive(uint64_t cycle) = 0;
  // Instead of both while the module is in reset.
  virtual void reset() = 0;
};

class Model {
 public:
  explicit Model(uint64_t seed) {
    context_.threads(1);
    context_.randReset(seed ? 2 : 0);
    context_.randSeed(static_cast<int>(seed & 0x7FFFFFFF));
    top_ = new_top(context_, ports);
    for (Port& port : ports) {
      if (port.direction == kInput) std::memset(port.data, 0, (port.bits + 7) / 8);
      if (!std::strcmp(port.name, "clk_i")) clock_ = port.data;
      if (!std::strcmp(port.name, "rst_ni")) reset_ = port.data;
    }
    eval();
  }
  ~Model() {
    // Verilator's destructors look for the context of the thread, which may be that of a model long gone.
    Verilated::threadContextp(&context_);
    top_->final();
  }

  void eval() {
    current = this;
    Verilated::threadContextp(&context_);
    top_->eval();
  }

  void step() {
    const bool running = *reset_ & 1;
    if (running) {
      for (auto& item : attached) item->sample(cycle);
    }
    *clock_ = 1;
    top_->eval();
    cycle++;
    for (auto& item : attached) running ? item->drive(cycle) : item->reset();
    *clock_ = 0;
    top_->eval();
  }

  // Steps until the port has the value, at most `limit` of them; `port` may be null. Returns the steps made.
  uint64_t run(const Port* port, uint64_t value, uint64_t limit) {
    eval();
    uint64_t done = 0;
    while (done < limit && !stopped) {
      step();
      done++;
      if (port != nullptr && read(*port) == value) break;
    }
    return done;
  }

  static uint64_t read(const Port& port) {
    uint64_t value = 0;
    std::memcpy(&value, port.data, port.bits > 64 ? 8 : (port.bits + 7) / 8);
    return value;
  }

  static thread_local Model* current;

  std::vector<Port> ports;
  std::vector<std::unique_ptr<Attachment>> attached;
  uint64_t cycle = 0;
  bool stopped = false;  // a check has failed
  std::string log;

 private:
  VerilatedContext context_;
  std::unique_ptr<Top> top_;
  uint8_t no_clock_ = 0;
  uint8_t no_reset_ = 1;
  uint8_t* clock_ = &no_clock_;
  uint8_t* reset_ = &no_reset_;
};

}  // namespace ia
