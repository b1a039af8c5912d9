#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "researchkit/core/operator.hpp"
#include "researchkit/core/parallel.hpp"
#include "researchkit/core/view.hpp"
#include "researchkit/fusefps/attributes.hpp"
#include "researchkit/fusefps/counter_random.hpp"
#include "researchkit/fusefps/reference.hpp"
#include "researchkit/fusefps/sampler.hpp"

// What the batched and the ragged sampling operators share: one cloud at a time.
namespace researchkit::fusefps::detail {

inline constexpr std::int64_t kMaxPoints = std::int64_t{1} << 30;

/// One cloud that is to be sampled.
template <class Real>
struct CloudTask {
  Cloud<Real> cloud;
  std::vector<std::int32_t> start;
  std::int64_t k = 0;      // at most the number of valid points
  std::vector<Real> rows;  // the points, where theirs have no unit column stride
};

/// Where the results of one cloud go: indices and distances have k entries (or a whole padded row),
/// the coverage spans are empty or have one entry for each point.
template <class Real>
struct CloudResult {
  std::span<std::int32_t> indices;
  std::span<Real> distances;
  std::span<Real> min_dist;
  std::span<std::int32_t> assignment;
  std::array<std::int64_t, SamplerStats::kCount> stats{};
  std::int64_t count = 0;
};

/// Points the task at a cloud [n, d]; columns that are not adjacent are copied. A cloud on a device
/// is described without its points.
template <class Real>
void set_points(CloudTask<Real>& task, In<Real, 2> points, std::int64_t m) {
  task.cloud.rows = points.extent(0);
  task.cloud.distance_dims = m;
  if (!points.device().is_host()) return;  // whoever runs there knows where they are
  if (points.stride(1) == 1 || m == 1) {
    task.cloud.points = points.data_handle();
    task.cloud.row_stride = points.stride(0);
    return;
  }
  task.rows.resize(static_cast<std::size_t>(points.extent(0) * m));
  for (std::int64_t i = 0; i < points.extent(0); ++i) {
    for (std::int64_t c = 0; c < m; ++c) {
      task.rows[static_cast<std::size_t>(i * m + c)] = points(i, c);
    }
  }
  task.cloud.points = task.rows.data();
  task.cloud.row_stride = m;
}

/// Valid points of a cloud.
template <class Real>
std::int64_t valid_points(const Cloud<Real>& cloud) {
  if (cloud.mask == nullptr) return cloud.rows;
  return cloud.rows - std::count(cloud.mask, cloud.mask + cloud.rows, std::uint8_t{0});
}

/// The index of valid point number `position`.
template <class Real>
std::int32_t valid_point(const Cloud<Real>& cloud, std::int64_t position) {
  if (cloud.mask == nullptr) return static_cast<std::int32_t>(position);
  std::int32_t i = 0;
  while (cloud.mask[i] == 0 || position-- > 0) ++i;
  return i;
}

/// The first of the leading `columns` coordinates of a valid point that is not finite.
struct Position {
  std::int64_t row, column;
};
template <class Real>
std::optional<Position> find_non_finite(const Cloud<Real>& cloud, std::int64_t columns) {
  if (cloud.points == nullptr) return std::nullopt;  // on a device, which looks itself
  if constexpr (std::same_as<Real, float> || std::same_as<Real, double>) {
    if (all_finite(cloud.points, cloud.rows, cloud.row_stride, columns, cloud.mask)) {
      return std::nullopt;
    }
  }
  using std::isfinite;
  for (std::int64_t i = 0; i < cloud.rows; ++i) {
    if (cloud.mask != nullptr && cloud.mask[i] == 0) continue;
    for (std::int64_t c = 0; c < columns; ++c) {
      if (!isfinite(cloud.points[i * cloud.row_stride + c])) return Position{i, c};
    }
  }
  return std::nullopt;
}

/// Refuses `points` if the leading `columns` of one of the first n points of cloud b are not finite.
template <class Real>
void require_finite(const Check& check, In<Real, 3> points, std::int64_t b, std::int64_t n,
                    std::int64_t columns) {
  CloudTask<Real> task;
  set_points(task, points[b], columns);
  task.cloud.rows = n;
  if (const auto bad = find_non_finite(task.cloud, columns)) {
    check.refuse("points", "finite coordinates",
                 "another number at " + to_string(Shape{b, bad->row, bad->column}));
  }
}

/// Why a start set is refused, empty if it is legal for a cloud of which k points are wanted.
template <class Real>
std::string refused_start(const CloudTask<Real>& task) {
  std::vector<std::int32_t> sorted = task.start;
  std::sort(sorted.begin(), sorted.end());
  for (const std::int32_t i : sorted) {
    if (i < 0 || i >= task.cloud.rows) {
      return std::to_string(i) + " in a cloud of " + std::to_string(task.cloud.rows) + " points";
    }
    if (task.cloud.mask != nullptr && task.cloud.mask[i] == 0) {
      return std::to_string(i) + ", which is masked";
    }
  }
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end()) return std::to_string(*twice) + " more than once";
  if (static_cast<std::int64_t>(sorted.size()) > task.k) {
    return std::to_string(sorted.size()) + " start points for " + std::to_string(task.k) +
           " samples";
  }
  if (sorted.empty() && task.k > 0) return "no start point";
  return {};
}

