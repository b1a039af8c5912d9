// Whether all coordinates are finite: one read at memory speed.
//
// x * 0 is 0 for finite x and NaN otherwise, and NaN stays through sums: two operations per vector,
// far below what memory delivers. Rows with columns that may hold anything are read with a
// repeating pattern of lanes.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/fusefps/finite.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "researchkit/core/simd.hpp"
#include "researchkit/fusefps/sampler.hpp"

HWY_BEFORE_NAMESPACE();
namespace researchkit::fusefps::detail {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// Columns of a packed row up to which a pattern of lanes is kept.
inline constexpr std::int64_t kMaxPattern = 16;

template <class T>
bool finite_span(const T* x, std::int64_t count) {
  const hn::ScalableTag<T> d;
  constexpr std::int64_t kLanes = hn::MaxLanes(hn::ScalableTag<T>());
  const auto zero = hn::Zero(d);
  auto sum0 = zero, sum1 = zero, sum2 = zero, sum3 = zero;
  std::int64_t i = 0;
  for (; i + 4 * kLanes <= count; i += 4 * kLanes) {
    sum0 = hn::Add(sum0, hn::Mul(hn::LoadU(d, x + i), zero));
    sum1 = hn::Add(sum1, hn::Mul(hn::LoadU(d, x + i + kLanes), zero));
    sum2 = hn::Add(sum2, hn::Mul(hn::LoadU(d, x + i + 2 * kLanes), zero));
    sum3 = hn::Add(sum3, hn::Mul(hn::LoadU(d, x + i + 3 * kLanes), zero));
  }
  const auto sum = hn::Add(hn::Add(sum0, sum1), hn::Add(sum2, sum3));
  bool finite = hn::AllTrue(d, hn::Eq(sum, zero));
  for (; i < count; ++i) finite &= std::isfinite(x[i]);
  return finite;
}

// The first `columns` of densely packed rows of `stride`, 1 < stride <= kMaxPattern.
template <class T>
bool finite_pattern(const T* x, std::int64_t rows, std::int64_t stride, std::int64_t columns) {
  const hn::ScalableTag<T> d;
  constexpr std::int64_t kLanes = hn::MaxLanes(hn::ScalableTag<T>());
  alignas(64) T checked[kMaxPattern * kLanes];
  for (std::int64_t i = 0; i < stride * kLanes; ++i) {
    checked[i] = i % stride < columns ? T(1) : T(0);
  }
  const auto zero = hn::Zero(d);
  auto bad = hn::Eq(hn::Set(d, T(1)), zero);
  std::int64_t row = 0;
  // kLanes rows fill `stride` vectors. The last row's unused columns may lie outside the array.
  for (; row + kLanes < rows; row += kLanes) {
    for (std::int64_t v = 0; v < stride; ++v) {
      const auto used = hn::Gt(hn::Load(d, checked + v * kLanes), zero);
      const auto product = hn::Mul(hn::LoadU(d, x + row * stride + v * kLanes), zero);
      // Not Ne, which on some targets is false for NaN.
      bad = hn::Or(bad, hn::AndNot(hn::Eq(product, zero), used));
    }
  }
  bool finite = hn::AllFalse(d, bad);
  for (; row < rows; ++row) {
    for (std::int64_t c = 0; c < columns; ++c) finite &= std::isfinite(x[row * stride + c]);
  }
  return finite;
}

template <class T>
bool finite(const T* x, std::int64_t rows, std::int64_t stride, std::int64_t columns,
            const std::uint8_t* mask) {
  if (mask == nullptr && stride == columns) return finite_span(x, rows * columns);
  if (mask == nullptr && stride > columns && stride <= kMaxPattern) {
    return finite_pattern(x, rows, stride, columns);
  }
  for (std::int64_t i = 0; i < rows; ++i) {
    if (mask != nullptr && mask[i] == 0) continue;
    if (!finite_span(x + i * stride, columns)) return false;
  }
  return true;
}

bool finite_f32(const float* x, std::int64_t rows, std::int64_t stride, std::int64_t columns,
                const std::uint8_t* mask) {
  return finite(x, rows, stride, columns, mask);
}

bool finite_f64(const double* x, std::int64_t rows, std::int64_t stride, std::int64_t columns,
                const std::uint8_t* mask) {
  return finite(x, rows, stride, columns, mask);
}

}  // namespace HWY_NAMESPACE
}  // namespace researchkit::fusefps::detail
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace researchkit::fusefps {
namespace detail {
HWY_EXPORT(finite_f32);
HWY_EXPORT(finite_f64);
}  // namespace detail

template <>
bool all_finite<float>(const float* points, std::int64_t rows, std::int64_t row_stride,
                       std::int64_t columns, const std::uint8_t* mask) {
  initialize_simd();
  using namespace detail;
  return HWY_DYNAMIC_DISPATCH(finite_f32)(points, rows, row_stride, columns, mask);
}

template <>
bool all_finite<double>(const double* points, std::int64_t rows, std::int64_t row_stride,
                        std::int64_t columns, const std::uint8_t* mask) {
  initialize_simd();
  using namespace detail;
  return HWY_DYNAMIC_DISPATCH(finite_f64)(points, rows, row_stride, columns, mask);
}

}  // namespace researchkit::fusefps
#endif
