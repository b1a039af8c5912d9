#pragma once

#include "researchkit/graph/checks.hpp"
#include "researchkit/graph/dense.hpp"
#include "researchkit/graph/sparse.hpp"

namespace researchkit::graph {

/// The aggregation of graph attention networks (Velickovic et al., equations 3 and 4): for entry
/// e = (i, j) the score is leaky_relu(s_dst[i] + s_src[j]), weights are the softmax of a row's
/// scores, y_i the weighted sum of h_j; each head by itself.
///
///     auto out = edge_softmax_aggregate(ctx, {.indptr = a.indptr(), .indices = a.indices(), .h = h,
///                                             .s_src = s, .s_dst = t});
///
/// A row without entries gives zeros. Scores are taken relative to the row's largest, so they may be
/// of any size. nnz heads (2 d + 6) operations.
template <class Real, class Index>
struct EdgeSoftmaxAggregate {
  static constexpr std::string_view name = "graph.edge_softmax_aggregate";
  static constexpr std::string_view summary = "Attention over the edges of a graph.";

  In<Index, 1> indptr = {};   // [n+1]
  In<Index, 1> indices = {};  // [nnz]
  In<Real, 3> h = {};         // [m, heads, d]
  In<Real, 2> s_src = {};     // [m, heads]
  In<Real, 2> s_dst = {};     // [n, heads]
  Out<Real, 3> y = {};        // [n, heads, d]
  Out<Real, 2> alpha = {};    // [nnz, heads]
  double negative_slope = 0.2;

  void describe(Description& io) {
    describe_sources(io, indptr, indices, "[0, m)");
    io.input(h, "h", "m heads d", "features of the sources", {.contiguous = true});
    io.input(s_src, "s_src", "m heads", "scores of the sources", {.contiguous = true});
    io.input(s_dst, "s_dst", "n heads", "scores of the targets", {.contiguous = true});
    io.output(y, "y", "n heads d", "weighted sums", {.contiguous = true});
    io.output(alpha, "alpha", "nnz heads", "weights, 1 in total for each row",
              {.contiguous = true});
    io.attribute(negative_slope, "negative_slope", "of the leaky relu", {.in = "[0, 1)"});
  }
  void validate(const Check& check) const { require_csr(check, indptr, indices.extent(0)); }
  Cost cost() const {
    const auto weights = static_cast<double>(alpha.size()), d = static_cast<double>(h.extent(2));
    return {weights * (2 * d + 6),
            sizeof(Index) * static_cast<double>(indices.size() + indptr.size()) +
                sizeof(Real) * (weights + static_cast<double>(h.size() + y.size())),
            true};
  }
  void run(const Context& ctx) const {
    kernels::edge_softmax(ctx, csr_view<Real, Index>(indptr, indices, nullptr, h.extent(0)),
                          h.extent(1), h.extent(2), negative_slope, h.data_handle(),
                          s_src.data_handle(), s_dst.data_handle(), y.data_handle(),
                          alpha.data_handle());
  }
  void reference() const {
    using std::exp;
    const auto a = csr_view<Real, Index>(indptr, indices, nullptr, h.extent(0));
    for (std::int64_t i = 0; i < a.rows; ++i) {
      for (std::int64_t head = 0; head < h.extent(1); ++head) {
        Real largest = Real(-HUGE_VAL), sum = 0;
        for (std::int64_t e = a.begin(i); e < a.end(i); ++e) {
          const Real q = s_dst(i, head) + s_src(a.column(e), head);
          alpha(e, head) = q >= Real(0) ? q : Real(negative_slope) * q;
          largest = std::max(largest, alpha(e, head));
        }
        for (std::int64_t e = a.begin(i); e < a.end(i); ++e) {
          alpha(e, head) = exp(alpha(e, head) - largest);
          sum += alpha(e, head);
        }
        for (std::int64_t e = a.begin(i); e < a.end(i); ++e) alpha(e, head) /= sum;
        for (std::int64_t c = 0; c < h.extent(2); ++c) {
          Real total = 0;
          for (std::int64_t e = a.begin(i); e < a.end(i); ++e) {
            total += alpha(e, head) * h(a.column(e), head, c);
          }
          y(i, head, c) = total;
        }
      }
    }
  }
  static void arbitrary(Arbitrary& random) { arbitrary_csr(random, "m"); }
};

static_assert(OperatorStruct<EdgeSoftmaxAggregate<float, std::int32_t>>);
inline constexpr IndexedFunction<EdgeSoftmaxAggregate> edge_softmax_aggregate;

/// Gradient of edge_softmax_aggregate, from `y` and, if it is given, from `alpha`.
template <class Real, class Index>
struct EdgeSoftmaxAggregateBackward {
  static constexpr std::string_view name = "graph.edge_softmax_aggregate_backward";
  static constexpr std::string_view summary = "Gradient of edge_softmax_aggregate.";

