#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "options.hpp"
#include "researchkit/fusefps/fusefps.hpp"

namespace rk = researchkit;
namespace fusefps = researchkit::fusefps;

/// One method: what it chose, how long that took, what it had to do for it.
struct Measured {
  std::string name;
  double best_s = 0, median_s = 0;
  std::vector<std::int32_t> indices;
  std::vector<double> squared_distances;  // of each sample to those before it
  std::array<std::int64_t, fusefps::SamplerStats::kCount> stats{};
  double radius = 0, gap = 0;  // every point is within `radius` of a sample, samples `gap` apart

  double stat(std::size_t i) const { return static_cast<double>(stats[i]); }
  /// Points read by sampling and by building the tree, as a fraction of n k.
  double read_fraction() const { return (stat(7) + stat(11)) / (stat(0) * stat(1)); }
  double distance_fraction() const { return stat(10) / (stat(0) * stat(1)); }
};

/// Indices of `--start 17,4,99`; none for `first` and `random`.
inline std::vector<std::int32_t> start_indices(const std::string& text) {
  if (text == "first" || text == "random") return {};
  const auto list = rk::parse_attribute(rk::AttributeType::int64_list, text);
  if (!list) throw rk::Error("--start " + text + ": wanted first, random, or indices as 17,4,99");
  const auto& wide = std::get<std::vector<std::int64_t>>(*list);
  return {wide.begin(), wide.end()};
}

/// Runs one method `repeat` times.
///
/// This is the call to copy: fill the operator's struct, run it, use its outputs.
template <template <class> class Method, class Real>
Measured measure(const rk::Context& ctx, const std::string& name, rk::In<Real, 3> cloud,
                 std::int64_t k, const Options& o, int repeat) {
  Method<Real> call{.points = cloud, .k = k};
  call.min_spacing = o.min_spacing;
  call.seed = o.seed;
  if constexpr (Method<Real>::kHasTree) {
    call.height = o.height;
    call.leaf_size = o.leaf;
    call.ref_buffer = o.ref_buffer;
  }
  const auto starts = start_indices(o.start);
  if (o.start == "random") call.start = fusefps::Start::random;
  if (!starts.empty()) {
    call.start_index =
        rk::In<std::int32_t, 2>(starts.data(), {1, static_cast<std::int64_t>(starts.size())});
  }

  Measured result;
  result.name = name;
  std::vector<double> times;
  for (int i = 0; i < repeat; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    const auto sample = run(ctx, call);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
    times.push_back(elapsed.count());
    if (i > 0) continue;  // the same every time
    for (std::int64_t j = 0; j < sample.counts(0); ++j) {
      result.indices.push_back(sample.indices(0, j));
      result.squared_distances.push_back(static_cast<double>(sample.distances(0, j)));
    }
    std::copy_n(sample.stats.data_handle(), result.stats.size(), result.stats.begin());
  }
  std::sort(times.begin(), times.end());
  result.best_s = times.front();
  result.median_s = times[times.size() / 2];
  return result;
}

/// Covering radius and smallest gap of some samples.
template <class Real>
std::pair<double, double> coverage(const rk::Context& ctx, rk::In<Real, 3> cloud,
                                   const std::vector<std::int32_t>& indices) {
  const rk::In<std::int32_t, 2> chosen(indices.data(),
                                       {1, static_cast<std::int64_t>(indices.size())});
  const auto quality = fusefps::coverage_metrics(
      ctx, fusefps::CoverageMetrics<Real>{.points = cloud, .indices = chosen});
  return {quality.metrics(0, 0), quality.metrics(0, 3)};
}
