#pragma once

#include "researchkit/nfgnn/operators_propagate.hpp"

namespace researchkit::nfgnn {

namespace detail {

template <class Real>
reference::Parameters<Real> parameters_of(In<Real, 3> w, In<Real, 2> b, In<Real, 2> gamma,
                                          Gate gate, bool normalize_by_rank) {
  return {w, b, gamma, gate,
          Real(normalize_by_rank ? 1.0 / static_cast<double>(gamma.extent(0)) : 1.0)};
}

template <class Real>
Coefficients<Real> coefficients_of(const reference::Parameters<Real>& p, std::int64_t n,
                                   std::int64_t stride) {
  Coefficients<Real> model;
  model.n = n;
  model.c = p.w.extent(1);
  model.rank = p.gamma.extent(0);
  model.orders = p.gamma.extent(1);
  model.stride = stride;
  model.shared_w = p.w.extent(0) == 1;
  model.shared_b = p.b.extent(0) == 1;
  model.gate = p.gate;
  model.scale = p.scale;
  model.w = p.w.data_handle();
  model.b = p.b.data_handle();
  model.gamma = p.gamma.data_handle();
  return model;
}

/// Refuses leading extents of w and b that are neither 1 nor the number of orders.
template <class Real>
void require_orders(const Check& check, In<Real, 3> w, In<Real, 2> b, std::int64_t orders) {
  const auto require = [&](std::string_view name, std::int64_t extent) {
    if (extent == 1 || extent == orders) return;
    check.refuse(name, std::to_string(orders) + " orders, or 1 that all share",
                 std::to_string(extent) + " orders");
  };
  require("w", w.extent(0));
  require("b", b.extent(0));
}

inline void describe_parameters(Description& io, auto& w, auto& b, auto& gamma) {
  io.dimension("R", "[1, inf)", "rank");
  io.input(w, "w", "w_orders c R", "projections; one order: shared by all", {.contiguous = true});
  io.input(b, "b", "b_orders R", "their offsets; one order: shared by all", {.contiguous = true});
  io.input(gamma, "gamma", "R K+1", "global part", {.contiguous = true});
}
inline void describe_coefficients(Description& io, auto& activation, auto& normalize_by_rank) {
  io.attribute(activation, "activation", "gate of the local part");
  io.attribute(normalize_by_rank, "normalize_by_rank", "divide the coefficients by R");
}

/// Operations of the coefficients in plain loops.
inline double coefficient_flops(Gate gate, double n, double orders, double c, double rank) {
  const double per_gate = gate == Gate::tanh ? 1 : gate == Gate::sigmoid ? 3 : 0;
  return n * orders * (rank * (2 * c + per_gate + 2) + 1);
}

/// Leading extents of w and b that are legal in a random call.
inline void arbitrary_orders(Arbitrary& random, std::int64_t orders) {
  random.resize("w_orders", random.chance(0.5) ? 1 : orders);
  random.resize("b_orders", random.chance(0.5) ? 1 : orders);
}

}  // namespace detail

/// Coefficients of each node from its own propagated signal: a low-rank product of local gates and a
/// global part (NFGNN, arXiv 2212.03654, equations 9 to 11; N4 and N5 of the documentation).
///
///     auto eta = node_filter_coefficients(ctx, {.t = t, .w = w, .b = b, .gamma = gamma}).eta;
///
/// In float the gate is a polynomial within 4 units in the last place; NaN stays.
template <class Real>
struct NodeFilterCoefficients {
  static constexpr std::string_view name = "nfgnn.node_filter_coefficients";
  static constexpr std::string_view summary = "Filter coefficients of each node.";
  static constexpr Tolerance tolerance{.rtol = 1e-5, .atol = 2e-6};  // the gate's polynomial

  In<Real, 3> t = {};      // [K+1, n, c]
  In<Real, 3> w = {};      // [K+1 or 1, c, R]
  In<Real, 2> b = {};      // [K+1 or 1, R]
  In<Real, 2> gamma = {};  // [R, K+1]
  Out<Real, 2> eta = {};   // [n, K+1]
  Gate activation = Gate::tanh;
  bool normalize_by_rank = true;

