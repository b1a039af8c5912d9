// Coefficients of the node-oriented filter and their gradients.
//
// Work goes by tiles of 64 rows: each T_k tile is transposed so that rows run along vector lanes, then
// everything (projection, gate, coefficient, weighted sum) is vertical. One pass over the stack of T_k
// each way; per row and order about 2 c rank + 2 c operations and `rank` gates, 8 c bytes read. Bound by the
// projection, which is summed in double, and the gates. Parameter gradients are kept in 16 interleaved
// sums, whatever the width of the vectors; multiplications and additions round apart.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/nfgnn/coefficients.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/cpu/core/exponential-inl.h"
#include "kernels/cpu/core/tile_transpose-inl.h"
#include "researchkit/core/parallel.hpp"
#include "researchkit/core/simd.hpp"
#include "researchkit/nfgnn/coefficients.hpp"

HWY_BEFORE_NAMESPACE();
namespace researchkit::nfgnn::detail {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using researchkit::detail::HWY_NAMESPACE::exp_bounded;
using researchkit::detail::HWY_NAMESPACE::tile_columns;
using researchkit::detail::HWY_NAMESPACE::transpose_in;
using researchkit::detail::HWY_NAMESPACE::transpose_out;

inline constexpr std::int64_t kTile = 64;
inline constexpr std::int64_t kBlock = 32;  // columns of a tile that stay in the first cache
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

/// What one tile of rows needs, columns for rows: every array has kTile entries for each column, gate or
/// order.
template <class Real>
class TileMemory {
 public:
  explicit TileMemory(const Coefficients<Real>& m)
      : columns_(tile_columns(m.c) * kTile),
        gates_(m.rank * kTile),
        reals_(static_cast<std::size_t>(3 * columns_ + 3 * gates_ + 2 * kTile)),
        doubles_(static_cast<std::size_t>(m.c * m.rank + gates_)) {}
  Real* columns() { return reals_.data(); }
  Real* upstream() { return columns() + columns_; }
  Real* result() { return upstream() + columns_; }  // y of the tile, or the gradient of its T_k
  Real* h() { return result() + columns_; }
  Real* slope() { return h() + gates_; }
  Real* d_gates() { return slope() + gates_; }
  Real* coefficient() { return d_gates() + gates_; }
  Real* d_coefficient() { return coefficient() + kTile; }
  double* arguments() { return doubles_.data(); }
  double* projection() { return arguments() + gates_; }

 private:
  std::int64_t columns_, gates_;
  std::vector<Real> reals_;
  std::vector<double> doubles_;
};

/// Vectors of Real as vectors of double.
template <class Real>
auto load_as_double(const Real* from) {
  const hn::CappedTag<double, 8> d;
  if constexpr (std::is_same_v<Real, double>) {
    return hn::LoadU(d, from);
  } else {
    return hn::PromoteTo(d, hn::LoadU(hn::Rebind<float, decltype(d)>(), from));
  }
}
template <class V, class Real>
void store_from_double(V v, Real* to) {
  const hn::CappedTag<double, 8> d;
  if constexpr (std::is_same_v<Real, double>) {
    hn::StoreU(v, d, to);
  } else {
    const hn::Rebind<float, decltype(d)> df;
    hn::StoreU(hn::DemoteTo(df, v), df, to);
  }
}

/// Adds columns `begin` to `end` to the arguments of `kGates` gates: sums[r][i] += t[c][i] w[c][r].
template <int kGates, class Real>
void project(const Real* HWY_RESTRICT t, std::int64_t begin, std::int64_t end,
             const double* HWY_RESTRICT w, std::int64_t rank, double* HWY_RESTRICT sums) {
  const hn::CappedTag<double, 8> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t i = 0; i < kTile; i += lanes) {
    auto s0 = hn::LoadU(d, sums + i), s1 = s0, s2 = s0;
    if constexpr (kGates > 1) s1 = hn::LoadU(d, sums + kTile + i);
    if constexpr (kGates > 2) s2 = hn::LoadU(d, sums + 2 * kTile + i);
    for (std::int64_t c = begin; c < end; ++c) {
      const auto x = load_as_double(t + c * kTile + i);
      const double* const factors = w + c * rank;
      s0 = hn::Add(s0, hn::Mul(x, hn::Set(d, factors[0])));
      if constexpr (kGates > 1) s1 = hn::Add(s1, hn::Mul(x, hn::Set(d, factors[1])));
      if constexpr (kGates > 2) s2 = hn::Add(s2, hn::Mul(x, hn::Set(d, factors[2])));
    }
    hn::StoreU(s0, d, sums + i);
    if constexpr (kGates > 1) hn::StoreU(s1, d, sums + kTile + i);
    if constexpr (kGates > 2) hn::StoreU(s2, d, sums + 2 * kTile + i);
  }
}

