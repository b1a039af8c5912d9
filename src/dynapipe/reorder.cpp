#include "researchkit/dynapipe/reorder.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

#include "researchkit/core/parallel.hpp"

namespace researchkit::dynapipe {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Rows of `from` in another order.
Array<double, 2> permuted(In<double, 2> from, std::span<const std::int64_t> perm) {
  Array<double, 2> rows({from.extent(0), from.extent(1)});
  for (std::size_t i = 0; i < perm.size(); ++i) {
    for (std::int64_t j = 0; j < from.extent(1); ++j) rows(i, j) = from(perm[i], j);
  }
  return rows;
}

/// The makespan of an order; infinite where it does not fit.
double makespan_of(const StageTimes& times, const StageMemory& memory,
                   std::span<const std::int64_t> perm, const ReorderOptions& options) {
  const std::int64_t devices = memory.state_mem.extent(0);
  const std::int64_t operations = 2 * times.fw.size() / devices;
  const Array<double, 2> stored = permuted(memory.stored, perm), peak = permuted(memory.peak, perm);
  const StageMemory own_memory{stored, peak, memory.state_mem};
  const Array<std::int32_t, 2> order({devices, operations});
  if (!make_schedule(own_memory, options.schedule, order)) return kInfinity;
  const Array<double, 2> fw = permuted(times.fw, perm), bw = permuted(times.bw, perm);
  const Array<double, 2> comm_fw = permuted(times.comm_fw, perm),
                         comm_bw = permuted(times.comm_bw, perm);
  const Array<double, 2> start({devices, operations}), sent({devices, operations});
  const Array<double, 1> peak_mem({devices}), busy({devices});
  const double makespan = simulate_schedule(order, {fw, bw, comm_fw, comm_bw}, own_memory,
                                            options.streams, {start, sent}, {peak_mem, busy});
  for (std::int64_t s = 0; s < devices; ++s) {
    if (makespan < 0 || peak_mem(s) > options.fits.value_or(options.schedule.memory_limit)) {
      return kInfinity;
    }
  }
  return makespan;
}

/// As they are, then all orders of the clusters.
std::vector<std::vector<std::int64_t>> candidate_orders(const StageTimes& times,
                                                        const ReorderOptions& options) {
  const std::int64_t micro_batches = times.fw.extent(0);
  std::vector<std::vector<std::int64_t>> orders(1);
  orders[0].resize(static_cast<std::size_t>(micro_batches));
  std::iota(orders[0].begin(), orders[0].end(), std::int64_t{0});
  if (options.only_identity) return orders;
  std::vector<double> work(orders[0].size());
  for (std::int64_t m = 0; m < micro_batches; ++m) {
    double forward = 0, backward = 0;
    for (std::int64_t s = 0; s < times.fw.extent(1); ++s) {
      forward += times.fw(m, s);
      backward += times.bw(m, s);
    }
    work[static_cast<std::size_t>(m)] = forward + backward;
  }
  auto groups = cluster_values(work, options.clusters > 0 ? options.clusters
                                     : micro_batches > 20 ? 3
                                                          : 4);
  for (auto& group : groups) std::sort(group.begin(), group.end());
  std::vector<std::size_t> of(groups.size());
  std::iota(of.begin(), of.end(), std::size_t{0});
  do {
    std::vector<std::int64_t>& order = orders.emplace_back();
    for (const std::size_t g : of) order.insert(order.end(), groups[g].begin(), groups[g].end());
  } while (std::next_permutation(of.begin(), of.end()));
  return orders;
}

}  // namespace

std::vector<std::vector<std::int64_t>> cluster_values(std::span<const double> values,
                                                      std::int64_t clusters) {
  const std::size_t n = values.size();
  const std::size_t k = std::min(static_cast<std::size_t>(clusters), n);
  std::vector<std::int64_t> by_value(n);
  std::iota(by_value.begin(), by_value.end(), std::int64_t{0});
  std::stable_sort(by_value.begin(), by_value.end(), [&](std::int64_t a, std::int64_t b) {
    return values[static_cast<std::size_t>(a)] < values[static_cast<std::size_t>(b)];
  });
  std::vector<double> sum(n + 1, 0), squares(n + 1, 0);
  for (std::size_t i = 0; i < n; ++i) {
    const double v = values[static_cast<std::size_t>(by_value[i])];
    sum[i + 1] = sum[i] + v;
    squares[i + 1] = squares[i] + v * v;
  }
  const auto scatter = [&](std::size_t begin, std::size_t end) {
    const double s = sum[end] - sum[begin];
    return (squares[end] - squares[begin]) - s * s / static_cast<double>(end - begin);
  };
  // least[g][end]: least scatter of g clusters over the first `end` values; first[g][end]: where
  // the last of them begins.
  std::vector<std::vector<double>> least(k + 1, std::vector<double>(n + 1, kInfinity));
  std::vector<std::vector<std::size_t>> first(k + 1, std::vector<std::size_t>(n + 1, 0));
  least[0][0] = 0;
  for (std::size_t g = 1; g <= k; ++g) {
    for (std::size_t end = g; end <= n; ++end) {
      for (std::size_t begin = g - 1; begin < end; ++begin) {
        const double total = least[g - 1][begin] + scatter(begin, end);
        if (total >= least[g][end]) continue;
        least[g][end] = total;
        first[g][end] = begin;
      }
    }
  }
  std::vector<std::vector<std::int64_t>> groups(k);
  std::size_t end = n;
  for (std::size_t g = k; g > 0; --g) {
    const std::size_t begin = first[g][end];
    groups[g - 1].assign(by_value.begin() + static_cast<std::ptrdiff_t>(begin),
                         by_value.begin() + static_cast<std::ptrdiff_t>(end));
    end = begin;
  }
  return groups;
}

Reordering reorder_microbatches(const Context& ctx, const StageTimes& times,
                                const StageMemory& memory, const ReorderOptions& options) {
  auto orders = candidate_orders(times, options);
  std::vector<double> makespans(orders.size());
  // A piece takes about 0.2 ms: less is not worth waking a thread.
  const std::int64_t grain = 8192 / std::max<std::int64_t>(times.fw.size(), 1) + 1;
  parallel_for(ctx, static_cast<std::int64_t>(orders.size()), grain,
               [&](std::int64_t begin, std::int64_t end) {
                 for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end);
                      ++i) {
                   makespans[i] = makespan_of(times, memory, orders[i], options);
                 }
               });
  const auto best = std::min_element(makespans.begin(), makespans.end());
  if (*best == kInfinity) return {};
  return {std::move(orders[static_cast<std::size_t>(best - makespans.begin())]), *best};
}

}  // namespace researchkit::dynapipe
