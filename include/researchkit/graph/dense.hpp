#pragma once

#include <cmath>
#include <cstdint>

#include "researchkit/core/context.hpp"
#include "researchkit/graph/attributes.hpp"
#include "researchkit/graph/csr_view.hpp"

namespace researchkit::graph {

/// The settings of one Adam step.
struct AdamSettings {
  double lr = 0.001;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
  std::int64_t step = 1;   ///< counts from 1
  bool decoupled = false;  ///< weight decay acts on the parameter (AdamW), not on the gradient
};

/// The constants of one Adam step in the precision of the parameters.
template <class Real>
struct AdamConstants {
  Real keep, decay, beta1, rest1, beta2, rest2, step_size, root_correction, eps;

  explicit AdamConstants(const AdamSettings& s)
      : keep(Real(s.decoupled ? 1 - s.lr * s.weight_decay : 1)),
        decay(Real(s.decoupled ? 0 : s.weight_decay)),
        beta1(Real(s.beta1)),
        rest1(Real(1 - s.beta1)),
        beta2(Real(s.beta2)),
        rest2(Real(1 - s.beta2)),
        step_size(Real(s.lr / (1 - std::pow(s.beta1, static_cast<double>(s.step))))),
        root_correction(Real(1 / std::sqrt(1 - std::pow(s.beta2, static_cast<double>(s.step))))),
        eps(Real(s.eps)) {}

  /// One parameter: 10 operations and the decay's 3.
  void update(Real& p, Real g, Real& m, Real& v) const {
    using std::sqrt;
    p = p * keep;
    g = g + decay * p;
    m = beta1 * m + rest1 * g;
    v = beta2 * v + rest2 * (g * g);
    p = p - step_size * m / (sqrt(v) * root_correction + eps);
  }
};

/// The words of Philox below this are dropped: p of them.
inline std::uint64_t dropout_threshold(double p) {
  return static_cast<std::uint64_t>(std::floor(p * 4294967296.0 + 0.5));
}

/// Which entries a dropout keeps: it depends on (seed, stream, entry) alone.
struct DropoutKey {
  double p = 0;
  std::uint64_t seed = 0;
  std::uint64_t stream = 0;
};

namespace kernels {

/// Adam of Kingma and Ba, in place: p, m, v and the gradient g hold `count` entries each.
template <class Real>
void adam_step(const Context& ctx, const AdamSettings& settings, const Real* g, std::int64_t count,
               Real* p, Real* m, Real* v);

/// y = x mask / (1 - p), in place if y = x; `mask` may be null. Both hold `count` entries. Word i of
/// Philox(seed, stream) decides over entry i. The backward is the same map.
template <class Real>
void dropout(const Context& ctx, const DropoutKey& key, const Real* x, std::int64_t count, Real* y,
             std::uint8_t* mask);

/// Entries begin, ..., end - 1 of the same, on the calling thread; `begin` is a multiple of
/// kDropoutAlignment.
template <class Real>
void dropout_range(const DropoutKey& key, const Real* x, std::int64_t begin, std::int64_t end,
                   Real* y);
inline constexpr std::int64_t kDropoutAlignment = 256;

/// The loss of the rows with mask != 0, summed row by row in double: log sum exp(z_i) - z_i[y_i].
/// `losses` holds one double per row, workspace; returns the loss reduced.
template <class Real, class Index>
Real log_softmax_nll(const Context& ctx, In<Real, 2> logits, const Index* labels,
                     const std::uint8_t* mask, Reduction reduction);
/// Its gradient: (softmax(z_i) - onehot(y_i)) upstream / count, 0 where not masked.
template <class Real, class Index>
void log_softmax_nll_backward(const Context& ctx, In<Real, 2> logits, const Index* labels,
                              const std::uint8_t* mask, Reduction reduction, Real upstream,
                              Out<Real, 2> d_logits);

/// Edge softmax of one or more heads (GAT): h [columns, heads, d], s_src [columns, heads],
/// s_dst [rows, heads] give y [rows, heads, d] and the weights alpha [entries, heads].
template <class Real, class Index>
void edge_softmax(const Context& ctx, const CsrView<Real, Index>& a, std::int64_t heads,
                  std::int64_t d, double negative_slope, const Real* h, const Real* s_src,
                  const Real* s_dst, Real* y, Real* alpha);
/// Its gradient; d_alpha may be null. O(entries heads) workspace. Sources gather over the transpose,
/// in the stored order of the entries.
template <class Real, class Index>
void edge_softmax_backward(const Context& ctx, const CsrView<Real, Index>& a, std::int64_t heads,
                           std::int64_t d, double negative_slope, const Real* h, const Real* s_src,
                           const Real* s_dst, const Real* alpha, const Real* d_y,
                           const Real* d_alpha, Real* d_h, Real* d_s_src, Real* d_s_dst);

}  // namespace kernels
}  // namespace researchkit::graph
