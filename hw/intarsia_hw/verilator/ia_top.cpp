// The one part that is compiled with each design.
#include "Vtop.h"
#include "Vtop___024root.h"
#include "Vtop__Syms.h"
#include "ia_model.h"

namespace ia {

// Fills the table of ports; the builder writes it.
void list_ports(Vtop___024root& root, std::vector<Port>& ports);

namespace {

class VerilatedTop final : public Top {
 public:
  explicit VerilatedTop(VerilatedContext& context) : top_(&context) {}
  void eval() override { top_.eval(); }
  void final() override { top_.final(); }
  Vtop___024root& root() { return *top_.rootp; }

 private:
  Vtop top_;
};

}  // namespace

std::unique_ptr<Top> new_top(VerilatedContext& context, std::vector<Port>& ports) {
  auto top = std::make_unique<VerilatedTop>(context);
  list_ports(top->root(), ports);
  return top;
}

}  // namespace ia
