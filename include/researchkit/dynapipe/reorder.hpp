#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "researchkit/core/context.hpp"
#include "researchkit/dynapipe/simulator.hpp"

namespace researchkit::dynapipe {

/// Exact 1-d k-means by dynamic programming over the ascending values: the members of each cluster,
/// clusters by ascending value, members by (value, index). At most one cluster per value.
/// O(k n^2). Source: Wang and Song (2011), Ckmeans.1d.dp.
std::vector<std::vector<std::int64_t>> cluster_values(std::span<const double> values,
                                                      std::int64_t clusters);

struct ReorderOptions {
  ScheduleOptions schedule = {};
  std::int64_t clusters = 0;  ///< 0: 3 above 20 micro-batches, else 4
  CommStreams streams = CommStreams::device;
  /// MB that the timeline may need; the schedule's limit where this is not given.
  std::optional<double> fits = {};
  bool only_identity = false;  ///< micro-batches stay as they are
};

/// An order of micro-batches and what it takes.
struct Reordering {
  std::vector<std::int64_t> perm;  ///< empty: no order fits into memory
  double makespan = -1;
};

/// The order of micro-batches whose schedule finishes first: as they are, or clusters of equal time
/// in any order. Among equals the first: as they are, then permutations in lexicographic order.
///
/// At most 25 simulations, on as many threads as the context has.
/// Source: DynaPipe (arXiv 2311.10418), micro-batch injection order.
Reordering reorder_microbatches(const Context& ctx, const StageTimes& times,
                                const StageMemory& memory, const ReorderOptions& options);

/// The most clusters: 720 orders.
inline constexpr std::int64_t kMaxClusters = 6;

}  // namespace researchkit::dynapipe
