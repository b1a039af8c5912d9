#pragma once

#include "researchkit/graph/checks.hpp"
#include "researchkit/nfgnn/filter.hpp"
#include "researchkit/nfgnn/reference.hpp"

namespace researchkit::nfgnn {

namespace detail {

/// Views of the orders of a stack [orders, n, c].
template <class View>
auto order_pointers(const View& stack) {
  std::vector<decltype(stack.data_handle())> orders;
  for (std::int64_t k = 0; k < stack.extent(0); ++k) {
    orders.push_back(stack.data_handle() + k * stack.extent(1) * stack.extent(2));
  }
  return orders;
}

/// The operator that a backward multiplies with: `a` itself if it is symmetric, else its transpose.
template <class Real, class Index>
graph::CsrView<Real, Index> adjoint(Workspace::Scope& scratch, const graph::CsrView<Real, Index>& a,
                                    bool symmetric) {
  if (symmetric) return a;
  return graph::kernels::transposed(scratch, a, true).view(a.rows);
}

/// Operations of K recursion steps over n x c.
inline double recursion_flops(Basis basis, std::int64_t k, double entries, double n, double c) {
  const auto steps = static_cast<double>(k);
  const double terms = basis == Basis::chebyshev ? std::max(0.0, steps - 1) : 0;
  return 2 * entries * c * steps + 2 * n * c * terms;
}

/// Scales the rows of the operator to a sum of at most 1, so that its powers stay of one size.
inline void contract(Arbitrary& random) {
  const Tensor indptr = random.call.inputs.at("indptr");
  Tensor values = random.call.inputs.at("values").clone();
  visit_dtype(indptr.dtype(), [&]<class Index>(Index) {
    visit_dtype(values.dtype(), [&]<class Real>(Real) {
      const auto ends = std::as_const(indptr).template values<Index>();
      const auto entries = values.template values<Real>();
      for (std::size_t i = 0; i + 1 < ends.size(); ++i) {
        const auto row = entries.subspan(static_cast<std::size_t>(ends[i]),
                                         static_cast<std::size_t>(ends[i + 1] - ends[i]));
        double sum = 1e-3;
        for (const Real value : row) sum += std::abs(static_cast<double>(value));
        for (Real& value : row) value = static_cast<Real>(static_cast<double>(value) / (1.1 * sum));
      }
    });
  });
  random.call.inputs.set("values", values);
}

/// A random call whose operator is not symmetric, and does not say so: a perturbed entry would make
/// the promise a lie.
inline void arbitrary_operator(Arbitrary& random) {
  random.resize("K", random.integer(0, 6));
  graph::arbitrary_square_csr(random);
  contract(random);
  random.call.attributes["symmetric"] = false;
}

}  // namespace detail

/// All orders of a polynomial of a sparse operator, applied to x: Chebyshev T_0 = x, T_1 = A x,
/// T_k = 2 A T_{k-1} - T_{k-2}, or the powers A^k x (NFGNN, arXiv 2212.03654, section 2).
///
///     auto t = propagate(ctx, {.indptr = p.indptr, .indices = p.indices, .values = p.values,
///                              .x = x, .K = 10}).t;
///
/// K products of 2 nnz c operations; no workspace.
template <class Real, class Index>
struct Propagate {
  static constexpr std::string_view name = "nfgnn.propagate";
  static constexpr std::string_view summary = "All orders of a polynomial of a sparse operator.";

  In<Index, 1> indptr = {};   // [n+1]
  In<Index, 1> indices = {};  // [nnz]
  In<Real, 2> x = {};         // [n, c]
  In<Real, 1> values = {};    // [nnz]
  Out<Real, 3> t = {};        // [K+1, n, c]
  std::int64_t K = 10;
  Basis basis = Basis::chebyshev;
  bool symmetric = true;

