#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "researchkit/graph/sparse.hpp"
#include "researchkit/nfgnn/coefficients.hpp"

/// The node-oriented filter over raw memory, as operators and the model use it: rows are `stride`
/// columns apart, columns beyond the first c are 0 and stay 0.
namespace researchkit::nfgnn {

/// Columns that a filter works with: one vector of eight or a few, so that no row has a remainder.
inline std::int64_t padded_columns(std::int64_t c) { return (c + 7) / 8 * 8; }

/// Copies the columns that two row-major matrices have in common, and zeros the others of `to`.
template <class Real>
void copy_columns(const Context& ctx, const Real* from, std::int64_t from_stride, std::int64_t rows,
                  Real* to, std::int64_t to_stride) {
  const std::int64_t common = std::min(from_stride, to_stride);
  parallel_for(ctx, rows, 4096, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      std::copy_n(from + i * from_stride, common, to + i * to_stride);
      std::fill(to + i * to_stride + common, to + (i + 1) * to_stride, Real(0));
    }
  });
}

/// One order from those before it: T_k = 2 A T_{k-1} - T_{k-2}, A T_{k-1} for k = 1 or the monomials.
template <class Real, class Index>
void next_order(const Context& ctx, const graph::CsrView<Real, Index>& a, Basis basis,
                std::int64_t k, const Real* previous, const Real* before, std::int64_t stride,
                Real* to) {
  const bool three_terms = basis == Basis::chebyshev && k > 1;
  graph::kernels::spmm<Real, Index>(ctx, a, Real(three_terms ? 2 : 1), previous, stride, Real(0),
                                    nullptr, to, three_terms ? before : nullptr);
}

/// Fills t[1], ..., t[K] from t[0] (equation N3).
template <class Real, class Index>
void propagate_orders(const Context& ctx, const graph::CsrView<Real, Index>& a, Basis basis,
                      std::span<Real* const> t, std::int64_t stride) {
  for (std::size_t k = 1; k < t.size(); ++k) {
    next_order<Real, Index>(ctx, a, basis, static_cast<std::int64_t>(k), t[k - 1],
                            k > 1 ? t[k - 2] : nullptr, stride, t[k]);
  }
}

/// The adjoint recursion (equation N8, in the form of Clenshaw): B_k = D_k + 2 A^T B_{k+1} - B_{k+2}.
/// Orders are given one after the other, from K down to 0; two buffers are live.
template <class Real, class Index>
class AdjointRecursion {
 public:
  /// `transposed` is A^T; `first`, `second` hold n rows each.
  AdjointRecursion(graph::CsrView<Real, Index> transposed, Basis basis, std::int64_t orders,
                   std::int64_t stride, Real* first, Real* second)
      : a_(transposed), basis_(basis), k_(orders), stride_(stride), last_(first), before_(second) {}
  /// Takes D_k for the next lower k.
  void add(const Context& ctx, const Real* d) {
    --k_;
    const std::int64_t entries = a_.rows * stride_;
    if (given_ == 0) {
      std::copy_n(d, entries, last_);
    } else {
      const bool chebyshev = basis_ == Basis::chebyshev;
      graph::kernels::spmm<Real, Index>(ctx, a_, Real(chebyshev && k_ > 0 ? 2 : 1), last_, stride_,
                                        Real(1), d, before_,
                                        chebyshev && given_ > 1 ? before_ : nullptr);
      std::swap(last_, before_);
    }
    ++given_;
  }
  /// The gradient of T_0, once D_0 was given.
  const Real* result() const { return last_; }

 private:
  graph::CsrView<Real, Index> a_;
  Basis basis_;
  std::int64_t k_, stride_;
  std::int64_t given_ = 0;
  Real* last_;
  Real* before_;
};

/// K + 1 buffers of one matrix each.
template <class Real>
std::vector<Real*> order_buffers(Workspace::Scope& scratch, std::int64_t orders,
                                 std::int64_t entries) {
  std::vector<Real*> buffers;
  for (std::int64_t k = 0; k < orders; ++k) {
    buffers.push_back(scratch.allocate<Real>(static_cast<std::size_t>(entries)).data());
  }
  return buffers;
}

/// Forward of the node-oriented filter. t[0] is x; the other orders are written.
template <class Real, class Index>
void filter_forward(const Context& ctx, const graph::CsrView<Real, Index>& a,
                    const Coefficients<Real>& model, Basis basis, std::span<Real* const> t,
                    Real* eta, Real* y) {
  propagate_orders<Real, Index>(ctx, a, basis, t, model.stride);
  const std::vector<const Real*> orders(t.begin(), t.end());
  kernels::coefficients<Real>(ctx, model, 0, orders, eta, y);
}

/// The same while three orders are kept: `t` has three buffers, x in the first. On return t[K % 3]
/// holds T_K and t[(K + 2) % 3] holds T_{K-1}.
template <class Real, class Index>
void filter_forward_rolling(const Context& ctx, const graph::CsrView<Real, Index>& a,
                            const Coefficients<Real>& model, Basis basis, std::span<Real* const> t,
                            Real* eta, Real* y) {
  for (std::int64_t k = 0; k < model.orders; ++k) {
    const auto at = [&](std::int64_t order) { return t[static_cast<std::size_t>(order % 3)]; };
    if (k > 0) {
      next_order<Real, Index>(ctx, a, basis, k, at(k - 1), k > 1 ? at(k - 2) : nullptr,
                              model.stride, at(k));
    }
    const Real* const order[] = {at(k)};
    kernels::coefficients<Real>(ctx, model, k, order, eta, y);
  }
}

/// Backward of filter_forward: d_x and the parameters from g = d_y and, if not null, d_eta. `d_t` has
/// one buffer per order; d_x is what the recursion then gives.
template <class Real, class Index>
void filter_backward(const Context& ctx, const Coefficients<Real>& model, std::span<Real* const> t,
                     const Real* eta, const Real* g, const Real* d_eta, std::span<Real* const> d_t,
                     const ParameterGradients<Real>& parameters,
                     AdjointRecursion<Real, Index>& recursion) {
  const std::vector<const Real*> orders(t.begin(), t.end());
  kernels::coefficients_backward<Real>(ctx, model, 0, orders, eta, g, d_eta, d_t, parameters);
  for (std::size_t k = d_t.size(); k-- > 0;) recursion.add(ctx, d_t[k]);
}

/// Backward of filter_forward_rolling, for Chebyshev polynomials: the recursion is run backwards,
/// T_{k-2} = 2 A T_{k-1} - T_k, whose error grows in proportion to K since |lambda| <= 1.
template <class Real, class Index>
void filter_backward_rolling(const Context& ctx, const graph::CsrView<Real, Index>& a,
                             const Coefficients<Real>& model, std::span<Real* const> t,
                             const Real* eta, const Real* g, const Real* d_eta, Real* d_order,
                             const ParameterGradients<Real>& parameters,
                             AdjointRecursion<Real, Index>& recursion) {
  for (std::int64_t k = model.orders; k-- > 0;) {
    const auto at = [&](std::int64_t order) { return t[static_cast<std::size_t>(order % 3)]; };
    const Real* const order[] = {at(k)};
    Real* const d_orders[] = {d_order};
    kernels::coefficients_backward<Real>(ctx, model, k, order, eta, g, d_eta, d_orders, parameters);
    recursion.add(ctx, d_order);
    if (k >= 2) {
      graph::kernels::spmm<Real, Index>(ctx, a, Real(2), at(k - 1), model.stride, Real(0), nullptr,
                                        at(k - 2), at(k));
    }
  }
}

}  // namespace researchkit::nfgnn
