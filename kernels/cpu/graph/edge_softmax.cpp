// Edge softmax and the weighted sum of neighbours, per head.
//
// Forward: three passes over a row's entries (maximum, sum, weighted sum), with the scores kept in
// `alpha`; entries x heads exponentials dominate for small d. Backward: rows give the gradients of the
// scores; sources then gather over the transpose, so nothing is written from two threads.
#include <algorithm>
#include <cmath>

#include "researchkit/graph/dense.hpp"
#include "researchkit/graph/sparse.hpp"

namespace researchkit::graph::kernels {

template <class Real, class Index>
void edge_softmax(const Context& ctx, const CsrView<Real, Index>& a, std::int64_t heads,
                  std::int64_t d, double negative_slope, const Real* h, const Real* s_src,
                  const Real* s_dst, Real* y, Real* alpha) {
  const Real slope = static_cast<Real>(negative_slope);
  for_row_pieces(ctx, a.indptr, a.rows, heads * (2 * d + 16), [&](auto begin, auto end) {
    for (std::int64_t i = begin; i < end; ++i) {
      std::fill(y + i * heads * d, y + (i + 1) * heads * d, Real(0));
      for (std::int64_t head = 0; head < heads; ++head) {
        Real largest = -HUGE_VAL, sum = 0;
        for (std::int64_t e = a.begin(i); e < a.end(i); ++e) {
          const Real q = s_dst[i * heads + head] + s_src[a.column(e) * heads + head];
          const Real score = q >= 0 ? q : slope * q;
          alpha[e * heads + head] = score;
          largest = std::max(largest, score);
        }
        for (std::int64_t e = a.begin(i); e < a.end(i); ++e) {
          const Real weight = std::exp(alpha[e * heads + head] - largest);
          alpha[e * heads + head] = weight;
          sum += weight;
        }
        Real* to = y + (i * heads + head) * d;
        for (std::int64_t e = a.begin(i); e < a.end(i); ++e) {
          const Real weight = alpha[e * heads + head] /= sum;
          const Real* from = h + (a.column(e) * heads + head) * d;
          for (std::int64_t c = 0; c < d; ++c) to[c] += weight * from[c];
        }
      }
    }
  });
}

template <class Real, class Index>
void edge_softmax_backward(const Context& ctx, const CsrView<Real, Index>& a, std::int64_t heads,
                           std::int64_t d, double negative_slope, const Real* h, const Real* s_src,
                           const Real* s_dst, const Real* alpha, const Real* d_y,
                           const Real* d_alpha, Real* d_h, Real* d_s_src, Real* d_s_dst) {
  const Real slope = static_cast<Real>(negative_slope);
  Workspace::Scope scratch(ctx.workspace());
  const auto d_q = scratch.allocate<Real>(static_cast<std::size_t>(a.entries() * heads));
  for_row_pieces(ctx, a.indptr, a.rows, heads * (2 * d + 16), [&](auto begin, auto end) {
    for (std::int64_t i = begin; i < end; ++i) {
      for (std::int64_t head = 0; head < heads; ++head) {
        const Real* g = d_y + (i * heads + head) * d;
        Real mean = 0, total = 0;
        for (std::int64_t e = a.begin(i); e < a.end(i); ++e) {
          const std::int64_t at = e * heads + head;
          Real u = interleaved_dot(g, h + (a.column(e) * heads + head) * d, d);
          if (d_alpha != nullptr) u += d_alpha[at];
          d_q[static_cast<std::size_t>(at)] = u;
          mean += alpha[at] * u;
        }
        for (std::int64_t e = a.begin(i); e < a.end(i); ++e) {
          const std::int64_t at = e * heads + head;
          Real& gradient = d_q[static_cast<std::size_t>(at)];
          const Real q = s_dst[i * heads + head] + s_src[a.column(e) * heads + head];
          gradient = alpha[at] * (gradient - mean);
          if (!(q >= 0)) gradient *= slope;
          total += gradient;
        }
        d_s_dst[i * heads + head] = total;
      }
    }
  });
  const auto t = transposed(scratch, a, false);
  for_row_pieces(ctx, t.indptr.data(), a.columns, heads * (d + 1), [&](auto begin, auto end) {
    for (std::int64_t j = begin; j < end; ++j) {
      std::fill(d_h + j * heads * d, d_h + (j + 1) * heads * d, Real(0));
      std::fill(d_s_src + j * heads, d_s_src + (j + 1) * heads, Real(0));
      for (auto at = static_cast<std::int64_t>(t.indptr[static_cast<std::size_t>(j)]);
           at < static_cast<std::int64_t>(t.indptr[static_cast<std::size_t>(j) + 1]); ++at) {
        const auto i = static_cast<std::int64_t>(t.indices[static_cast<std::size_t>(at)]);
        const std::int64_t e = t.positions[static_cast<std::size_t>(at)];
        for (std::int64_t head = 0; head < heads; ++head) {
          d_s_src[j * heads + head] += d_q[static_cast<std::size_t>(e * heads + head)];
          const Real weight = alpha[e * heads + head];
          const Real* g = d_y + (i * heads + head) * d;
          Real* to = d_h + (j * heads + head) * d;
          for (std::int64_t c = 0; c < d; ++c) to[c] += weight * g[c];
        }
      }
    }
  });
}

#define RESEARCHKIT_INSTANTIATE(Real, Index)                                                       \
  template void edge_softmax(const Context&, const CsrView<Real, Index>&, std::int64_t,            \
                             std::int64_t, double, const Real*, const Real*, const Real*, Real*,   \
                             Real*);                                                               \
  template void edge_softmax_backward(const Context&, const CsrView<Real, Index>&, std::int64_t,   \
                                      std::int64_t, double, const Real*, const Real*, const Real*, \
                                      const Real*, const Real*, const Real*, Real*, Real*, Real*)
RESEARCHKIT_INSTANTIATE(float, std::int32_t);
RESEARCHKIT_INSTANTIATE(float, std::int64_t);
RESEARCHKIT_INSTANTIATE(double, std::int32_t);
RESEARCHKIT_INSTANTIATE(double, std::int64_t);
#undef RESEARCHKIT_INSTANTIATE

}  // namespace researchkit::graph::kernels
