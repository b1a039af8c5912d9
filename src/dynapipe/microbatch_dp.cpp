#include "researchkit/dynapipe/microbatch_dp.hpp"

#include <algorithm>
#include <optional>

#include "researchkit/dynapipe/window_sweeps.hpp"

namespace researchkit::dynapipe {
namespace {

/// The canonical partition whose windows are within `limit`: each last window begins as early as
/// the least sum allows.
Partition canonical_partition(const WindowRows& rows, Ticks limit) {
  const auto boundaries = static_cast<std::size_t>(rows.rows() + 1);
  std::vector<Ticks> sum(boundaries);
  std::vector<std::int32_t> start(boundaries);
  detail::sweep_sum(rows, limit, sum, start);
  Partition partition;
  partition.sum = sum.back();
  for (std::int64_t j = rows.rows(); j > 0; j = start[static_cast<std::size_t>(j)]) {
    const std::int64_t i = start[static_cast<std::size_t>(j)];
    partition.cuts.push_back(j);
    partition.largest =
        std::max(partition.largest, rows.row(i)[static_cast<std::size_t>(j - i - 1)]);
  }
  partition.cuts.push_back(0);
  std::reverse(partition.cuts.begin(), partition.cuts.end());
  return partition;
}

/// The distinct times of usable windows, ascending.
std::vector<Ticks> window_times(const WindowRows& rows) {
  std::vector<Ticks> times;
  for (std::int64_t i = 0; i < rows.rows(); ++i) {
    for (const Ticks time : rows.row(i)) {
      if (time < kImpossible) times.push_back(time);
    }
  }
  std::sort(times.begin(), times.end());
  times.erase(std::unique(times.begin(), times.end()), times.end());
  return times;
}

/// The least sum with windows of at most `limit`, by plain loops; kImpossible if there is none.
Ticks plain_least_sum(const WindowRows& rows, Ticks limit) {
  const auto n = static_cast<std::size_t>(rows.rows());
  std::vector<Ticks> sum(n + 1, kImpossible);
  sum[0] = 0;
  for (std::size_t j = 1; j <= n; ++j) {
    for (std::size_t i = 0; i < j; ++i) {
      const auto row = rows.row(static_cast<std::int64_t>(i));
      if (j - i > row.size() || row[j - i - 1] > limit || sum[i] >= kImpossible) continue;
      sum[j] = std::min(sum[j], sum[i] + row[j - i - 1]);
    }
  }
  return sum[n];
}

}  // namespace

Ticks WindowRows::longest() const {
  Ticks longest = -1;
  for (const Ticks time : ticks_) {
    if (time < kImpossible) longest = std::max(longest, time);
  }
  return longest;
}

WindowRows allowed_windows(In<double, 2> time, In<double, 2> stored, In<double, 2> peak,
                           double stored_limit, double peak_limit, double tick) {
  WindowRows rows;
  const std::int64_t n = time.extent(0);
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t k = 0; k < std::min(time.extent(1), n - i); ++k) {
      const bool allowed = stored(i, k) <= stored_limit && peak(i, k) <= peak_limit;
      rows.push(allowed ? to_ticks(time(i, k), tick) : kImpossible);
    }
    rows.end_row();
  }
  return rows;
}

