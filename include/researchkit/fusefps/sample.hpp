#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "researchkit/core/error.hpp"
#include "researchkit/fusefps/cloud_task.hpp"

namespace researchkit::fusefps {

/// What `sample` chose: indices into the cloud, in order, and the squared distance of each to the
/// earlier ones when it was chosen (infinity for the first).
template <class Real>
struct Samples {
  std::vector<std::int32_t> indices;
  std::vector<Real> distances;
  SamplerStats stats;
};

/// Chooses k points of one cloud, beginning with its first valid one.
///
///     auto chosen = sample(Cloud<float>{xyz.data(), n, 3, 3}, 1024);
///
/// For n < 256 points plain sampling is the fastest, else the fused sampler: `options.algorithm` is
/// decided here, all other options count. Fewer points come back if `options.min_spacing` says so.
/// Throws Error if k is negative or larger than the number of valid points, and for coordinates
/// that are not finite.
template <class Real>
Samples<Real> sample(const Cloud<Real>& cloud, std::int64_t k, SamplerOptions options = {}) {
  constexpr std::string_view kName = "fusefps.sample";
  const std::int64_t n = detail::valid_points(cloud);
  if (k < 0 || k > n) {
    throw Error(kName, "k", "[0, " + std::to_string(n) + "]", std::to_string(k));
  }
  if (const auto bad = detail::find_non_finite(cloud, cloud.distance_dims)) {
    throw Error(kName, "cloud", "finite coordinates of valid points",
                "another number at [" + std::to_string(bad->row) + ", " +
                    std::to_string(bad->column) + "]");
  }
  constexpr std::int64_t kPlainBelow = 256;
  options.algorithm = n < kPlainBelow ? Algorithm::vanilla : Algorithm::fused;
  if (options.algorithm == Algorithm::vanilla) options.split_rule = SplitRule::mean;

  Samples<Real> samples;
  samples.stats.n_points = n;
  if (k == 0) return samples;
  samples.indices.resize(static_cast<std::size_t>(k));
  samples.distances.resize(static_cast<std::size_t>(k));
  FarthestPointSampler<Real> sampler(options);
  const std::int32_t start[] = {detail::valid_point(cloud, 0)};
  sampler.reset(cloud, start);
  const auto taken = static_cast<std::size_t>(sampler.take(samples.indices, samples.distances));
  samples.indices.resize(taken);
  samples.distances.resize(taken);
  samples.stats = sampler.stats();
  return samples;
}

}  // namespace researchkit::fusefps
