#pragma once

#include <cstdint>

namespace researchkit::fusefps {

/// The i-th 64-bit random number of a seed: SplitMix64 at position i + 1.
///
/// Counter-based, so that any language and any order of evaluation gives the same numbers; the
/// clouds and random starts of this namespace are defined through it.
constexpr std::uint64_t counter_random(std::uint64_t seed, std::uint64_t i) {
  std::uint64_t z = seed + (i + 1) * 0x9E3779B97F4A7C15U;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
  return z ^ (z >> 31);
}

/// The i-th random number of a seed in [0, 1), a multiple of 2^-53.
constexpr double counter_uniform(std::uint64_t seed, std::uint64_t i) {
  return static_cast<double>(counter_random(seed, i) >> 11) * 0x1p-53;
}

/// Where cloud number `cloud` with n < 2^31 valid points starts when its start is random: a
/// position in the list of its valid points.
constexpr std::int64_t random_start(std::uint64_t seed, std::uint64_t cloud, std::int64_t n) {
  return static_cast<std::int64_t>(
      ((counter_random(seed, cloud) >> 32) * static_cast<std::uint64_t>(n)) >> 32);
}

}  // namespace researchkit::fusefps
