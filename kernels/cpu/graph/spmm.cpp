// Sparse times dense, y = alpha A x + beta z - subtract.
//
// Vector lanes run across the columns of x and the sum of a row stays in registers: four vectors for
// wide x, one for the next columns, then the largest powers of two that are left, all of the latter
// in one pass over the row. Per entry the kernel reads 8 bytes of CSR and a row of x from wherever
// it is; up to about 16 columns it is bound by the latency of those reads, beyond by bandwidth.
// Multiplications and additions round apart (no fused multiply-add), since not every instruction
// set has one and the bits must not depend on it.
//
// Up to eight columns are one vector of eight lanes where there is one, with absent columns masked. There the
// end of a short row costs more than the row: a branch that no processor foresees. Rows that come in groups of
// four of one length (RowGroups) have one end together, and four sums that do not wait for one another.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/graph/spmm.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "researchkit/core/simd.hpp"
#include "researchkit/graph/row_groups.hpp"
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
template <class V, class Real, class Load>
V finish(V sum, const Axpby<Real>& axpby, std::int64_t at, const Load& load) {
  const hn::DFromV<V> d;
  if (axpby.alpha != Real(1)) sum = hn::Mul(hn::Set(d, axpby.alpha), sum);
  if (axpby.beta != Real(0)) {
    sum = hn::Add(sum, hn::Mul(hn::Set(d, axpby.beta), load(axpby.z + at)));
  }
  if (axpby.subtract != nullptr) sum = hn::Sub(sum, load(axpby.subtract + at));
  return sum;
}
template <class D, class V, class Real>
V finish(D d, V sum, const Axpby<Real>& axpby, std::int64_t at) {
  return finish(sum, axpby, at, [&](const Real* from) { return hn::LoadU(d, from); });
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

/// Whether a vector has eight lanes.
template <class Real>
inline constexpr bool kHasNarrowRows = hn::MaxLanes(hn::CappedTag<Real, 8>()) == 8;

/// A row of up to eight columns in one vector of eight lanes.
template <bool kEight, class Real>
class NarrowRow {
 public:
  using D = hn::CappedTag<Real, 8>;
  using V = hn::Vec<D>;

  NarrowRow(const Axpby<Real>& axpby, const Real* x, std::int64_t columns, Real* y)
      : axpby_(axpby), x_(x), columns_(columns), y_(y) {}

  V zero() const { return hn::Zero(d_); }
  V add(V sum, Real value, std::int64_t column) const {
    return hn::Add(sum, hn::Mul(hn::Set(d_, value), load(x_ + column * columns())));
  }
  void store(V sum, std::int64_t row) const {
    const std::int64_t at = row * columns();
    sum = finish(sum, axpby_, at, [&](const Real* from) { return load(from); });
    if constexpr (kEight) {
      hn::StoreU(sum, d_, y_ + at);
    } else {
      hn::BlendedStore(sum, mask_, d_, y_ + at);
    }
  }

 private:
  std::int64_t columns() const { return kEight ? 8 : columns_; }
  V load(const Real* from) const {
    if constexpr (kEight) {
      return hn::LoadU(d_, from);
    } else {
      return hn::MaskedLoad(mask_, d_, from);
    }
  }

  D d_;
  Axpby<Real> axpby_;
  const Real* x_;
  std::int64_t columns_;
  Real* y_;
  hn::Mask<D> mask_ = hn::FirstN(d_, static_cast<std::size_t>(columns_));
};

/// The last entries of a row, from `e` on.
template <class Row, class V, class Real, class Index>
V add_entries(const Row& row, V sum, const CsrView<Real, Index>& a, std::int64_t e,
              std::int64_t end) {
  for (; e < end; ++e) sum = row.add(sum, a.value(e), a.column(e));
  return sum;
}

/// Rows that are in groups, whole windows of them.
template <class Row, class Real, class Index>
void grouped_rows(const Row& row, const CsrView<Real, Index>& a, std::int64_t begin,
                  std::int64_t end) {
  const RowGroups<Real, Index>& groups = *a.groups;
  constexpr std::int64_t kRows = RowGroups<Real, Index>::kRows;
  const auto window = static_cast<std::size_t>(begin / groups.kWindow);
  const Index* at = groups.indices.data() + groups.window_begins[window];
  const Real* value = groups.values.data() + groups.window_begins[window];
  std::int64_t i = begin;
  for (; i + kRows <= end; i += kRows) {
    const std::int64_t length = groups.lengths[static_cast<std::size_t>(i / kRows)];
    auto s0 = row.zero(), s1 = s0, s2 = s0, s3 = s0;
    for (std::int64_t e = 0; e < length; ++e, at += kRows, value += kRows) {
      s0 = row.add(s0, value[0], at[0]);
      s1 = row.add(s1, value[1], at[1]);
      s2 = row.add(s2, value[2], at[2]);
      s3 = row.add(s3, value[3], at[3]);
    }
    const Index* const rows = groups.order.data() + i;
    if (a.end(rows[3]) - a.begin(rows[3]) != length) {  // the longest
      s1 = add_entries(row, s1, a, a.begin(rows[1]) + length, a.end(rows[1]));
      s2 = add_entries(row, s2, a, a.begin(rows[2]) + length, a.end(rows[2]));
      s3 = add_entries(row, s3, a, a.begin(rows[3]) + length, a.end(rows[3]));
    }
    row.store(s0, rows[0]);
    row.store(s1, rows[1]);
    row.store(s2, rows[2]);
    row.store(s3, rows[3]);
  }
  for (; i < end; ++i) {
    const Index r = groups.order[static_cast<std::size_t>(i)];
    row.store(add_entries(row, row.zero(), a, a.begin(r), a.end(r)), r);
  }
}

template <bool kEight, class Real, class Index>
void narrow_rows(const CsrView<Real, Index>& a, const Axpby<Real>& axpby, const Real* x,
                 std::int64_t columns, std::int64_t begin, std::int64_t end, Real* y) {
  const NarrowRow<kEight, Real> row(axpby, x, columns, y);
  if (a.groups != nullptr) {
    grouped_rows(row, a, begin, end);
    return;
  }
  for (std::int64_t i = begin; i < end; ++i) {
    row.store(add_entries(row, row.zero(), a, a.begin(i), a.end(i)), i);
  }
}

template <class Real, class Index>
void spmm_rows(const CsrView<Real, Index>& a, const Axpby<Real>& axpby, const Real* x,
               std::int64_t columns, std::int64_t begin, std::int64_t end, Real* y) {
  const hn::ScalableTag<Real> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  if constexpr (kHasNarrowRows<Real>) {
    if (columns == 8) return narrow_rows<true>(a, axpby, x, columns, begin, end, y);
    if (columns < 8) return narrow_rows<false>(a, axpby, x, columns, begin, end, y);
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
    const bool grouped = a.groups != nullptr && d <= kGroupedColumns;                      \
    const auto rows = HWY_DYNAMIC_DISPATCH(name);                                          \
    for_row_pieces(                                                                        \
        ctx, a.indptr, a.rows, d,                                                          \
        [&](std::int64_t begin, std::int64_t end) {                                        \
          rows(a, alpha, x, d, beta, z, subtract, begin, end, y);                          \
        },                                                                                 \
        grouped ? RowGroups<Real, Index>::kWindow : 1);                                    \
  }
RESEARCHKIT_SPMM(spmm_f32_i32, float, std::int32_t)
RESEARCHKIT_SPMM(spmm_f32_i64, float, std::int64_t)
RESEARCHKIT_SPMM(spmm_f64_i32, double, std::int32_t)
RESEARCHKIT_SPMM(spmm_f64_i64, double, std::int64_t)
#undef RESEARCHKIT_SPMM

}  // namespace kernels
}  // namespace researchkit::graph
#endif
