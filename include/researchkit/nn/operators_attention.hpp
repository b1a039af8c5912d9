#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "researchkit/core/arbitrary.hpp"
#include "researchkit/core/operator.hpp"
#include "researchkit/nn/attention_math.hpp"

namespace researchkit::nn {

namespace detail {

inline double attention_scale(const std::optional<double>& scale, std::int64_t channels) {
  return scale ? *scale : 1 / std::sqrt(static_cast<double>(std::max<std::int64_t>(channels, 1)));
}

inline void moderate_scale(Arbitrary& random) {
  const auto scale = random.call.attributes.find("scale");
  if (scale != random.call.attributes.end()) scale->second = std::get<double>(scale->second) / 8;
}

inline void describe_segments(Description& io, Optional<In<std::int32_t, 2>>& queries,
                              Optional<In<std::int32_t, 2>>& keys) {
  io.input(queries, "query_segments", "b n",
           "segment of each query, ascending; all see all when absent", {.host = true});
  io.input(keys, "key_segments", "b m", "segment of each key, ascending", {.host = true});
}

/// Segments come for queries and keys together, ascending along each sequence.
inline void check_segments(const Check& check, const Optional<In<std::int32_t, 2>>& queries,
                           const Optional<In<std::int32_t, 2>>& keys) {
  if (queries.has_value() != keys.has_value()) {
    check.refuse(queries ? "key_segments" : "query_segments", "segments of both sides or of none",
                 "none");
  }
  const auto ascending = [&](std::string_view name, In<std::int32_t, 2> segments) {
    for (std::int64_t b = 0; b < segments.extent(0); ++b) {
      for (std::int64_t i = 1; i < segments.extent(1); ++i) {
        if (segments(b, i) >= segments(b, i - 1)) continue;
        check.refuse(name, "numbers that ascend along each sequence",
                     std::to_string(segments(b, i)) + " after " +
                         std::to_string(segments(b, i - 1)) + " at " + to_string(Shape{b, i}));
      }
    }
  };
  if (queries) ascending("query_segments", *queries);
  if (keys) ascending("key_segments", *keys);
}

/// Random calls have segments on both sides or none: few long ones, some of them on one side alone.
inline void mend_segments(Arbitrary& random) {
  TensorMap& inputs = random.call.inputs;
  if (!inputs.contains("query_segments") && !inputs.contains("key_segments")) return;
  for (const auto& [name, symbol] : {std::pair{"query_segments", "n"}, {"key_segments", "m"}}) {
    Tensor segments(DType::i32, {random.size("b"), random.size(symbol)});
    const auto rows = segments.view<std::int32_t, 2>();
    for (std::int64_t b = 0; b < rows.extent(0); ++b) {
      std::int32_t number = -1;
      for (std::int64_t i = 0; i < rows.extent(1); ++i) {
        if (random.chance(0.3)) number += static_cast<std::int32_t>(random.integer(1, 2));
        rows(b, i) = number;
      }
    }
    inputs.set(name, segments);
  }
}

}  // namespace detail

/// Attention: each query's mean of the values, weighted by the softmax of scale query . key over the
/// keys that it sees.
///
///     auto out = attention(ctx, {.query = q, .key = k, .value = v, .lengths = lengths, .causal = true});
///
/// Keys at and behind `lengths` are never read. Under `causal`, query i sees keys j <= i + m - n: with
/// n = m none behind itself, with fewer queries than keys the last query sees all. A query that sees
/// nothing gets zeros and a log sum of -inf. With `query_segments` and `key_segments`, for sequences
/// that are packed into one, a query sees the keys of its own segment alone, and the causal rule holds
/// within it; scores of other segments are not computed beyond a tile. Heads lie side by side, [b, n, h, d], as a dense layer
/// leaves them. Strided tensors are copied. Scores exist for 64 queries at a time: workspace 64 m numbers per thread; two products
/// of 2 b h n m d operations. `log_sum`, the log of the softmax's denominator, is what the backward
/// makes the weights of again.
/// Source: Vaswani et al., arXiv 1706.03762, eq. 1; log sums as in arXiv 2205.14135.
template <class Real>
struct Attention {
  static constexpr std::string_view name = "nn.attention";
  static constexpr std::string_view summary =
      "Softmax attention with lengths, segments and a causal mask.";
  static constexpr Tolerance tolerance{.rtol = 1e-5, .atol = 2e-5};  // the order of BLAS's sums

