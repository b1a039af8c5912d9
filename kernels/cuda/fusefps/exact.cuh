#pragma once

// The arithmetic of equations (1), (2), (6) and (8) to (10) on the device: every operation rounds
// once and in the same order as on the CPU, whatever the compiler's flags.

#include "researchkit/core/cuda/device.cuh"

namespace researchkit::fusefps::RESEARCHKIT_DEVICE {

using namespace device;  // NOLINT(google-build-using-namespace): the vocabulary is the language here

/// t0*t0 + t1*t1 + ... over m axes; with `fused` each addition and its product round once.
template <class Real, class Difference>
RESEARCHKIT_DEVICE_FUNCTION Real sum_of_squares(int m, bool fused, const Difference& difference) {
  const Real first = difference(0);
  Real sum = mul_rn(first, first);
  for (int axis = 1; axis < m; ++axis) {
    const Real t = difference(axis);
    sum = fused ? fma_rn(t, t, sum) : add_rn(sum, mul_rn(t, t));
  }
  return sum;
}

/// How far `s` lies outside of [lo, hi], at least 0.
template <class Real>
RESEARCHKIT_DEVICE_FUNCTION Real outside(Real lo, Real hi, Real s) {
  const Real below = sub_rn(lo, s), above = sub_rn(s, hi);
  const Real larger = below > above ? below : above;
  return larger > Real(0) ? larger : Real(0);
}

RESEARCHKIT_DEVICE_FUNCTION double half_extent(double lo, double hi) {
  return sub_rn(mul_rn(0.5, hi), mul_rn(0.5, lo));
}

/// Steps per unit of half extent of an axis of the whole cloud; 0: flat or too wide to scale.
RESEARCHKIT_DEVICE_FUNCTION double fixed_point_scale(double lo, double hi) {
  const double extent = half_extent(lo, hi);
  const double scale = extent > 0.0 ? div_rn(1048576.0, extent) : 0.0;
  return scale - scale == 0.0 ? scale : 0.0;
}
RESEARCHKIT_DEVICE_FUNCTION std::int64_t quantise(double x, double lo, double scale) {
  return static_cast<std::int64_t>(mul_rn(half_extent(lo, x), scale));
}
/// The coordinate of the mean of `count` points whose quantised sum is `sum`.
RESEARCHKIT_DEVICE_FUNCTION double fixed_point_mean(std::int64_t sum, std::int64_t count, double lo,
                                                    double scale) {
  const double mean = div_rn(static_cast<double>(sum), static_cast<double>(count));
  return mul_rn(2.0, add_rn(mul_rn(0.5, lo), div_rn(mean, scale)));
}
RESEARCHKIT_DEVICE_FUNCTION double midpoint_of(double lo, double hi) {
  return add_rn(mul_rn(0.5, lo), mul_rn(0.5, hi));
}

/// A number that orders coordinates like `<` does; -0 and 0 are one.
RESEARCHKIT_DEVICE_FUNCTION std::uint64_t ordered_key(double x) {
  const std::uint64_t bits = bits_of(add_rn(x, 0.0));
  return (bits >> 63) != 0 ? ~bits : bits | (std::uint64_t{1} << 63);
}

}  // namespace researchkit::fusefps::RESEARCHKIT_DEVICE
