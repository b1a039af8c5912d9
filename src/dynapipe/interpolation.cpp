#include "researchkit/dynapipe/interpolation.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace researchkit::dynapipe {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// weight of corner 0 or 1 along one axis
double corner_weight(const GridPlace& place, int corner) {
  return corner != 0 ? place.weight : 1 - place.weight;
}

}  // namespace

std::optional<GridPlace> locate(std::span<const std::int32_t> grid, std::int64_t at, Below below) {
  if (grid.empty() || at > grid.back()) return std::nullopt;
  const auto found = std::lower_bound(grid.begin(), grid.end(), at);
  std::int64_t high = found - grid.begin();
  if (*found == at || (high == 0 && (below == Below::clamp || grid.size() == 1))) {
    return GridPlace{high, 0};
  }
  high = std::max<std::int64_t>(high, 1);
  const double low_point = grid[static_cast<std::size_t>(high - 1)];
  const double high_point = grid[static_cast<std::size_t>(high)];
  return GridPlace{high - 1, (static_cast<double>(at) - low_point) / (high_point - low_point)};
}

double interpolate(In<double, 2> quantity, const std::array<GridPlace, 2>& place) {
  double sum = 0;
  for (int a = 0; a < 2; ++a) {
    for (int b = 0; b < 2; ++b) {
      const double weight = corner_weight(place[0], a) * corner_weight(place[1], b);
      if (weight == 0) continue;
      const double value = quantity(place[0].low + a, place[1].low + b);
      if (std::isnan(value)) return kInfinity;
      sum += weight * value;
    }
  }
  return sum;
}

double interpolate(In<double, 3> quantity, const std::array<GridPlace, 3>& place) {
  double sum = 0;
  for (int a = 0; a < 2; ++a) {
    for (int b = 0; b < 2; ++b) {
      const double weight_ab = corner_weight(place[0], a) * corner_weight(place[1], b);
      for (int c = 0; c < 2; ++c) {
        const double weight = weight_ab * corner_weight(place[2], c);
        if (weight == 0) continue;
        const double value = quantity(place[0].low + a, place[1].low + b, place[2].low + c);
        if (std::isnan(value)) return kInfinity;
        sum += weight * value;
      }
    }
  }
  return sum;
}

}  // namespace researchkit::dynapipe