/// The gates of order k and their slopes, [rank][kTile] each. Their arguments are summed in double: with
/// large signals a small argument is the difference of large terms, and the slope feels it.
template <class Real>
void gates(const Coefficients<Real>& m, std::int64_t k, TileMemory<Real>& tile) {
  const Real* const w = m.w + (m.shared_w ? 0 : k * m.c * m.rank);
  const Real* const b = m.b + (m.shared_b ? 0 : k * m.rank);
  double* const projection = tile.projection();
  double* const arguments = tile.arguments();
  for (std::int64_t i = 0; i < m.c * m.rank; ++i) projection[i] = static_cast<double>(w[i]);
  for (std::int64_t r = 0; r < m.rank; ++r) {
    std::fill_n(arguments + r * kTile, kTile, static_cast<double>(b[r]));
  }
  for (std::int64_t begin = 0; begin < m.c; begin += kBlock) {
    const std::int64_t end = std::min(begin + kBlock, m.c);
    for (std::int64_t r = 0; r < m.rank; r += 3) {
      const auto add = m.rank - r == 1   ? project<1, Real>
                       : m.rank - r == 2 ? project<2, Real>
                                         : project<3, Real>;
      add(tile.columns(), begin, end, projection + r, m.rank, arguments + r * kTile);
    }
  }
  const hn::CappedTag<double, 8> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t i = 0; i < m.rank * kTile; i += lanes) {
    store_from_double(hn::LoadU(d, arguments + i), tile.h() + i);
  }
  for (std::int64_t r = 0; r < m.rank; ++r) {
    Real* const h = tile.h() + r * kTile;
    Real* const slope = tile.slope() + r * kTile;
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
  const hn::CappedTag<Real, kSums> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  TileMemory<Real> tile(m);
  Real* const columns = tile.columns();
  Real* const sums = tile.result();
  Real* const coefficient = tile.coefficient();
  for (std::int64_t base = begin; base < end; base += kTile) {
    const std::int64_t rows = std::min(kTile, end - base);
    if (y != nullptr && first > 0) {
      transpose_in<kTile>(y + base * m.stride, rows, m.c, m.stride, sums);
    }
    if (y != nullptr && first == 0) std::fill(sums, sums + m.c * kTile, Real(0));
    for (std::size_t at = 0; at < t.size(); ++at) {
      const std::int64_t k = first + static_cast<std::int64_t>(at);
      transpose_in<kTile>(t[at] + base * m.stride, rows, m.c, m.stride, columns);
      gates(m, k, tile);
      for (std::int64_t i = 0; i < kTile; i += lanes) {
        auto sum = hn::Zero(d);
        for (std::int64_t r = 0; r < m.rank; ++r) {
          const auto gate = hn::LoadU(d, tile.h() + r * kTile + i);
          sum = hn::Add(sum, hn::Mul(gate, hn::Set(d, m.gamma[r * m.orders + k])));
        }
        sum = hn::Mul(sum, hn::Set(d, m.scale));
        hn::StoreU(sum, d, coefficient + i);
        if (y == nullptr) continue;
        for (std::int64_t at_c = i; at_c < m.c * kTile; at_c += kTile) {
          const auto term = hn::Mul(hn::LoadU(d, columns + at_c), sum);
          hn::StoreU(hn::Add(hn::LoadU(d, sums + at_c), term), d, sums + at_c);
        }
      }
      for (std::int64_t i = 0; i < rows; ++i) eta[(base + i) * m.orders + k] = coefficient[i];
    }
    if (y != nullptr) transpose_out<kTile>(sums, rows, m.c, m.stride, y + base * m.stride);
  }
}

/// What the rows of a tile give to the gradients of order k: of eta, from there of the gates' arguments,
/// and where it is wanted of T_k, into the tile.
template <class Real>
void backward_columns(const Coefficients<Real>& m, std::int64_t k, bool has_upstream, bool wants_t,
                      TileMemory<Real>& tile) {
  const hn::CappedTag<Real, kSums> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const Real* const columns = tile.columns();
  const Real* const upstream = tile.upstream();
  Real* const d_columns = tile.result();
  Real* const d_gates = tile.d_gates();
  const Real* const w = m.w + (m.shared_w ? 0 : k * m.c * m.rank);
  for (std::int64_t i = 0; i < kTile; i += lanes) {
    auto d_eta = hn::LoadU(d, tile.d_coefficient() + i);
    if (has_upstream) {
      for (std::int64_t at = i; at < m.c * kTile; at += kTile) {
        d_eta = hn::Add(d_eta, hn::Mul(hn::LoadU(d, upstream + at), hn::LoadU(d, columns + at)));
      }
    }
    d_eta = hn::Mul(d_eta, hn::Set(d, m.scale));
    hn::StoreU(d_eta, d, tile.d_coefficient() + i);
    for (std::int64_t r = 0; r < m.rank; ++r) {
      const auto d_h = hn::Mul(d_eta, hn::Set(d, m.gamma[r * m.orders + k]));
      const auto slope = hn::LoadU(d, tile.slope() + r * kTile + i);
      hn::StoreU(hn::Mul(d_h, slope), d, d_gates + r * kTile + i);
    }
    if (!wants_t) continue;
    const auto coefficient = hn::LoadU(d, tile.coefficient() + i);
    for (std::int64_t c = 0; c < m.c; ++c) {
      auto sum = hn::Zero(d);
      if (has_upstream) {
        sum = hn::Add(sum, hn::Mul(hn::LoadU(d, upstream + c * kTile + i), coefficient));
      }
      for (std::int64_t r = 0; r < m.rank; ++r) {
        const auto d_gate = hn::LoadU(d, d_gates + r * kTile + i);
        sum = hn::Add(sum, hn::Mul(d_gate, hn::Set(d, w[c * m.rank + r])));
      }
      hn::StoreU(sum, d, d_columns + c * kTile + i);
    }
  }
}

