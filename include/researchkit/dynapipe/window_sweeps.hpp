#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "researchkit/dynapipe/microbatch_dp.hpp"

// Sweeps over window rows, the inner loops of the partition (kernels/cpu/dynapipe).
namespace researchkit::dynapipe::detail {

/// State at every boundary between samples: [n + 1].
struct Sweep {
  std::vector<Ticks> sum;      // least sum of the windows before the boundary
  std::vector<Ticks> largest;  // least largest window among the partitions of that sum
  explicit Sweep(std::int64_t n)
      : sum(static_cast<std::size_t>(n + 1)), largest(static_cast<std::size_t>(n + 1)) {}
};

/// The smallest possible largest window of a partition; kImpossible if there is none.
Ticks bottleneck(const WindowRows& rows, std::span<Ticks> state);

/// Lexicographically least (sum, largest) with windows of at most `limit`.
/// `widths` of the rows are cut behind their last window within the limit.
void sweep_sum_and_largest(const WindowRows& rows, std::span<std::int64_t> widths, Ticks limit,
                           Sweep& state);

/// Least sum with windows of at most `limit`, and the smallest start of a last window that has it.
void sweep_sum(const WindowRows& rows, Ticks limit, std::span<Ticks> sum,
               std::span<std::int32_t> start);

}  // namespace researchkit::dynapipe::detail
