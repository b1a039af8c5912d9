// Attention beyond what the conformance suite asks: masks in the corners, padding that is not read.
#include <cmath>
#include <limits>

#include "researchkit/core/random.hpp"
#include "researchkit/nn/initialize.hpp"
#include "researchkit/nn/operators.hpp"
#include "support/catch.hpp"

using namespace researchkit;

namespace {

Array<double, 4> normal_numbers(std::array<std::int64_t, 4> extents, std::uint64_t stream) {
  Array<double, 4> array(extents);
  nn::normal(std::span(array.data_handle(), static_cast<std::size_t>(array.size())), 1, 5, stream);
  return array;
}

/// Softmax written out for one query, in long double.
std::vector<double> expected(const Array<double, 4>& q, const Array<double, 4>& k,
                             const Array<double, 4>& v, std::int64_t b, std::int64_t i,
                             std::int64_t h, std::int64_t seen) {
  std::vector<double> mean(static_cast<std::size_t>(v.extent(3)));
  std::vector<long double> weights;
  long double total = 0;
  for (std::int64_t j = 0; j < seen; ++j) {
    long double dot = 0;
    for (std::int64_t c = 0; c < q.extent(3); ++c) dot += q(b, i, h, c) * k(b, j, h, c);
    weights.push_back(std::exp(dot / std::sqrt(static_cast<long double>(q.extent(3)))));
    total += weights.back();
  }
  for (std::size_t c = 0; c < mean.size(); ++c) {
    long double sum = 0;
    for (std::int64_t j = 0; j < seen; ++j) {
      sum +=
          weights[static_cast<std::size_t>(j)] / total * v(b, j, h, static_cast<std::int64_t>(c));
    }
    mean[c] = static_cast<double>(sum);
  }
  return mean;
}

}  // namespace

TEST_CASE("attention is the softmax over the keys that a query sees") {
  const Context ctx;
  for (const bool causal : {false, true}) {
    for (const std::int64_t queries : {1, 5, 70, 150}) {
      const std::int64_t keys = 150;
      const auto q = normal_numbers({2, queries, 3, 4}, 1), k = normal_numbers({2, keys, 3, 4}, 2);
      const auto v = normal_numbers({2, keys, 3, 6}, 3);
      Array<std::int32_t, 1> lengths({2});
      lengths(0) = 93;
      lengths(1) = 150;
      const auto out = nn::attention(
          ctx, {.query = q, .key = k, .value = v, .lengths = lengths, .causal = causal});
      for (std::int64_t b = 0; b < 2; ++b) {
        for (std::int64_t i = 0; i < queries; ++i) {
          std::int64_t seen = lengths(b);
          if (causal) seen = std::min(seen, i + 1 + keys - queries);
          const auto want = expected(q, k, v, b, i, 1, seen);
          for (std::int64_t c = 0; c < 6; ++c) {
            REQUIRE(std::fabs(out.y(b, i, 1, c) - want[static_cast<std::size_t>(c)]) < 1e-13);
          }
        }
      }
    }
  }
}

TEST_CASE("a query that sees no key gets zeros, and its gradients are zero") {
  const Context ctx;
  // Six queries and two keys under a causal mask: the first four see nothing. The second sequence is
  // empty.
  const auto q = normal_numbers({2, 6, 1, 4}, 1), k = normal_numbers({2, 2, 1, 4}, 2);
  const auto v = normal_numbers({2, 2, 1, 3}, 3), d_y = normal_numbers({2, 6, 1, 3}, 4);
  Array<std::int32_t, 1> lengths({2});
  lengths(0) = 2;
  const auto out =
      nn::attention(ctx, {.query = q, .key = k, .value = v, .lengths = lengths, .causal = true});
  const auto back = nn::attention_backward(ctx, {.query = q,
                                                 .key = k,
                                                 .value = v,
                                                 .lengths = lengths,
                                                 .y = out.y,
                                                 .log_sum = out.log_sum,
                                                 .d_y = d_y,
                                                 .causal = true});
  for (std::int64_t b = 0; b < 2; ++b) {
    for (std::int64_t i = 0; i < (b == 0 ? 4 : 6); ++i) {
      CHECK(out.log_sum(b, 0, i) == -std::numeric_limits<double>::infinity());
      for (std::int64_t c = 0; c < 3; ++c) CHECK(out.y(b, i, 0, c) == 0);
      for (std::int64_t c = 0; c < 4; ++c) CHECK(back.d_query(b, i, 0, c) == 0);
    }
  }
  CHECK(out.y(0, 4, 0, 1) == v(0, 0, 0, 1));  // one key: all weight on it
  CHECK(back.d_value(1, 1, 0, 2) == 0);
}

