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

/// Keys first .. last-1.
struct KeyRange {
  std::int64_t first = 0, last = 0;
  std::int64_t size() const { return last - first; }
};

/// Which keys each query sees. With numbers of segments for queries and keys, ascending along each
/// sequence, a query sees its own segment alone. Ranges ascend with the query: the keys of a tile are
/// one range.
class Visibility {
 public:
  Visibility(std::int64_t queries, std::int64_t keys, bool causal,
             const Optional<In<std::int32_t, 1>>& lengths,
             const Optional<In<std::int32_t, 2>>& query_segments,
             const Optional<In<std::int32_t, 2>>& key_segments)
      : queries_(queries), keys_(keys), causal_(causal), lengths_(lengths) {
    if (!query_segments || !key_segments) return;
    for (std::int64_t b = 0; b < query_segments->extent(0); ++b) {
      add_segments(b, *query_segments, *key_segments);
    }
  }

  KeyRange of(std::int64_t b, std::int64_t i) const {
    if (!ranges_.empty()) return ranges_[static_cast<std::size_t>(b * queries_ + i)];
    return seen(i, {0, queries_}, {0, keys_}, length(b));
  }

 private:
  std::int64_t length(std::int64_t b) const { return lengths_ ? (*lengths_)(b) : keys_; }

  /// Under a causal mask the last query of a segment sees all its keys, the one before it one less.
  KeyRange seen(std::int64_t i, KeyRange queries, KeyRange keys, std::int64_t length) const {
    const std::int64_t last =
        causal_ ? std::clamp(i + 1 + keys.last - queries.last, keys.first, keys.last) : keys.last;
    return {std::min(keys.first, length), std::min(last, length)};
  }

  void add_segments(std::int64_t b, In<std::int32_t, 2> of_queries, In<std::int32_t, 2> of_keys) {
    KeyRange queries, keys;
    while (queries.first < queries_) {
      const std::int32_t segment = of_queries(b, queries.first);
      while (queries.last < queries_ && of_queries(b, queries.last) == segment) ++queries.last;
      for (keys.first = keys.last; keys.first < keys_ && of_keys(b, keys.first) < segment;) {
        ++keys.first;
      }
      for (keys.last = keys.first; keys.last < keys_ && of_keys(b, keys.last) == segment;) {
        ++keys.last;
      }
      for (std::int64_t i = queries.first; i < queries.last; ++i) {
        ranges_.push_back(seen(i, queries, keys, length(b)));
      }
      queries.first = queries.last;
    }
  }

  std::int64_t queries_, keys_;
  bool causal_;
  Optional<In<std::int32_t, 1>> lengths_;
  std::vector<KeyRange> ranges_;  // [b, n], with segments
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
  Visibility sees;
  Real scale = 1;
};

/// One tile: queries [begin, end) of a head, and the keys that any of them sees.
template <class Real>
struct AttentionTile {
  std::int64_t b = 0, h = 0, begin = 0, end = 0;
  KeyRange keys;
  std::vector<Real> memory;
  Out<Real, 2> scores;

  AttentionTile(const AttentionArguments<Real>& of, std::int64_t batch, std::int64_t head,
                std::int64_t first)
      : b(batch),
        h(head),
        begin(first),
        end(std::min(first + kQueryTile, of.query.extent(1))),
        keys{of.sees.of(batch, begin).first, of.sees.of(batch, end - 1).last},
        memory(static_cast<std::size_t>((end - begin) * keys.size())),
        scores(memory.data(), {end - begin, keys.size()}) {}

  /// The keys of this tile that query i sees, counted from its first.
  KeyRange seen(const AttentionArguments<Real>& of, std::int64_t i) const {
    const KeyRange range = of.sees.of(b, i);
    return {range.first - keys.first, range.last - keys.first};
  }
  /// The rows of these keys in a matrix [m, width].
  template <class T>
  TensorView<T, 2> at_keys(const TensorView<T, 4>& view) const {
    return rows_of(head_of(view, b, h), keys.first, keys.last);
  }

  /// scores = scale query key^T.
  void score(const Context& ctx, const AttentionArguments<Real>& of) const {
    gemm(ctx, of.scale, rows_of(head_of(of.query, b, h), begin, end), transposed(at_keys(of.key)),
         Real(0), scores);
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
    const KeyRange seen = tile.seen(of, i);
    Real largest = -std::numeric_limits<Real>::infinity();
    for (std::int64_t j = seen.first; j < seen.last; ++j) largest = std::max(largest, row[j]);
    Real sum = 0;
    for (std::int64_t j = seen.first; j < seen.last; ++j) {
      row[j] = std::exp(row[j] - largest);
      sum += row[j];
    }
    log_sum(b, h, i) = seen.size() > 0 ? largest + std::log(sum) : largest;
    for (std::int64_t j = seen.first; j < seen.last; ++j) row[j] /= sum;
    std::fill(row, row + seen.first, Real(0));
    std::fill(row + seen.last, row + tile.keys.size(), Real(0));
  }
  gemm(ctx, Real(1), In<Real, 2>(tile.scores), tile.at_keys(of.value), Real(0),
       rows_of(head_of(y, b, h), tile.begin, tile.end));
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
  const Out<Real, 2> d_scores(slopes.data(), {queries, tile.keys.size()});
  tile.score(ctx, of);
  gemm(ctx, Real(1), d_y, transposed(tile.at_keys(of.value)), Real(0), d_scores);
  for (std::int64_t i = 0; i < queries; ++i) {
    Real shared = 0;
    for (std::int64_t e = 0; e < y.extent(1); ++e) shared += d_y(i, e) * y(i, e);
    const KeyRange seen = tile.seen(of, tile.begin + i);
    for (std::int64_t j = 0; j < tile.keys.size(); ++j) {
      const bool sees = j >= seen.first && j < seen.last;
      const Real p = sees ? std::exp(tile.scores(i, j) - to.log_sum(b, h, tile.begin + i)) : 0;
      d_scores(i, j) = sees ? p * (d_scores(i, j) - shared) : Real(0);
      tile.scores(i, j) = p;
    }
  }
  const auto query = rows_of(head_of(of.query, b, h), tile.begin, tile.end);
  gemm(ctx, of.scale, In<Real, 2>(d_scores), tile.at_keys(of.key), Real(0),
       rows_of(head_of(to.d_query, b, h), tile.begin, tile.end));
  gemm(ctx, of.scale, transposed(In<Real, 2>(d_scores)), query, Real(1), tile.at_keys(to.d_key));
  gemm(ctx, Real(1), transposed(In<Real, 2>(tile.scores)), d_y, Real(1), tile.at_keys(to.d_value));
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
