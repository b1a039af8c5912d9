#include "researchkit/fusefps/exact.hpp"

namespace researchkit::fusefps {

template <>
float squared_distance(Coordinates<float> x, Coordinates<float> y, std::int64_t m,
                       Arithmetic arithmetic) {
  return detail::squared_distance(x, y, m, arithmetic);
}
template <>
double squared_distance(Coordinates<double> x, Coordinates<double> y, std::int64_t m,
                        Arithmetic arithmetic) {
  return detail::squared_distance(x, y, m, arithmetic);
}
template <>
float box_bound(Coordinates<float> lo, Coordinates<float> hi, Coordinates<float> s, std::int64_t m,
                Arithmetic arithmetic) {
  return detail::box_bound(lo, hi, s, m, arithmetic);
}
template <>
double box_bound(Coordinates<double> lo, Coordinates<double> hi, Coordinates<double> s,
                 std::int64_t m, Arithmetic arithmetic) {
  return detail::box_bound(lo, hi, s, m, arithmetic);
}

double half_extent(double lo, double hi) { return 0.5 * hi - 0.5 * lo; }
double midpoint(double lo, double hi) { return 0.5 * lo + 0.5 * hi; }

FixedPointAxis FixedPointAxis::of_range(double lo, double hi) {
  const double extent = half_extent(lo, hi);
  const double scale = extent > 0.0 ? 0x1p20 / extent : 0.0;
  return {lo, std::isfinite(scale) ? scale : 0.0};
}

std::int64_t FixedPointAxis::quantise(double x) const {
  return static_cast<std::int64_t>(half_extent(lo, x) * scale);
}

double FixedPointAxis::mean(std::int64_t sum, std::int64_t count) const {
  return 2.0 * (0.5 * lo + (static_cast<double>(sum) / static_cast<double>(count)) / scale);
}

}  // namespace researchkit::fusefps
