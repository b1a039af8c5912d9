#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "researchkit/core/blas.hpp"
#include "researchkit/core/parallel.hpp"

// The arithmetic of attention: tiles of queries against the keys that they see.
namespace researchkit::nn::detail {

/// Which keys a query sees.
struct Visibility {
  std::int64_t queries = 0, keys = 0;  ///< n, m
  bool causal = false;

  /// Keys 0 .. count-1 are seen by query i of a sequence with `length` keys. Under a causal mask the
  /// last query sees all m keys, the one before it m - 1, ...
  std::int64_t count(std::int64_t i, std::int64_t length) const {
    return causal ? std::clamp<std::int64_t>(i + 1 + keys - queries, 0, length) : length;
  }
};

/// Matrix [rows, width] of one batch entry and head of a [b, n, h, d] tensor.
template <class T>
TensorView<T, 2> head_of(const TensorView<T, 4>& view, std::int64_t b, std::int64_t h) {
  return {view.data_handle() + b * view.stride(0) + h * view.stride(2),
          {view.extent(1), view.extent(3)},
          {view.stride(1), view.stride(3)}};
}
template <class T>
TensorView<T, 2> rows_of(const TensorView<T, 2>& view, std::int64_t begin, std::int64_t end) {
  return {view.data_handle() + begin * view.stride(0),
          {end - begin, view.extent(1)},
          {view.stride(0), view.stride(1)}};
}

inline constexpr std::int64_t kQueryTile = 64;

/// Query, key, value and what belongs to them: the arguments that both directions have.
template <class Real>
struct AttentionArguments {
  In<Real, 4> query, key, value;
  Optional<In<std::int32_t, 1>> lengths;
  Visibility sees;
  Real scale = 1;

  std::int64_t length(std::int64_t b) const { return lengths ? (*lengths)(b) : key.extent(1); }
  std::int64_t count(std::int64_t b, std::int64_t i) const { return sees.count(i, length(b)); }
};

/// One tile: queries [begin, end) of a head, and as many keys as the last of them sees.
template <class Real>
struct AttentionTile {
  std::int64_t b = 0, h = 0, begin = 0, end = 0, keys = 0;
  std::vector<Real> memory;
  Out<Real, 2> scores;

  AttentionTile(const AttentionArguments<Real>& of, std::int64_t batch, std::int64_t head,
                std::int64_t first)
      : b(batch),
        h(head),
        begin(first),
        end(std::min(first + kQueryTile, of.query.extent(1))),
        keys(of.count(batch, end - 1)),
        memory(static_cast<std::size_t>((end - begin) * keys)),
        scores(memory.data(), {end - begin, keys}) {}