/// What remains of a result where nothing was sampled, and behind the samples.
template <class Real>
void pad(CloudResult<Real>& result) {
  const auto count = static_cast<std::ptrdiff_t>(result.count);
  std::fill(result.indices.begin() + count, result.indices.end(), -1);
  std::fill(result.distances.begin() + count, result.distances.end(), Real(0));
}

/// The state before the first sample as coverage.
template <class Real>
void initial_coverage(const Cloud<Real>& cloud, CloudResult<Real>& result) {
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(result.min_dist.size()); ++i) {
    const bool valid = cloud.mask == nullptr || cloud.mask[i] != 0;
    result.min_dist[static_cast<std::size_t>(i)] =
        !valid                              ? Real(0)
        : cloud.initial_distance != nullptr ? cloud.initial_distance[i]
                                            : Real(std::numeric_limits<double>::infinity());
  }
  std::fill(result.assignment.begin(), result.assignment.end(), -1);
}

/// Samples one cloud with the fast sampler. `on_progress(samples)` is called now and then.
template <class Real, class OnProgress>
void sample(FarthestPointSampler<Real>& sampler, const CloudTask<Real>& task,
            const SamplerOptions& options, CloudResult<Real>& result, OnProgress&& on_progress) {
  constexpr std::int64_t kPiece = 4096;
  result.stats[0] = valid_points(task.cloud);
  if (task.k == 0) {
    initial_coverage(task.cloud, result);
    return pad(result);
  }
  sampler.reset(task.cloud, task.start, options);
  while (result.count < task.k) {
    const std::int64_t piece = std::min(kPiece, task.k - result.count);
    const auto at = static_cast<std::size_t>(result.count);
    const std::int64_t taken =
        sampler.take(result.indices.subspan(at, static_cast<std::size_t>(piece)),
                     result.distances.subspan(at, static_cast<std::size_t>(piece)));
    result.count += taken;
    if (taken < piece) break;
    on_progress(result.count);
  }
  result.stats = sampler.stats().values();
  if (!result.min_dist.empty() || !result.assignment.empty()) {
    sampler.coverage(result.min_dist, result.assignment);
  }
  pad(result);
}

/// Samples one cloud with the oracle.
template <class Real>
void sample_by_reference(const CloudTask<Real>& task, const SamplerOptions& options,
                         CloudResult<Real>& result) {
  const Cloud<Real>& cloud = task.cloud;
  std::vector<std::int64_t> valid;
  for (std::int64_t i = 0; i < cloud.rows; ++i) {
    if (cloud.mask == nullptr || cloud.mask[i] != 0) valid.push_back(i);
  }
  reference::Problem<Real> problem;
  problem.n = static_cast<std::int64_t>(valid.size());
  problem.m = cloud.distance_dims;
  for (const std::int64_t i : valid) {
    const Real* row = cloud.points + i * cloud.row_stride;
    problem.x.insert(problem.x.end(), row, row + problem.m);
    if (cloud.initial_distance != nullptr) {
      problem.initial_distance.push_back(cloud.initial_distance[i]);
    }
  }
  for (const std::int32_t start : task.start) {
    problem.starts.push_back(std::lower_bound(valid.begin(), valid.end(), start) - valid.begin());
  }
  problem.k = task.k;
  problem.min_spacing = options.min_spacing;
  problem.distinct = options.distinct;
  problem.arithmetic = options.arithmetic;
  problem.algorithm = options.algorithm;
  problem.height = options.height;
  problem.leaf_size = options.leaf_size;
  problem.ref_buffer = options.ref_buffer;
  problem.split_rule = options.split_rule;
  problem.coverage = !result.min_dist.empty() || !result.assignment.empty();
  const reference::Solution<Real> solution = reference::sample(problem);
  result.count = static_cast<std::int64_t>(solution.indices.size());
  result.stats = solution.stats;
  for (std::size_t j = 0; j < solution.indices.size(); ++j) {
    result.indices[j] =
        static_cast<std::int32_t>(valid[static_cast<std::size_t>(solution.indices[j])]);
    result.distances[j] = solution.distances[j];
  }
  std::fill(result.min_dist.begin(), result.min_dist.end(), Real(0));
  std::fill(result.assignment.begin(), result.assignment.end(), -1);
  for (std::size_t j = 0; j < valid.size(); ++j) {
    const auto i = static_cast<std::size_t>(valid[j]);
    if (!result.min_dist.empty()) result.min_dist[i] = solution.min_dist[j];
    if (!result.assignment.empty()) result.assignment[i] = solution.assignment[j];
  }
  pad(result);
}