  void describe(Description& io) {
    graph::describe_pattern(io, indptr, indices);
    io.input(x, "x", "n c", "signal", {.contiguous = true});
    io.input(values, "values", "nnz", "entries of the operator", {.contiguous = true});
    io.output(t, "t", "K+1 n c", "orders 0 to K", {.contiguous = true});
    io.attribute(K, "K", "highest order", {.in = "[0, 1024]"});
    io.attribute(basis, "basis", "which polynomials");
    io.attribute(symmetric, "symmetric", "promises A = A^T: the backward needs no transpose");
  }
  void validate(const Check& check) const { graph::require_csr(check, indptr, indices.extent(0)); }
  Cost cost() const {
    const auto n = static_cast<double>(x.extent(0)), c = static_cast<double>(x.extent(1));
    const auto entries = static_cast<double>(indices.extent(0));
    return {detail::recursion_flops(basis, K, entries, n, c),
            static_cast<double>(K) *
                    ((sizeof(Index) + sizeof(Real)) * entries + 3 * sizeof(Real) * n * c) +
                2 * sizeof(Real) * n * c,
            false};
  }
  void run(const Context& ctx) const {
    const auto orders = detail::order_pointers(t);
    std::copy_n(x.data_handle(), x.size(), orders[0]);
    propagate_orders<Real, Index>(ctx, view(), basis, orders, x.extent(1));
  }
  void reference() const {
    const auto stack = reference::propagate<Real, Index>(view(), x, K + 1, basis);
    std::copy(stack.values.begin(), stack.values.end(), t.data_handle());
  }
  static void arbitrary(Arbitrary& random) {
    detail::arbitrary_operator(random);
    random.call.attributes["K"] = random.size("K");
  }

 private:
  graph::CsrView<Real, Index> view() const {
    return graph::csr_view<Real>(indptr, indices, values.data_handle(), x.extent(0));
  }
};

static_assert(OperatorStruct<Propagate<float, std::int32_t>>);
inline constexpr IndexedFunction<Propagate> propagate;

/// Gradient of propagate by Clenshaw's recursion, with two buffers of n x c.
template <class Real, class Index>
struct PropagateBackward {
  static constexpr std::string_view name = "nfgnn.propagate_backward";
  static constexpr std::string_view summary = "Gradient of propagate.";
  static constexpr Tolerance tolerance{.rtol = 1e-5, .atol = 1e-5};  // order of the recursion

  In<Index, 1> indptr = {};   // [n+1]
  In<Index, 1> indices = {};  // [nnz]
  In<Real, 1> values = {};    // [nnz]
  In<Real, 3> d_t = {};       // [K+1, n, c]
  Out<Real, 2> d_x = {};      // [n, c]
  std::int64_t K = 10;
  Basis basis = Basis::chebyshev;
  bool symmetric = true;

  void describe(Description& io) {
    graph::describe_pattern(io, indptr, indices);
    io.input(values, "values", "nnz", "entries of the operator", {.contiguous = true});
    io.input(d_t, "d_t", "K+1 n c", "gradient of t", {.contiguous = true});
    io.output(d_x, "d_x", "n c", "gradient of x", {.contiguous = true});
    io.attribute(K, "K", "highest order", {.in = "[0, 1024]"});
    io.attribute(basis, "basis", "which polynomials");
    io.attribute(symmetric, "symmetric", "promises A = A^T");
  }
  void validate(const Check& check) const { graph::require_csr(check, indptr, indices.extent(0)); }
  Cost cost() const {
    const auto n = static_cast<double>(d_x.extent(0)), c = static_cast<double>(d_x.extent(1));
    const auto entries = static_cast<double>(indices.extent(0)), k = static_cast<double>(K);
    return {k * (2 * entries * c + 4 * n * c), k * (8 * entries + 4 * sizeof(Real) * n * c), true};
  }
  void run(const Context& ctx) const {
    Workspace::Scope scratch(ctx.workspace());
    const auto buffers = order_buffers<Real>(scratch, 2, d_x.size());
    AdjointRecursion<Real, Index> recursion(detail::adjoint(scratch, view(), symmetric), basis,
                                            K + 1, d_x.extent(1), buffers[0], buffers[1]);
    const auto orders = detail::order_pointers(d_t);
    for (std::size_t k = orders.size(); k-- > 0;) recursion.add(ctx, orders[k]);
    std::copy_n(recursion.result(), d_x.size(), d_x.data_handle());
  }
  void reference() const {
    reference::Stack<Real> d(K + 1, d_x.extent(0), d_x.extent(1));
    std::copy_n(d_t.data_handle(), d_t.size(), d.values.begin());
    reference::propagate_backward<Real, Index>(view(), basis, d);
    std::copy_n(d.values.begin(), d_x.size(), d_x.data_handle());
  }
  static void arbitrary(Arbitrary& random) {
    detail::arbitrary_operator(random);
    random.call.attributes["K"] = random.size("K");
  }