/// Adds <x, y> over the rows of a tile to kSums interleaved sums.
template <class Real>
void add_dot(const Real* HWY_RESTRICT x, const Real* HWY_RESTRICT y, Real* HWY_RESTRICT sums) {
  const hn::CappedTag<Real, kSums> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t lane = 0; lane < kSums; lane += lanes) {
    auto sum = hn::LoadU(d, sums + lane);
    for (std::int64_t i = lane; i < kTile; i += kSums) {
      sum = hn::Add(sum, hn::Mul(hn::LoadU(d, x + i), hn::LoadU(d, y + i)));
    }
    hn::StoreU(sum, d, sums + lane);
  }
}
template <class Real>
void add_all(const Real* HWY_RESTRICT x, Real* HWY_RESTRICT sums) {
  for (std::int64_t i = 0; i < kTile; i += kSums) {
    for (std::int64_t lane = 0; lane < kSums; ++lane) sums[lane] += x[i + lane];
  }
}

/// Adds the rows of a tile to the sums of the parameters.
template <class Real>
void add_to_parameters(const Coefficients<Real>& m, std::int64_t k, TileMemory<Real>& tile,
                       Real* sums) {
  const std::int64_t w_order = m.shared_w ? 0 : k, b_order = m.shared_b ? 0 : k;
  Real* const w_sums = sums + w_order * m.c * m.rank * kSums;
  Real* const b_sums = sums + (m.w_count() + b_order * m.rank) * kSums;
  Real* const gamma_sums = sums + (m.w_count() + m.b_count()) * kSums;
  for (std::int64_t r = 0; r < m.rank; ++r) {
    const Real* const d_gate = tile.d_gates() + r * kTile;
    add_dot(tile.d_coefficient(), tile.h() + r * kTile, gamma_sums + (r * m.orders + k) * kSums);
    add_all(d_gate, b_sums + r * kSums);
    for (std::int64_t c = 0; c < m.c; ++c) {
      add_dot(tile.columns() + c * kTile, d_gate, w_sums + (c * m.rank + r) * kSums);
    }
  }
}

template <class Real>
void backward_rows(const Coefficients<Real>& m, std::int64_t first, std::span<const Real* const> t,
                   const Real* eta, const Real* g, const Real* d_eta, std::int64_t begin,
                   std::int64_t end, std::span<Real* const> d_t, Real* sums) {
  TileMemory<Real> tile(m);
  for (std::int64_t base = begin; base < end; base += kTile) {
    const std::int64_t rows = std::min(kTile, end - base);
    // Column k of a matrix with a row for each node, 0 where there are no nodes.
    const auto take = [&](const Real* from, std::int64_t k, Real* to) {
      if (from == nullptr || rows < kTile) std::fill(to, to + kTile, Real(0));
      if (from == nullptr) return;
      for (std::int64_t i = 0; i < rows; ++i) to[i] = from[(base + i) * m.orders + k];
    };
    if (g != nullptr) {
      transpose_in<kTile>(g + base * m.stride, rows, m.c, m.stride, tile.upstream());
    }
    for (std::size_t at = 0; at < t.size(); ++at) {
      const std::int64_t k = first + static_cast<std::int64_t>(at);
      transpose_in<kTile>(t[at] + base * m.stride, rows, m.c, m.stride, tile.columns());
      gates(m, k, tile);
      take(d_eta, k, tile.d_coefficient());
      take(g != nullptr ? eta : nullptr, k, tile.coefficient());
      backward_columns(m, k, g != nullptr, !d_t.empty(), tile);
      add_to_parameters(m, k, tile, sums);
      if (d_t.empty()) continue;
      transpose_out<kTile>(tile.result(), rows, m.c, m.stride, d_t[at] + base * m.stride);
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