/// Samples `clouds` clouds on the threads of ctx, the largest first, each by one thread:
/// `task_of(b)` says what to do, `store(b, sampler, task)` does it with a sampler of its own.
template <class Real, class TaskOf, class Store>
void for_clouds(const Context& ctx, std::int64_t clouds, TaskOf&& task_of, Store&& store) {
  std::vector<CloudTask<Real>> tasks(static_cast<std::size_t>(clouds));
  std::vector<std::int64_t> order(tasks.size());
  std::iota(order.begin(), order.end(), 0);
  for (std::int64_t b = 0; b < clouds; ++b) tasks[static_cast<std::size_t>(b)] = task_of(b);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t i, std::int64_t j) {
    const auto work = [&](std::int64_t b) {
      const CloudTask<Real>& task = tasks[static_cast<std::size_t>(b)];
      return static_cast<double>(task.cloud.rows) * static_cast<double>(task.k);
    };
    return work(i) > work(j);
  });
  // Samplers keep their memory from cloud to cloud and from call to call.
  parallel_blocks(ctx, clouds, [&](std::int64_t i) {
    const std::int64_t b = order[static_cast<std::size_t>(i)];
    const auto sampler = ctx.reuse_pool().take<FarthestPointSampler<Real>>();
    store(b, *sampler, tasks[static_cast<std::size_t>(b)]);
  });
}

/// Flops and bytes of plain sampling of k from n points, and what bucket samplers did.
struct SamplingCost {
  double m, element_bytes;

  double distance_flops() const { return 3 * m - 1; }
  /// `k` samples of n points, `starts` of them given. The last sample is applied to the points only
  /// for `coverage`; start points are compared with one another.
  Cost plain(std::int64_t n, std::int64_t k, std::int64_t starts, bool coverage) const {
    const std::int64_t applied = coverage ? k : starts == k ? 0 : k - 1;
    const double updates = static_cast<double>(applied) * static_cast<double>(n);
    const auto among_starts = 0.5 * static_cast<double>(starts * (starts - 1));
    return {(updates + among_starts) * distance_flops(), updates * (m + 2) * element_bytes, false};
  }
  /// Bucket samplers compute each distance at most once, and test at most `buckets` a step.
  Cost bound(std::int64_t n, std::int64_t k, std::int64_t starts, bool coverage,
             std::int64_t buckets) const {
    Cost cost = plain(n, k, starts, coverage);
    const double tests = k > 0 ? static_cast<double>(k - 1) * static_cast<double>(buckets) : 0;
    cost.flops += tests * ((6 * m - 1) + distance_flops());
    cost.upper_bound = true;
    return cost;
  }
  Cost measured(std::span<const std::int64_t, SamplerStats::kCount> stats) const {
    const auto stat = [&](std::size_t i) { return static_cast<double>(stats[i]); };
    return {stat(10) * distance_flops() + stat(2) * (6 * m - 1),
            stat(7) * (m + 1) * element_bytes + stat(8) * element_bytes +
                stat(9) * ((m + 1) * element_bytes + 4) +
                (stat(11) + stat(12)) * (m * element_bytes + 4),
            false};
  }
};

/// Most buckets that a cloud of n points can be cut into.
inline std::int64_t most_buckets(std::int64_t n, std::int64_t height) {
  const std::int64_t levels = height < 0 ? automatic_height(n) : height;
  return std::min(n, std::int64_t{1} << levels);
}

}  // namespace researchkit::fusefps::detail
