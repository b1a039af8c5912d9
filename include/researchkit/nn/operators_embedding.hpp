#pragma once

#include <algorithm>
#include <cstdint>

#include "researchkit/core/operator.hpp"
#include "researchkit/core/parallel.hpp"

namespace researchkit::nn {

/// Rows of a table, by number; -1 gives zeros (padding).
///
///     auto x = embedding(ctx, {.indices = tokens, .table = words}).y;
template <class Real>
struct Embedding {
  static constexpr std::string_view name = "nn.embedding";
  static constexpr std::string_view summary = "Rows of a table.";

  In<std::int32_t, 1> indices = {};  // [n]
  In<Real, 2> table = {};            // [v, d]
  Out<Real, 2> y = {};               // [n, d]

  void describe(Description& io) {
    io.input(indices, "indices", "n", "row of each entry; -1: zeros", {.in = "[-1, v)"});
    io.input(table, "table", "v d", "what is looked up");
    io.output(y, "y", "n d", "the rows");
  }
  Cost cost() const {
    return {0, static_cast<double>(y.size()) * 2 * sizeof(Real) +
                   4 * static_cast<double>(indices.size())};
  }
  void run(const Context& ctx) const {
    parallel_for(ctx, indices.extent(0), 64,
                 [&](std::int64_t begin, std::int64_t end) { rows(begin, end); });
  }
  void reference() const { rows(0, indices.extent(0)); }

 private:
  void rows(std::int64_t begin, std::int64_t end) const {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int32_t row = indices(i);
      for (std::int64_t j = 0; j < table.extent(1); ++j)
        y(i, j) = row < 0 ? Real(0) : table(row, j);
    }
  }
};

static_assert(OperatorStruct<Embedding<float>>);
inline constexpr Function<Embedding> embedding;

/// Gradient of embedding: rows of d_y added up, in ascending order.
template <class Real>
struct EmbeddingBackward {
  static constexpr std::string_view name = "nn.embedding_backward";
  static constexpr std::string_view summary = "Gradient of embedding.";

  In<std::int32_t, 1> indices = {};  // [n]
  In<Real, 2> table = {};            // [v, d]
  In<Real, 2> d_y = {};              // [n, d]
  Out<Real, 2> d_table = {};         // [v, d]

  void describe(Description& io) {
    io.input(indices, "indices", "n", "row of each entry; -1: none", {.in = "[-1, v)"});
    io.input(table, "table", "v d", "what was looked up");
    io.input(d_y, "d_y", "n d", "gradient of y");
    io.output(d_table, "d_table", "v d", "gradient of the table");
  }
  Cost cost() const {
    const auto entries = static_cast<double>(d_y.size());
    return {entries, sizeof(Real) * (entries + static_cast<double>(table.size())), true};
  }
  void run(const Context& ctx) const {
    parallel_for(ctx, table.extent(1), 32,
                 [&](std::int64_t begin, std::int64_t end) { columns(begin, end); });
  }
  void reference() const { columns(0, table.extent(1)); }

 private:
  void columns(std::int64_t begin, std::int64_t end) const {
    for (std::int64_t v = 0; v < table.extent(0); ++v) {
      for (std::int64_t j = begin; j < end; ++j) d_table(v, j) = Real(0);
    }
    for (std::int64_t i = 0; i < indices.extent(0); ++i) {
      if (indices(i) < 0) continue;
      for (std::int64_t j = begin; j < end; ++j) d_table(indices(i), j) += d_y(i, j);
    }
  }
};

static_assert(OperatorStruct<EmbeddingBackward<float>>);
inline constexpr Function<EmbeddingBackward> embedding_backward;

}  // namespace researchkit::nn