  /// scores = scale query key^T.
  void score(const Context& ctx, const AttentionArguments<Real>& of) const {
    gemm(ctx, of.scale, rows_of(head_of(of.query, b, h), begin, end),
         transposed(rows_of(head_of(of.key, b, h), 0, keys)), Real(0), scores);
  }
};

/// y and log sum exp of a tile.
template <class Real>
void attend(const Context& ctx, const AttentionArguments<Real>& of, std::int64_t b, std::int64_t h,
            std::int64_t begin, Out<Real, 4> y, Out<Real, 3> log_sum) {
  const AttentionTile<Real> tile(of, b, h, begin);
  tile.score(ctx, of);
  for (std::int64_t i = tile.begin; i < tile.end; ++i) {
    Real* row = tile.memory.empty() ? nullptr : &tile.scores(i - tile.begin, 0);
    const std::int64_t seen = of.count(b, i);
    Real largest = -std::numeric_limits<Real>::infinity();
    for (std::int64_t j = 0; j < seen; ++j) largest = std::max(largest, row[j]);
    Real sum = 0;
    for (std::int64_t j = 0; j < seen; ++j) {
      row[j] = std::exp(row[j] - largest);
      sum += row[j];
    }
    log_sum(b, h, i) = seen > 0 ? largest + std::log(sum) : largest;
    for (std::int64_t j = 0; j < seen; ++j) row[j] /= sum;
    std::fill(row + seen, row + tile.keys, Real(0));
  }
  gemm(ctx, Real(1), In<Real, 2>(tile.scores), rows_of(head_of(of.value, b, h), 0, tile.keys),
       Real(0), rows_of(head_of(y, b, h), tile.begin, tile.end));
}

/// What the backward is given and gives beyond the forward's arguments.
template <class Real>
struct AttentionGradients {
  In<Real, 4> y;
  In<Real, 3> log_sum;
  In<Real, 4> d_y;
  Out<Real, 4> d_query, d_key, d_value;
};

/// Probabilities from scores and log sums, then their gradient times their slope, in two matrices:
/// with D_i = sum_e dy_ie y_ie, ds_ij = p_ij (dp_ij - D_i).
template <class Real>
void attend_backward_tile(const Context& ctx, const AttentionArguments<Real>& of,
                          const AttentionGradients<Real>& to, const AttentionTile<Real>& tile) {
  const std::int64_t b = tile.b, h = tile.h, queries = tile.end - tile.begin;
  const auto d_y = rows_of(head_of(to.d_y, b, h), tile.begin, tile.end);
  const auto y = rows_of(head_of(to.y, b, h), tile.begin, tile.end);
  std::vector<Real> slopes(tile.memory.size());
  const Out<Real, 2> d_scores(slopes.data(), {queries, tile.keys});
  tile.score(ctx, of);
  gemm(ctx, Real(1), d_y, transposed(rows_of(head_of(of.value, b, h), 0, tile.keys)), Real(0),
       d_scores);
  for (std::int64_t i = 0; i < queries; ++i) {
    Real shared = 0;
    for (std::int64_t e = 0; e < y.extent(1); ++e) shared += d_y(i, e) * y(i, e);
    const std::int64_t seen = of.count(b, tile.begin + i);
    for (std::int64_t j = 0; j < tile.keys; ++j) {
      const Real p = j < seen ? std::exp(tile.scores(i, j) - to.log_sum(b, h, tile.begin + i)) : 0;
      d_scores(i, j) = j < seen ? p * (d_scores(i, j) - shared) : Real(0);
      tile.scores(i, j) = p;
    }
  }
  const auto query = rows_of(head_of(of.query, b, h), tile.begin, tile.end);
  gemm(ctx, of.scale, In<Real, 2>(d_scores), rows_of(head_of(of.key, b, h), 0, tile.keys), Real(0),
       rows_of(head_of(to.d_query, b, h), tile.begin, tile.end));
  gemm(ctx, of.scale, transposed(In<Real, 2>(d_scores)), query, Real(1),
       rows_of(head_of(to.d_key, b, h), 0, tile.keys));
  gemm(ctx, Real(1), transposed(In<Real, 2>(tile.scores)), d_y, Real(1),
       rows_of(head_of(to.d_value, b, h), 0, tile.keys));
}

/// The gradients of one head: its tiles in ascending order.
template <class Real>
void attend_backward(const Context& ctx, const AttentionArguments<Real>& of,
                     const AttentionGradients<Real>& to, std::int64_t b, std::int64_t h) {
  for (std::int64_t j = 0; j < of.key.extent(1); ++j) {
    for (std::int64_t d = 0; d < of.key.extent(3); ++d) to.d_key(b, j, h, d) = 0;
    for (std::int64_t e = 0; e < of.value.extent(3); ++e) to.d_value(b, j, h, e) = 0;
  }
  for (std::int64_t begin = 0; begin < of.query.extent(1); begin += kQueryTile) {
    attend_backward_tile(ctx, of, to, AttentionTile<Real>(of, b, h, begin));
  }
}

}  // namespace researchkit::nn::detail