 private:
  graph::CsrView<Real, Index> view() const {
    return graph::csr_view<Real>(indptr, indices, values.data_handle(), d_x.extent(0));
  }
};

static_assert(OperatorStruct<PropagateBackward<float, std::int32_t>>);
inline constexpr IndexedFunction<PropagateBackward> propagate_backward;

/// A polynomial filter whose coefficients differ from node to node:
/// y[i,:] = sum over k of eta[i,k] T_k[i,:].
///
///     auto y = node_variant_filter(ctx, {.indptr = p.indptr, .indices = p.indices, .x = x,
///                                        .values = p.values, .eta = eta}).y;
///
/// Three orders are live at a time.
template <class Real, class Index>
struct NodeVariantFilter {
  static constexpr std::string_view name = "nfgnn.node_variant_filter";
  static constexpr std::string_view summary = "Polynomial filter with coefficients of each node.";

  In<Index, 1> indptr = {};   // [n+1]
  In<Index, 1> indices = {};  // [nnz]
  In<Real, 2> x = {};         // [n, c]
  In<Real, 1> values = {};    // [nnz]
  In<Real, 2> eta = {};       // [n, K+1]
  Out<Real, 2> y = {};        // [n, c]
  Basis basis = Basis::chebyshev;
  bool symmetric = true;

  void describe(Description& io) {
    io.dimension("K", "[0, 1024]", "highest order");
    graph::describe_pattern(io, indptr, indices);
    io.input(x, "x", "n c", "signal", {.contiguous = true});
    io.input(values, "values", "nnz", "entries of the operator", {.contiguous = true});
    io.input(eta, "eta", "n K+1", "coefficients", {.contiguous = true});
    io.output(y, "y", "n c", "filtered signal", {.contiguous = true});
    io.attribute(basis, "basis", "which polynomials");
    io.attribute(symmetric, "symmetric", "promises A = A^T: the backward needs no transpose");
  }
  void validate(const Check& check) const { graph::require_csr(check, indptr, indices.extent(0)); }
  Cost cost() const {
    const auto n = static_cast<double>(x.extent(0)), c = static_cast<double>(x.extent(1));
    const auto entries = static_cast<double>(indices.extent(0));
    const std::int64_t k = eta.extent(1) - 1;
    return {
        detail::recursion_flops(basis, k, entries, n, c) + 2 * n * c * static_cast<double>(k + 1),
        static_cast<double>(k) * (8 * entries + 5 * sizeof(Real) * n * c), false};
  }
  void run(const Context& ctx) const {
    Workspace::Scope scratch(ctx.workspace());
    const auto t = order_buffers<Real>(scratch, 3, x.size());
    const std::int64_t c = x.extent(1);
    std::copy_n(x.data_handle(), x.size(), t[0]);
    for (std::int64_t k = 0; k < eta.extent(1); ++k) {
      const auto at = [&](std::int64_t order) { return t[static_cast<std::size_t>(order % 3)]; };
      if (k > 0) {
        next_order<Real, Index>(ctx, view(), basis, k, at(k - 1), k > 1 ? at(k - 2) : nullptr, c,
                                at(k));
      }
      parallel_for(ctx, x.extent(0), 1024, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          for (std::int64_t j = 0; j < c; ++j) {
            const Real term = eta(i, k) * at(k)[i * c + j];
            y(i, j) = k == 0 ? Real(0) + term : y(i, j) + term;
          }
        }
      });
    }
  }
  void reference() const {
    reference::weighted_sum(reference::propagate<Real, Index>(view(), x, eta.extent(1), basis), eta,
                            y);
  }
  static void arbitrary(Arbitrary& random) { detail::arbitrary_operator(random); }

 private:
  graph::CsrView<Real, Index> view() const {
    return graph::csr_view<Real>(indptr, indices, values.data_handle(), x.extent(0));
  }
};

static_assert(OperatorStruct<NodeVariantFilter<float, std::int32_t>>);
inline constexpr IndexedFunction<NodeVariantFilter> node_variant_filter;

/// Gradient of node_variant_filter: d_eta[i,k] = <d_y[i], T_k[i]> and, by Clenshaw's recursion, d_x.
template <class Real, class Index>
struct NodeVariantFilterBackward {
  static constexpr std::string_view name = "nfgnn.node_variant_filter_backward";
  static constexpr std::string_view summary = "Gradient of node_variant_filter.";
  static constexpr Tolerance tolerance{.rtol = 1e-5, .atol = 1e-5};  // order of the recursion

