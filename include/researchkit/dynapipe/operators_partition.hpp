#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "researchkit/core/arbitrary.hpp"
#include "researchkit/core/operator.hpp"
#include "researchkit/dynapipe/balance.hpp"
#include "researchkit/dynapipe/microbatch_dp.hpp"

namespace researchkit::dynapipe {

/// Cuts ordered samples into micro-batches; see partition_samples.
///
///     auto cut = microbatch_dp(ctx, {.time = t, .stored = a, .peak = p, .num_stages = 4});
///     cut.mb_id(17);
///
/// O(n W) per solve, 2 to 20 solves on usual mini-batches; workspace n W ticks of 8 bytes.
struct MicrobatchDp {
  static constexpr std::string_view name = "dynapipe.microbatch_dp";
  static constexpr std::string_view summary =
      "Cuts ordered samples into the micro-batches of least iteration time within memory.";

  In<double, 2> time = {};          // [n, W]
  In<double, 2> stored = {};        // [n, W]
  In<double, 2> peak = {};          // [n, W]
  Out<std::int32_t, 1> mb_id = {};  // [n]
  Out<double, 1> stats = {};        // [4]
  std::int64_t num_stages = 0;
  std::int64_t dp_size = 1;
  std::int64_t n_chunks = 1;
  double stored_limit = std::numeric_limits<double>::infinity();
  double peak_limit = std::numeric_limits<double>::infinity();
  double tick = kTick;
  TmaxMode tmax_mode = TmaxMode::exact;
  double tmax_interval = 5;

  void describe(Description& io) {
    constexpr std::string_view kNoNan = "[-inf, inf]";
    io.dimension("n", "[1, 1073741824]", "samples");
    io.dimension("W", "[1, inf)", "samples of the longest window");
    io.input(time, "time", "n W", "ms of the window [i, i + k + 1); +inf: impossible",
             {.in = "[0, inf]"});
    io.input(stored, "stored", "n W", "MB kept until its backward", {.in = kNoNan});
    io.input(peak, "peak", "n W", "largest MB in its forward", {.in = kNoNan});
    io.output(mb_id, "mb_id", "n", "micro-batch of each sample, ascending; -1: none is possible");
    io.output(stats, "stats", "4", "objective, largest time, sum of times (ms), micro-batches");
    io.attribute(num_stages, "num_stages", "stages of the pipeline, must be given",
                 {.in = "[1, 65536]"});
    io.attribute(dp_size, "dp_size", "data-parallel replicas", {.in = "[1, 65536]"});
    io.attribute(n_chunks, "n_chunks", "chunks of a stage", {.in = "[1, 65536]"});
    io.attribute(stored_limit, "stored_limit", "MB that a micro-batch may keep");
    io.attribute(peak_limit, "peak_limit", "MB that a micro-batch may need");
    io.attribute(tick, "tick", "ms in which times are compared", {.in = "(0, inf)"});
    io.attribute(tmax_mode, "tmax_mode", "exact, or a grid of largest times");
    io.attribute(tmax_interval, "tmax_interval", "ms between grid points", {.in = "[0, inf)"});
  }
  void validate(const Check& check) const {
    double longest = 0;
    for (std::int64_t i = 0; i < time.extent(0); ++i) {
      for (std::int64_t k = 0; k < time.extent(1); ++k) {
        const Ticks ticks = to_ticks(time(i, k), tick);
        if (ticks < kImpossible) longest = std::max(longest, static_cast<double>(ticks));
      }
    }
    const double factor = static_cast<double>(n_chunks) * static_cast<double>(time.extent(0)) +
                          static_cast<double>(dp_size) * static_cast<double>(num_stages - 1);
    if (factor * longest >= static_cast<double>(kImpossible)) {
      check.refuse("time", "an objective below 2^60 ticks",
                   std::to_string(factor * longest) + " ticks; take a longer tick");
    }
  }
  Cost cost() const {
    const auto windows = static_cast<double>(time.size());
    return {3 * windows, 24 * windows + 4 * static_cast<double>(time.extent(0)) + 32, true};
  }
  void run(const Context& ctx) const {
    const WindowRows rows = allowed();
    store(tmax_mode == TmaxMode::exact
              ? partition_samples(rows, problem(), [&] { ctx.check_cancelled(); })
              : on_grid(rows));
  }
  void reference() const {
    const WindowRows rows = allowed();
    store(tmax_mode == TmaxMode::exact ? reference::partition_samples(rows, problem())
                                       : on_grid(rows));
  }
  static void arbitrary(Arbitrary& random) {
    for (const char* name : {"time", "stored", "peak"}) {
      for (double& value : random.call.inputs.find(name)->values<double>()) {
        value = std::fabs(value);
        if (random.chance(0.05)) value = std::numeric_limits<double>::infinity();
      }
    }
  }

