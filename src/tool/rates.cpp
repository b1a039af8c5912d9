#include <fmt/format.h>

#include "src/tool/tool.hpp"

namespace researchkit::tool {

void print_rates(const Cost& cost, double seconds, const Context&) {
  if (seconds <= 0) return;
  if (cost.flops > 0) fmt::print("rate    {:.3g} GFLOP/s\n", cost.flops / seconds * 1e-9);
  if (cost.bytes > 0) fmt::print("rate    {:.3g} GB/s\n", cost.bytes / seconds * 1e-9);
}

}  // namespace researchkit::tool