  In<Index, 1> indptr = {};   // [n+1]
  In<Index, 1> indices = {};  // [nnz]
  In<Real, 2> x = {};         // [n, c]
  In<Real, 1> values = {};    // [nnz]
  In<Real, 2> eta = {};       // [n, K+1]
  In<Real, 2> d_y = {};       // [n, c]
  Out<Real, 2> d_x = {};      // [n, c]
  Out<Real, 2> d_eta = {};    // [n, K+1]
  Basis basis = Basis::chebyshev;
  bool symmetric = true;

  void describe(Description& io) {
    io.dimension("K", "[0, 1024]", "highest order");
    graph::describe_pattern(io, indptr, indices);
    io.input(x, "x", "n c", "signal", {.contiguous = true});
    io.input(values, "values", "nnz", "entries of the operator", {.contiguous = true});
    io.input(eta, "eta", "n K+1", "coefficients", {.contiguous = true});
    io.input(d_y, "d_y", "n c", "gradient of y", {.contiguous = true});
    io.output(d_x, "d_x", "n c", "gradient of x", {.contiguous = true});
    io.output(d_eta, "d_eta", "n K+1", "gradient of eta", {.contiguous = true});
    io.attribute(basis, "basis", "which polynomials");
    io.attribute(symmetric, "symmetric", "promises A = A^T");
  }
  void validate(const Check& check) const { graph::require_csr(check, indptr, indices.extent(0)); }
  Cost cost() const {
    const auto n = static_cast<double>(x.extent(0)), c = static_cast<double>(x.extent(1));
    const auto entries = static_cast<double>(indices.extent(0)),
               orders = static_cast<double>(eta.extent(1));
    return {orders * (4 * entries * c + 10 * n * c), orders * (16 * entries + 40 * n * c), true};
  }
  void run(const Context& ctx) const {
    Workspace::Scope scratch(ctx.workspace());
    const std::int64_t c = x.extent(1), n = x.extent(0);
    auto t = order_buffers<Real>(scratch, eta.extent(1), x.size());
    std::copy_n(x.data_handle(), x.size(), t[0]);
    propagate_orders<Real, Index>(ctx, view(), basis, t, c);
    const auto buffers = order_buffers<Real>(scratch, 3, x.size());
    AdjointRecursion<Real, Index> recursion(detail::adjoint(scratch, view(), symmetric), basis,
                                            eta.extent(1), c, buffers[0], buffers[1]);
    Real* const d = buffers[2];
    for (std::size_t k = t.size(); k-- > 0;) {
      const auto order = static_cast<std::int64_t>(k);
      parallel_for(ctx, n, 1024, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          Real sum = 0;
          for (std::int64_t j = 0; j < c; ++j) {
            sum += d_y(i, j) * t[k][i * c + j];
            d[i * c + j] = eta(i, order) * d_y(i, j);
          }
          d_eta(i, order) = sum;
        }
      });
      recursion.add(ctx, d);
    }
    std::copy_n(recursion.result(), d_x.size(), d_x.data_handle());
  }
  void reference() const {
    const auto t = reference::propagate<Real, Index>(view(), x, eta.extent(1), basis);
    reference::Stack<Real> d(eta.extent(1), x.extent(0), x.extent(1));
    std::vector<Real> d_coefficients(static_cast<std::size_t>(eta.size()));
    reference::weighted_sum_backward(t, eta, d_y, d_coefficients, d);
    std::copy(d_coefficients.begin(), d_coefficients.end(), d_eta.data_handle());
    reference::propagate_backward<Real, Index>(view(), basis, d);
    std::copy_n(d.values.begin(), d_x.size(), d_x.data_handle());
  }
  static void arbitrary(Arbitrary& random) { detail::arbitrary_operator(random); }

 private:
  graph::CsrView<Real, Index> view() const {
    return graph::csr_view<Real>(indptr, indices, values.data_handle(), x.extent(0));
  }
};

static_assert(OperatorStruct<NodeVariantFilterBackward<float, std::int32_t>>);
inline constexpr IndexedFunction<NodeVariantFilterBackward> node_variant_filter_backward;

}  // namespace researchkit::nfgnn