  In<Real, 4> query = {};                             // [b, n, h, d]
  In<Real, 4> key = {};                               // [b, m, h, d]
  In<Real, 4> value = {};                             // [b, m, h, e]
  Optional<In<std::int32_t, 1>> lengths = {};         // [b]
  Optional<In<std::int32_t, 2>> query_segments = {};  // [b, n]
  Optional<In<std::int32_t, 2>> key_segments = {};    // [b, m]
  Out<Real, 4> y = {};                                // [b, n, h, e]
  Out<Real, 3> log_sum = {};                          // [b, h, n]
  bool causal = false;
  std::optional<double> scale = {};

  void describe(Description& io) {
    io.input(query, "query", "b n h d", "what asks", {.contiguous = true});
    io.input(key, "key", "b m h d", "what it is compared with", {.contiguous = true});
    io.input(value, "value", "b m h e", "what is averaged", {.contiguous = true});
    io.input(lengths, "lengths", "b", "keys of each sequence, all when absent", {.in = "[0, m]"});
    detail::describe_segments(io, query_segments, key_segments);
    io.output(y, "y", "b n h e", "means of the values", {.contiguous = true});
    io.output(log_sum, "log_sum", "b h n", "log of the sum of exponentials; -inf without a key");
    io.attribute(causal, "causal", "query i sees keys up to i + m - n");
    io.attribute(scale, "scale", "of the scores, 1 / sqrt(d) when not given",
                 {.in = "(-inf, inf)"});
  }
  void validate(const Check& check) const {
    detail::check_segments(check, query_segments, key_segments);
  }
  Cost cost() const {
    const auto pairs = static_cast<double>(log_sum.size() * key.extent(1));
    const auto d = static_cast<double>(query.extent(3)), e = static_cast<double>(value.extent(3));
    return {pairs * (2 * d + 2 * e + 6) + 2 * static_cast<double>(log_sum.size()),
            sizeof(Real) * static_cast<double>(query.size() + key.size() + value.size() + y.size()),
            true};
  }
  void run(const Context& ctx) const {
    const auto of = arguments();
    const std::int64_t heads = query.extent(2);
    const std::int64_t tiles = (query.extent(1) + detail::kQueryTile - 1) / detail::kQueryTile;
    parallel_for(ctx, query.extent(0) * heads * tiles, 1, [&](std::int64_t at, std::int64_t) {
      detail::attend(ctx, of, at / tiles / heads, at / tiles % heads,
                     at % tiles * detail::kQueryTile, y, log_sum);
    });
  }
  void reference() const {
    using std::exp;
    using std::log;
    const auto of = arguments();
    for_queries([&](std::int64_t b, std::int64_t h, std::int64_t i) {
      const detail::KeyRange seen = of.sees.of(b, i);
      std::vector<Real> scores;
      Real largest = Real(-std::numeric_limits<double>::infinity()), sum = 0;
      for (std::int64_t j = seen.first; j < seen.last; ++j) {
        Real dot = 0;
        for (std::int64_t c = 0; c < query.extent(3); ++c)
          dot += query(b, i, h, c) * key(b, j, h, c);
        scores.push_back(of.scale * dot);
        if (scores.back() > largest) largest = scores.back();
      }
      for (const Real& score : scores) sum += exp(score - largest);
      log_sum(b, h, i) = seen.size() > 0 ? largest + log(sum) : largest;
      for (std::int64_t c = 0; c < value.extent(3); ++c) {
        Real mean = 0;
        for (std::int64_t j = seen.first; j < seen.last; ++j) {
          const Real& score = scores[static_cast<std::size_t>(j - seen.first)];
          mean += exp(score - log_sum(b, h, i)) * value(b, j, h, c);
        }
        y(b, i, h, c) = mean;
      }
    });
  }
  /// Large scores make weights that hang on the last bit of a score.
  static void arbitrary(Arbitrary& random) {
    detail::moderate_scale(random);
    detail::mend_segments(random);
  }

