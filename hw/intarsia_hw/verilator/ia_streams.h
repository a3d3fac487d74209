// Streams with valid and ready, an AXI-Lite master, and counters of what a port shows.
#pragma once
#include "ia_model.h"

namespace ia {

// Offers items one after the other; an item that is offered stands until it is taken.
class Source final : public Attachment {
 public:
  Source(Port* valid, Port* ready, Port* data, uint32_t stall, uint64_t seed)
      : valid_(valid), ready_(ready), data_(data), stall_(stall), random_(seed), bytes_((data->bits + 7) / 8) {}

  void add(const uint8_t* items, size_t count) { items_.insert(items_.end(), items, items + count * bytes_); }
  uint64_t left() const { return items_.size() / bytes_ - taken_; }

  void sample(uint64_t) override {
    if (offered_ && (ready_ == nullptr || *ready_->data & 1)) {
      taken_++;
      offered_ = false;
    }
  }
  void drive(uint64_t) override {
    if (offered_) return;
    offered_ = taken_ * bytes_ < items_.size() && !random_.chance(stall_);
    *valid_->data = offered_;
    if (offered_) std::memcpy(data_->data, items_.data() + taken_ * bytes_, bytes_);
  }
  void reset() override {
    offered_ = false;
    *valid_->data = 0;
  }

 private:
  Port *valid_, *ready_, *data_;
  uint32_t stall_;
  Random random_;
  size_t bytes_, taken_ = 0;
  bool offered_ = false;
  std::vector<uint8_t> items_;
};

// Takes items; ready falls at random. With no ready port it takes all that is valid.
class Sink final : public Attachment {
 public:
  Sink(Port* valid, Port* ready, Port* data, uint32_t stall, uint64_t seed)
      : valid_(valid), ready_(ready), data_(data), stall_(stall), random_(seed), bytes_((data->bits + 7) / 8) {}

  void sample(uint64_t cycle) override {
    if ((*valid_->data & 1) && (ready_ == nullptr || *ready_->data & 1)) {
      items.insert(items.end(), data_->data, data_->data + bytes_);
      cycles.push_back(cycle);
    }
  }
  void drive(uint64_t) override {
    if (ready_ != nullptr) *ready_->data = !random_.chance(stall_);
  }
  void reset() override {
    if (ready_ != nullptr) *ready_->data = 0;
  }

  std::vector<uint8_t> items;
  std::vector<uint64_t> cycles;

 private:
  Port *valid_, *ready_, *data_;
  uint32_t stall_;
  Random random_;
  size_t bytes_;
};

// Counts cycles by the value of one port while another is not 0.
class Histogram final : public Attachment {
 public:
  Histogram(Port* gate, Port* value) : counts(value == nullptr ? 1 : size_t(1) << value->bits), gate_(gate), value_(value) {}

  void sample(uint64_t) override {
    if (*gate_->data) counts[value_ == nullptr ? 0 : Model::read(*value_)]++;
  }
  void drive(uint64_t) override {}
  void reset() override {}

  std::vector<uint64_t> counts;

 private:
  Port *gate_, *value_;
};

// When the run words of a queue begin and end: `word` is taken when valid and ready are 1, and `done` ends the oldest.
class Trace final : public Attachment {
 public:
  Trace(Port* valid, Port* ready, Port* word, Port* done, uint64_t run_opcodes)
      : valid_(valid), ready_(ready), word_(word), done_(done), run_opcodes_(run_opcodes) {}

  void sample(uint64_t cycle) override {
    if (*done_->data & 1) ends.push_back(cycle);
    if ((*valid_->data & *ready_->data & 1) && run_opcodes_ >> (*word_->data & 63) & 1) starts.push_back(cycle);
  }
  void drive(uint64_t) override {}
  void reset() override {}

  std::vector<uint64_t> starts, ends;

 private:
  Port *valid_, *ready_, *word_, *done_;
  uint64_t run_opcodes_;  // bit n: words of opcode n are run words
};

// One access at a time over AXI-Lite; the clock runs meanwhile.
struct Lite {
  Port *awvalid, *awready, *awaddr, *wvalid, *wready, *wdata, *wstrb, *bvalid, *bready, *bresp;
  Port *arvalid, *arready, *araddr, *rvalid, *rready, *rdata, *rresp;

  // The response, or -1 where none came in time.
  int write(Model& model, uint32_t address, uint32_t data, uint32_t strobes, uint64_t limit) const {
    put(awaddr, address);
    put(wdata, data);
    put(wstrb, strobes);
    *awvalid->data = *wvalid->data = *bready->data = 1;
    model.eval();
    for (; limit && !model.stopped; limit--) {
      const bool address_taken = (*awvalid->data & *awready->data) & 1, data_taken = (*wvalid->data & *wready->data) & 1;
      const bool answered = *bvalid->data & 1;
      const int response = bresp == nullptr ? 0 : *bresp->data;
      model.step();
      if (address_taken) *awvalid->data = 0;
      if (data_taken) *wvalid->data = 0;
      if (answered) *bready->data = 0;
      model.eval();
      if (answered) return response;
    }
    return -1;
  }

  int read(Model& model, uint32_t address, uint32_t* data, uint64_t limit) const {
    put(araddr, address);
    *arvalid->data = *rready->data = 1;
    model.eval();
    for (; limit && !model.stopped; limit--) {
      const bool taken = (*arvalid->data & *arready->data) & 1, answered = *rvalid->data & 1;
      const int response = rresp == nullptr ? 0 : *rresp->data;
      if (answered) *data = static_cast<uint32_t>(Model::read(*rdata));
      model.step();
      if (taken) *arvalid->data = 0;
      if (answered) *rready->data = 0;
      model.eval();
      if (answered) return response;
    }
    return -1;
  }

 private:
  static void put(Port* port, uint32_t value) {
    if (port != nullptr) std::memcpy(port->data, &value, (port->bits + 7) / 8);
  }
};

}  // namespace ia
