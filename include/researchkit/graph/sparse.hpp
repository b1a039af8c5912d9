#pragma once

#include <span>

#include "researchkit/core/context.hpp"
#include "researchkit/graph/csr_view.hpp"

namespace researchkit::graph {

/// A sparse operator with its columns for rows. Entries of a row keep the order that they have in
/// the original, so sums over them have one order everywhere.
template <class Real, class Index>
struct TransposedCsr {
  std::span<Index> indptr;            // [columns + 1]
  std::span<Index> indices;           // [entries]: rows of the original
  std::span<std::int64_t> positions;  // [entries]: where the entry stands in the original
  std::span<Real> values;             // [entries], empty where the original has none

  CsrView<Real, Index> view(std::int64_t rows_of_original) const {
    return {indptr.data(), indices.data(), values.empty() ? nullptr : values.data(),
            static_cast<std::int64_t>(indptr.size()) - 1, rows_of_original};
  }
};

/// Products with up to so many columns go through RowGroups, where the view has them.
inline constexpr std::int64_t kGroupedColumns = 8;

namespace kernels {

/// y = alpha A x + beta z - subtract, row-major: x [columns, d], the others [rows, d].
///
/// Each row is summed in the stored order of its entries, each column of x in a vector lane of its
/// own, so the result depends neither on threads nor on the instruction set. With beta = 0, `z` is
/// not read and may be null; so may `subtract`. y may be z or `subtract`, but not x. Memory traffic: the CSR and y once, each x row from cache or memory
/// once per entry. No workspace.
template <class Real, class Index>
void spmm(const Context& ctx, const CsrView<Real, Index>& a, Real alpha, const Real* x,
          std::int64_t d, Real beta, const Real* z, Real* y, const Real* subtract = nullptr);

/// values[e] = alpha <u_i, v_j> for every entry e = (i, j); u [rows, d], v [columns, d]. Dot products
/// are interleaved_dot.
template <class Real, class Index>
void sddmm(const Context& ctx, const CsrView<Real, Index>& pattern, Real alpha, const Real* u,
           const Real* v, std::int64_t d, Real* values);

/// Fills `out`, whose spans have the right sizes, by counting: O(entries + columns), no workspace.
template <class Real, class Index>
void transpose(const CsrView<Real, Index>& a, const TransposedCsr<Real, Index>& out);

/// transpose() into memory of `scratch`; `with_values` copies the values as well.
template <class Real, class Index>
TransposedCsr<Real, Index> transposed(Workspace::Scope& scratch, const CsrView<Real, Index>& a,
                                      bool with_values) {
  TransposedCsr<Real, Index> out;
  const auto entries = static_cast<std::size_t>(a.entries());
  out.indptr = scratch.allocate<Index>(static_cast<std::size_t>(a.columns) + 1);
  out.indices = scratch.allocate<Index>(entries);
  out.positions = scratch.allocate<std::int64_t>(entries);
  if (with_values && a.values != nullptr) out.values = scratch.allocate<Real>(entries);
  transpose(a, out);
  return out;
}

}  // namespace kernels

/// A dot product in eight interleaved sums, combined pairwise: the order that a vector unit likes,
/// fixed so that every caller rounds alike.
template <class Real>
Real interleaved_dot(const Real* a, const Real* b, std::int64_t n) {
  if (n == 0) return Real(0);
  Real sums[8] = {};
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (int lane = 0; lane < 8; ++lane) sums[lane] += a[i + lane] * b[i + lane];
  }
  for (int lane = 0; i < n; ++i, ++lane) sums[lane] += a[i] * b[i];
  return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

/// Bytes of a pass over a square matrix that reads and writes d columns of every row once.
template <class Real, class Index>
double spmm_bytes_of(std::int64_t n, double entries, double d) {
  return sizeof(Index) * (static_cast<double>(n) + 1 + entries) +
         sizeof(Real) * (entries + 2 * static_cast<double>(n) * d);
}

/// Operations of interleaved_dot.
inline double interleaved_dot_flops(std::int64_t n) {
  return n == 0 ? 0 : 2 * static_cast<double>(n) + 7;
}

}  // namespace researchkit::graph