 private:
  detail::AttentionArguments<Real> arguments() const {
    return {query,
            key,
            value,
            {query.extent(1), key.extent(1), causal, lengths, query_segments, key_segments},
            Real(detail::attention_scale(scale, query.extent(3)))};
  }
  template <class Body>
  void for_queries(Body&& body) const {
    for (std::int64_t b = 0; b < query.extent(0); ++b) {
      for (std::int64_t h = 0; h < query.extent(2); ++h) {
        for (std::int64_t i = 0; i < query.extent(1); ++i) body(b, h, i);
      }
    }
  }
};

static_assert(OperatorStruct<Attention<float>>);
inline constexpr Function<Attention> attention;

/// Gradient of attention with respect to query, key and value. `log_sum` has none. Workspace 128 m
/// numbers per thread, parallel over batch and heads; five products of 2 b h n m d operations.
template <class Real>
struct AttentionBackward {
  static constexpr std::string_view name = "nn.attention_backward";
  static constexpr std::string_view summary = "Gradient of attention.";
  static constexpr Tolerance tolerance{.rtol = 1e-5, .atol = 1e-4};  // the order of BLAS's sums

  In<Real, 4> query = {};                             // [b, n, h, d]
  In<Real, 4> key = {};                               // [b, m, h, d]
  In<Real, 4> value = {};                             // [b, m, h, e]
  Optional<In<std::int32_t, 1>> lengths = {};         // [b]
  Optional<In<std::int32_t, 2>> query_segments = {};  // [b, n]
  Optional<In<std::int32_t, 2>> key_segments = {};    // [b, m]
  In<Real, 4> y = {};                                 // [b, n, h, e]
  In<Real, 3> log_sum = {};                           // [b, h, n]
  In<Real, 4> d_y = {};                               // [b, n, h, e]
  Out<Real, 4> d_query = {};                          // [b, n, h, d]
  Out<Real, 4> d_key = {};                            // [b, m, h, d]
  Out<Real, 4> d_value = {};                          // [b, m, h, e]
  bool causal = false;
  std::optional<double> scale = {};

  void describe(Description& io) {
    io.input(query, "query", "b n h d", "what asked", {.contiguous = true});
    io.input(key, "key", "b m h d", "what it was compared with", {.contiguous = true});
    io.input(value, "value", "b m h e", "what was averaged", {.contiguous = true});
    io.input(lengths, "lengths", "b", "keys of each sequence, all when absent", {.in = "[0, m]"});
    detail::describe_segments(io, query_segments, key_segments);
    io.input(y, "y", "b n h e", "means, from the forward", {.contiguous = true});
    io.input(log_sum, "log_sum", "b h n", "log sums, from the forward", {.contiguous = true});
    io.input(d_y, "d_y", "b n h e", "gradient of y", {.contiguous = true});
    io.output(d_query, "d_query", "b n h d", "gradient of query", {.contiguous = true});
    io.output(d_key, "d_key", "b m h d", "gradient of key", {.contiguous = true});
    io.output(d_value, "d_value", "b m h e", "gradient of value", {.contiguous = true});
    io.attribute(causal, "causal", "query i sees keys up to i + m - n");
    io.attribute(scale, "scale", "of the scores, 1 / sqrt(d) when not given",
                 {.in = "(-inf, inf)"});
  }
  void validate(const Check& check) const {
    detail::check_segments(check, query_segments, key_segments);
  }
  Cost cost() const {
    const auto pairs = static_cast<double>(log_sum.size() * key.extent(1));
    const auto d = static_cast<double>(query.extent(3)), e = static_cast<double>(value.extent(3));
    return {pairs * (8 * d + 4 * e + 8) + 2 * static_cast<double>(y.size()),
            sizeof(Real) * 2 * static_cast<double>(query.size() + key.size() + value.size()), true};
  }
  void run(const Context& ctx) const {
    const auto of = arguments();
    const detail::AttentionGradients<Real> to{y, log_sum, d_y, d_query, d_key, d_value};
    const std::int64_t heads = query.extent(2);
    parallel_for(ctx, query.extent(0) * heads, 1, [&](std::int64_t at, std::int64_t) {
      detail::attend_backward(ctx, of, to, at / heads, at % heads);
    });
  }
  void reference() const {
    for (const Out<Real, 4>& zero : {d_query, d_key, d_value}) {
      for (std::int64_t b = 0; b < zero.extent(0); ++b) {
        for (std::int64_t i = 0; i < zero.extent(1); ++i) {
          for (std::int64_t h = 0; h < zero.extent(2); ++h) {
            for (std::int64_t c = 0; c < zero.extent(3); ++c) zero(b, i, h, c) = Real(0);
          }
        }
      }
    }
    for (std::int64_t b = 0; b < query.extent(0); ++b) {
      for (std::int64_t h = 0; h < query.extent(2); ++h) {
        for (std::int64_t i = 0; i < query.extent(1); ++i) add_query(b, h, i);
      }
    }
  }
  /// y and log_sum are those of the forward: others would be no call that a tape makes.
  static void arbitrary(Arbitrary& random);

