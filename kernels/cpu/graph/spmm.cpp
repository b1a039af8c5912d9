// Sparse times dense, y = alpha A x + beta z - subtract.
//
// Vector lanes run across the columns of x and the sum of a row stays in registers: four vectors for
// wide x, one for the next columns, then the largest powers of two that are left, all of the latter
// in one pass over the row. Per entry the kernel reads 8 bytes of CSR and a row of x from wherever
// it is; up to about 16 columns it is bound by the latency of those reads, beyond by bandwidth.
// Multiplications and additions round apart (no fused multiply-add), since not every instruction
// set has one and the bits must not depend on it.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/graph/spmm.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cstdint>

#include "researchkit/core/simd.hpp"
#include "researchkit/graph/sparse.hpp"

HWY_BEFORE_NAMESPACE();
namespace researchkit::graph::detail {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class Real>
struct Axpby {
  Real alpha, beta;
  const Real* z;
  const Real* subtract;
};

/// alpha sum + beta z - subtract, in this order.
template <class D, class V, class Real>
V finish(D d, V sum, const Axpby<Real>& axpby, std::int64_t at) {
  if (axpby.alpha != Real(1)) sum = hn::Mul(hn::Set(d, axpby.alpha), sum);
  if (axpby.beta != Real(0)) {
    sum = hn::Add(sum, hn::Mul(hn::Set(d, axpby.beta), hn::LoadU(d, axpby.z + at)));
  }
  if (axpby.subtract != nullptr) sum = hn::Sub(sum, hn::LoadU(d, axpby.subtract + at));
  return sum;
}

/// `kVectors` vectors of columns of one row, starting at column `c`.
template <int kVectors, class D, class Real, class Index>
void row_columns(D d, const CsrView<Real, Index>& a, const Axpby<Real>& axpby, const Real* x,
                 std::int64_t columns, std::int64_t row, std::int64_t c, Real* y) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  auto s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  for (std::int64_t e = a.begin(row); e < a.end(row); ++e) {
    const Real* from = x + a.column(e) * columns + c;
    const auto value = hn::Set(d, a.value(e));
    s0 = hn::Add(s0, hn::Mul(value, hn::LoadU(d, from)));
    if constexpr (kVectors > 1) {
      s1 = hn::Add(s1, hn::Mul(value, hn::LoadU(d, from + lanes)));
      s2 = hn::Add(s2, hn::Mul(value, hn::LoadU(d, from + 2 * lanes)));
      s3 = hn::Add(s3, hn::Mul(value, hn::LoadU(d, from + 3 * lanes)));
    }
  }
  const std::int64_t at = row * columns + c;
  hn::StoreU(finish(d, s0, axpby, at), d, y + at);
  if constexpr (kVectors > 1) {
    hn::StoreU(finish(d, s1, axpby, at + lanes), d, y + at + lanes);
    hn::StoreU(finish(d, s2, axpby, at + 2 * lanes), d, y + at + 2 * lanes);
    hn::StoreU(finish(d, s3, axpby, at + 3 * lanes), d, y + at + 3 * lanes);
  }
}

/// The last columns of one row, fewer than a vector of 16: parts of 8, 4, 2 and 1 columns, each
/// present or not, in one pass.
template <class Real, class Index>
void row_tail(const CsrView<Real, Index>& a, const Axpby<Real>& axpby, const Real* x,
              std::int64_t columns, std::int64_t row, std::int64_t c, Real* y) {
  const hn::CappedTag<Real, 8> d8;
  const hn::CappedTag<Real, 4> d4;
  const hn::CappedTag<Real, 2> d2;
  const hn::CappedTag<Real, 1> d1;
  const std::int64_t left = columns - c;
  const bool has8 = hn::MaxLanes(d8) == 8 && (left & 8) != 0;
  const bool has4 = hn::MaxLanes(d4) == 4 && (left & 4) != 0;
  const bool has2 = hn::MaxLanes(d2) == 2 && (left & 2) != 0;
  const bool has1 = (left & 1) != 0;
  auto s8 = hn::Zero(d8);
  auto s4 = hn::Zero(d4);
  auto s2 = hn::Zero(d2);
  auto s1 = hn::Zero(d1);
  for (std::int64_t e = a.begin(row); e < a.end(row); ++e) {
    const Real* from = x + a.column(e) * columns + c;
    const Real value = a.value(e);
    if (has8) {
      s8 = hn::Add(s8, hn::Mul(hn::Set(d8, value), hn::LoadU(d8, from)));
      from += 8;
    }
    if (has4) {
      s4 = hn::Add(s4, hn::Mul(hn::Set(d4, value), hn::LoadU(d4, from)));
      from += 4;
    }
    if (has2) {
      s2 = hn::Add(s2, hn::Mul(hn::Set(d2, value), hn::LoadU(d2, from)));
      from += 2;
    }
    if (has1) s1 = hn::Add(s1, hn::Mul(hn::Set(d1, value), hn::LoadU(d1, from)));
  }
  std::int64_t at = row * columns + c;
  if (has8) {
    hn::StoreU(finish(d8, s8, axpby, at), d8, y + at);
    at += 8;
  }
  if (has4) {
    hn::StoreU(finish(d4, s4, axpby, at), d4, y + at);
    at += 4;
  }
  if (has2) {
    hn::StoreU(finish(d2, s2, axpby, at), d2, y + at);
    at += 2;
  }
  if (has1) hn::StoreU(finish(d1, s1, axpby, at), d1, y + at);
}