 private:
  WindowRows allowed() const {
    return allowed_windows(time, stored, peak, stored_limit, peak_limit, tick);
  }
  PartitionProblem problem() const { return {num_stages, dp_size, n_chunks}; }
  Partition on_grid(const WindowRows& rows) const {
    const double interval = std::floor(tmax_interval / tick + 0.5);
    return partition_samples_on_grid(
        rows, problem(), static_cast<Ticks>(std::min(interval, static_cast<double>(kImpossible))));
  }
  void store(const Partition& partition) const {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    if (!partition.feasible()) {
      for (std::int64_t i = 0; i < mb_id.extent(0); ++i) mb_id(i) = -1;
      stats(0) = stats(1) = stats(2) = kInfinity;
      stats(3) = 0;
      return;
    }
    for (std::size_t m = 0; m + 1 < partition.cuts.size(); ++m) {
      for (std::int64_t i = partition.cuts[m]; i < partition.cuts[m + 1]; ++i) {
        mb_id(i) = static_cast<std::int32_t>(m);
      }
    }
    stats(0) = problem().milliseconds(partition.objective, tick);
    stats(1) = static_cast<double>(partition.largest) * tick;
    stats(2) = static_cast<double>(partition.sum) * tick;
    stats(3) = static_cast<double>(partition.cuts.size() - 1);
  }
};
static_assert(OperatorStruct<MicrobatchDp>);
inline auto microbatch_dp(const Context& ctx, MicrobatchDp op) { return run(ctx, op); }

/// Deals weights to bins with nearly equal sums; see balanced_partition in balance.hpp.
struct BalancedPartition {
  static constexpr std::string_view name = "dynapipe.balanced_partition";
  static constexpr std::string_view summary = "Deals weights to bins with nearly equal sums.";

  In<double, 1> weights = {};        // [m]
  Out<std::int32_t, 1> assign = {};  // [m]
  Out<double, 1> sums = {};          // [num_bins]
  std::int64_t num_bins = 0;
  PartitionMethod method = PartitionMethod::kk;
  double tick = kTick;

  void describe(Description& io) {
    io.input(weights, "weights", "m", "at least 0", {.in = "[0, inf)", .finite = true});
    io.output(assign, "assign", "m", "bin of each weight, numbered by first appearance");
    io.output(sums, "sums", "num_bins", "sum of each bin");
    io.attribute(num_bins, "num_bins", "bins, must be given", {.in = "[1, 65536]"});
    io.attribute(method, "method", "how; exact takes at most 24 weights");
    io.attribute(tick, "tick", "unit in which weights are compared", {.in = "(0, inf)"});
  }
  void validate(const Check& check) const {
    if (method == PartitionMethod::exact && weights.extent(0) > kMaxExactItems) {
      check.refuse("weights", "at most 24 weights where method is 'exact'",
                   std::to_string(weights.extent(0)));
    }
    double sum = 0;
    for (std::int64_t i = 0; i < weights.extent(0); ++i) {
      const Ticks ticks = to_ticks(weights(i), tick);
      sum += static_cast<double>(ticks);
      if (ticks >= kImpossible || sum >= static_cast<double>(kImpossible)) {
        check.refuse("weights", "below 2^42 ticks each and 2^60 together",
                     std::to_string(weights(i)) + " at [" + std::to_string(i) + "]");
      }
    }
  }
  Cost cost() const {
    const auto m = static_cast<double>(weights.extent(0)), k = static_cast<double>(num_bins);
    return {m * k * std::log2(m + 1), 12 * m + 8 * k, true};
  }
  void run(const Context&) const { store(balanced_partition(ticks(), num_bins, method)); }
  void reference() const {
    store(method == PartitionMethod::kk ? reference::karmarkar_karp(ticks(), num_bins)
                                        : balanced_partition(ticks(), num_bins, method));
  }
  static void arbitrary(Arbitrary& random) {
    // Exact search over many weights takes longer than a test may.
    if (random.size("m") > 8) random.call.attributes.erase("method");
    for (double& weight : random.call.inputs.find("weights")->values<double>()) {
      weight = std::fabs(weight);
      if (random.chance(0.3)) weight = static_cast<double>(random.integer(0, 2));
    }
  }

 private:
  std::vector<Ticks> ticks() const {
    std::vector<Ticks> result(static_cast<std::size_t>(weights.extent(0)));
    for (std::size_t i = 0; i < result.size(); ++i) result[i] = to_ticks(weights(i), tick);
    return result;
  }
  void store(const Deal& deal) const {
    for (std::size_t i = 0; i < deal.bin_of.size(); ++i) assign(i) = deal.bin_of[i];
    for (std::size_t b = 0; b < deal.sums.size(); ++b) {
      sums(b) = static_cast<double>(deal.sums[b]) * tick;
    }
  }
};
static_assert(OperatorStruct<BalancedPartition>);
inline auto balanced_partition(const Context& ctx, BalancedPartition op) { return run(ctx, op); }

}  // namespace researchkit::dynapipe
