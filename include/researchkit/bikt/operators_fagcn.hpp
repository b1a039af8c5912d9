#pragma once

#include <cmath>

#include "researchkit/graph/checks.hpp"
#include "researchkit/graph/sparse.hpp"

namespace researchkit::bikt {

/// The aggregation of FAGCN (Bo et al. 2021; B12): y_i = eps h0_i + sum over e = (i, j) of alpha_e h_j
/// with alpha_e = tanh(s_dst[i] + s_src[j]) s_i s_j and s = deg_inv_sqrt.
///
///     auto out = fagcn_aggregate(ctx, {.indptr = a.indptr(), .indices = a.indices(), .h = h, .h0 = h0,
///                                      .s_src = s, .s_dst = t, .deg_inv_sqrt = f});
template <class Real, class Index>
struct FagcnAggregate {
  static constexpr std::string_view name = "bikt.fagcn_aggregate";
  static constexpr std::string_view summary = "Signed attention over the edges of a graph.";

  In<Index, 1> indptr = {};       // [n+1]
  In<Index, 1> indices = {};      // [nnz]
  In<Real, 2> h = {};             // [n, d]
  In<Real, 2> h0 = {};            // [n, d]
  In<Real, 1> s_src = {};         // [n]
  In<Real, 1> s_dst = {};         // [n]
  In<Real, 1> deg_inv_sqrt = {};  // [n]
  Out<Real, 2> y = {};            // [n, d]
  Out<Real, 1> alpha = {};        // [nnz]
  double eps = 0.3;

  void describe(Description& io) {
    graph::describe_sources(io, indptr, indices);
    io.input(h, "h", "n d", "features of the sources", {.contiguous = true});
    io.input(h0, "h0", "n d", "first features", {.contiguous = true});
    io.input(s_src, "s_src", "n", "scores of the sources", {.contiguous = true});
    io.input(s_dst, "s_dst", "n", "scores of the targets", {.contiguous = true});
    io.input(deg_inv_sqrt, "deg_inv_sqrt", "n", "1 / sqrt(degree)", {.contiguous = true});
    io.output(y, "y", "n d", "aggregated", {.contiguous = true});
    io.output(alpha, "alpha", "nnz", "weights in (-1, 1)", {.contiguous = true});
    io.attribute(eps, "eps", "share of the first features");
  }
  void validate(const Check& check) const { graph::require_csr(check, indptr, indices.extent(0)); }
  Cost cost() const {
    const auto entries = static_cast<double>(indices.size()), d = static_cast<double>(h.extent(1));
    return {entries * (2 * d + 4) + static_cast<double>(y.size()),
            graph::spmm_bytes_of<Real, Index>(y.extent(0), entries, d), false};
  }
  void run(const Context& ctx) const {
    graph::for_row_pieces(ctx, indptr.data_handle(), h.extent(0), h.extent(1) + 16,
                          [&](std::int64_t begin, std::int64_t end) { rows(begin, end); });
  }
  void reference() const { rows(0, h.extent(0)); }
  static void arbitrary(Arbitrary& random) { graph::arbitrary_square_csr(random); }

 private:
  void rows(std::int64_t begin, std::int64_t end) const {
    using std::tanh;
    for (std::int64_t i = begin; i < end; ++i) {
      for (std::int64_t c = 0; c < h.extent(1); ++c) y(i, c) = Real(eps) * h0(i, c);
      for (auto e = static_cast<std::int64_t>(indptr(i));
           e < static_cast<std::int64_t>(indptr(i + 1)); ++e) {
        const auto j = static_cast<std::int64_t>(indices(e));
        alpha(e) = tanh(s_dst(i) + s_src(j)) * deg_inv_sqrt(i) * deg_inv_sqrt(j);
        for (std::int64_t c = 0; c < h.extent(1); ++c) y(i, c) += alpha(e) * h(j, c);
      }
    }
  }
};

static_assert(OperatorStruct<FagcnAggregate<float, std::int32_t>>);
inline constexpr IndexedFunction<FagcnAggregate> fagcn_aggregate;

/// Gradient of fagcn_aggregate, from `y` and, if it is given, from `alpha`; the degrees are constant.
/// Sources gather over the transpose.
template <class Real, class Index>
struct FagcnAggregateBackward {
  static constexpr std::string_view name = "bikt.fagcn_aggregate_backward";
  static constexpr std::string_view summary = "Gradient of fagcn_aggregate.";

  In<Index, 1> indptr = {};            // [n+1]
  In<Index, 1> indices = {};           // [nnz]
  In<Real, 2> h = {};                  // [n, d]
  In<Real, 1> s_src = {};              // [n]
  In<Real, 1> s_dst = {};              // [n]
  In<Real, 1> deg_inv_sqrt = {};       // [n]
  In<Real, 2> d_y = {};                // [n, d]
  Optional<In<Real, 1>> d_alpha = {};  // [nnz]
  Out<Real, 2> d_h = {};               // [n, d]
  Out<Real, 2> d_h0 = {};              // [n, d]
  Out<Real, 1> d_s_src = {};           // [n]
  Out<Real, 1> d_s_dst = {};           // [n]
  double eps = 0.3;