template <class Real, class Index>
void spmm_rows(const CsrView<Real, Index>& a, const Axpby<Real>& axpby, const Real* x,
               std::int64_t columns, std::int64_t begin, std::int64_t end, Real* y) {
  const hn::ScalableTag<Real> d;
  const hn::CappedTag<Real, 8> d8;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  if (columns == 8 && hn::MaxLanes(d8) == 8) {
    for (std::int64_t row = begin; row < end; ++row) {
      row_columns<1>(d8, a, axpby, x, columns, row, 0, y);
    }
    return;
  }
  for (std::int64_t row = begin; row < end; ++row) {
    std::int64_t c = 0;
    for (; c + 4 * lanes <= columns; c += 4 * lanes) {
      row_columns<4>(d, a, axpby, x, columns, row, c, y);
    }
    for (; c + lanes <= columns; c += lanes) {
      row_columns<1>(d, a, axpby, x, columns, row, c, y);
    }
    if (c < columns) row_tail(a, axpby, x, columns, row, c, y);
  }
}

#define RESEARCHKIT_SPMM(name, Real, Index)                                                       \
  void name(const CsrView<Real, Index>& a, Real alpha, const Real* x, std::int64_t d, Real beta,  \
            const Real* z, const Real* subtract, std::int64_t begin, std::int64_t end, Real* y) { \
    spmm_rows<Real, Index>(a, {alpha, beta, z, subtract}, x, d, begin, end, y);                   \
  }
RESEARCHKIT_SPMM(spmm_f32_i32, float, std::int32_t)
RESEARCHKIT_SPMM(spmm_f32_i64, float, std::int64_t)
RESEARCHKIT_SPMM(spmm_f64_i32, double, std::int32_t)
RESEARCHKIT_SPMM(spmm_f64_i64, double, std::int64_t)
#undef RESEARCHKIT_SPMM

}  // namespace HWY_NAMESPACE
}  // namespace researchkit::graph::detail
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace researchkit::graph {
namespace detail {
HWY_EXPORT(spmm_f32_i32);
HWY_EXPORT(spmm_f32_i64);
HWY_EXPORT(spmm_f64_i32);
HWY_EXPORT(spmm_f64_i64);
}  // namespace detail

namespace kernels {

#define RESEARCHKIT_SPMM(name, Real, Index)                                                \
  template <>                                                                              \
  void spmm<Real, Index>(const Context& ctx, const CsrView<Real, Index>& a, Real alpha,    \
                         const Real* x, std::int64_t d, Real beta, const Real* z, Real* y, \
                         const Real* subtract) {                                           \
    initialize_simd();                                                                     \
    using namespace detail;                                                                \
    if (d == 0) return;                                                                    \
    const auto rows = HWY_DYNAMIC_DISPATCH(name);                                          \
    for_row_pieces(ctx, a.indptr, a.rows, d, [&](std::int64_t begin, std::int64_t end) {   \
      rows(a, alpha, x, d, beta, z, subtract, begin, end, y);                              \
    });                                                                                    \
  }
RESEARCHKIT_SPMM(spmm_f32_i32, float, std::int32_t)
RESEARCHKIT_SPMM(spmm_f32_i64, float, std::int64_t)
RESEARCHKIT_SPMM(spmm_f64_i32, double, std::int32_t)
RESEARCHKIT_SPMM(spmm_f64_i64, double, std::int64_t)
#undef RESEARCHKIT_SPMM

}  // namespace kernels
}  // namespace researchkit::graph
#endif
