// Coefficients of the node-oriented filter and their gradients.
//
// Work goes by tiles of 64 rows: each T_k tile is transposed so that rows run along vector lanes, then
// everything (projection, gate, coefficient, weighted sum) is vertical. One pass over the stack of T_k
// each way; per row and order about 2 c rank + 2 c operations and `rank` gates, 8 c bytes read. Parameter
// gradients are kept in 16 interleaved sums, whatever the width of the vectors.
// The loops are plain: the compiler vectorises them for each instruction set, and only the gate in float,
// whose exponential must not depend on it, is written out.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/nfgnn/coefficients.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/cpu/core/exponential-inl.h"
#include "researchkit/core/parallel.hpp"
#include "researchkit/core/simd.hpp"
#include "researchkit/nfgnn/coefficients.hpp"

HWY_BEFORE_NAMESPACE();
namespace researchkit::nfgnn::detail {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using researchkit::detail::HWY_NAMESPACE::exp_bounded;

inline constexpr std::int64_t kTile = 64;
inline constexpr std::int64_t kBlock = 16;
inline constexpr std::int64_t kSums = ParameterGradients<float>::kLanes;

/// tanh: near 0 its series to x^9, elsewhere 1 - u with u = 2 / (exp(2 |x|) + 1). The slope is
/// u (2 - u), which loses nothing to cancellation where tanh is near 1.
void tanh_tile(float* HWY_RESTRICT x, float* HWY_RESTRICT slope) {
  const hn::CappedTag<float, 16> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto one = hn::Set(d, 1.f), two = hn::Set(d, 2.f);
  for (std::int64_t i = 0; i < kTile; i += lanes) {
    const auto value = hn::LoadU(d, x + i);
    const auto size = hn::Min(hn::Abs(value), hn::Set(d, 40.f));
    const auto rest = hn::Div(two, hn::Add(exp_bounded(d, hn::Add(size, size)), one));
    const auto square = hn::Mul(size, size);
    auto series = hn::Set(d, 62.f / 2835);
    for (const float factor : {-17.f / 315, 2.f / 15, -1.f / 3, 1.f}) {
      series = hn::Add(hn::Mul(series, square), hn::Set(d, factor));
    }
    const auto near = hn::Lt(size, hn::Set(d, 0.25f));
    const auto result = hn::IfThenElse(near, hn::Mul(series, size), hn::Sub(one, rest));
    const auto is_number = hn::Eq(value, value);
    hn::StoreU(hn::IfThenElse(is_number, hn::CopySign(result, value), value), d, x + i);
    const auto steepness = hn::Mul(rest, hn::Sub(two, rest));
    hn::StoreU(hn::IfThenElse(is_number, steepness, value), d, slope + i);
  }
}

void sigmoid_tile(float* HWY_RESTRICT x, float* HWY_RESTRICT slope) {
  const hn::CappedTag<float, 16> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto one = hn::Set(d, 1.f);
  for (std::int64_t i = 0; i < kTile; i += lanes) {
    const auto value = hn::LoadU(d, x + i);
    const auto bounded = hn::Max(hn::Min(hn::Neg(value), hn::Set(d, 80.f)), hn::Set(d, -80.f));
    const auto power = exp_bounded(d, bounded);
    const auto result = hn::Div(one, hn::Add(one, power));
    const auto is_number = hn::Eq(value, value);
    hn::StoreU(hn::IfThenElse(is_number, result, value), d, x + i);
    const auto steepness = hn::Mul(hn::Mul(result, result), power);
    hn::StoreU(hn::IfThenElse(is_number, steepness, value), d, slope + i);
  }
}

void tanh_tile(double* x, double* slope) {
  for (std::int64_t i = 0; i < kTile; ++i) {
    x[i] = std::tanh(x[i]);
    slope[i] = 1 - x[i] * x[i];
  }
}
void sigmoid_tile(double* x, double* slope) {
  for (std::int64_t i = 0; i < kTile; ++i) {
    x[i] = 1 / (1 + std::exp(-x[i]));
    slope[i] = x[i] * (1 - x[i]);
  }
}

/// One tile of rows with its columns for rows, kBlock columns at a time: these stay in the first cache.
template <class Real>
void transpose_in(const Real* HWY_RESTRICT from, std::int64_t rows, std::int64_t columns,
                  std::int64_t stride, Real* HWY_RESTRICT to) {
  if (rows < kTile) std::fill(to, to + columns * kTile, Real(0));
  for (std::int64_t begin = 0; begin < columns; begin += kBlock) {
    const std::int64_t end = std::min(columns, begin + kBlock);
    for (std::int64_t i = 0; i < rows; ++i) {
      for (std::int64_t c = begin; c < end; ++c) to[c * kTile + i] = from[i * stride + c];
    }
  }
}
template <class Real>
void transpose_out(const Real* HWY_RESTRICT from, std::int64_t rows, std::int64_t columns,
                   std::int64_t stride, Real* HWY_RESTRICT to) {
  for (std::int64_t begin = 0; begin < columns; begin += kBlock) {
    const std::int64_t end = std::min(columns, begin + kBlock);
    for (std::int64_t i = 0; i < rows; ++i) {
      for (std::int64_t c = begin; c < end; ++c) to[i * stride + c] = from[c * kTile + i];
    }
  }
  for (std::int64_t i = 0; i < rows; ++i) {
    std::fill(to + i * stride + columns, to + (i + 1) * stride, Real(0));
  }
}

template <class Real>
void add_scaled(const Real* HWY_RESTRICT x, Real factor, Real* HWY_RESTRICT to) {
  for (std::int64_t i = 0; i < kTile; ++i) to[i] += x[i] * factor;
}
template <class Real>
void add_product(const Real* HWY_RESTRICT x, const Real* HWY_RESTRICT y, Real* HWY_RESTRICT to) {
  for (std::int64_t i = 0; i < kTile; ++i) to[i] += x[i] * y[i];
}
/// Adds <x, y> over the rows to kSums interleaved sums.
template <class Real>
void add_dot(const Real* HWY_RESTRICT x, const Real* HWY_RESTRICT y, Real* HWY_RESTRICT sums) {
  for (std::int64_t i = 0; i < kTile; i += kSums) {
    for (std::int64_t lane = 0; lane < kSums; ++lane) sums[lane] += x[i + lane] * y[i + lane];
  }
}

/// The gates of order k and their slopes, rank tiles each. The projection is summed in double: with
/// large signals a small argument is the difference of large terms, and the slope feels it.
template <class Real>
void gates(const Coefficients<Real>& m, std::int64_t k, const Real* HWY_RESTRICT t,
           Real* HWY_RESTRICT h, Real* HWY_RESTRICT slope) {
  const Real* w = m.w + (m.shared_w ? 0 : k * m.c * m.rank);
  const Real* b = m.b + (m.shared_b ? 0 : k * m.rank);
  alignas(64) double sum[kTile];
  for (std::int64_t r = 0; r < m.rank; ++r, h += kTile, slope += kTile) {
    std::fill(sum, sum + kTile, static_cast<double>(b[r]));
    for (std::int64_t c = 0; c < m.c; ++c) {
      const auto factor = static_cast<double>(w[c * m.rank + r]);
      const Real* column = t + c * kTile;
      for (std::int64_t i = 0; i < kTile; ++i) sum[i] += static_cast<double>(column[i]) * factor;
    }
    for (std::int64_t i = 0; i < kTile; ++i) h[i] = static_cast<Real>(sum[i]);
    if (m.gate == Gate::tanh) {
      tanh_tile(h, slope);
    } else if (m.gate == Gate::sigmoid) {
      sigmoid_tile(h, slope);
    } else {
      std::fill(slope, slope + kTile, Real(1));
    }
  }
}

template <class Real>
void forward_rows(const Coefficients<Real>& m, std::int64_t first, std::span<const Real* const> t,
                  std::int64_t begin, std::int64_t end, Real* eta, Real* y) {
  std::vector<Real> memory(static_cast<std::size_t>((2 * m.c + 2 * m.rank + 1) * kTile));
  Real* const columns = memory.data();
  Real* const sums = columns + m.c * kTile;
  Real* const h = sums + m.c * kTile;
  Real* const slope = h + m.rank * kTile;
  Real* const coefficient = slope + m.rank * kTile;
  for (std::int64_t base = begin; base < end; base += kTile) {
    const std::int64_t rows = std::min(kTile, end - base);
    if (y != nullptr && first > 0) transpose_in(y + base * m.stride, rows, m.c, m.stride, sums);
    if (y != nullptr && first == 0) std::fill(sums, sums + m.c * kTile, Real(0));
    for (std::size_t at = 0; at < t.size(); ++at) {
      const std::int64_t k = first + static_cast<std::int64_t>(at);
      transpose_in(t[at] + base * m.stride, rows, m.c, m.stride, columns);
      gates(m, k, columns, h, slope);
      std::fill(coefficient, coefficient + kTile, Real(0));
      for (std::int64_t r = 0; r < m.rank; ++r) {
        add_scaled(h + r * kTile, m.gamma[r * m.orders + k], coefficient);
      }
      for (std::int64_t i = 0; i < kTile; ++i) coefficient[i] *= m.scale;
      for (std::int64_t i = 0; i < rows; ++i) eta[(base + i) * m.orders + k] = coefficient[i];
      if (y == nullptr) continue;
      for (std::int64_t c = 0; c < m.c; ++c) {
        add_product(columns + c * kTile, coefficient, sums + c * kTile);
      }
    }
    if (y != nullptr) transpose_out(sums, rows, m.c, m.stride, y + base * m.stride);
  }
}

template <class Real>
void backward_rows(const Coefficients<Real>& m, std::int64_t first, std::span<const Real* const> t,
                   const Real* eta, const Real* g, const Real* d_eta, std::int64_t begin,
                   std::int64_t end, std::span<Real* const> d_t, Real* sums) {
  std::vector<Real> memory(static_cast<std::size_t>((3 * m.c + 2 * m.rank + 3) * kTile));
  Real* const columns = memory.data();
  Real* const upstream = columns + m.c * kTile;
  Real* const d_columns = upstream + m.c * kTile;
  Real* const h = d_columns + m.c * kTile;
  Real* const slope = h + m.rank * kTile;
  Real* const d_coefficient = slope + m.rank * kTile;
  Real* const coefficient = d_coefficient + kTile;
  Real* const d_gate = coefficient + kTile;
  Real* const w_sums = sums;
  Real* const b_sums = w_sums + m.w_count() * kSums;
  Real* const gamma_sums = b_sums + m.b_count() * kSums;
  const bool wants_t = !d_t.empty();
  for (std::int64_t base = begin; base < end; base += kTile) {
    const std::int64_t rows = std::min(kTile, end - base);
    if (g != nullptr) transpose_in(g + base * m.stride, rows, m.c, m.stride, upstream);
    for (std::size_t at = 0; at < t.size(); ++at) {
      const std::int64_t k = first + static_cast<std::int64_t>(at);
      const std::int64_t w_order = m.shared_w ? 0 : k, b_order = m.shared_b ? 0 : k;
      transpose_in(t[at] + base * m.stride, rows, m.c, m.stride, columns);
      gates(m, k, columns, h, slope);
      std::fill(d_coefficient, d_coefficient + kTile, Real(0));
      if (d_eta != nullptr) {
        for (std::int64_t i = 0; i < rows; ++i) {
          d_coefficient[i] = d_eta[(base + i) * m.orders + k];
        }
      }
      std::fill(d_columns, d_columns + m.c * kTile, Real(0));
      if (g != nullptr) {
        std::fill(coefficient, coefficient + kTile, Real(0));
        for (std::int64_t i = 0; i < rows; ++i) {
          coefficient[i] = eta[(base + i) * m.orders + k];
        }
        for (std::int64_t c = 0; c < m.c; ++c) {
          add_product(upstream + c * kTile, columns + c * kTile, d_coefficient);
          if (wants_t) add_product(upstream + c * kTile, coefficient, d_columns + c * kTile);
        }
      }
      for (std::int64_t i = 0; i < kTile; ++i) d_coefficient[i] *= m.scale;
      for (std::int64_t r = 0; r < m.rank; ++r) {
        const Real* gate = h + r * kTile;
        add_dot(d_coefficient, gate, gamma_sums + (r * m.orders + k) * kSums);
        const Real factor = m.gamma[r * m.orders + k];
        const Real* steepness = slope + r * kTile;
        for (std::int64_t i = 0; i < kTile; ++i) {
          d_gate[i] = d_coefficient[i] * factor * steepness[i];
        }
        Real* b_sum = b_sums + (b_order * m.rank + r) * kSums;
        for (std::int64_t i = 0; i < kTile; i += kSums) {
          for (std::int64_t lane = 0; lane < kSums; ++lane) b_sum[lane] += d_gate[i + lane];
        }
        const Real* w = m.w + w_order * m.c * m.rank;
        for (std::int64_t c = 0; c < m.c; ++c) {
          if (wants_t) add_scaled(d_gate, w[c * m.rank + r], d_columns + c * kTile);
          add_dot(columns + c * kTile, d_gate, w_sums + ((w_order * m.c + c) * m.rank + r) * kSums);
        }
      }
      if (wants_t) transpose_out(d_columns, rows, m.c, m.stride, d_t[at] + base * m.stride);
    }
  }
}

#define RESEARCHKIT_COEFFICIENTS(Real, suffix)                                                \
  void forward_##suffix(const Coefficients<Real>& m, std::int64_t first,                      \
                        std::span<const Real* const> t, std::int64_t begin, std::int64_t end, \
                        Real* eta, Real* y) {                                                 \
    forward_rows(m, first, t, begin, end, eta, y);                                            \
  }                                                                                           \
  void backward_##suffix(const Coefficients<Real>& m, std::int64_t first,                     \
                         std::span<const Real* const> t, const Real* eta, const Real* g,      \
                         const Real* d_eta, std::int64_t begin, std::int64_t end,             \
                         std::span<Real* const> d_t, Real* sums) {                            \
    backward_rows(m, first, t, eta, g, d_eta, begin, end, d_t, sums);                         \
  }
