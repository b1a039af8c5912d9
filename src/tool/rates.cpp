#include <fmt/format.h>

#include "researchkit/core/peak.hpp"
#include "src/tool/tool.hpp"

namespace researchkit::tool {

void print_rates(const Cost& cost, double seconds, bool is_double, const Context& ctx) {
  if (seconds <= 0 || (cost.flops <= 0 && cost.bytes <= 0)) return;
  const MachinePeak& peak = machine_peak(ctx.threads());
  const std::string_view at_most = cost.upper_bound ? "at most " : "";
  if (cost.flops > 0) {
    const double rate = cost.flops / seconds;
    const double best = is_double ? peak.gemm_f64_flops_per_s : peak.gemm_f32_flops_per_s;
    fmt::print("rate    {}{:.3g} GFLOP/s, {:.1f} % of a matrix product's {:.3g}\n", at_most,
               rate * 1e-9, 100 * rate / best, best * 1e-9);
  }
  if (cost.bytes > 0) {
    const double rate = cost.bytes / seconds;
    fmt::print("rate    {}{:.3g} GB/s, {:.1f} % of the memory's {:.3g}{}\n", at_most, rate * 1e-9,
               100 * rate / peak.bandwidth_bytes_per_s, peak.bandwidth_bytes_per_s * 1e-9,
               rate > peak.bandwidth_bytes_per_s ? ": served by the caches" : "");
  }
}

}  // namespace researchkit::tool
