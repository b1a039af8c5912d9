#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "researchkit/fusefps/sampler.hpp"

// Names under which the enumerations of this namespace travel as attributes.
namespace researchkit::fusefps {

constexpr std::array<std::string_view, 3> names_of(Algorithm) {
  return {"vanilla", "bucket", "fused"};
}
constexpr std::array<std::string_view, 2> names_of(Arithmetic) { return {"strict", "fma"}; }
constexpr std::array<std::string_view, 3> names_of(SplitRule) {
  return {"mean", "midpoint", "median"};
}

/// What is chosen first where no start set is given.
enum class Start : std::uint8_t {
  first,    ///< the first valid point
  random,   ///< a point drawn from the seed and the number of the cloud
  initial,  ///< the point with the largest initial distance: resumes an earlier sampling
};
constexpr std::array<std::string_view, 3> names_of(Start) { return {"first", "random", "initial"}; }

/// What happens to a cloud with fewer points than samples are wanted.
enum class OnShort : std::uint8_t {
  error,
  pad,  ///< all its points, then -1
};
constexpr std::array<std::string_view, 2> names_of(OnShort) { return {"error", "pad"}; }

/// What the indices of a ragged batch count from.
enum class IndexBase : std::uint8_t {
  global,  ///< the first point of all clouds
  local,   ///< the first point of the cloud
};
constexpr std::array<std::string_view, 2> names_of(IndexBase) { return {"global", "local"}; }

}  // namespace researchkit::fusefps
