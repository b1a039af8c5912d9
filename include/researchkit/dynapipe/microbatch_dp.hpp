#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "researchkit/core/view.hpp"
#include "researchkit/dynapipe/attributes.hpp"
#include "researchkit/dynapipe/ticks.hpp"

namespace researchkit::dynapipe {

/// Windows of ordered samples, row by row: entry k of row i is the time of the micro-batch of
/// samples i .. i + k in ticks, kImpossible where it must not be. Rows end at the last window that
/// may be used.
class WindowRows {
 public:
  WindowRows() : begins_{0} {}

  void reserve(std::int64_t windows) { ticks_.reserve(static_cast<std::size_t>(windows)); }
  /// Adds a window to the row under construction.
  void push(Ticks time) { ticks_.push_back(time); }
  /// Ends the row, without the impossible windows behind its last possible one.
  void end_row() {
    while (static_cast<std::int64_t>(ticks_.size()) > begins_.back() &&
           ticks_.back() == kImpossible) {
      ticks_.pop_back();
    }
    begins_.push_back(static_cast<std::int64_t>(ticks_.size()));
  }

  std::int64_t rows() const { return static_cast<std::int64_t>(begins_.size()) - 1; }
  std::int64_t windows() const { return begins_.back(); }
  std::span<const Ticks> row(std::int64_t i) const {
    const auto at = static_cast<std::size_t>(i);
    return std::span(ticks_).subspan(static_cast<std::size_t>(begins_[at]),
                                     static_cast<std::size_t>(begins_[at + 1] - begins_[at]));
  }
  /// The largest time of a window that may be used; -1 if there is none.
  Ticks longest() const;

 private:
  std::vector<Ticks> ticks_;
  std::vector<std::int64_t> begins_;
};

/// The rows of bands [n, W] of windows whose memory is within both limits.
WindowRows allowed_windows(In<double, 2> time, In<double, 2> stored, In<double, 2> peak,
                           double stored_limit, double peak_limit, double tick);

/// Where the partition's windows run.
struct PartitionProblem {
  std::int64_t stages = 1;    ///< S
  std::int64_t replicas = 1;  ///< D
  std::int64_t chunks = 1;    ///< C
  /// C sum + D (S - 1) max: what is minimised, in ticks times C D.
  Ticks objective(Ticks sum, Ticks largest) const {
    return chunks * sum + replicas * (stages - 1) * largest;
  }
  double milliseconds(Ticks objective, double tick) const {
    return static_cast<double>(objective) * tick / static_cast<double>(chunks * replicas);
  }
};

/// Samples cut into micro-batches.
struct Partition {
  std::vector<std::int64_t> cuts;  ///< 0, ..., n; empty: no micro-batches are within the limits
  Ticks objective = kImpossible;   ///< of PartitionProblem
  Ticks largest = 0;               ///< of the times of the micro-batches
  Ticks sum = 0;
  std::int64_t solves = 0;  ///< dynamic programmes that were solved
  bool feasible() const { return !cuts.empty(); }
};

/// The contiguous partition of least (S - 1) max / C + sum / D; of equal ones that of the smallest
/// maximum, its last micro-batch as long as can be, then the one before, and so on.
///
///     Partition partition = partition_samples(rows, {.stages = 4, .replicas = 2});
///
/// Exact: visits the maxima at which the least sum changes and that can still win. Each solve is one
/// pass over the rows. `stop`, when given, is asked before each and may throw.
/// Source: DynaPipe (arXiv 2311.10418), micro-batch construction; here without its grid of maxima.
Partition partition_samples(const WindowRows& rows, const PartitionProblem& problem,
                            const std::function<void()>& stop = {});

/// The same over a grid of maxima that are more than `interval` apart, each charged as if it was
/// attained: an upper bound, as DynaPipe does it.
Partition partition_samples_on_grid(const WindowRows& rows, const PartitionProblem& problem,
                                    Ticks interval);

namespace reference {

/// partition_samples by a plain dynamic programme for every time that a window has.
Partition partition_samples(const WindowRows& rows, const PartitionProblem& problem);

/// All 2^(n-1) partitions: the least objective, kImpossible if none is allowed. At most 24 samples.
Ticks least_objective(const WindowRows& rows, const PartitionProblem& problem);

}  // namespace reference
}  // namespace researchkit::dynapipe
