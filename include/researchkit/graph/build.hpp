#pragma once

#include <optional>
#include <span>
#include <vector>

#include "researchkit/core/context.hpp"
#include "researchkit/graph/attributes.hpp"
#include "researchkit/graph/csr_view.hpp"

namespace researchkit::graph {

/// Compressed rows that own their memory.
template <class Real, class Index = std::int32_t>
struct CsrArrays {
  std::vector<Index> indptr = {Index(0)};
  std::vector<Index> indices;
  std::vector<Real> values;
};

/// How a list of edges becomes a matrix.
struct EdgeListOptions {
  std::int64_t num_rows = 0;
  std::int64_t num_cols = 0;
  bool undirected = false;         ///< the mirror of each entry off the diagonal is added
  bool remove_self_loops = false;  ///< before anything else
  Duplicates duplicates = Duplicates::sum;
};

namespace kernels {

/// Entries (rows[e], cols[e]) with values[e], all ones if `values` is null, as compressed rows with
/// ascending columns. Indices lie in range. Two counting sorts, by column and then by row: O(entries
/// + rows + columns) time, 24 bytes of workspace per entry.
template <class Real, class Index>
CsrArrays<Real, Index> coo_to_csr(const Context& ctx, std::span<const Index> rows,
                                  std::span<const Index> cols, const Real* values,
                                  const EdgeListOptions& options);

/// The operator that `mode` makes of the square matrix `a` whose diagonal is replaced by
/// `self_loop`. Columns ascend, duplicates add up; a node of degree 0 has factor 0. Degrees and
/// factors are computed in double. O(entries log(longest row)), O(entries) if columns ascend.
template <class Real, class Index>
CsrArrays<Real, Index> graph_norm(const Context& ctx, const CsrView<Real, Index>& a,
                                  Normalization mode, double self_loop);

/// out[e] = values[e] / max(sum of its row, clamp_min), sums in double.
template <class Real, class Index>
void row_normalize(const Context& ctx, const CsrView<Real, Index>& a, double clamp_min, Real* out);

}  // namespace kernels
}  // namespace researchkit::graph
