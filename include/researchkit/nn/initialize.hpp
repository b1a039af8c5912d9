#pragma once

#include <cmath>
#include <span>

#include "researchkit/core/random.hpp"

/// First values of weights, by position: entry i depends on (seed, stream, i) alone.
namespace researchkit::nn {

/// Uniform in [-bound, bound).
template <class Real>
void uniform(std::span<Real> values, double bound, std::uint64_t seed, std::uint64_t stream) {
  const Philox random(seed, stream);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<Real>(bound * (2 * random.uniform64(i) - 1));
  }
}
/// Normal with mean 0.
template <class Real>
void normal(std::span<Real> values, double deviation, std::uint64_t seed, std::uint64_t stream) {
  const Philox random(seed, stream);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<Real>(deviation * random.normal(i));
  }
}
/// The bound of uniform weights and offsets after `in` inputs: 1 / sqrt(in).
inline double fan_in_bound(std::int64_t in) { return 1 / std::sqrt(static_cast<double>(in)); }
/// The bound of uniform weights between `in` and `out` units (Glorot and Bengio 2010).
inline double glorot_bound(std::int64_t in, std::int64_t out) {
  return std::sqrt(6.0 / static_cast<double>(in + out));
}
/// The deviation of normal weights between `in` and `out` units (Glorot and Bengio 2010).
inline double glorot_deviation(std::int64_t in, std::int64_t out) {
  return std::sqrt(2.0 / static_cast<double>(in + out));
}

}  // namespace researchkit::nn
