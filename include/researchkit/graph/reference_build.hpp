#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "researchkit/core/view.hpp"
#include "researchkit/graph/build.hpp"

/// Plain loops of the operators that build matrices: entries live in an ordered map.
namespace researchkit::graph::reference {

/// Entries by (row, column).
template <class Real>
using EntryMap = std::map<std::pair<std::int64_t, std::int64_t>, Real>;

template <class Real, class Index>
CsrArrays<Real, Index> to_csr(const EntryMap<Real>& entries, std::int64_t rows) {
  CsrArrays<Real, Index> csr;
  csr.indptr.assign(static_cast<std::size_t>(rows) + 1, Index(0));
  for (const auto& [place, value] : entries) {
    for (auto i = static_cast<std::size_t>(place.first) + 1; i < csr.indptr.size(); ++i) {
      ++csr.indptr[i];
    }
    csr.indices.push_back(static_cast<Index>(place.second));
    csr.values.push_back(value);
  }
  return csr;
}

template <class Real, class Index>
CsrArrays<Real, Index> coo_to_csr(In<Index, 1> rows, In<Index, 1> cols, const Real* values,
                                  const EdgeListOptions& options) {
  EntryMap<Real> entries;
  const auto add = [&](std::int64_t i, std::int64_t j, Real value) {
    const auto [at, fresh] = entries.emplace(std::pair{i, j}, value);
    if (!fresh && options.duplicates == Duplicates::sum) at->second += value;
  };
  const auto add_all = [&](bool mirrored) {
    for (std::int64_t e = 0; e < rows.extent(0); ++e) {
      const auto i = static_cast<std::int64_t>(rows(e)), j = static_cast<std::int64_t>(cols(e));
      if (i == j && (mirrored || options.remove_self_loops)) continue;
      const Real value = values == nullptr ? Real(1) : values[e];
      mirrored ? add(j, i, value) : add(i, j, value);
    }
  };
  add_all(false);
  if (options.undirected) add_all(true);
  return to_csr<Real, Index>(entries, options.num_rows);
}

template <class Real, class Index>
CsrArrays<Real, Index> graph_norm(const CsrView<Real, Index>& a, Normalization mode,
                                  double self_loop) {
  std::vector<double> factor(static_cast<std::size_t>(a.rows));
  for (std::int64_t i = 0; i < a.rows; ++i) {
    double degree = 0;
    for (std::int64_t e = a.begin(i); e < a.end(i); ++e) {
      if (a.column(e) != i) degree += static_cast<double>(a.value(e));
    }
    degree += self_loop;
    const double inverse =
        degree > 0 ? 1 / (mode == Normalization::rw ? degree : std::sqrt(degree)) : 0;
    factor[static_cast<std::size_t>(i)] = inverse;
  }
  EntryMap<Real> entries;
  const auto add = [&](std::int64_t i, std::int64_t j, double value) {
    if (mode != Normalization::none) value = factor[static_cast<std::size_t>(i)] * value;
    if (mode == Normalization::sym || mode == Normalization::cheb) {
      value = value * factor[static_cast<std::size_t>(j)];
    }
    if (mode == Normalization::cheb) value = -value;
    const auto [at, fresh] = entries.emplace(std::pair{i, j}, static_cast<Real>(value));
    if (!fresh) at->second += static_cast<Real>(value);
  };
  for (std::int64_t i = 0; i < a.rows; ++i) {
    for (std::int64_t e = a.begin(i); e < a.end(i); ++e) {
      if (a.column(e) != i) add(i, a.column(e), static_cast<double>(a.value(e)));
    }
    if (self_loop != 0) add(i, i, self_loop);
  }
  return to_csr<Real, Index>(entries, a.rows);
}

template <class Real, class Index>
void row_normalize(const CsrView<Real, Index>& a, double clamp_min, Out<Real, 1> out) {
  for (std::int64_t i = 0; i < a.rows; ++i) {
    double sum = 0;
    for (std::int64_t e = a.begin(i); e < a.end(i); ++e) sum += static_cast<double>(a.value(e));
    const double divisor = std::max(sum, clamp_min);
    for (std::int64_t e = a.begin(i); e < a.end(i); ++e) {
      out(e) = static_cast<Real>(static_cast<double>(a.value(e)) / divisor);
    }
  }
}

}  // namespace researchkit::graph::reference
