#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <numeric>
#include <span>
#include <vector>

#include "researchkit/dynapipe/attributes.hpp"
#include "researchkit/dynapipe/lengths.hpp"
#include "researchkit/dynapipe/short_path.hpp"

namespace researchkit::dynapipe {

struct SampleOrderOptions {
  OrderMethod method = OrderMethod::sort;
  Rounding rounding = {};
  std::int64_t max_sweeps = 16;  ///< of the improvement of a path
};

namespace detail {

/// Samples with the same padded lengths cost the same: they are one city.
struct Cities {
  std::vector<Point> points;                          // descending by (input, target)
  std::vector<std::vector<std::int32_t>> samples_at;  // ascending
};

inline Cities cities_of(std::span<const SampleLength> samples, const Rounding& rounding) {
  std::map<std::pair<std::int64_t, std::int64_t>, std::vector<std::int32_t>, std::greater<>> found;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    found[{rounding.input(samples[i].input), rounding.target(samples[i].target)}].push_back(
        static_cast<std::int32_t>(i));
  }
  Cities cities;
  for (auto& [lengths, members] : found) {
    cities.points.push_back(
        {static_cast<std::int32_t>(lengths.first), static_cast<std::int32_t>(lengths.second)});
    cities.samples_at.push_back(std::move(members));
  }
  return cities;
}

template <class FindPath>
std::vector<std::int32_t> order_with(std::span<const SampleLength> samples,
                                     const SampleOrderOptions& options, FindPath&& find_path) {
  std::vector<std::int32_t> order(samples.size());
  if (options.method == OrderMethod::sort) {
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
      const SampleLength &x = samples[static_cast<std::size_t>(a)],
                         &y = samples[static_cast<std::size_t>(b)];
      return x.input != y.input ? x.input > y.input : x.target > y.target;
    });
    return order;
  }
  const Cities cities = cities_of(samples, options.rounding);
  order.clear();
  for (const std::int32_t city : find_path(cities.points, options.max_sweeps)) {
    const auto& members = cities.samples_at[static_cast<std::size_t>(city)];
    order.insert(order.end(), members.begin(), members.end());
  }
  return order;
}

}  // namespace detail

/// The order in which samples are cut into micro-batches: neighbours have similar lengths.
///
///     auto order = order_samples(samples, {.method = OrderMethod::path});
///
/// `sort` is the best order where a sample has one length; `path` is a short open path (L1) through
/// the padded lengths for encoder-decoder samples. O(n log n), and O(c^2) per sweep for c distinct
/// padded lengths. Source: DynaPipe (arXiv 2311.10418), sample ordering.
inline std::vector<std::int32_t> order_samples(std::span<const SampleLength> samples,
                                               const SampleOrderOptions& options = {}) {
  return detail::order_with(samples, options, detail::short_path);
}

/// Sum of the L1 distances of consecutive samples, in tokens.
inline std::int64_t path_length(std::span<const SampleLength> samples,
                                std::span<const std::int32_t> order) {
  std::int64_t sum = 0;
  for (std::size_t k = 1; k < order.size(); ++k) {
    const SampleLength &a = samples[static_cast<std::size_t>(order[k - 1])],
                       &b = samples[static_cast<std::size_t>(order[k])];
    sum += std::abs(std::int64_t{a.input} - b.input) + std::abs(std::int64_t{a.target} - b.target);
  }
  return sum;
}

}  // namespace researchkit::dynapipe
