#pragma once

#include <cmath>

#include "researchkit/core/operator.hpp"
#include "researchkit/core/parallel.hpp"

namespace researchkit::nn {

namespace detail {

/// Mean and 1 / sqrt(variance + eps) of n > 0 numbers that are `stride` apart.
template <class Real>
void moments(const Real* x, std::int64_t n, std::int64_t stride, Real eps, Real& mean, Real& rstd) {
  using std::sqrt;
  Real sum = 0, squares = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += x[i * stride];
  mean = sum / Real(static_cast<double>(n));
  for (std::int64_t i = 0; i < n; ++i) {
    const Real distance = x[i * stride] - mean;
    squares += distance * distance;
  }
  rstd = Real(1) / sqrt(squares / Real(static_cast<double>(n)) + eps);
}
inline double moments_flops(double n) { return 4 * n + 5; }

/// d_x of x^ = (x - mean) rstd, given d_x^ = d_y times its factor:
/// rstd (d_x^ - mean(d_x^) - x^ mean(d_x^ x^)).
template <class Real, class Scaled>
void normalized_backward(const Real* x, std::int64_t n, std::int64_t stride, Real mean, Real rstd,
                         Scaled&& d_normalized, Real* d_x) {
  Real sum = 0, product = 0;
  const Real count = Real(static_cast<double>(n));
  for (std::int64_t i = 0; i < n; ++i) {
    const Real d = d_normalized(i);
    sum += d;
    product += d * ((x[i * stride] - mean) * rstd);
  }
  for (std::int64_t i = 0; i < n; ++i) {
    const Real normalized = (x[i * stride] - mean) * rstd;
    d_x[i * stride] = rstd * (d_normalized(i) - sum / count - normalized * (product / count));
  }
}

}  // namespace detail

/// Normalisation along the rows (Ba, Kiros, Hinton 2016) or, over a batch, along the columns (Ioffe
/// and Szegedy 2015): y = (x - mean) / sqrt(variance + eps) scale + shift, variance without Bessel's
/// correction. Means and 1 / sqrt(variance + eps) are outputs: the backward takes them, and for batch
/// normalisation a caller keeps their moving averages.
///
///     auto out = layer_norm(ctx, {.x = x, .scale = gamma, .shift = beta});
template <class Real, bool kOverBatch>
struct Norm {
  static constexpr std::string_view name = kOverBatch ? "nn.batch_norm" : "nn.layer_norm";
  static constexpr std::string_view summary =
      kOverBatch ? "Columns normalised over a batch." : "Rows normalised.";

  In<Real, 2> x = {};      // [n, d]
  In<Real, 1> scale = {};  // [d]
  In<Real, 1> shift = {};  // [d]
  Out<Real, 2> y = {};     // [n, d]
  Out<Real, 1> mean = {};  // [n] or [d]
  Out<Real, 1> rstd = {};  // [n] or [d]
  double eps = 1e-5;

  void describe(Description& io) {
    io.dimension("n", kOverBatch ? "[1, inf)" : "[0, inf)", "rows");
    io.dimension("d", kOverBatch ? "[0, inf)" : "[1, inf)", "columns");
    io.input(x, "x", "n d", "rows", {.contiguous = true});
    io.input(scale, "scale", "d", "factor of each column", {.contiguous = true});
    io.input(shift, "shift", "d", "offset of each column", {.contiguous = true});
    io.output(y, "y", "n d", "normalised, scaled, shifted", {.contiguous = true});
    io.output(mean, "mean", kOverBatch ? "d" : "n", "means", {.contiguous = true});
    io.output(rstd, "rstd", kOverBatch ? "d" : "n", "1 / sqrt(variance + eps)",
              {.contiguous = true});
    io.attribute(eps, "eps", "added to the variance", {.in = "(0, inf)"});
  }
  Cost cost() const {
    const auto lines = static_cast<double>(mean.size());
    const auto entries = static_cast<double>(x.size());
    return {8 * entries + 5 * lines - lines, 2 * sizeof(Real) * entries, true};
  }
  void run(const Context& ctx) const {
    parallel_for(ctx, mean.extent(0), 64,
                 [&](std::int64_t begin, std::int64_t end) { lines(begin, end); });
  }
  void reference() const { lines(0, mean.extent(0)); }