  void describe(Description& io) {
    graph::describe_sources(io, indptr, indices);
    io.input(h, "h", "n d", "features of the sources", {.contiguous = true});
    io.input(s_src, "s_src", "n", "scores of the sources", {.contiguous = true});
    io.input(s_dst, "s_dst", "n", "scores of the targets", {.contiguous = true});
    io.input(deg_inv_sqrt, "deg_inv_sqrt", "n", "1 / sqrt(degree)", {.contiguous = true});
    io.input(d_y, "d_y", "n d", "gradient of y", {.contiguous = true});
    io.input(d_alpha, "d_alpha", "nnz", "gradient of alpha, 0 when absent", {.contiguous = true});
    io.output(d_h, "d_h", "n d", "gradient of h", {.contiguous = true});
    io.output(d_h0, "d_h0", "n d", "gradient of h0", {.contiguous = true});
    io.output(d_s_src, "d_s_src", "n", "gradient of s_src", {.contiguous = true});
    io.output(d_s_dst, "d_s_dst", "n", "gradient of s_dst", {.contiguous = true});
    io.attribute(eps, "eps", "share of the first features");
  }
  void validate(const Check& check) const { graph::require_csr(check, indptr, indices.extent(0)); }
  Cost cost() const {
    const auto entries = static_cast<double>(indices.size()), d = static_cast<double>(h.extent(1));
    return {entries * (4 * d + 24) + static_cast<double>(d_y.size()),
            2 * graph::spmm_bytes_of<Real, Index>(h.extent(0), entries, d), true};
  }
  void run(const Context& ctx) const {
    Workspace::Scope scratch(ctx.workspace());
    const auto weights = scratch.allocate<Real>(static_cast<std::size_t>(indices.size()));
    const auto d_q = scratch.allocate<Real>(static_cast<std::size_t>(indices.size()));
    const std::int64_t n = h.extent(0), d = h.extent(1);
    graph::for_row_pieces(ctx, indptr.data_handle(), n, d + 16,
                          [&](std::int64_t begin, std::int64_t end) {
                            score_rows(begin, end, weights.data(), d_q.data());
                          });
    const auto a =
        graph::csr_view<Real>(indptr, indices, static_cast<const Real*>(weights.data()), n);
    const auto t = graph::kernels::transposed(scratch, a, true);
    graph::kernels::spmm<Real, Index>(ctx, t.view(n), Real(1), d_y.data_handle(), d, Real(0),
                                      nullptr, d_h.data_handle());
    parallel_for(ctx, n, 4096, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t j = begin; j < end; ++j) {
        Real sum = 0;
        for (auto at = static_cast<std::size_t>(t.indptr[static_cast<std::size_t>(j)]);
             at < static_cast<std::size_t>(t.indptr[static_cast<std::size_t>(j) + 1]); ++at) {
          sum += d_q[static_cast<std::size_t>(t.positions[at])];
        }
        d_s_src(j) = sum;
      }
    });
  }
  void reference() const {
    std::vector<Real> weights(static_cast<std::size_t>(indices.size())), d_q(weights.size());
    score_rows(0, h.extent(0), weights.data(), d_q.data());
    std::fill_n(d_h.data_handle(), d_h.size(), Real(0));
    std::fill_n(d_s_src.data_handle(), d_s_src.size(), Real(0));
    for (std::int64_t i = 0; i < h.extent(0); ++i) {
      for (auto e = static_cast<std::int64_t>(indptr(i));
           e < static_cast<std::int64_t>(indptr(i + 1)); ++e) {
        const auto j = static_cast<std::int64_t>(indices(e));
        d_s_src(j) += d_q[static_cast<std::size_t>(e)];
        for (std::int64_t c = 0; c < h.extent(1); ++c) {
          d_h(j, c) += weights[static_cast<std::size_t>(e)] * d_y(i, c);
        }
      }
    }
  }
  static void arbitrary(Arbitrary& random) { graph::arbitrary_square_csr(random); }

 private:
  void score_rows(std::int64_t begin, std::int64_t end, Real* weights, Real* d_q) const {
    using std::tanh;
    const std::int64_t d = h.extent(1);
    for (std::int64_t i = begin; i < end; ++i) {
      Real sum = 0;
      for (auto e = static_cast<std::int64_t>(indptr(i));
           e < static_cast<std::int64_t>(indptr(i + 1)); ++e) {
        const auto j = static_cast<std::int64_t>(indices(e));
        const Real t = tanh(s_dst(i) + s_src(j)), scale = deg_inv_sqrt(i) * deg_inv_sqrt(j);
        Real u = graph::interleaved_dot(d_y.data_handle() + i * d, h.data_handle() + j * d, d);
        if (d_alpha) u += (*d_alpha)(e);
        weights[e] = t * deg_inv_sqrt(i) * deg_inv_sqrt(j);
        d_q[e] = u * scale * (Real(1) - t * t);
        sum += d_q[e];
      }
      d_s_dst(i) = sum;
      for (std::int64_t c = 0; c < d; ++c) d_h0(i, c) = Real(eps) * d_y(i, c);
    }
  }
};

static_assert(OperatorStruct<FagcnAggregateBackward<float, std::int32_t>>);
inline constexpr IndexedFunction<FagcnAggregateBackward> fagcn_aggregate_backward;

}  // namespace researchkit::bikt
