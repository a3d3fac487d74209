// DRAM behind AXI ports: a bandwidth that all ports share, a latency, bursts in flight, stalls, faults.
//
// It also checks the masters: bursts that cross a boundary, channels that change while they wait, a wrong last beat.
#pragma once
#include <deque>

#include "ia_model.h"

namespace ia {

struct MemoryOptions {
  double bytes_per_cycle;   // all ports together; 0: no limit
  uint32_t latency_cycles;  // from a request to its first beat; from the last beat written to the response
  uint32_t jitter_cycles;   // up to so many more, drawn for each burst
  uint32_t stall;           // of 65536 cycles, those in which a channel is held back
  uint32_t outstanding;     // bursts that a port takes before the first has been answered
  uint32_t boundary_bytes;  // no burst may cross a multiple of it; 0: not checked beyond AXI's 4096
  uint64_t seed;
};

enum Counter { kBytes, kBursts, kBeats, kWaits, kPartial, kCounters };

class Memory final : public Attachment {
 public:
  struct Region {
    uint64_t base, bytes;
    uint8_t* data;
  };
  // Ports of one AXI master; null where the module has none. Order as in _READ and _WRITE of rtl/attachments.py.
  struct ReadPins {
    Port *arvalid, *arready, *araddr, *arlen, *rvalid, *rready, *rdata, *rresp, *rlast;
  };
  struct WritePins {
    Port *awvalid, *awready, *awaddr, *awlen, *wvalid, *wready, *wdata, *wstrb, *wlast, *bvalid, *bready, *bresp;
  };
  // Answers `response` for bytes `low` to `high` (inclusive), `count` times.
  struct Fault {
    bool write;
    uint64_t low, high;
    uint32_t response, count;
  };

  explicit Memory(const MemoryOptions& options) : options_(options), random_(options.seed) {}

  void configure(const MemoryOptions& options) {
    options_ = options;
    begin();
  }

  // What follows depends on nothing that was: counters, random numbers, bandwidth and turns of the ports start anew.
  void begin() {
    for (auto& item : counters) item.assign(kCounters, 0);
    random_ = Random(options_.seed);
    credit_ = 0;
    turn_ = 0;
  }

  size_t add_read(const std::string& name, const ReadPins& pins) {
    readers_.push_back({name, pins, pins.rdata->bits / 8, static_cast<uint32_t>(counters.size())});
    counters.emplace_back(kCounters);
    return counters.size() - 1;
  }
  size_t add_write(const std::string& name, const WritePins& pins) {
    writers_.push_back({name, pins, pins.wdata->bits / 8, static_cast<uint32_t>(counters.size())});
    counters.emplace_back(kCounters);
    return counters.size() - 1;
  }

  void sample(uint64_t cycle) override {
    for (Reader& port : readers_) sample_read(port, cycle);
    for (Writer& port : writers_) sample_write(port, cycle);
  }

  void drive(uint64_t cycle) override {
    credit_ += options_.bytes_per_cycle;
    // What two idle cycles have left over can be caught up with, no more.
    const double most = 2 * options_.bytes_per_cycle + 16;
    if (credit_ > most) credit_ = most;
    const size_t count = readers_.size() + writers_.size();
    if (++turn_ >= count) turn_ = 0;
    for (size_t i = 0; i < count; i++) {
      const size_t at = i + turn_ < count ? i + turn_ : i + turn_ - count;
      if (at < readers_.size())
        drive_read(readers_[at], cycle);
      else
        drive_write(writers_[at - readers_.size()], cycle);
    }
  }

  bool idle() const {
    for (const Reader& port : readers_)
      if (!port.bursts.empty()) return false;
    for (const Writer& port : writers_)
      if (!port.bursts.empty() || !port.answers.empty()) return false;
    return true;
  }

  void reset() override {
    for (Reader& port : readers_) {
      port.bursts.clear();
      port.offered = port.asked = false;
      *port.pins.rvalid->data = *port.pins.arready->data = 0;
    }
    for (Writer& port : writers_) {
      port.bursts.clear();
      port.answers.clear();
      port.answering = port.asked = port.waiting = false;
      *port.pins.awready->data = *port.pins.wready->data = *port.pins.bvalid->data = 0;
    }
  }

  std::vector<Region> regions;
  std::vector<Fault> faults;
  std::vector<std::vector<uint64_t>> counters;
  std::string violations;
  uint64_t outside_reads = 0, outside_writes = 0, outside_address = 0;

