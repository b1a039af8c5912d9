#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "researchkit/core/view.hpp"
#include "researchkit/dynapipe/attributes.hpp"

namespace researchkit::dynapipe {

/// A place on a grid: between point `low` and the next, which counts `weight` (negative below the
/// first point where values are extrapolated).
struct GridPlace {
  std::int64_t low = 0;
  double weight = 0;
};

/// Where `at` lies on an ascending grid; nothing above its last point. O(log g).
std::optional<GridPlace> locate(std::span<const std::int32_t> grid, std::int64_t at, Below below);

/// Multilinear interpolation in a table of Q quantities over two or three axes, one quantity:
/// products of weights times values, corners in order with the last axis fastest. Corners of weight
/// 0 are not read. +inf where a corner that counts is missing (NaN).
double interpolate(In<double, 2> quantity, const std::array<GridPlace, 2>& place);
double interpolate(In<double, 3> quantity, const std::array<GridPlace, 3>& place);

}  // namespace researchkit::dynapipe
