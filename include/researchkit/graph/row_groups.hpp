#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "researchkit/graph/csr_view.hpp"

namespace researchkit::graph {

/// The rows of a sparse matrix, four of like length side by side. A product with a narrow matrix spends most
/// of its time at the ends of short rows, which no processor foresees, and waiting for sums of one row; four
/// rows of one length have one end and four sums. Rows are put in order within windows only, so that
/// what is read and written stays near.
///
/// Group g holds the rows order[4 g], ..., order[4 g + 3], ascending by length, and the first lengths[g] entries
/// of each, alternating: entry e of row r stands at begin + 4 e + r. Longer rows go on in the
/// matrix, as do the last rows, if their number is no multiple of four.
/// Memory: 8 bytes an entry and 5 a row with float and int32.
template <class Real, class Index>
struct RowGroups {
  static constexpr std::int64_t kRows = 4;      // of a group
  static constexpr std::int64_t kWindow = 128;  // rows

  std::vector<Index> order;    // [rows]
  std::vector<Index> lengths;  // [rows / kRows]
  std::vector<Index> indices;
  std::vector<Real> values;          // as many
  std::vector<Index> window_begins;  // where the entries of each window's groups begin

  RowGroups() = default;
  /// O(entries + rows log kWindow).
  explicit RowGroups(const CsrView<Real, Index>& a) : order(static_cast<std::size_t>(a.rows)) {
    const auto length = [&](Index row) { return a.end(row) - a.begin(row); };
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<Index>(i);
    indices.reserve(static_cast<std::size_t>(a.entries()));
    values.reserve(static_cast<std::size_t>(a.entries()));
    for (std::int64_t window = 0; window < a.rows; window += kWindow) {
      const std::int64_t end = std::min(window + kWindow, a.rows);
      std::stable_sort(order.begin() + window, order.begin() + end,
                       [&](Index i, Index j) { return length(i) < length(j); });
      window_begins.push_back(static_cast<Index>(indices.size()));
      for (std::int64_t i = window; i + kRows <= end; i += kRows) {
        const Index* const group = order.data() + i;
        lengths.push_back(static_cast<Index>(length(group[0])));
        for (std::int64_t e = 0; e < length(group[0]); ++e) {
          for (std::int64_t r = 0; r < kRows; ++r) {
            indices.push_back(static_cast<Index>(a.column(a.begin(group[r]) + e)));
            values.push_back(a.value(a.begin(group[r]) + e));
          }
        }
      }
    }
  }
};

}  // namespace researchkit::graph
