// Edge lists to compressed rows, and the normalisations.
//
// Building is two stable counting sorts, bound by scattered reads and writes of 16 to 24 bytes per
// edge. Normalising goes over blocks of rows in parallel, each into its own piece, which are then
// put together.
#include "researchkit/graph/build.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "researchkit/core/parallel.hpp"

namespace researchkit::graph::kernels {
namespace {

std::size_t size(std::int64_t i) { return static_cast<std::size_t>(i); }

/// Positions of `keys`, visited in the order of `from`, sorted by key; equal keys stay in order.
/// `ends[k]` becomes where key k ends.
template <class Index>
void counting_sort(std::span<const Index> keys, std::span<const std::int64_t> from,
                   std::span<std::int64_t> ends, std::span<std::int64_t> to) {
  std::fill(ends.begin(), ends.end(), 0);
  for (const Index key : keys) ++ends[size(key)];
  std::exclusive_scan(ends.begin(), ends.end(), ends.begin(), std::int64_t{0});
  for (const std::int64_t position : from) {
    to[size(ends[size(keys[size(position)])]++)] = position;
  }
}

/// One entry of a row that is being normalised.
template <class Real, class Index>
struct Entry {
  Index column;
  Real value;
};

/// Adds up neighbours of the same column. Returns how many are left.
template <class Real, class Index>
std::size_t merge(std::span<Entry<Real, Index>> entries) {
  std::size_t kept = 0;
  for (const auto& entry : entries) {
    if (kept != 0 && entries[kept - 1].column == entry.column) {
      entries[kept - 1].value += entry.value;
    } else {
      entries[kept++] = entry;
    }
  }
  return kept;
}

double degree_of(double sum, Normalization mode) {
  if (!(sum > 0)) return 0;
  return mode == Normalization::rw ? 1 / sum : 1 / std::sqrt(sum);
}

}  // namespace

template <class Real, class Index>
CsrArrays<Real, Index> coo_to_csr(const Context& ctx, std::span<const Index> rows,
                                  std::span<const Index> cols, const Real* values,
                                  const EdgeListOptions& options) {
  std::vector<Index> r, c;
  std::vector<Real> v;
  const std::size_t capacity = rows.size() * (options.undirected ? 2 : 1);
  r.reserve(capacity), c.reserve(capacity), v.reserve(capacity);
  for (const bool mirrored : {false, true}) {
    if (mirrored && !options.undirected) break;
    for (std::size_t e = 0; e < rows.size(); ++e) {
      if (rows[e] == cols[e] && (mirrored || options.remove_self_loops)) continue;
      r.push_back(mirrored ? cols[e] : rows[e]);
      c.push_back(mirrored ? rows[e] : cols[e]);
      v.push_back(values == nullptr ? Real(1) : values[e]);
    }
  }
  ctx.check_cancelled();
  Workspace::Scope scratch(ctx.workspace());
  const auto as_given = scratch.allocate<std::int64_t>(r.size());
  const auto by_column = scratch.allocate<std::int64_t>(r.size());
  std::iota(as_given.begin(), as_given.end(), std::int64_t{0});
  const auto column_ends = scratch.allocate<std::int64_t>(size(options.num_cols));
  counting_sort<Index>(c, as_given, column_ends, by_column);
  const auto row_ends = scratch.allocate<std::int64_t>(size(options.num_rows));
  const auto sorted = as_given;
  counting_sort<Index>(r, by_column, row_ends, sorted);

  CsrArrays<Real, Index> out;
  out.indptr.assign(size(options.num_rows) + 1, Index(0));
  out.indices.reserve(r.size());
  out.values.reserve(r.size());
  for (std::size_t at = 0; at < sorted.size(); ++at) {
    const std::size_t e = size(sorted[at]);
    const bool again = at != 0 && r[size(sorted[at - 1])] == r[e] && out.indices.back() == c[e];
    if (!again) {
      out.indices.push_back(c[e]);
      out.values.push_back(v[e]);
      ++out.indptr[size(r[e]) + 1];
    } else if (options.duplicates == Duplicates::sum) {
      out.values.back() += v[e];
    }
  }
  std::partial_sum(out.indptr.begin(), out.indptr.end(), out.indptr.begin());
  return out;
}

template <class Real, class Index>
CsrArrays<Real, Index> graph_norm(const Context& ctx, const CsrView<Real, Index>& a,
                                  Normalization mode, double self_loop) {
  constexpr std::int64_t kRows = 1024;
  const std::int64_t n = a.rows, blocks = (n + kRows - 1) / kRows;
  std::vector<double> factor(size(n));
  parallel_for(ctx, n, kRows, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      double degree = 0;
      for (std::int64_t e = a.begin(i); e < a.end(i); ++e) {
        if (a.column(e) != i) degree += static_cast<double>(a.value(e));
      }
      factor[size(i)] = degree_of(degree + self_loop, mode);
    }
  });
  const auto scaled = [&](std::int64_t i, std::int64_t j, double value) {
    switch (mode) {
      case Normalization::sym:
        return static_cast<Real>(factor[size(i)] * value * factor[size(j)]);
      case Normalization::cheb:
        return static_cast<Real>(-(factor[size(i)] * value * factor[size(j)]));
      case Normalization::rw:
        return static_cast<Real>(factor[size(i)] * value);
      case Normalization::none:
        break;
    }
    return static_cast<Real>(value);
  };

  using Row = std::vector<Entry<Real, Index>>;
  std::vector<Row> pieces(size(blocks));
  CsrArrays<Real, Index> out;
  out.indptr.assign(size(n) + 1, Index(0));
  parallel_blocks(ctx, blocks, [&](std::int64_t block) {
    Row& piece = pieces[size(block)];
    Row row;
    for (std::int64_t i = block * kRows; i < std::min(n, (block + 1) * kRows); ++i) {
      row.clear();
      for (std::int64_t e = a.begin(i); e < a.end(i); ++e) {
        const std::int64_t j = a.column(e);
        if (j != i) row.push_back({a.indices[e], scaled(i, j, static_cast<double>(a.value(e)))});
      }
      if (self_loop != 0) row.push_back({static_cast<Index>(i), scaled(i, i, self_loop)});
      const auto by_column = [](const auto& p, const auto& q) { return p.column < q.column; };
      if (!std::is_sorted(row.begin(), row.end(), by_column)) {
        std::stable_sort(row.begin(), row.end(), by_column);
      }
      row.resize(merge<Real, Index>(row));
      piece.insert(piece.end(), row.begin(), row.end());
      out.indptr[size(i) + 1] = static_cast<Index>(row.size());
    }
  });
  std::partial_sum(out.indptr.begin(), out.indptr.end(), out.indptr.begin());
  out.indices.resize(size(static_cast<std::int64_t>(out.indptr.back())));
  out.values.resize(out.indices.size());
  parallel_blocks(ctx, blocks, [&](std::int64_t block) {
    auto at = size(static_cast<std::int64_t>(out.indptr[size(block * kRows)]));
    for (const auto& entry : pieces[size(block)]) {
      out.indices[at] = entry.column;
      out.values[at++] = entry.value;
    }
  });
  return out;
}