 private:
  detail::AttentionArguments<Real> arguments() const {
    return {query,
            key,
            value,
            {query.extent(1), key.extent(1), causal, lengths, query_segments, key_segments},
            Real(detail::attention_scale(scale, query.extent(3)))};
  }
  void add_query(std::int64_t b, std::int64_t h, std::int64_t i) const {
    using std::exp;
    const auto of = arguments();
    Real shared = 0;
    for (std::int64_t c = 0; c < y.extent(3); ++c) shared += d_y(b, i, h, c) * y(b, i, h, c);
    const detail::KeyRange seen = of.sees.of(b, i);
    for (std::int64_t j = seen.first; j < seen.last; ++j) {
      Real dot = 0, d_p = 0;
      for (std::int64_t c = 0; c < query.extent(3); ++c) dot += query(b, i, h, c) * key(b, j, h, c);
      const Real p = exp(of.scale * dot - log_sum(b, h, i));
      for (std::int64_t c = 0; c < value.extent(3); ++c) {
        d_p += d_y(b, i, h, c) * value(b, j, h, c);
        d_value(b, j, h, c) += p * d_y(b, i, h, c);
      }
      const Real d_score = of.scale * (p * (d_p - shared));
      for (std::int64_t c = 0; c < query.extent(3); ++c) {
        d_query(b, i, h, c) += d_score * key(b, j, h, c);
        d_key(b, j, h, c) += d_score * query(b, i, h, c);
      }
    }
  }
};

template <class Real>
void AttentionBackward<Real>::arbitrary(Arbitrary& random) {
  detail::moderate_scale(random);
  detail::mend_segments(random);
  TensorMap& inputs = random.call.inputs;
  visit_dtype(inputs.at("query").dtype(), [&]<class T>(T) {
    if constexpr (std::is_floating_point_v<T>) {
      const auto& at = random.call.attributes;
      Attention<T> forward;
      forward.query = std::as_const(inputs.at("query")).template view<T, 4>();
      forward.key = std::as_const(inputs.at("key")).template view<T, 4>();
      forward.value = std::as_const(inputs.at("value")).template view<T, 4>();
      if (const Tensor* lengths = inputs.find("lengths")) {
        forward.lengths = lengths->view<std::int32_t, 1>();
      }
      if (const Tensor* segments = inputs.find("query_segments")) {
        forward.query_segments = segments->view<std::int32_t, 2>();
        forward.key_segments = std::as_const(inputs.at("key_segments")).view<std::int32_t, 2>();
      }
      if (const auto causal = at.find("causal"); causal != at.end()) {
        forward.causal = std::get<bool>(causal->second);
      }
      if (const auto scale = at.find("scale"); scale != at.end()) {
        forward.scale = std::get<double>(scale->second);
      }
      Tensor y(inputs.at("query").dtype(), inputs.at("y").shape());
      Tensor log_sum(inputs.at("query").dtype(), inputs.at("log_sum").shape());
      forward.y = y.view<T, 4>();
      forward.log_sum = log_sum.view<T, 3>();
      forward.reference();
      inputs.set("y", y);
      inputs.set("log_sum", log_sum);
    }
  });
}

static_assert(OperatorStruct<AttentionBackward<float>>);
inline constexpr Function<AttentionBackward> attention_backward;

}  // namespace researchkit::nn
