// What reads a sparse structure and no dense matrix: transposing, and sampled dense products.
//
// Transposing counts entries per column and places them in one more pass, so it is bound by the
// scattered writes. Dot products over the columns of two rows are plain loops in eight sums, which
// the compiler turns into vectors.
#include <algorithm>
#include <utility>

#include "researchkit/graph/sparse.hpp"

namespace researchkit::graph::kernels {

template <class Real, class Index>
void transpose(const CsrView<Real, Index>& a, const TransposedCsr<Real, Index>& out) {
  // indptr[j + 1] counts, then says where column j goes next, and in the end where it ends.
  std::fill(out.indptr.begin(), out.indptr.end(), Index(0));
  const std::int64_t entries = a.entries();
  const auto slot = [&](std::int64_t column) -> Index& {
    return out.indptr[static_cast<std::size_t>(column) + 1];
  };
  for (std::int64_t e = 0; e < entries; ++e) ++slot(a.column(e));
  Index start = 0;
  for (std::int64_t j = 0; j < a.columns; ++j) start += std::exchange(slot(j), start);
  for (std::int64_t row = 0; row < a.rows; ++row) {
    for (std::int64_t e = a.begin(row); e < a.end(row); ++e) {
      const auto to = static_cast<std::size_t>(slot(a.column(e))++);
      out.indices[to] = static_cast<Index>(row);
      out.positions[to] = e;
      if (!out.values.empty()) out.values[to] = a.values[e];
    }
  }
}

template <class Real, class Index>
void sddmm(const Context& ctx, const CsrView<Real, Index>& pattern, Real alpha, const Real* u,
           const Real* v, std::int64_t d, Real* values) {
  for_row_pieces(ctx, pattern.indptr, pattern.rows, d, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      for (std::int64_t e = pattern.begin(row); e < pattern.end(row); ++e) {
        const Real dot = interleaved_dot(u + row * d, v + pattern.column(e) * d, d);
        values[e] = alpha == Real(1) ? dot : alpha * dot;
      }
    }
  });
}

#define RESEARCHKIT_INSTANTIATE(Real, Index)                                                       \
  template void transpose(const CsrView<Real, Index>&, const TransposedCsr<Real, Index>&);         \
  template void sddmm(const Context&, const CsrView<Real, Index>&, Real, const Real*, const Real*, \
                      std::int64_t, Real*)
RESEARCHKIT_INSTANTIATE(float, std::int32_t);
RESEARCHKIT_INSTANTIATE(float, std::int64_t);
RESEARCHKIT_INSTANTIATE(double, std::int32_t);
RESEARCHKIT_INSTANTIATE(double, std::int64_t);
#undef RESEARCHKIT_INSTANTIATE

}  // namespace researchkit::graph::kernels