TEST_CASE("what lies behind a sequence's end is never read") {
  const Context ctx;
  const auto q = normal_numbers({1, 9, 2, 4}, 1), d_y = normal_numbers({1, 9, 2, 4}, 4);
  const auto k = normal_numbers({1, 9, 2, 4}, 2), v = normal_numbers({1, 9, 2, 4}, 3);
  for (std::int64_t j = 6; j < 9; ++j) {
    for (std::int64_t c = 0; c < 4; ++c) k(0, j, 1, c) = v(0, j, 1, c) = NAN;
  }
  Array<std::int32_t, 1> lengths({1});
  lengths(0) = 6;
  const auto out = nn::attention(ctx, {.query = q, .key = k, .value = v, .lengths = lengths});
  const auto back = nn::attention_backward(ctx, {.query = q,
                                                 .key = k,
                                                 .value = v,
                                                 .lengths = lengths,
                                                 .y = out.y,
                                                 .log_sum = out.log_sum,
                                                 .d_y = d_y});
  for (std::int64_t i = 0; i < 9; ++i) {
    for (std::int64_t c = 0; c < 4; ++c) {
      CHECK(std::isfinite(out.y(0, i, 1, c)));
      CHECK(std::isfinite(back.d_query(0, i, 1, c)));
      CHECK((i < 6 ? std::isfinite(back.d_key(0, i, 1, c)) : back.d_key(0, i, 1, c) == 0));
    }
  }
}

