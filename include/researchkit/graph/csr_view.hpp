#pragma once

#include <algorithm>
#include <cstdint>

#include "researchkit/core/parallel.hpp"
#include "researchkit/core/view.hpp"

namespace researchkit::graph {

template <class Real, class Index>
struct RowGroups;

/// A sparse operator of `rows` x `columns` in compressed rows. Row i lists the sources j of target i:
/// y_i = sum of values[e] x_j over indptr[i] <= e < indptr[i + 1], j = indices[e].
///
/// Non-owning, and not checked: `indptr` ascends from 0 and `indices` lie in [0, columns). Kernels
/// accept unsorted rows and duplicates, which add up.
template <class Real, class Index = std::int32_t>
struct CsrView {
  const Index* indptr = nullptr;   // [rows + 1]
  const Index* indices = nullptr;  // [entries]
  const Real* values = nullptr;    // [entries], null: all ones
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  const RowGroups<Real, Index>* groups =
      nullptr;  // of the same matrix, for narrow products, or null

  std::int64_t entries() const { return rows == 0 ? 0 : static_cast<std::int64_t>(indptr[rows]); }
  std::int64_t begin(std::int64_t row) const { return static_cast<std::int64_t>(indptr[row]); }
  std::int64_t end(std::int64_t row) const { return static_cast<std::int64_t>(indptr[row + 1]); }
  std::int64_t column(std::int64_t entry) const {
    return static_cast<std::int64_t>(indices[entry]);
  }
  Real value(std::int64_t entry) const { return values == nullptr ? Real(1) : values[entry]; }
};

/// The view of row-major tensors that an operator has checked.
template <class Real, class Index>
CsrView<Real, Index> csr_view(In<Index, 1> indptr, In<Index, 1> indices, const Real* values,
                              std::int64_t columns) {
  return {indptr.data_handle(), indices.data_handle(), values, indptr.extent(0) - 1, columns};
}

/// Work of a piece of rows, in entries plus rows: enough to make handing it to a thread worth while.
inline constexpr std::int64_t kRowPieceWork = 4096;

/// Calls body(begin, end) for pieces of rows of about equal entries plus rows, in parallel.
///
/// The pieces depend on `indptr` alone, never on the number of threads; `work_per_entry` (columns of
/// a product, say) only decides whether the whole is worth more than the calling thread. Pieces begin at
/// multiples of `multiple`.
template <class Index, class Body>
void for_row_pieces(const Context& ctx, const Index* indptr, std::int64_t rows,
                    std::int64_t work_per_entry, Body&& body, std::int64_t multiple = 1) {
  constexpr std::int64_t kSerialWork = 200'000;
  if (rows == 0) return;
  const std::int64_t work = static_cast<std::int64_t>(indptr[rows]) + rows;
  if (work * work_per_entry < kSerialWork) {
    body(std::int64_t{0}, rows);
    return;
  }
  // The first row at which entries plus rows before it reach `target`; both ascend with the row.
  const auto row_at = [&](std::int64_t target) {
    std::int64_t low = 0, high = rows;
    while (low < high) {
      const std::int64_t middle = low + (high - low) / 2;
      if (static_cast<std::int64_t>(indptr[middle]) + middle < target) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return std::min(rows, (low + multiple - 1) / multiple * multiple);
  };
  parallel_blocks(ctx, (work + kRowPieceWork - 1) / kRowPieceWork, [&](std::int64_t piece) {
    const std::int64_t begin = row_at(piece * kRowPieceWork);
    const std::int64_t end = row_at((piece + 1) * kRowPieceWork);
    if (begin < end) body(begin, end);
  });
}

}  // namespace researchkit::graph