 private:
  void lines(std::int64_t begin, std::int64_t end) const {
    const std::int64_t d = x.extent(1), length = kOverBatch ? x.extent(0) : d;
    for (std::int64_t line = begin; line < end; ++line) {
      const Real* from = x.data_handle() + (kOverBatch ? line : line * d);
      detail::moments(from, length, kOverBatch ? d : 1, Real(eps), mean(line), rstd(line));
      for (std::int64_t i = 0; i < length; ++i) {
        const std::int64_t row = kOverBatch ? i : line, column = kOverBatch ? line : i;
        y(row, column) = (x(row, column) - mean(line)) * rstd(line) * scale(column) + shift(column);
      }
    }
  }
};

template <class Real>
struct LayerNorm : Norm<Real, false> {};
template <class Real>
struct BatchNorm : Norm<Real, true> {};
static_assert(OperatorStruct<LayerNorm<float>>);
static_assert(OperatorStruct<BatchNorm<float>>);

/// Gradient of layer_norm and batch_norm with respect to x, scale and shift.
template <class Real, bool kOverBatch>
struct NormBackward {
  static constexpr std::string_view name =
      kOverBatch ? "nn.batch_norm_backward" : "nn.layer_norm_backward";
  static constexpr std::string_view summary =
      kOverBatch ? "Gradient of batch_norm." : "Gradient of layer_norm.";

  In<Real, 2> x = {};         // [n, d]
  In<Real, 1> scale = {};     // [d]
  In<Real, 1> mean = {};      // [n] or [d]
  In<Real, 1> rstd = {};      // [n] or [d]
  In<Real, 2> d_y = {};       // [n, d]
  Out<Real, 2> d_x = {};      // [n, d]
  Out<Real, 1> d_scale = {};  // [d]
  Out<Real, 1> d_shift = {};  // [d]

  void describe(Description& io) {
    io.dimension("n", kOverBatch ? "[1, inf)" : "[0, inf)", "rows");
    io.dimension("d", kOverBatch ? "[0, inf)" : "[1, inf)", "columns");
    io.input(x, "x", "n d", "rows", {.contiguous = true});
    io.input(scale, "scale", "d", "factor of each column", {.contiguous = true});
    io.input(mean, "mean", kOverBatch ? "d" : "n", "means, from the forward", {.contiguous = true});
    io.input(rstd, "rstd", kOverBatch ? "d" : "n", "1 / sqrt(variance + eps), from the forward",
             {.contiguous = true});
    io.input(d_y, "d_y", "n d", "gradient of y", {.contiguous = true});
    io.output(d_x, "d_x", "n d", "gradient of x", {.contiguous = true});
    io.output(d_scale, "d_scale", "d", "gradient of scale", {.contiguous = true});
    io.output(d_shift, "d_shift", "d", "gradient of shift", {.contiguous = true});
  }
  Cost cost() const {
    const auto entries = static_cast<double>(x.size());
    return {20 * entries, 3 * sizeof(Real) * entries, true};
  }
  void run(const Context& ctx) const {
    parallel_for(ctx, mean.extent(0), 64,
                 [&](std::int64_t begin, std::int64_t end) { lines(begin, end); });
    columns();
  }
  void reference() const {
    lines(0, mean.extent(0));
    columns();
  }

 private:
  void lines(std::int64_t begin, std::int64_t end) const {
    const std::int64_t d = x.extent(1), length = kOverBatch ? x.extent(0) : d;
    for (std::int64_t line = begin; line < end; ++line) {
      const std::int64_t start = kOverBatch ? line : line * d;
      const auto upstream = [&](std::int64_t i) {
        const std::int64_t row = kOverBatch ? i : line, column = kOverBatch ? line : i;
        return d_y(row, column) * scale(column);
      };
      detail::normalized_backward(x.data_handle() + start, length, kOverBatch ? d : 1, mean(line),
                                  rstd(line), upstream, d_x.data_handle() + start);
    }
  }
  void columns() const {
    for (std::int64_t j = 0; j < x.extent(1); ++j) d_scale(j) = d_shift(j) = Real(0);
    for (std::int64_t i = 0; i < x.extent(0); ++i) {
      for (std::int64_t j = 0; j < x.extent(1); ++j) {
        const std::int64_t line = kOverBatch ? j : i;
        d_shift(j) += d_y(i, j);
        d_scale(j) += d_y(i, j) * ((x(i, j) - mean(line)) * rstd(line));
      }
    }
  }
};

template <class Real>
struct LayerNormBackward : NormBackward<Real, false> {};
template <class Real>
struct BatchNormBackward : NormBackward<Real, true> {};
static_assert(OperatorStruct<LayerNormBackward<float>>);
static_assert(OperatorStruct<BatchNormBackward<float>>);

}  // namespace researchkit::nn