  void describe(Description& io) {
    io.dimension("K", "[0, 1024]", "highest order");
    io.input(t, "t", "K+1 n c", "orders of the signal", {.contiguous = true});
    detail::describe_parameters(io, w, b, gamma);
    io.output(eta, "eta", "n K+1", "coefficients", {.contiguous = true});
    detail::describe_coefficients(io, activation, normalize_by_rank);
  }
  void validate(const Check& check) const { detail::require_orders(check, w, b, t.extent(0)); }
  Cost cost() const {
    return {detail::coefficient_flops(
                activation, static_cast<double>(t.extent(1)), static_cast<double>(t.extent(0)),
                static_cast<double>(t.extent(2)), static_cast<double>(gamma.extent(0))),
            sizeof(Real) * static_cast<double>(t.size() + eta.size() + w.size()), false};
  }
  void run(const Context& ctx) const {
    kernels::coefficients<Real>(ctx,
                                detail::coefficients_of(parameters(), t.extent(1), t.extent(2)), 0,
                                detail::order_pointers(t), eta.data_handle(), nullptr);
  }
  void reference() const {
    reference::Stack<Real> stack(t.extent(0), t.extent(1), t.extent(2));
    std::copy_n(t.data_handle(), t.size(), stack.values.begin());
    reference::coefficients(stack, parameters(), eta);
  }
  static void arbitrary(Arbitrary& random) {
    detail::arbitrary_orders(random, random.size("K") + 1);
  }

 private:
  reference::Parameters<Real> parameters() const {
    return detail::parameters_of(w, b, gamma, activation, normalize_by_rank);
  }
};

static_assert(OperatorStruct<NodeFilterCoefficients<float>>);
inline constexpr Function<NodeFilterCoefficients> node_filter_coefficients;

/// Gradient of node_filter_coefficients (N9). Sums over nodes go in 16 interleaved parts over pieces of
/// 512 nodes, whatever the number of threads.
template <class Real>
struct NodeFilterCoefficientsBackward {
  static constexpr std::string_view name = "nfgnn.node_filter_coefficients_backward";
  static constexpr std::string_view summary = "Gradient of node_filter_coefficients.";
  static constexpr Tolerance tolerance{.rtol = 1e-4, .atol = 2e-5};  // order of the sums

  In<Real, 3> t = {};         // [K+1, n, c]
  In<Real, 3> w = {};         // [K+1 or 1, c, R]
  In<Real, 2> b = {};         // [K+1 or 1, R]
  In<Real, 2> gamma = {};     // [R, K+1]
  In<Real, 2> d_eta = {};     // [n, K+1]
  Out<Real, 3> d_t = {};      // [K+1, n, c]
  Out<Real, 3> d_w = {};      // [K+1 or 1, c, R]
  Out<Real, 2> d_b = {};      // [K+1 or 1, R]
  Out<Real, 2> d_gamma = {};  // [R, K+1]
  Gate activation = Gate::tanh;
  bool normalize_by_rank = true;

  void describe(Description& io) {
    io.dimension("K", "[0, 1024]", "highest order");
    io.input(t, "t", "K+1 n c", "orders of the signal", {.contiguous = true});
    detail::describe_parameters(io, w, b, gamma);
    io.input(d_eta, "d_eta", "n K+1", "gradient of eta", {.contiguous = true});
    io.output(d_t, "d_t", "K+1 n c", "gradient of t", {.contiguous = true});
    io.output(d_w, "d_w", "w_orders c R", "gradient of w", {.contiguous = true});
    io.output(d_b, "d_b", "b_orders R", "gradient of b", {.contiguous = true});
    io.output(d_gamma, "d_gamma", "R K+1", "gradient of gamma", {.contiguous = true});
    detail::describe_coefficients(io, activation, normalize_by_rank);
  }
  void validate(const Check& check) const { detail::require_orders(check, w, b, t.extent(0)); }
  Cost cost() const {
    const auto gates = static_cast<double>(d_eta.size() * gamma.extent(0));
    return {gates * (6 * static_cast<double>(t.extent(2)) + 12),
            sizeof(Real) * static_cast<double>(2 * t.size() + d_eta.size() + 2 * w.size()), true};
  }
  void run(const Context& ctx) const {
    Workspace::Scope scratch(ctx.workspace());
    const auto model = detail::coefficients_of(parameters(), t.extent(1), t.extent(2));
    const ParameterGradients<Real> gradients(scratch, model);
    kernels::coefficients_backward<Real>(ctx, model, 0, detail::order_pointers(t), nullptr, nullptr,
                                         d_eta.data_handle(), detail::order_pointers(d_t),
                                         gradients);
    gradients.write(model, d_w.data_handle(), d_b.data_handle(), d_gamma.data_handle());
  }
  void reference() const {
    reference::Stack<Real> stack(t.extent(0), t.extent(1), t.extent(2));
    std::copy_n(t.data_handle(), t.size(), stack.values.begin());
    reference::Stack<Real> d(t.extent(0), t.extent(1), t.extent(2));
    const std::vector<Real> upstream(d_eta.data_handle(), d_eta.data_handle() + d_eta.size());
    reference::coefficients_backward(stack, parameters(), upstream, d, d_w, d_b, d_gamma);
    std::copy(d.values.begin(), d.values.end(), d_t.data_handle());
  }
  static void arbitrary(Arbitrary& random) {
    detail::arbitrary_orders(random, random.size("K") + 1);
  }

