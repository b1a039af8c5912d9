// Loops over entries of hidden layers: one pass over memory each, bound by the caches. They are plain;
// the compiler vectorises them for each instruction set, and entries do not depend on one another, so
// the bits are those of every one. Selections read both sides, for a branch on signs that come at random
// costs more than the arithmetic.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/bikt/elementwise.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>
#include <cstdint>

#include "kernels/cpu/core/exponential-inl.h"
#include "researchkit/bikt/elementwise.hpp"
#include "researchkit/core/simd.hpp"

HWY_BEFORE_NAMESPACE();
namespace researchkit::bikt::detail {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using researchkit::detail::HWY_NAMESPACE::exp_of_nonpositive;

template <class Real>
void offset_relu_rows(const Real* HWY_RESTRICT x, const Real* HWY_RESTRICT b, std::int64_t rows,
                      std::int64_t columns, Real* HWY_RESTRICT y) {
  for (std::int64_t i = 0; i < rows; ++i, x += columns, y += columns) {
    for (std::int64_t j = 0; j < columns; ++j) {
      const Real value = x[j] + b[j];
      y[j] = value > Real(0) ? value : Real(0);
    }
  }
}

template <class Real>
void relu_backward_rows(const Real* HWY_RESTRICT y, const Real* HWY_RESTRICT d, Real scale,
                        std::int64_t rows, std::int64_t columns, Real* HWY_RESTRICT d_x,
                        Real* HWY_RESTRICT sums) {
  for (std::int64_t i = 0; i < rows; ++i, y += columns, d += columns, d_x += columns) {
    for (std::int64_t j = 0; j < columns; ++j) {
      const Real scaled = d[j] * scale;
      const Real value = y[j] > Real(0) ? scaled : Real(0);
      d_x[j] = value;
      sums[j] += value;
    }
  }
}

template <class Real>
void axpby_range(Real p, const Real* x, Real q, const Real* y, std::int64_t count, Real* z) {
  for (std::int64_t i = 0; i < count; ++i) z[i] = p * x[i] + q * y[i];
}

void offset_elu_f32(const float* x, const float* b, std::int64_t rows, std::int64_t columns,
                    float* y) {
  const hn::CappedTag<float, 16> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto one = hn::Set(d, 1.f), zero = hn::Zero(d);
  const auto elu = [&](auto value) {
    const auto curve =
        hn::Sub(exp_of_nonpositive(d, hn::IfThenElse(hn::Gt(value, zero), zero, value)), one);
    return hn::IfThenElse(hn::Gt(value, zero), value, curve);
  };
  for (std::int64_t i = 0; i < rows; ++i, x += columns, y += columns) {
    std::int64_t j = 0;
    for (; j + lanes <= columns; j += lanes) {
      hn::StoreU(elu(hn::Add(hn::LoadU(d, x + j), hn::LoadU(d, b + j))), d, y + j);
    }
    if (j == columns) continue;
    float rest[16] = {};
    for (std::int64_t k = j; k < columns; ++k) rest[k - j] = x[k] + b[k];
    hn::StoreU(elu(hn::LoadU(d, rest)), d, rest);
    for (std::int64_t k = j; k < columns; ++k) y[k] = rest[k - j];
  }
}
void offset_elu_f64(const double* x, const double* b, std::int64_t rows, std::int64_t columns,
                    double* y) {
  for (std::int64_t i = 0; i < rows; ++i, x += columns, y += columns) {
    for (std::int64_t j = 0; j < columns; ++j) {
      const double value = x[j] + b[j];
      y[j] = value > 0 ? value : std::exp(value) - 1;
    }
  }
}

template <class Real>
void elu_backward_rows(const Real* HWY_RESTRICT y, const Real* HWY_RESTRICT d, std::int64_t rows,
                       std::int64_t columns, Real* HWY_RESTRICT d_x, Real* HWY_RESTRICT sums) {
  for (std::int64_t i = 0; i < rows; ++i, y += columns, d += columns, d_x += columns) {
    for (std::int64_t j = 0; j < columns; ++j) {
      const Real left = d[j] * (y[j] + Real(1));
      const Real value = y[j] > Real(0) ? d[j] : left;
      d_x[j] = value;
      sums[j] += value;
    }
  }
}
void elu_backward_f32(const float* y, const float* d, std::int64_t rows, std::int64_t columns,
                      float* d_x, float* sums) {
  elu_backward_rows(y, d, rows, columns, d_x, sums);
}
void elu_backward_f64(const double* y, const double* d, std::int64_t rows, std::int64_t columns,
                      double* d_x, double* sums) {
  elu_backward_rows(y, d, rows, columns, d_x, sums);
}

void offset_relu_f32(const float* x, const float* b, std::int64_t rows, std::int64_t columns,
                     float* y) {
  offset_relu_rows(x, b, rows, columns, y);
}
void offset_relu_f64(const double* x, const double* b, std::int64_t rows, std::int64_t columns,
                     double* y) {
  offset_relu_rows(x, b, rows, columns, y);
}
void relu_backward_f32(const float* y, const float* d, float scale, std::int64_t rows,
                       std::int64_t columns, float* d_x, float* sums) {
  relu_backward_rows(y, d, scale, rows, columns, d_x, sums);
}
void relu_backward_f64(const double* y, const double* d, double scale, std::int64_t rows,
                       std::int64_t columns, double* d_x, double* sums) {
  relu_backward_rows(y, d, scale, rows, columns, d_x, sums);
}
void axpby_f32(float p, const float* x, float q, const float* y, std::int64_t count, float* z) {
  axpby_range(p, x, q, y, count, z);
}
void axpby_f64(double p, const double* x, double q, const double* y, std::int64_t count,
               double* z) {
  axpby_range(p, x, q, y, count, z);
}

}  // namespace HWY_NAMESPACE
}  // namespace researchkit::bikt::detail
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace researchkit::bikt {
namespace detail {
HWY_EXPORT(offset_relu_f32);
HWY_EXPORT(offset_relu_f64);
HWY_EXPORT(offset_elu_f32);
HWY_EXPORT(offset_elu_f64);
HWY_EXPORT(elu_backward_f32);
HWY_EXPORT(elu_backward_f64);
HWY_EXPORT(relu_backward_f32);
HWY_EXPORT(relu_backward_f64);
HWY_EXPORT(axpby_f32);
HWY_EXPORT(axpby_f64);
}  // namespace detail

namespace kernels {

void offset_relu(const float* x, const float* b, std::int64_t rows, std::int64_t columns,
                 float* y) {
  using namespace detail;
  HWY_DYNAMIC_DISPATCH(offset_relu_f32)(x, b, rows, columns, y);
}
void offset_relu(const double* x, const double* b, std::int64_t rows, std::int64_t columns,
                 double* y) {
  using namespace detail;
  HWY_DYNAMIC_DISPATCH(offset_relu_f64)(x, b, rows, columns, y);
}
void relu_backward(const float* y, const float* d, float scale, std::int64_t rows,
                   std::int64_t columns, float* d_x, float* sums) {
  using namespace detail;
  HWY_DYNAMIC_DISPATCH(relu_backward_f32)(y, d, scale, rows, columns, d_x, sums);
}
void relu_backward(const double* y, const double* d, double scale, std::int64_t rows,
                   std::int64_t columns, double* d_x, double* sums) {
  using namespace detail;
  HWY_DYNAMIC_DISPATCH(relu_backward_f64)(y, d, scale, rows, columns, d_x, sums);
}
void offset_elu(const float* x, const float* b, std::int64_t rows, std::int64_t columns, float* y) {
  using namespace detail;
  HWY_DYNAMIC_DISPATCH(offset_elu_f32)(x, b, rows, columns, y);
}
void offset_elu(const double* x, const double* b, std::int64_t rows, std::int64_t columns,
                double* y) {
  using namespace detail;
  HWY_DYNAMIC_DISPATCH(offset_elu_f64)(x, b, rows, columns, y);
}
void elu_backward(const float* y, const float* d, std::int64_t rows, std::int64_t columns,
                  float* d_x, float* sums) {
  using namespace detail;
  HWY_DYNAMIC_DISPATCH(elu_backward_f32)(y, d, rows, columns, d_x, sums);
}
void elu_backward(const double* y, const double* d, std::int64_t rows, std::int64_t columns,
                  double* d_x, double* sums) {
  using namespace detail;
  HWY_DYNAMIC_DISPATCH(elu_backward_f64)(y, d, rows, columns, d_x, sums);
}
void axpby(float p, const float* x, float q, const float* y, std::int64_t count, float* z) {
  using namespace detail;
  HWY_DYNAMIC_DISPATCH(axpby_f32)(p, x, q, y, count, z);
}
void axpby(double p, const double* x, double q, const double* y, std::int64_t count, double* z) {
  using namespace detail;
  HWY_DYNAMIC_DISPATCH(axpby_f64)(p, x, q, y, count, z);
}

}  // namespace kernels
}  // namespace researchkit::bikt
#endif
