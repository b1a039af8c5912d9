#include "researchkit/core/peak.hpp"

#include <chrono>

#include "support/catch.hpp"

namespace {

using namespace researchkit;

TEST_CASE("machine_peak measures plausible numbers once and then remembers them") {
  const MachinePeak& first = machine_peak(1);
  CHECK(first.threads == 1);
  CHECK(first.bandwidth_bytes_per_s > 1e8);
  CHECK(first.bandwidth_bytes_per_s < 1e13);
  CHECK(first.gemm_f32_flops_per_s > 1e8);
  CHECK(first.gemm_f64_flops_per_s > 1e8);
  CHECK(first.gemm_f64_flops_per_s < 1e13);
  const auto start = std::chrono::steady_clock::now();
  CHECK(&machine_peak(1) == &first);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::milliseconds(50));
  CHECK(machine_peak(2).threads == 2);
  CHECK(machine_peak(0).threads >= 1);
}

}  // namespace