 private:
  reference::Parameters<Real> parameters() const {
    return detail::parameters_of(w, b, gamma, activation, normalize_by_rank);
  }
};

static_assert(OperatorStruct<NodeFilterCoefficientsBackward<float>>);
inline constexpr Function<NodeFilterCoefficientsBackward> node_filter_coefficients_backward;

/// The node-oriented filter: propagation, coefficients and their weighted sum in one operator (N6).
///
///     auto out = node_oriented_filter(ctx, {.indptr = p.indptr, .indices = p.indices, .x = logits,
///                                           .values = p.values, .w = w, .b = b, .gamma = gamma});
///
/// `save` says what memory it may take, not what it computes: "propagated" keeps K + 1 orders of
/// n x c, "recompute" three (chebyshev; other bases keep all), and its backward runs the recursion
/// backwards. Columns are padded to a multiple of eight inside.
template <class Real, class Index>
struct NodeOrientedFilter {
  static constexpr std::string_view name = "nfgnn.node_oriented_filter";
  static constexpr std::string_view summary = "Spectral filter of each node's own.";
  static constexpr Tolerance tolerance{.rtol = 1e-5, .atol = 1e-5};  // the gate's polynomial

  In<Index, 1> indptr = {};   // [n+1]
  In<Index, 1> indices = {};  // [nnz]
  In<Real, 2> x = {};         // [n, c]
  In<Real, 1> values = {};    // [nnz]
  In<Real, 3> w = {};         // [K+1 or 1, c, R]
  In<Real, 2> b = {};         // [K+1 or 1, R]
  In<Real, 2> gamma = {};     // [R, K+1]
  Out<Real, 2> y = {};        // [n, c]
  Out<Real, 2> eta = {};      // [n, K+1]
  std::int64_t K = 10;
  Basis basis = Basis::chebyshev;
  Gate activation = Gate::tanh;
  bool normalize_by_rank = true;
  bool symmetric = true;
  Save save = Save::propagated;

  void describe(Description& io) {
    graph::describe_pattern(io, indptr, indices);
    io.input(x, "x", "n c", "signal", {.contiguous = true});
    io.input(values, "values", "nnz", "entries of the operator", {.contiguous = true});
    detail::describe_parameters(io, w, b, gamma);
    io.output(y, "y", "n c", "filtered signal", {.contiguous = true});
    io.output(eta, "eta", "n K+1", "coefficients", {.contiguous = true});
    io.attribute(K, "K", "highest order", {.in = "[0, 1024]"});
    io.attribute(basis, "basis", "which polynomials");
    detail::describe_coefficients(io, activation, normalize_by_rank);
    io.attribute(symmetric, "symmetric", "promises A = A^T: the backward needs no transpose");
    io.attribute(save, "save", "what is kept in memory");
  }
  void validate(const Check& check) const {
    graph::require_csr(check, indptr, indices.extent(0));
    detail::require_orders(check, w, b, K + 1);
  }
  Cost cost() const {
    const auto n = static_cast<double>(x.extent(0)), c = static_cast<double>(x.extent(1));
    const auto entries = static_cast<double>(indices.extent(0)), k = static_cast<double>(K);
    return {detail::recursion_flops(basis, K, entries, n, c) +
                detail::coefficient_flops(activation, n, k + 1, c,
                                          static_cast<double>(gamma.extent(0))) +
                2 * n * c * (k + 1),
            k * ((sizeof(Index) + sizeof(Real)) * entries + 3 * sizeof(Real) * n * c) +
                sizeof(Real) * n * (c + k + 1),
            false};
  }
  void run(const Context& ctx) const {
    Workspace::Scope scratch(ctx.workspace());
    const std::int64_t n = x.extent(0), stride = padded_columns(x.extent(1));
    const bool rolling = save == Save::recompute && basis == Basis::chebyshev;
    const auto t = order_buffers<Real>(scratch, rolling ? 3 : K + 1, n * stride);
    const auto sum = scratch.allocate<Real>(static_cast<std::size_t>(n * stride));
    copy_columns(ctx, x.data_handle(), x.extent(1), n, t[0], stride);
    const auto model = detail::coefficients_of(parameters(), n, stride);
    if (rolling) {
      filter_forward_rolling<Real, Index>(ctx, view(), model, basis, t, eta.data_handle(),
                                          sum.data());
    } else {
      filter_forward<Real, Index>(ctx, view(), model, basis, t, eta.data_handle(), sum.data());
    }
    copy_columns<Real>(ctx, sum.data(), stride, n, y.data_handle(), y.extent(1));
  }
  void reference() const {
    const auto t = reference::propagate<Real, Index>(view(), x, K + 1, basis);
    reference::coefficients(t, parameters(), eta);
    reference::weighted_sum<Real>(t, eta, y);
  }
  static void arbitrary(Arbitrary& random) {
    detail::arbitrary_operator(random);
    random.call.attributes["K"] = random.size("K");
    detail::arbitrary_orders(random, random.size("K") + 1);
  }