 private:
  struct Burst {
    uint64_t address;
    uint32_t beats;
    uint64_t ready;     // cycle of its first beat
    uint32_t response;  // of a write, so far
  };
  struct Reader {
    std::string name;
    ReadPins pins;
    uint32_t bytes, counter;
    std::deque<Burst> bursts{};
    bool offered = false;           // rvalid stands
    bool asked = false;             // arvalid stood without arready in the cycle before
    uint64_t asked_address = 0, asked_length = 0;
  };
  struct Writer {
    std::string name;
    WritePins pins;
    uint32_t bytes, counter;
    std::deque<Burst> bursts{};     // data still to come
    std::deque<Burst> answers{};    // response still to go out
    bool answering = false;
    bool asked = false, waiting = false;
    uint64_t asked_address = 0, asked_length = 0;
    std::vector<uint8_t> waiting_data{};
  };

  static bool on(const Port* port) { return *port->data & 1; }
  static void set(Port* port, uint32_t value) {
    if (port != nullptr) *port->data = static_cast<uint8_t>(value);
  }

  void complain(const std::string& name, uint64_t cycle, const char* what) {
    if (violations.size() > 4000) return;
    violations += name + ", cycle " + std::to_string(cycle) + ": " + what + "\n";
  }

  void check_request(const std::string& name, uint64_t cycle, uint64_t address, uint64_t length, uint32_t bytes) {
    const uint64_t boundary = options_.boundary_bytes ? options_.boundary_bytes : 4096;
    const uint64_t last = (address & ~uint64_t(bytes - 1)) + length * bytes;
    if (address / boundary != last / boundary) complain(name, cycle, "a burst crosses a boundary");
    if (address % bytes) complain(name, cycle, "a burst begins inside of a beat");
  }

  uint64_t ready_at(uint64_t cycle) {
    return cycle + options_.latency_cycles + random_.below(options_.jitter_cycles + 1);
  }

  uint8_t* find(uint64_t address, uint32_t bytes) {
    for (const Region& region : regions)
      if (address >= region.base && address - region.base + bytes <= region.bytes)
        return region.data + (address - region.base);
    return nullptr;
  }

  uint32_t fault(bool write, uint64_t address, uint32_t bytes) {
    for (Fault& item : faults) {
      if (item.count && item.write == write && address <= item.high && address + bytes > item.low) {
        item.count--;
        return item.response;
      }
    }
    return 0;
  }

  bool affordable(uint32_t bytes) const { return options_.bytes_per_cycle <= 0 || credit_ >= bytes; }
  void pay(uint32_t bytes) {
    if (options_.bytes_per_cycle > 0) credit_ -= bytes;
  }

  void sample_read(Reader& port, uint64_t cycle) {
    const ReadPins& pins = port.pins;
    const bool asks = on(pins.arvalid);
    const uint64_t address = asks ? Model::read(*pins.araddr) : 0;
    const uint64_t length = asks ? Model::read(*pins.arlen) : 0;
    if (port.asked && (!asks || address != port.asked_address || length != port.asked_length))
      complain(port.name, cycle, "AR changes while it waits");
    port.asked = asks && !on(pins.arready);
    port.asked_address = address;
    port.asked_length = length;
    if (asks && on(pins.arready)) {
      check_request(port.name, cycle, address, length, port.bytes);
      port.bursts.push_back({address, static_cast<uint32_t>(length + 1), ready_at(cycle), 0});
      counters[port.counter][kBursts]++;
    }
    if (port.offered && !on(pins.rready)) counters[port.counter][kWaits]++;
    if (port.offered && on(pins.rready)) {
      Burst& burst = port.bursts.front();
      counters[port.counter][kBytes] += port.bytes;
      counters[port.counter][kBeats]++;
      burst.address += port.bytes;
      if (--burst.beats == 0) port.bursts.pop_front();
      port.offered = false;
    }
  }