template <class Real, class Index>
void row_normalize(const Context& ctx, const CsrView<Real, Index>& a, double clamp_min, Real* out) {
  for_row_pieces(ctx, a.indptr, a.rows, 4, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      double sum = 0;
      for (std::int64_t e = a.begin(i); e < a.end(i); ++e) sum += static_cast<double>(a.value(e));
      const double divisor = std::max(sum, clamp_min);
      for (std::int64_t e = a.begin(i); e < a.end(i); ++e) {
        out[e] = static_cast<Real>(static_cast<double>(a.value(e)) / divisor);
      }
    }
  });
}

#define RESEARCHKIT_INSTANTIATE(Real, Index)                                              \
  template CsrArrays<Real, Index> coo_to_csr(const Context&, std::span<const Index>,      \
                                             std::span<const Index>, const Real*,         \
                                             const EdgeListOptions&);                     \
  template CsrArrays<Real, Index> graph_norm(const Context&, const CsrView<Real, Index>&, \
                                             Normalization, double);                      \
  template void row_normalize(const Context&, const CsrView<Real, Index>&, double, Real*)
RESEARCHKIT_INSTANTIATE(float, std::int32_t);
RESEARCHKIT_INSTANTIATE(float, std::int64_t);
RESEARCHKIT_INSTANTIATE(double, std::int32_t);
RESEARCHKIT_INSTANTIATE(double, std::int64_t);
#undef RESEARCHKIT_INSTANTIATE

}  // namespace researchkit::graph::kernels
