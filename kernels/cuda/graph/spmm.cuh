#pragma once

// Sums of sparse rows. Every sum runs over the stored entries of its row one after the other, as on
// the CPU; what is parallel is rows, columns and the loading of what comes next.
//
// Up to kLongRow entries a row has 1 to 32 lanes of a warp, one for each column and up to
// kColumns of them each, and four or eight entries on their way. A longer row is worked on by its whole
// block: all threads form products of a tile in shared memory while one thread for each column adds
// up the tile before. Per entry 8 bytes of CSR and a row of x; bound by latency below some 16
// columns, else by bandwidth (of the second-level cache, where x fits it).

#include "kernels/cuda/graph/sparse.hpp"

namespace researchkit::graph::RESEARCHKIT_DEVICE {

using namespace device;  // NOLINT(google-build-using-namespace): the vocabulary is the language here

inline constexpr std::int64_t kLongRow = 128;
inline constexpr int kTileProducts = 1024;  // of a long row; at least the threads of a block

/// Shared memory of sum_long_rows: two tiles.
template <class Real>
constexpr std::size_t long_row_bytes() {
  return 2 * static_cast<std::size_t>(kTileProducts) * sizeof(Real);
}

/// Lanes of a short row with d columns.
inline int lanes_of_row(std::int64_t d) {
  int lanes = 1;
  while (lanes < kWarp && lanes < d) lanes *= 2;
  return lanes;
}

template <class Real, class Index>
RESEARCHKIT_DEVICE_FUNCTION Real value_of(const DeviceCsr<Real, Index>& a, std::int64_t e) {
  return a.values.size > 0 ? a.values[e] : Real(1);
}

/// Calls store(row, column, sum) for the short one of rows first_row, first_row + 1, ... that the
/// thread's lanes belong to. The structure of the next entries is fetched while the rows of x of
/// these are on their way; entries behind the end add 0, which changes no sum.
template <int kColumns, class Real, class Index, class Store>
RESEARCHKIT_DEVICE_FUNCTION void sum_short_rows(const DeviceCsr<Real, Index>& a,
                                                Global<const Real> x, std::int64_t d, int lanes,
                                                std::int64_t first_row, const Store& store) {
  constexpr int kDepth = kColumns == 1 ? 8 : 4;
  const std::int64_t row = first_row + thread_index() / lanes;
  if (row >= a.rows) return;
  const std::int64_t begin = a.indptr[row], end = a.indptr[row + 1];
  if (end - begin > kLongRow) return;
  for (std::int64_t base = thread_index() % lanes; base < d; base += lanes * kColumns) {
    Real sums[kColumns] = {};
    Index columns[kDepth];
    Real values[kDepth];
    const auto fetch = [&](std::int64_t e) {
      RESEARCHKIT_UNROLL
      for (int j = 0; j < kDepth; ++j) {
        columns[j] = e + j < end ? a.indices[e + j] : Index(0);
        values[j] = e + j < end ? value_of(a, e + j) : Real(0);
      }
    };
    fetch(begin);
    for (std::int64_t e = begin; e < end; e += kDepth) {
      Real products[kDepth][kColumns];
      RESEARCHKIT_UNROLL
      for (int j = 0; j < kDepth; ++j) {
        const std::int64_t from = columns[j] * d + base;
        RESEARCHKIT_UNROLL
        for (int c = 0; c < kColumns; ++c) {
          const bool exists = e + j < end && base + c * lanes < d;
          products[j][c] = exists ? mul_rn(values[j], x[from + c * lanes]) : Real(0);
        }
      }
      fetch(e + kDepth);
      RESEARCHKIT_UNROLL
      for (int j = 0; j < kDepth; ++j) {
        RESEARCHKIT_UNROLL
        for (int c = 0; c < kColumns; ++c) sums[c] = add_rn(sums[c], products[j][c]);
      }
    }
    RESEARCHKIT_UNROLL
    for (int c = 0; c < kColumns; ++c) {
      if (base + c * lanes < d) store(row, base + c * lanes, sums[c]);
    }
  }
}

/// The same for the long ones of `rows` rows, by the whole block, all of whose threads must come.
/// `products` holds two tiles.
template <class Real, class Index, class Store>
RESEARCHKIT_DEVICE_FUNCTION void sum_long_rows(const DeviceCsr<Real, Index>& a,
                                               Global<const Real> x, std::int64_t d,
                                               std::int64_t first_row, int rows,
                                               const Shared<Real>& products, const Store& store) {
  for (std::int64_t row = first_row; row < first_row + rows && row < a.rows; ++row) {
    const std::int64_t begin = a.indptr[row], end = a.indptr[row + 1];
    if (end - begin <= kLongRow) continue;
    for (std::int64_t base = 0; base < d; base += block_threads()) {
      const int width = static_cast<int>(d - base < block_threads() ? d - base : block_threads());
      const int tile = kTileProducts / width;
      const auto fill = [&](std::int64_t first, int buffer) {
        for (int p = thread_index(); p < tile * width; p += block_threads()) {
          const std::int64_t e = first + p / width;
          if (e >= end) break;
          const std::int64_t from = a.indices[e] * d + base + p % width;
          products[buffer * kTileProducts + p] = mul_rn(value_of(a, e), x[from]);
        }
      };
      Real sum = 0;
      int buffer = 0;
      fill(begin, buffer);
      for (std::int64_t first = begin; first < end; first += tile) {
        block_barrier();
        fill(first + tile, 1 - buffer);
        const int count = static_cast<int>(end - first < tile ? end - first : tile);
        for (int t = 0; t < count && thread_index() < width; ++t) {
          const Real product = products[buffer * kTileProducts + t * width + thread_index()];
          sum = add_rn(sum, product);
        }
        buffer = 1 - buffer;
      }
      block_barrier();  // the next tile takes this one's place
      if (thread_index() < width) store(row, base + thread_index(), sum);
    }
  }
}

/// alpha sum + beta z - subtract, in this order.
template <class Real>
RESEARCHKIT_DEVICE_FUNCTION Real finish(const Product<Real>& product, Real sum, std::int64_t at) {
  if (product.alpha != Real(1)) sum = mul_rn(product.alpha, sum);
  if (product.beta != Real(0)) sum = add_rn(sum, mul_rn(product.beta, product.z[at]));
  if (product.subtract.size > 0) sum = sub_rn(sum, product.subtract[at]);
  return sum;
}

}  // namespace researchkit::graph::RESEARCHKIT_DEVICE