  void drive_read(Reader& port, uint64_t cycle) {
    const ReadPins& pins = port.pins;
    if (!port.offered) {
      bool offer = !port.bursts.empty() && port.bursts.front().ready <= cycle && affordable(port.bytes);
      if (offer && random_.chance(options_.stall)) offer = false;
      set(pins.rvalid, offer);
      if (offer) {
        const Burst& burst = port.bursts.front();
        uint32_t response = fault(false, burst.address, port.bytes);
        const uint8_t* data = find(burst.address, port.bytes);
        if (data != nullptr) {
          std::memcpy(pins.rdata->data, data, port.bytes);
        } else {
          std::memset(pins.rdata->data, 0xDE, port.bytes);
          response = 3;
          if (outside_reads++ == 0 && outside_writes == 0) outside_address = burst.address;
        }
        set(pins.rresp, response);
        set(pins.rlast, burst.beats == 1);
        pay(port.bytes);
        port.offered = true;
      }
    }
    set(pins.arready, port.bursts.size() < options_.outstanding && !random_.chance(options_.stall));
  }

  void sample_write(Writer& port, uint64_t cycle) {
    const WritePins& pins = port.pins;
    const bool asks = on(pins.awvalid), sends = on(pins.wvalid);
    const uint64_t address = asks ? Model::read(*pins.awaddr) : 0;
    const uint64_t length = asks ? Model::read(*pins.awlen) : 0;
    if (port.asked && (!asks || address != port.asked_address || length != port.asked_length))
      complain(port.name, cycle, "AW changes while it waits");
    port.asked = asks && !on(pins.awready);
    port.asked_address = address;
    port.asked_length = length;
    if (port.waiting && (!sends || std::memcmp(port.waiting_data.data(), pins.wdata->data, port.bytes)))
      complain(port.name, cycle, "W changes while it waits");
    port.waiting = sends && !on(pins.wready);
    if (port.waiting) port.waiting_data.assign(pins.wdata->data, pins.wdata->data + port.bytes);
    if (sends && on(pins.wready)) take_beat(port, cycle);
    if (asks && on(pins.awready)) {
      check_request(port.name, cycle, address, length, port.bytes);
      port.bursts.push_back({address, static_cast<uint32_t>(length + 1), 0, 0});
      counters[port.counter][kBursts]++;
    }
    if (port.answering && on(pins.bready)) {
      port.answers.pop_front();
      port.answering = false;
    }
  }

  void take_beat(Writer& port, uint64_t cycle) {
    const WritePins& pins = port.pins;
    Burst& burst = port.bursts.front();
    const uint64_t strobes = pins.wstrb == nullptr ? ~uint64_t(0) : Model::read(*pins.wstrb);
    const uint64_t all = port.bytes == 64 ? ~uint64_t(0) : (uint64_t(1) << port.bytes) - 1;
    uint8_t* data = find(burst.address, port.bytes);
    const uint32_t response = fault(true, burst.address, port.bytes);
    if (response) burst.response = response;
    if (data == nullptr) {
      if (strobes & all) {
        burst.response = 3;
        if (outside_writes++ == 0 && outside_reads == 0) outside_address = burst.address;
      }
    } else if (!response) {
      for (uint32_t i = 0; i < port.bytes; i++)
        if (strobes >> i & 1) data[i] = pins.wdata->data[i];
    }
    if ((strobes & all) != all) counters[port.counter][kPartial]++;
    counters[port.counter][kBytes] += port.bytes;
    counters[port.counter][kBeats]++;
    pay(port.bytes);
    burst.address += port.bytes;
    burst.beats--;
    if (on(pins.wlast) != (burst.beats == 0)) complain(port.name, cycle, "wlast is not on the last beat");
    if (burst.beats == 0) {
      burst.ready = ready_at(cycle);
      port.answers.push_back(burst);
      port.bursts.pop_front();
    }
  }

  void drive_write(Writer& port, uint64_t cycle) {
    const WritePins& pins = port.pins;
    const bool room = port.bursts.size() + port.answers.size() < options_.outstanding;
    set(pins.awready, room && !random_.chance(options_.stall));
    const bool takes = !port.bursts.empty() && affordable(port.bytes) && !random_.chance(options_.stall);
    if (!takes && !port.bursts.empty()) counters[port.counter][kWaits]++;
    set(pins.wready, takes);
    if (!port.answering) {
      port.answering = !port.answers.empty() && port.answers.front().ready <= cycle && !random_.chance(options_.stall);
      set(pins.bvalid, port.answering);
      if (port.answering) set(pins.bresp, port.answers.front().response);
    }
  }

  MemoryOptions options_;
  Random random_;
  double credit_ = 0;
  size_t turn_ = 0;  // the port that is served first
  std::vector<Reader> readers_;
  std::vector<Writer> writers_;
};

}  // namespace ia