TEST_CASE("segments of packed sequences are sequences of their own, to the causal rule and back") {
  const Context ctx;
  // Queries and keys of four segments, the third without queries, the last cut by the length.
  const std::vector<std::int64_t> queries = {70, 3, 0, 40}, keys = {50, 90, 7, 30};
  const std::int64_t n = 113, m = 177;
  const auto q = normal_numbers({1, n, 2, 4}, 1), d_y = normal_numbers({1, n, 2, 6}, 4);
  const auto k = normal_numbers({1, m, 2, 4}, 2), v = normal_numbers({1, m, 2, 6}, 3);
  Array<std::int32_t, 2> of_queries({1, n}), of_keys({1, m});
  Array<std::int32_t, 1> lengths({1});
  lengths(0) = static_cast<std::int32_t>(m) - 5;
  for (const bool causal : {false, true}) {
    std::int64_t first_query = 0, first_key = 0;
    for (std::size_t s = 0; s < 4; ++s) {
      for (std::int64_t i = 0; i < queries[s]; ++i) {
        of_queries(0, first_query++) = 3 * static_cast<std::int32_t>(s) - 1;
      }
      for (std::int64_t j = 0; j < keys[s]; ++j) {
        of_keys(0, first_key++) = 3 * static_cast<std::int32_t>(s) - 1;
      }
    }
    const auto packed = nn::attention(ctx, {.query = q,
                                            .key = k,
                                            .value = v,
                                            .lengths = lengths,
                                            .query_segments = of_queries,
                                            .key_segments = of_keys,
                                            .causal = causal});
    const auto back = nn::attention_backward(ctx, {.query = q,
                                                   .key = k,
                                                   .value = v,
                                                   .lengths = lengths,
                                                   .query_segments = of_queries,
                                                   .key_segments = of_keys,
                                                   .y = packed.y,
                                                   .log_sum = packed.log_sum,
                                                   .d_y = d_y,
                                                   .causal = causal});
    first_query = first_key = 0;
    for (std::size_t s = 0; s < 4; ++s) {
      const auto part = [](const Array<double, 4>& of, std::int64_t first, std::int64_t count) {
        Array<double, 4> rows({1, count, of.extent(2), of.extent(3)});
        for (std::int64_t i = 0; i < count; ++i) {
          for (std::int64_t h = 0; h < 2; ++h) {
            for (std::int64_t c = 0; c < of.extent(3); ++c) {
              rows(0, i, h, c) = of(0, first + i, h, c);
            }
          }
        }
        return rows;
      };
      const auto own_q = part(q, first_query, queries[s]), own_k = part(k, first_key, keys[s]),
                 own_v = part(v, first_key, keys[s]), own_d_y = part(d_y, first_query, queries[s]);
      lengths(0) = static_cast<std::int32_t>(std::min(keys[s], m - 5 - first_key));
      const auto alone = nn::attention(
          ctx,
          {.query = own_q, .key = own_k, .value = own_v, .lengths = lengths, .causal = causal});
      const auto own = nn::attention_backward(ctx, {.query = own_q,
                                                    .key = own_k,
                                                    .value = own_v,
                                                    .lengths = lengths,
                                                    .y = alone.y,
                                                    .log_sum = alone.log_sum,
                                                    .d_y = own_d_y,
                                                    .causal = causal});
      const auto same = [](const auto& whole, const auto& piece, std::int64_t first) {
        for (std::int64_t i = 0; i < piece.extent(1); ++i) {
          for (std::int64_t c = 0; c < piece.extent(3); ++c) {
            REQUIRE(std::fabs(whole(0, first + i, 1, c) - piece(0, i, 1, c)) < 1e-13);
          }
        }
      };
      same(packed.y, alone.y, first_query);
      same(back.d_query, own.d_query, first_query);
      same(back.d_key, own.d_key, first_key);
      same(back.d_value, own.d_value, first_key);
      first_query += queries[s];
      first_key += keys[s];
    }
    lengths(0) = static_cast<std::int32_t>(m) - 5;
  }
}

TEST_CASE("segments that do not ascend or stand on one side alone are refused") {
  const Context ctx;
  const auto q = normal_numbers({1, 3, 1, 2}, 1);
  Array<std::int32_t, 2> ascending({1, 3}), other({1, 3});
  other(0, 0) = 1;
  const auto blamed = [&](const auto& queries, const auto& keys) {
    try {
      nn::attention(
          ctx, {.query = q, .key = q, .value = q, .query_segments = queries, .key_segments = keys});
      return std::string("nothing");
    } catch (const Error& error) {
      return error.argument();
    }
  };
  using Segments = Optional<In<std::int32_t, 2>>;
  CHECK(blamed(Segments(ascending), Segments(ascending)) == "nothing");
  CHECK(blamed(Segments(other), Segments(ascending)) == "query_segments");
  CHECK(blamed(Segments(ascending), Segments(other)) == "key_segments");
  CHECK(blamed(Segments(), Segments(ascending)) == "query_segments");
  CHECK(blamed(Segments(ascending), Segments()) == "key_segments");
}

TEST_CASE("scores of a thousand do not overflow") {
  const Context ctx;
  Array<float, 4> q({1, 1, 1, 1}), k({1, 2, 1, 1}), v({1, 2, 1, 1});
  q(0, 0, 0, 0) = 1;
  k(0, 0, 0, 0) = 1000;
  k(0, 1, 0, 0) = -1000;
  v(0, 0, 0, 0) = 3;
  v(0, 1, 0, 0) = 5;
  const auto out = nn::attention(ctx, {.query = q, .key = k, .value = v, .scale = 1.0});
  CHECK(out.y(0, 0, 0, 0) == 3);
  CHECK(out.log_sum(0, 0, 0) == 1000);
}