  In<Index, 1> indptr = {};            // [n+1]
  In<Index, 1> indices = {};           // [nnz]
  In<Real, 3> h = {};                  // [m, heads, d]
  In<Real, 2> s_src = {};              // [m, heads]
  In<Real, 2> s_dst = {};              // [n, heads]
  In<Real, 2> alpha = {};              // [nnz, heads]
  In<Real, 3> d_y = {};                // [n, heads, d]
  Optional<In<Real, 2>> d_alpha = {};  // [nnz, heads]
  Out<Real, 3> d_h = {};               // [m, heads, d]
  Out<Real, 2> d_s_src = {};           // [m, heads]
  Out<Real, 2> d_s_dst = {};           // [n, heads]
  double negative_slope = 0.2;

  void describe(Description& io) {
    describe_sources(io, indptr, indices, "[0, m)");
    io.input(h, "h", "m heads d", "features of the sources", {.contiguous = true});
    io.input(s_src, "s_src", "m heads", "scores of the sources", {.contiguous = true});
    io.input(s_dst, "s_dst", "n heads", "scores of the targets", {.contiguous = true});
    io.input(alpha, "alpha", "nnz heads", "weights, from the forward", {.contiguous = true});
    io.input(d_y, "d_y", "n heads d", "gradient of y", {.contiguous = true});
    io.input(d_alpha, "d_alpha", "nnz heads", "gradient of alpha, 0 when absent",
             {.contiguous = true});
    io.output(d_h, "d_h", "m heads d", "gradient of h", {.contiguous = true});
    io.output(d_s_src, "d_s_src", "m heads", "gradient of s_src", {.contiguous = true});
    io.output(d_s_dst, "d_s_dst", "n heads", "gradient of s_dst", {.contiguous = true});
    io.attribute(negative_slope, "negative_slope", "of the leaky relu", {.in = "[0, 1)"});
  }
  void validate(const Check& check) const { require_csr(check, indptr, indices.extent(0)); }
  Cost cost() const {
    const auto weights = static_cast<double>(alpha.size()), d = static_cast<double>(h.extent(2));
    return {weights * (4 * d + 16),
            sizeof(Real) * (3 * weights + 2 * static_cast<double>(h.size() + d_y.size())), true};
  }
  void run(const Context& ctx) const {
    kernels::edge_softmax_backward(
        ctx, csr_view<Real, Index>(indptr, indices, nullptr, h.extent(0)), h.extent(1), h.extent(2),
        negative_slope, h.data_handle(), s_src.data_handle(), s_dst.data_handle(),
        alpha.data_handle(), d_y.data_handle(), d_alpha ? d_alpha->data_handle() : nullptr,
        d_h.data_handle(), d_s_src.data_handle(), d_s_dst.data_handle());
  }
  void reference() const {
    const auto a = csr_view<Real, Index>(indptr, indices, nullptr, h.extent(0));
    const std::int64_t heads = h.extent(1), d = h.extent(2);
    std::fill_n(d_h.data_handle(), d_h.size(), Real(0));
    std::fill_n(d_s_src.data_handle(), d_s_src.size(), Real(0));
    for (std::int64_t i = 0; i < a.rows; ++i) {
      for (std::int64_t head = 0; head < heads; ++head) {
        const auto upstream = [&](std::int64_t e) {
          Real u = interleaved_dot(d_y.data_handle() + (i * heads + head) * d,
                                   h.data_handle() + (a.column(e) * heads + head) * d, d);
          if (d_alpha) u += (*d_alpha)(e, head);
          return u;
        };
        Real mean = 0, total = 0;
        for (std::int64_t e = a.begin(i); e < a.end(i); ++e) mean += alpha(e, head) * upstream(e);
        for (std::int64_t e = a.begin(i); e < a.end(i); ++e) {
          const std::int64_t j = a.column(e);
          Real d_q = alpha(e, head) * (upstream(e) - mean);
          if (!(s_dst(i, head) + s_src(j, head) >= Real(0))) d_q *= Real(negative_slope);
          total += d_q;
          d_s_src(j, head) += d_q;
          for (std::int64_t c = 0; c < d; ++c) d_h(j, head, c) += alpha(e, head) * d_y(i, head, c);
        }
        d_s_dst(i, head) = total;
      }
    }
  }
  static void arbitrary(Arbitrary& random) { arbitrary_csr(random, "m"); }
};

static_assert(OperatorStruct<EdgeSoftmaxAggregateBackward<float, std::int32_t>>);
inline constexpr IndexedFunction<EdgeSoftmaxAggregateBackward> edge_softmax_aggregate_backward;

}  // namespace researchkit::graph