 private:
  graph::CsrView<Real, Index> view() const {
    return graph::csr_view<Real>(indptr, indices, values.data_handle(), x.extent(0));
  }
  reference::Parameters<Real> parameters() const {
    return detail::parameters_of(w, b, gamma, activation, normalize_by_rank);
  }
};

static_assert(OperatorStruct<NodeOrientedFilter<float, std::int32_t>>);
inline constexpr IndexedFunction<NodeOrientedFilter> node_oriented_filter;

/// Gradient of node_oriented_filter (N11), from `y` and, if it is given, from `eta`.
template <class Real, class Index>
struct NodeOrientedFilterBackward {
  static constexpr std::string_view name = "nfgnn.node_oriented_filter_backward";
  static constexpr std::string_view summary = "Gradient of node_oriented_filter.";
  static constexpr Tolerance tolerance{.rtol = 1e-4, .atol = 1e-4};  // order of the sums

  In<Index, 1> indptr = {};          // [n+1]
  In<Index, 1> indices = {};         // [nnz]
  In<Real, 2> x = {};                // [n, c]
  In<Real, 1> values = {};           // [nnz]
  In<Real, 3> w = {};                // [K+1 or 1, c, R]
  In<Real, 2> b = {};                // [K+1 or 1, R]
  In<Real, 2> gamma = {};            // [R, K+1]
  In<Real, 2> eta = {};              // [n, K+1]
  In<Real, 2> d_y = {};              // [n, c]
  Optional<In<Real, 2>> d_eta = {};  // [n, K+1]
  Out<Real, 2> d_x = {};             // [n, c]
  Out<Real, 3> d_w = {};             // [K+1 or 1, c, R]
  Out<Real, 2> d_b = {};             // [K+1 or 1, R]
  Out<Real, 2> d_gamma = {};         // [R, K+1]
  std::int64_t K = 10;
  Basis basis = Basis::chebyshev;
  Gate activation = Gate::tanh;
  bool normalize_by_rank = true;
  bool symmetric = true;
  Save save = Save::propagated;