RESEARCHKIT_COEFFICIENTS(float, f32)
RESEARCHKIT_COEFFICIENTS(double, f64)
#undef RESEARCHKIT_COEFFICIENTS

}  // namespace HWY_NAMESPACE
}  // namespace researchkit::nfgnn::detail
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace researchkit::nfgnn {
namespace detail {
HWY_EXPORT(forward_f32);
HWY_EXPORT(forward_f64);
HWY_EXPORT(backward_f32);
HWY_EXPORT(backward_f64);
}  // namespace detail

template <class Real>
ParameterGradients<Real>::ParameterGradients(Workspace::Scope& scratch,
                                             const Coefficients<Real>& model)
    : pieces_((model.n + kRows - 1) / kRows),
      parameters_(model.parameter_count()),
      sums_(scratch.allocate<Real>(static_cast<std::size_t>(pieces_ * parameters_ * kLanes))) {
  std::fill(sums_.begin(), sums_.end(), Real(0));
}

template <class Real>
void ParameterGradients<Real>::write(const Coefficients<Real>& model, Real* d_w, Real* d_b,
                                     Real* d_gamma) const {
  for (std::int64_t parameter = 0; parameter < parameters_; ++parameter) {
    Real lanes[kLanes] = {};
    for (std::int64_t p = 0; p < pieces_; ++p) {
      for (std::int64_t lane = 0; lane < kLanes; ++lane) {
        lanes[lane] += piece(p)[parameter * kLanes + lane];
      }
    }
    for (std::int64_t half = kLanes / 2; half > 0; half /= 2) {
      for (std::int64_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
    }
    const std::int64_t b_at = parameter - model.w_count(), gamma_at = b_at - model.b_count();
    Real& to = b_at < 0 ? d_w[parameter] : gamma_at < 0 ? d_b[b_at] : d_gamma[gamma_at];
    to = lanes[0];
  }
}

template class ParameterGradients<float>;
template class ParameterGradients<double>;

namespace kernels {

#define RESEARCHKIT_COEFFICIENTS(Real, suffix)                                                     \
  template <>                                                                                      \
  void coefficients<Real>(const Context& ctx, const Coefficients<Real>& model, std::int64_t first, \
                          std::span<const Real* const> t, Real* eta, Real* y) {                    \
    initialize_simd();                                                                             \
    using namespace detail;                                                                        \
    const auto rows = HWY_DYNAMIC_DISPATCH(forward_##suffix);                                      \
    constexpr std::int64_t kRows = ParameterGradients<Real>::kRows;                                \
    parallel_for(ctx, model.n, kRows, [&](std::int64_t begin, std::int64_t end) {                  \
      rows(model, first, t, begin, end, eta, y);                                                   \
    });                                                                                            \
  }                                                                                                \
  template <>                                                                                      \
  void coefficients_backward<Real>(                                                                \
      const Context& ctx, const Coefficients<Real>& model, std::int64_t first,                     \
      std::span<const Real* const> t, const Real* eta, const Real* g, const Real* d_eta,           \
      std::span<Real* const> d_t, const ParameterGradients<Real>& parameters) {                    \
    initialize_simd();                                                                             \
    using namespace detail;                                                                        \
    const auto rows = HWY_DYNAMIC_DISPATCH(backward_##suffix);                                     \
    constexpr std::int64_t kRows = ParameterGradients<Real>::kRows;                                \
    parallel_for(ctx, model.n, kRows, [&](std::int64_t begin, std::int64_t end) {                  \
      rows(model, first, t, eta, g, d_eta, begin, end, d_t, parameters.piece(begin / kRows));      \
    });                                                                                            \
  }
RESEARCHKIT_COEFFICIENTS(float, f32)
RESEARCHKIT_COEFFICIENTS(double, f64)
#undef RESEARCHKIT_COEFFICIENTS

}  // namespace kernels
}  // namespace researchkit::nfgnn
#endif
