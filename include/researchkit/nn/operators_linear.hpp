#pragma once

#include <array>
#include <cmath>

#include "researchkit/core/arbitrary.hpp"
#include "researchkit/core/blas.hpp"
#include "researchkit/core/operator.hpp"
#include "researchkit/core/parallel.hpp"

namespace researchkit::nn {

/// A dense layer: y = x w + b.
///
///     auto y = linear(ctx, {.x = x, .w = weight, .b = bias}).y;
///
/// One BLAS product of 2 n in out operations; the offset is added after it.
template <class Real>
struct Linear {
  static constexpr std::string_view name = "nn.linear";
  static constexpr std::string_view summary = "Dense layer.";
  static constexpr Tolerance tolerance{.rtol = 1e-5, .atol = 1e-5};  // the order of BLAS's sums

  In<Real, 2> x = {};            // [n, in]
  In<Real, 2> w = {};            // [in, out]
  Optional<In<Real, 1>> b = {};  // [out]
  Out<Real, 2> y = {};           // [n, out]

  void describe(Description& io) {
    io.input(x, "x", "n in", "rows", {.contiguous = true});
    io.input(w, "w", "in out", "weights", {.contiguous = true});
    io.input(b, "b", "out", "offsets, 0 when absent", {.contiguous = true});
    io.output(y, "y", "n out", "x w + b", {.contiguous = true});
  }
  Cost cost() const {
    const auto products = static_cast<double>(y.size()) * static_cast<double>(x.extent(1));
    return {2 * products + (b ? static_cast<double>(y.size()) : 0),
            sizeof(Real) * static_cast<double>(x.size() + w.size() + y.size()), false};
  }
  void run(const Context& ctx) const {
    gemm(ctx, Real(1), x, w, Real(0), y);
    if (!b) return;
    parallel_for(ctx, y.extent(0), 1024, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        for (std::int64_t j = 0; j < y.extent(1); ++j) y(i, j) += (*b)(j);
      }
    });
  }
  void reference() const {
    for (std::int64_t i = 0; i < y.extent(0); ++i) {
      for (std::int64_t j = 0; j < y.extent(1); ++j) {
        Real sum = 0;
        for (std::int64_t k = 0; k < x.extent(1); ++k) sum += x(i, k) * w(k, j);
        if (b) sum += (*b)(j);
        y(i, j) = sum;
      }
    }
  }
};

static_assert(OperatorStruct<Linear<float>>);
inline constexpr Function<Linear> linear;

/// Gradient of linear: d_x = d_y w^T, d_w = x^T d_y, d_b the column sums of d_y.
template <class Real>
struct LinearBackward {
  static constexpr std::string_view name = "nn.linear_backward";
  static constexpr std::string_view summary = "Gradient of linear.";
  static constexpr Tolerance tolerance{.rtol = 1e-5, .atol = 2e-5};  // the order of BLAS's sums

  In<Real, 2> x = {};     // [n, in]
  In<Real, 2> w = {};     // [in, out]
  In<Real, 2> d_y = {};   // [n, out]
  Out<Real, 2> d_x = {};  // [n, in]
  Out<Real, 2> d_w = {};  // [in, out]
  Out<Real, 1> d_b = {};  // [out]

  void describe(Description& io) {
    io.input(x, "x", "n in", "rows", {.contiguous = true});
    io.input(w, "w", "in out", "weights", {.contiguous = true});
    io.input(d_y, "d_y", "n out", "gradient of y", {.contiguous = true});
    io.output(d_x, "d_x", "n in", "gradient of x", {.contiguous = true});
    io.output(d_w, "d_w", "in out", "gradient of w", {.contiguous = true});
    io.output(d_b, "d_b", "out", "gradient of b", {.contiguous = true});
  }
  Cost cost() const {
    const auto products = static_cast<double>(d_y.size()) * static_cast<double>(x.extent(1));
    return {4 * products + static_cast<double>(d_y.size()),
            sizeof(Real) * 2 * static_cast<double>(x.size() + w.size() + d_y.size()), false};
  }
  void run(const Context& ctx) const {
    gemm(ctx, Real(1), d_y, transposed(w), Real(0), d_x);
    gemm(ctx, Real(1), transposed(x), d_y, Real(0), d_w);
    column_sums();
  }
  void reference() const {
    for (std::int64_t i = 0; i < x.extent(0); ++i) {
      for (std::int64_t k = 0; k < x.extent(1); ++k) {
        Real sum = 0;
        for (std::int64_t j = 0; j < w.extent(1); ++j) sum += d_y(i, j) * w(k, j);
        d_x(i, k) = sum;
      }
    }
    for (std::int64_t k = 0; k < w.extent(0); ++k) {
      for (std::int64_t j = 0; j < w.extent(1); ++j) {
        Real sum = 0;
        for (std::int64_t i = 0; i < x.extent(0); ++i) sum += x(i, k) * d_y(i, j);
        d_w(k, j) = sum;
      }
    }
    column_sums();
  }

 private:
  void column_sums() const {
    for (std::int64_t j = 0; j < d_b.extent(0); ++j) d_b(j) = Real(0);
    for (std::int64_t i = 0; i < d_y.extent(0); ++i) {
      for (std::int64_t j = 0; j < d_y.extent(1); ++j) d_b(j) += d_y(i, j);
    }
  }
};

static_assert(OperatorStruct<LinearBackward<float>>);
inline constexpr Function<LinearBackward> linear_backward;

}  // namespace researchkit::nn