  void describe(Description& io) {
    graph::describe_pattern(io, indptr, indices);
    io.input(x, "x", "n c", "signal", {.contiguous = true});
    io.input(values, "values", "nnz", "entries of the operator", {.contiguous = true});
    detail::describe_parameters(io, w, b, gamma);
    io.input(eta, "eta", "n K+1", "coefficients, from the forward", {.contiguous = true});
    io.input(d_y, "d_y", "n c", "gradient of y", {.contiguous = true});
    io.input(d_eta, "d_eta", "n K+1", "gradient of eta, 0 when absent", {.contiguous = true});
    io.output(d_x, "d_x", "n c", "gradient of x", {.contiguous = true});
    io.output(d_w, "d_w", "w_orders c R", "gradient of w", {.contiguous = true});
    io.output(d_b, "d_b", "b_orders R", "gradient of b", {.contiguous = true});
    io.output(d_gamma, "d_gamma", "R K+1", "gradient of gamma", {.contiguous = true});
    io.attribute(K, "K", "highest order", {.in = "[0, 1024]"});
    io.attribute(basis, "basis", "which polynomials");
    detail::describe_coefficients(io, activation, normalize_by_rank);
    io.attribute(symmetric, "symmetric", "promises A = A^T");
    io.attribute(save, "save", "what is kept in memory");
  }
  void validate(const Check& check) const {
    graph::require_csr(check, indptr, indices.extent(0));
    detail::require_orders(check, w, b, K + 1);
  }
  Cost cost() const {
    const auto n = static_cast<double>(x.extent(0)), c = static_cast<double>(x.extent(1));
    const auto entries = static_cast<double>(indices.extent(0)), k = static_cast<double>(K + 1);
    const auto rank = static_cast<double>(gamma.extent(0));
    return {k * (4 * entries * c + 12 * n * c + n * rank * (8 * c + 14)),
            k * (16 * entries + 40 * n * c), true};
  }
  void run(const Context& ctx) const {
    Workspace::Scope scratch(ctx.workspace());
    const std::int64_t n = x.extent(0), c = x.extent(1), stride = padded_columns(c);
    const bool rolling = save == Save::recompute && basis == Basis::chebyshev;
    const auto t = order_buffers<Real>(scratch, rolling ? 3 : K + 1, n * stride);
    const auto d_t = order_buffers<Real>(scratch, rolling ? 1 : K + 1, n * stride);
    const auto buffers = order_buffers<Real>(scratch, 3, n * stride);
    const auto model = detail::coefficients_of(parameters(), n, stride);
    const ParameterGradients<Real> gradients(scratch, model);
    AdjointRecursion<Real, Index> recursion(detail::adjoint(scratch, view(), symmetric), basis,
                                            K + 1, stride, buffers[0], buffers[1]);
    copy_columns(ctx, x.data_handle(), c, n, t[0], stride);
    copy_columns(ctx, d_y.data_handle(), c, n, buffers[2], stride);
    const Real* further = d_eta ? d_eta->data_handle() : nullptr;
    if (rolling) {
      for (std::int64_t k = 1; k <= K; ++k) {
        const auto at = [&](std::int64_t order) { return t[static_cast<std::size_t>(order % 3)]; };
        next_order<Real, Index>(ctx, view(), basis, k, at(k - 1), k > 1 ? at(k - 2) : nullptr,
                                stride, at(k));
      }
      filter_backward_rolling<Real, Index>(ctx, view(), model, t, eta.data_handle(), buffers[2],
                                           further, d_t[0], gradients, recursion);
    } else {
      propagate_orders<Real, Index>(ctx, view(), basis, t, stride);
      filter_backward<Real, Index>(ctx, model, t, eta.data_handle(), buffers[2], further, d_t,
                                   gradients, recursion);
    }
    copy_columns<Real>(ctx, recursion.result(), stride, n, d_x.data_handle(), c);
    gradients.write(model, d_w.data_handle(), d_b.data_handle(), d_gamma.data_handle());
  }
  void reference() const {
    const auto t = reference::propagate<Real, Index>(view(), x, K + 1, basis);
    reference::Stack<Real> d(K + 1, x.extent(0), x.extent(1));
    std::vector<Real> upstream(static_cast<std::size_t>(eta.size()));
    reference::weighted_sum_backward(t, eta, d_y, upstream, d);
    for (std::size_t i = 0; d_eta && i < upstream.size(); ++i) {
      upstream[i] += d_eta->data_handle()[i];
    }
    reference::coefficients_backward(t, parameters(), upstream, d, d_w, d_b, d_gamma);
    reference::propagate_backward<Real, Index>(view(), basis, d);
    std::copy_n(d.values.begin(), d_x.size(), d_x.data_handle());
  }
  static void arbitrary(Arbitrary& random) {
    detail::arbitrary_operator(random);
    random.call.attributes["K"] = random.size("K");
    detail::arbitrary_orders(random, random.size("K") + 1);
  }

 private:
  graph::CsrView<Real, Index> view() const {
    return graph::csr_view<Real>(indptr, indices, values.data_handle(), x.extent(0));
  }
  reference::Parameters<Real> parameters() const {
    return detail::parameters_of(w, b, gamma, activation, normalize_by_rank);
  }
};

static_assert(OperatorStruct<NodeOrientedFilterBackward<float, std::int32_t>>);
inline constexpr IndexedFunction<NodeOrientedFilterBackward> node_oriented_filter_backward;

}  // namespace researchkit::nfgnn
