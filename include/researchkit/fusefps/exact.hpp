#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "researchkit/fusefps/sampler.hpp"

namespace researchkit::fusefps {

// The arithmetic that every sampler and query must round alike. A compiler that contracts a*b + c
// into one rounding breaks it without a warning, so the functions on float and double are compiled
// in the library, with -ffp-contract=off, and only declared here. The primary templates serve
// scalar types that wrap a number (counting ones, say); how these round is their own business.

/// A strided list of coordinates.
template <class Real>
struct Coordinates {
  const Real* data;
  std::int64_t stride = 1;
  const Real& operator[](std::int64_t axis) const { return data[axis * stride]; }
};

namespace detail {

/// t0*t0 + t1*t1 + ... from the left, every operation rounded; with Arithmetic::fma each addition
/// and its product are rounded once.
template <class Real, class Difference>
Real sum_of_squares(std::int64_t m, Arithmetic arithmetic, const Difference& difference) {
  using std::fma;
  const Real first = difference(0);
  Real sum = first * first;
  for (std::int64_t axis = 1; axis < m; ++axis) {
    const Real t = difference(axis);
    sum = arithmetic == Arithmetic::fma ? fma(t, t, sum) : sum + t * t;
  }
  return sum;
}

template <class Real>
Real squared_distance(Coordinates<Real> x, Coordinates<Real> y, std::int64_t m,
                      Arithmetic arithmetic) {
  return sum_of_squares<Real>(m, arithmetic,
                              [&](std::int64_t axis) { return Real(x[axis] - y[axis]); });
}

template <class Real>
Real box_bound(Coordinates<Real> lo, Coordinates<Real> hi, Coordinates<Real> s, std::int64_t m,
               Arithmetic arithmetic) {
  return sum_of_squares<Real>(m, arithmetic, [&](std::int64_t axis) {
    return std::max(std::max(Real(lo[axis] - s[axis]), Real(s[axis] - hi[axis])), Real(0));
  });
}

}  // namespace detail

/// The squared distance of two points over m axes, in Real, axes ascending (equations 1 and 2).
template <class Real>
Real squared_distance(Coordinates<Real> x, Coordinates<Real> y, std::int64_t m,
                      Arithmetic arithmetic) {
  return detail::squared_distance(x, y, m, arithmetic);
}
template <>
float squared_distance(Coordinates<float> x, Coordinates<float> y, std::int64_t m,
                       Arithmetic arithmetic);
template <>
double squared_distance(Coordinates<double> x, Coordinates<double> y, std::int64_t m,
                        Arithmetic arithmetic);

/// A lower bound of squared_distance(p, s) for every p of the box [lo, hi] (equation 6). It takes
/// the same steps in the same order, and rounding is monotone: it bounds the computed numbers.
template <class Real>
Real box_bound(Coordinates<Real> lo, Coordinates<Real> hi, Coordinates<Real> s, std::int64_t m,
               Arithmetic arithmetic) {
  return detail::box_bound(lo, hi, s, m, arithmetic);
}
template <>
float box_bound(Coordinates<float> lo, Coordinates<float> hi, Coordinates<float> s, std::int64_t m,
                Arithmetic arithmetic);
template <>
double box_bound(Coordinates<double> lo, Coordinates<double> hi, Coordinates<double> s,
                 std::int64_t m, Arithmetic arithmetic);

/// One axis of the cloud in fixed point, so that a mean is an integer sum that no order of
/// summation, lane or thread can change (equation 9).
struct FixedPointAxis {
  double lo = 0;     ///< lowest coordinate of the whole cloud
  double scale = 0;  ///< steps per unit of half extent; 0: the axis is flat or too wide to scale

  static FixedPointAxis of_range(double lo, double hi);
  /// 0 .. 2^20
  std::int64_t quantise(double x) const;
  /// The coordinate of the mean of `count` points whose quantised sum is `sum`.
  double mean(std::int64_t sum, std::int64_t count) const;
};

/// Half the extent of an interval, finite for any finite ends (equation 8).
double half_extent(double lo, double hi);
double midpoint(double lo, double hi);

}  // namespace researchkit::fusefps