Partition partition_samples(const WindowRows& rows, const PartitionProblem& problem,
                            const std::function<void()>& stop) {
  const auto n = static_cast<std::size_t>(rows.rows());
  detail::Sweep state(rows.rows());
  const Ticks smallest = detail::bottleneck(rows, state.sum);
  if (smallest >= kImpossible) return {};
  std::vector<std::int64_t> widths(n);
  const auto reset_widths = [&] {
    for (std::size_t i = 0; i < n; ++i) {
      widths[i] = static_cast<std::int64_t>(rows.row(static_cast<std::int64_t>(i)).size());
    }
  };
  // Every J is at least C f + D (S - 1) tau, so a known J bounds the tau that can still win. The
  // flattest partition gives the first such bound, before anything wider is looked at.
  const Ticks weight = problem.replicas * (problem.stages - 1);
  Ticks best = kImpossible, best_limit = -1;
  std::int64_t solves = 0;
  const auto solve = [&](Ticks limit) {
    if (stop) stop();
    detail::sweep_sum_and_largest(rows, widths, limit, state);
    ++solves;
    const Ticks objective = problem.objective(state.sum[n], state.largest[n]);
    const bool better = objective < best || (objective == best && state.largest[n] < best_limit);
    if (better) {
      best = objective;
      best_limit = state.largest[n];
    }
  };
  // Below the least maximum of sum-optimal partitions every sum is larger.
  const auto widest = [&](Ticks sum) {
    const Ticks left = best - problem.chunks * (sum + 1);
    return weight > 0 && left >= 0 ? left / weight : Ticks{-1};
  };
  reset_widths();
  solve(smallest);
  // No window of a better partition is longer than C t + D (S - 1) t <= J allows.
  Ticks limit = std::min(kImpossible - 1, best / (problem.chunks + weight));
  reset_widths();
  while (limit >= smallest) {
    solve(limit);
    limit = std::min(state.largest[n] - 1, widest(state.sum[n]));
  }
  Partition partition = canonical_partition(rows, best_limit);
  partition.objective = best;
  partition.solves = solves;
  return partition;
}

Partition partition_samples_on_grid(const WindowRows& rows, const PartitionProblem& problem,
                                    Ticks interval) {
  std::optional<Ticks> last;
  Ticks best = kImpossible, best_limit = -1;
  const auto n = static_cast<std::size_t>(rows.rows());
  std::vector<Ticks> sum(n + 1);
  std::vector<std::int32_t> start(n + 1);
  std::int64_t solves = 0;
  for (const Ticks time : window_times(rows)) {
    if (last && time - *last <= interval) continue;
    last = time;
    detail::sweep_sum(rows, time, sum, start);
    ++solves;
    if (sum[n] >= kImpossible) continue;
    const Ticks objective = problem.objective(sum[n], time);
    if (objective >= best) continue;
    best = objective;
    best_limit = time;
  }
  if (best_limit < 0) return {};
  Partition partition = canonical_partition(rows, best_limit);
  partition.objective = best;
  partition.largest = best_limit;
  partition.solves = solves;
  return partition;
}

namespace reference {

Partition partition_samples(const WindowRows& rows, const PartitionProblem& problem) {
  Ticks best = kImpossible, best_limit = -1;
  for (const Ticks time : window_times(rows)) {
    const Ticks sum = plain_least_sum(rows, time);
    if (sum >= kImpossible) continue;
    const Ticks objective = problem.objective(sum, time);
    if (objective >= best) continue;
    best = objective;
    best_limit = time;
  }
  if (best_limit < 0) return {};
  Partition partition = canonical_partition(rows, best_limit);
  partition.objective = best;
  return partition;
}

Ticks least_objective(const WindowRows& rows, const PartitionProblem& problem) {
  const std::int64_t n = rows.rows();
  Ticks best = kImpossible;
  for (std::uint32_t cuts = 0; cuts < (1U << (n - 1)); ++cuts) {
    Ticks sum = 0, largest = 0;
    std::int64_t begin = 0;
    for (std::int64_t end = 1; end <= n && sum < kImpossible; ++end) {
      if (end < n && ((cuts >> (end - 1)) & 1U) == 0) continue;
      const auto row = rows.row(begin);
      const auto k = static_cast<std::size_t>(end - begin - 1);
      const Ticks time = k < row.size() ? row[k] : kImpossible;
      sum = time < kImpossible ? sum + time : kImpossible;
      largest = std::max(largest, time);
      begin = end;
    }
    if (sum < kImpossible) best = std::min(best, problem.objective(sum, largest));
  }
  return best;
}

}  // namespace reference
}  // namespace researchkit::dynapipe
