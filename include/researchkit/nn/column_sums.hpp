#pragma once

#include <algorithm>

#include "researchkit/core/parallel.hpp"
#include "researchkit/core/view.hpp"

namespace researchkit::nn {

/// The sums of the columns of row-major `rows` [n, columns], in pieces of 512 rows that are combined in
/// order: the same bits for any number of threads. Workspace: columns n / 512 entries.
template <class Real>
void column_sums(const Context& ctx, In<Real, 2> rows, Real* sums) {
  constexpr std::int64_t kRows = 512;
  const std::int64_t n = rows.extent(0), columns = rows.extent(1), pieces = (n + kRows - 1) / kRows;
  Workspace::Scope scratch(ctx.workspace());
  const auto partial = scratch.allocate<Real>(static_cast<std::size_t>(pieces * columns));
  parallel_for(ctx, n, kRows, [&](std::int64_t begin, std::int64_t end) {
    Real* to = partial.data() + begin / kRows * columns;
    std::fill(to, to + columns, Real(0));
    for (std::int64_t i = begin; i < end; ++i) {
      const Real* row = rows.data_handle() + i * columns;
      for (std::int64_t j = 0; j < columns; ++j) to[j] += row[j];
    }
  });
  std::fill(sums, sums + columns, Real(0));
  for (std::int64_t p = 0; p < pieces; ++p) {
    for (std::int64_t j = 0; j < columns; ++j) {
      sums[j] += partial[static_cast<std::size_t>(p * columns + j)];
    }
  }
}

}  // namespace researchkit::nn
