// Tiles of rows with their columns for rows, so that vector lanes run along the rows of a narrow matrix.
#if defined(RESEARCHKIT_TILE_TRANSPOSE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RESEARCHKIT_TILE_TRANSPOSE_INL_H
#undef RESEARCHKIT_TILE_TRANSPOSE_INL_H
#else
#define RESEARCHKIT_TILE_TRANSPOSE_INL_H
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

HWY_BEFORE_NAMESPACE();
namespace researchkit::detail {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// Columns of a tile for a matrix of c: whole vectors of four.
inline std::int64_t tile_columns(std::int64_t c) { return (c + 3) / 4 * 4; }

#if HWY_TARGET != HWY_SCALAR
/// Four vectors of four floats (or of eight, as two blocks of four) with rows for columns.
template <class D, class V>
void transpose_blocks(D d, V& a, V& b, V& c, V& e) {
  const hn::Repartition<double, D> dd;
  const auto ab_low = hn::BitCast(dd, hn::InterleaveLower(d, a, b));
  const auto ab_high = hn::BitCast(dd, hn::InterleaveUpper(d, a, b));
  const auto ce_low = hn::BitCast(dd, hn::InterleaveLower(d, c, e));
  const auto ce_high = hn::BitCast(dd, hn::InterleaveUpper(d, c, e));
  a = hn::BitCast(d, hn::InterleaveLower(dd, ab_low, ce_low));
  b = hn::BitCast(d, hn::InterleaveUpper(dd, ab_low, ce_low));
  c = hn::BitCast(d, hn::InterleaveLower(dd, ab_high, ce_high));
  e = hn::BitCast(d, hn::InterleaveUpper(dd, ab_high, ce_high));
}
#endif

/// Whether a matrix of floats can be transposed by blocks: rows hold every column of the tile.
template <class Real>
bool has_whole_blocks(std::int64_t rows, std::int64_t columns, std::int64_t stride) {
  return std::is_same_v<Real, float> && HWY_TARGET != HWY_SCALAR && rows % 4 == 0 &&
         tile_columns(columns) <= stride;
}

/// to[c][i] = from[i][c] for `rows` <= kTile rows that are `stride` apart; to is [tile_columns(columns)][kTile].
/// Rows and columns that are not there become 0, or are left alone.
template <std::int64_t kTile, class Real>
void transpose_in(const Real* HWY_RESTRICT from, std::int64_t rows, std::int64_t columns,
                  std::int64_t stride, Real* HWY_RESTRICT to) {
  if (rows < kTile) std::fill(to, to + columns * kTile, Real(0));
#if HWY_TARGET != HWY_SCALAR
  if constexpr (std::is_same_v<Real, float>) {
    if (has_whole_blocks<Real>(rows, columns, stride)) {
      const hn::CappedTag<float, 4> d;
      for (std::int64_t c = 0; c < columns; c += 4) {
        for (std::int64_t i = 0; i < rows; i += 4) {
          const float* at = from + i * stride + c;
          auto v0 = hn::LoadU(d, at), v1 = hn::LoadU(d, at + stride);
          auto v2 = hn::LoadU(d, at + 2 * stride), v3 = hn::LoadU(d, at + 3 * stride);
          transpose_blocks(d, v0, v1, v2, v3);
          float* const column = to + c * kTile + i;
          hn::StoreU(v0, d, column);
          hn::StoreU(v1, d, column + kTile);
          hn::StoreU(v2, d, column + 2 * kTile);
          hn::StoreU(v3, d, column + 3 * kTile);
        }
      }
      return;
    }
  }
#endif
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t c = 0; c < columns; ++c) to[c * kTile + i] = from[i * stride + c];
  }
}

/// The way back; columns of the rows from `columns` to `stride` become 0.
template <std::int64_t kTile, class Real>
void transpose_out(const Real* HWY_RESTRICT from, std::int64_t rows, std::int64_t columns,
                   std::int64_t stride, Real* HWY_RESTRICT to) {
#if HWY_TARGET != HWY_SCALAR
  if constexpr (std::is_same_v<Real, float>) {
    if (has_whole_blocks<Real>(rows, columns, stride) && stride % 4 == 0) {
      const hn::CappedTag<float, 4> d;
      const auto zero = hn::Zero(d);
      for (std::int64_t c = 0; c < stride; c += 4) {
        const auto column = [&](std::int64_t offset, std::int64_t i) {
          return c + offset < columns ? hn::LoadU(d, from + (c + offset) * kTile + i) : zero;
        };
        for (std::int64_t i = 0; i < rows; i += 4) {
          auto v0 = column(0, i), v1 = column(1, i), v2 = column(2, i), v3 = column(3, i);
          transpose_blocks(d, v0, v1, v2, v3);
          float* const at = to + i * stride + c;
          hn::StoreU(v0, d, at);
          hn::StoreU(v1, d, at + stride);
          hn::StoreU(v2, d, at + 2 * stride);
          hn::StoreU(v3, d, at + 3 * stride);
        }
      }
      return;
    }
  }
#endif
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t c = 0; c < columns; ++c) to[i * stride + c] = from[c * kTile + i];
    std::fill(to + i * stride + columns, to + (i + 1) * stride, Real(0));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace researchkit::detail
HWY_AFTER_NAMESPACE();

#endif  // toggled per target
