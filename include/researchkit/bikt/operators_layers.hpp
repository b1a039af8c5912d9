#pragma once

#include "researchkit/bikt/rows.hpp"
#include "researchkit/core/blas.hpp"
#include "researchkit/graph/checks.hpp"
#include "researchkit/graph/reference.hpp"
#include "researchkit/graph/sparse.hpp"

namespace researchkit::bikt {

namespace detail {

template <class Real>
TensorView<Real, 2> scratch_matrix(Workspace::Scope& scratch, std::int64_t rows,
                                   std::int64_t columns) {
  return {scratch.allocate<Real>(static_cast<std::size_t>(rows * columns)).data(), {rows, columns}};
}

/// y = act(y + b), row by row.
template <class Real>
void finish_layer(Activation activation, In<Real, 1> b, Out<Real, 2> y) {
  for (std::int64_t i = 0; i < y.extent(0); ++i) {
    for (std::int64_t j = 0; j < y.extent(1); ++j) y(i, j) = activate(activation, y(i, j) + b(j));
  }
}

/// c = op(a) op(b) in plain loops; `add` keeps what is there.
template <class Real>
void plain_gemm(In<Real, 2> a, In<Real, 2> b, Out<Real, 2> c, bool add = false) {
  for (std::int64_t i = 0; i < c.extent(0); ++i) {
    for (std::int64_t j = 0; j < c.extent(1); ++j) {
      Real sum = add ? c(i, j) : Real(0);
      for (std::int64_t k = 0; k < a.extent(1); ++k) sum += a(i, k) * b(k, j);
      c(i, j) = sum;
    }
  }
}
template <class Real>
void add_column_sums(In<Real, 2> rows, Out<Real, 1> sums) {
  for (std::int64_t i = 0; i < rows.extent(0); ++i) {
    for (std::int64_t j = 0; j < rows.extent(1); ++j) sums(j) += rows(i, j);
  }
}

}  // namespace detail

/// One layer of a host and of its derived model with shared weights (B7):
/// y_host = act(P (x_host w) + b), y_derived = act(x_derived w + b).
///
///     auto out = dual_propagate_linear(ctx, {.indptr = p.indptr, .indices = p.indices, .x_host = x,
///                                            .values = p.values, .w = w, .b = b});
///
/// Without x_derived both read x_host, and the product with w is made once: 2 n f h + 2 nnz h
/// operations.
template <class Real, class Index>
struct DualPropagateLinear {
  static constexpr std::string_view name = "bikt.dual_propagate_linear";
  static constexpr std::string_view summary = "A layer with and without propagation.";
  static constexpr Tolerance tolerance{.rtol = 1e-5, .atol = 2e-5};  // the order of BLAS's sums

  In<Index, 1> indptr = {};              // [n+1]
  In<Index, 1> indices = {};             // [nnz]
  In<Real, 2> x_host = {};               // [n, f]
  In<Real, 1> values = {};               // [nnz]
  Optional<In<Real, 2>> x_derived = {};  // [n, f]
  In<Real, 2> w = {};                    // [f, h]
  In<Real, 1> b = {};                    // [h]
  Out<Real, 2> y_host = {};              // [n, h]
  Out<Real, 2> y_derived = {};           // [n, h]
  Activation activation = Activation::relu;
  bool symmetric = true;

  void describe(Description& io) {
    graph::describe_pattern(io, indptr, indices);
    io.input(x_host, "x_host", "n f", "the host's rows", {.contiguous = true});
    io.input(values, "values", "nnz", "entries of the operator", {.contiguous = true});
    io.input(x_derived, "x_derived", "n f", "the derived model's rows; absent: x_host",
             {.contiguous = true});
    io.input(w, "w", "f h", "shared weights", {.contiguous = true});
    io.input(b, "b", "h", "shared offsets", {.contiguous = true});
    io.output(y_host, "y_host", "n h", "with propagation", {.contiguous = true});
    io.output(y_derived, "y_derived", "n h", "without", {.contiguous = true});
    io.attribute(activation, "activation", "applied to both");
    io.attribute(symmetric, "symmetric", "promises A = A^T: the backward needs no transpose");
  }
  void validate(const Check& check) const { graph::require_csr(check, indptr, indices.extent(0)); }
  Cost cost() const {
    const auto out = static_cast<double>(y_host.size());
    const double product = 2 * out * static_cast<double>(w.extent(0));
    return {product * (x_derived ? 2 : 1) + 2 * static_cast<double>(indices.size() * w.extent(1)) +
                6 * out,
            sizeof(Real) * (static_cast<double>(x_host.size()) + 3 * out), true};
  }
  void run(const Context& ctx) const {
    Workspace::Scope scratch(ctx.workspace());
    const auto u = detail::scratch_matrix<Real>(scratch, x_host.extent(0), w.extent(1));
    gemm(ctx, Real(1), x_host, w, Real(0), u);
    graph::kernels::spmm<Real, Index>(ctx, view(), Real(1), u.data_handle(), w.extent(1), Real(0),
                                      nullptr, y_host.data_handle());
    if (x_derived) {
      gemm(ctx, Real(1), *x_derived, w, Real(0), y_derived);
    } else {
      std::copy_n(u.data_handle(), u.size(), y_derived.data_handle());
    }
    detail::finish_layer<Real>(activation, b, y_host);
    detail::finish_layer<Real>(activation, b, y_derived);
  }
  void reference() const {
    std::vector<Real> memory(static_cast<std::size_t>(y_host.size()));
    const Out<Real, 2> u(memory.data(), {x_host.extent(0), w.extent(1)});
    detail::plain_gemm<Real>(x_host, w, u);
    graph::reference::spmm<Real, Index>(view(), Real(1), u, Real(0), nullptr, y_host);
    detail::plain_gemm<Real>(x_derived ? *x_derived : x_host, w, y_derived);
    detail::finish_layer<Real>(activation, b, y_host);
    detail::finish_layer<Real>(activation, b, y_derived);
  }
  static void arbitrary(Arbitrary& random) {
    graph::arbitrary_square_csr(random);
    random.call.attributes["symmetric"] = false;
  }

 private:
  graph::CsrView<Real, Index> view() const {
    return graph::csr_view<Real>(indptr, indices, values.data_handle(), x_host.extent(0));
  }
};

static_assert(OperatorStruct<DualPropagateLinear<float, std::int32_t>>);
inline constexpr IndexedFunction<DualPropagateLinear> dual_propagate_linear;

/// Gradient of dual_propagate_linear. Without x_derived, d_x_host is the sum of both branches and
/// d_x_derived is what the derived branch contributed to it.
template <class Real, class Index>
struct DualPropagateLinearBackward {
  static constexpr std::string_view name = "bikt.dual_propagate_linear_backward";
  static constexpr std::string_view summary = "Gradient of dual_propagate_linear.";
  static constexpr Tolerance tolerance{.rtol = 1e-5, .atol = 1e-4};  // the order of BLAS's sums

  In<Index, 1> indptr = {};              // [n+1]
  In<Index, 1> indices = {};             // [nnz]
  In<Real, 2> x_host = {};               // [n, f]
  In<Real, 1> values = {};               // [nnz]
  Optional<In<Real, 2>> x_derived = {};  // [n, f]
  In<Real, 2> w = {};                    // [f, h]
  In<Real, 2> y_host = {};               // [n, h]
  In<Real, 2> y_derived = {};            // [n, h]
  In<Real, 2> d_y_host = {};             // [n, h]
  In<Real, 2> d_y_derived = {};          // [n, h]
  Out<Real, 2> d_x_host = {};            // [n, f]
  Out<Real, 2> d_x_derived = {};         // [n, f]
  Out<Real, 2> d_w = {};                 // [f, h]
  Out<Real, 1> d_b = {};                 // [h]
  Activation activation = Activation::relu;
  bool symmetric = true;

  void describe(Description& io) {
    graph::describe_pattern(io, indptr, indices);
    io.input(x_host, "x_host", "n f", "the host's rows", {.contiguous = true});
    io.input(values, "values", "nnz", "entries of the operator", {.contiguous = true});
    io.input(x_derived, "x_derived", "n f", "the derived model's rows; absent: x_host",
             {.contiguous = true});
    io.input(w, "w", "f h", "shared weights", {.contiguous = true});
    io.input(y_host, "y_host", "n h", "from the forward", {.contiguous = true});
    io.input(y_derived, "y_derived", "n h", "from the forward", {.contiguous = true});
    io.input(d_y_host, "d_y_host", "n h", "gradient of y_host", {.contiguous = true});
    io.input(d_y_derived, "d_y_derived", "n h", "gradient of y_derived", {.contiguous = true});
    io.output(d_x_host, "d_x_host", "n f", "gradient of x_host", {.contiguous = true});
    io.output(d_x_derived, "d_x_derived", "n f", "gradient of x_derived", {.contiguous = true});
    io.output(d_w, "d_w", "f h", "gradient of w", {.contiguous = true});
    io.output(d_b, "d_b", "h", "gradient of b", {.contiguous = true});
    io.attribute(activation, "activation", "applied to both");
    io.attribute(symmetric, "symmetric", "promises A = A^T");
  }
  void validate(const Check& check) const { graph::require_csr(check, indptr, indices.extent(0)); }
  Cost cost() const {
    const auto out = static_cast<double>(y_host.size());
    return {8 * out * static_cast<double>(w.extent(0)) +
                2 * static_cast<double>(indices.size() * w.extent(1)) +
                2 * static_cast<double>(x_host.size()) + 8 * out,
            sizeof(Real) * (4 * static_cast<double>(x_host.size()) + 6 * out), true};
  }
  void run(const Context& ctx) const {
    Workspace::Scope scratch(ctx.workspace());
    const std::int64_t n = x_host.extent(0), h = w.extent(1);
    const auto a_host = detail::scratch_matrix<Real>(scratch, n, h);
    const auto a_derived = detail::scratch_matrix<Real>(scratch, n, h);
    const auto q = detail::scratch_matrix<Real>(scratch, n, h);
    before_activation(a_host, a_derived);
    const auto adjoint =
        symmetric ? view() : graph::kernels::transposed(scratch, view(), true).view(n);
    graph::kernels::spmm<Real, Index>(ctx, adjoint, Real(1), a_host.data_handle(), h, Real(0),
                                      nullptr, q.data_handle());
    gemm(ctx, Real(1), In<Real, 2>(q), transposed(w), Real(0), d_x_host);
    gemm(ctx, Real(1), In<Real, 2>(a_derived), transposed(w), Real(0), d_x_derived);
    if (x_derived) {
      gemm(ctx, Real(1), transposed(x_host), In<Real, 2>(q), Real(0), d_w);
      gemm(ctx, Real(1), transposed(*x_derived), In<Real, 2>(a_derived), Real(1), d_w);
    } else {
      for (std::int64_t i = 0; i < q.size(); ++i) q.data_handle()[i] += a_derived.data_handle()[i];
      gemm(ctx, Real(1), transposed(x_host), In<Real, 2>(q), Real(0), d_w);
      add_derived();
    }
    sum_offsets(a_host, a_derived);
  }
  void reference() const {
    const std::int64_t n = x_host.extent(0), h = w.extent(1);
    std::vector<Real> memory(static_cast<std::size_t>(3 * n * h));
    const Out<Real, 2> a_host(memory.data(), {n, h}), a_derived(memory.data() + n * h, {n, h}),
        q(memory.data() + 2 * n * h, {n, h});
    before_activation(a_host, a_derived);
    graph::reference::spmm_transposed<Real, Index>(view(), Real(1), a_host, q);
    detail::plain_gemm<Real>(q, transposed(w), d_x_host);
    detail::plain_gemm<Real>(a_derived, transposed(w), d_x_derived);
    detail::plain_gemm<Real>(transposed(x_host), q, d_w);
    detail::plain_gemm<Real>(transposed(x_derived ? *x_derived : x_host), a_derived, d_w, true);
    if (!x_derived) add_derived();
    sum_offsets(a_host, a_derived);
  }
  /// Symmetric operators are not drawn.
  static void arbitrary(Arbitrary& random) {
    graph::arbitrary_square_csr(random);
    random.call.attributes["symmetric"] = false;
  }

 private:
  graph::CsrView<Real, Index> view() const {
    return graph::csr_view<Real>(indptr, indices, values.data_handle(), x_host.extent(0));
  }
  void before_activation(Out<Real, 2> a_host, Out<Real, 2> a_derived) const {
    for (std::int64_t i = 0; i < a_host.size(); ++i) {
      a_host.data_handle()[i] =
          d_y_host.data_handle()[i] * slope(activation, y_host.data_handle()[i]);
      a_derived.data_handle()[i] =
          d_y_derived.data_handle()[i] * slope(activation, y_derived.data_handle()[i]);
    }
  }
  void add_derived() const {
    for (std::int64_t i = 0; i < d_x_host.size(); ++i) {
      d_x_host.data_handle()[i] += d_x_derived.data_handle()[i];
    }
  }
  void sum_offsets(In<Real, 2> a_host, In<Real, 2> a_derived) const {
    std::fill_n(d_b.data_handle(), d_b.size(), Real(0));
    detail::add_column_sums<Real>(a_host, d_b);
    detail::add_column_sums<Real>(a_derived, d_b);
  }
};

static_assert(OperatorStruct<DualPropagateLinearBackward<float, std::int32_t>>);
inline constexpr IndexedFunction<DualPropagateLinearBackward> dual_propagate_linear_backward;

/// The derived model of a two-layer host: a multilayer perceptron that needs no graph.
///
///     auto out = derived_forward(ctx, {.x = x, .w1 = w1, .b1 = b1, .w2 = w2, .b2 = b2});
template <class Real>
struct DerivedForward {
  static constexpr std::string_view name = "bikt.derived_forward";
  static constexpr std::string_view summary = "The derived model of a two-layer host.";
  static constexpr Tolerance tolerance{.rtol = 1e-5, .atol = 1e-4};  // the order of BLAS's sums

  In<Real, 2> x = {};        // [n, f]
  In<Real, 2> w1 = {};       // [f, h]
  In<Real, 1> b1 = {};       // [h]
  In<Real, 2> w2 = {};       // [h, c]
  In<Real, 1> b2 = {};       // [c]
  Out<Real, 2> hidden = {};  // [n, h]
  Out<Real, 2> logits = {};  // [n, c]
  Activation activation = Activation::relu;

  void describe(Description& io) {
    io.input(x, "x", "n f", "features", {.contiguous = true});
    io.input(w1, "w1", "f h", "first layer", {.contiguous = true});
    io.input(b1, "b1", "h", "its offsets", {.contiguous = true});
    io.input(w2, "w2", "h c", "second layer", {.contiguous = true});
    io.input(b2, "b2", "c", "its offsets", {.contiguous = true});
    io.output(hidden, "hidden", "n h", "after the activation", {.contiguous = true});
    io.output(logits, "logits", "n c", "logits", {.contiguous = true});
    io.attribute(activation, "activation", "between the layers");
  }
  Cost cost() const {
    const auto n = static_cast<double>(x.extent(0));
    return {n * (2 * static_cast<double>(w1.size() + w2.size()) +
                 4 * static_cast<double>(b1.size()) + static_cast<double>(b2.size())),
            sizeof(Real) * static_cast<double>(x.size() + hidden.size() + logits.size()), true};
  }
  void run(const Context& ctx) const {
    gemm(ctx, Real(1), x, w1, Real(0), hidden);
    detail::finish_layer<Real>(activation, b1, hidden);
    gemm(ctx, Real(1), In<Real, 2>(hidden), w2, Real(0), logits);
    detail::finish_layer<Real>(Activation::none, b2, logits);
  }
  void reference() const {
    detail::plain_gemm<Real>(x, w1, hidden);
    detail::finish_layer<Real>(activation, b1, hidden);
    detail::plain_gemm<Real>(hidden, w2, logits);
    detail::finish_layer<Real>(Activation::none, b2, logits);
  }
};

static_assert(OperatorStruct<DerivedForward<float>>);
inline constexpr Function<DerivedForward> derived_forward;

/// Gradient of derived_forward, from the logits and, if it is given, from the hidden rows.
template <class Real>
struct DerivedForwardBackward {
  static constexpr std::string_view name = "bikt.derived_forward_backward";
  static constexpr std::string_view summary = "Gradient of derived_forward.";
  static constexpr Tolerance tolerance{.rtol = 1e-5, .atol = 2e-4};  // the order of BLAS's sums

  In<Real, 2> x = {};                   // [n, f]
  In<Real, 2> w1 = {};                  // [f, h]
  In<Real, 2> w2 = {};                  // [h, c]
  In<Real, 2> hidden = {};              // [n, h]
  In<Real, 2> d_logits = {};            // [n, c]
  Optional<In<Real, 2>> d_hidden = {};  // [n, h]
  Out<Real, 2> d_x = {};                // [n, f]
  Out<Real, 2> d_w1 = {};               // [f, h]
  Out<Real, 1> d_b1 = {};               // [h]
  Out<Real, 2> d_w2 = {};               // [h, c]
  Out<Real, 1> d_b2 = {};               // [c]
  Activation activation = Activation::relu;

  void describe(Description& io) {
    io.input(x, "x", "n f", "features", {.contiguous = true});
    io.input(w1, "w1", "f h", "first layer", {.contiguous = true});
    io.input(w2, "w2", "h c", "second layer", {.contiguous = true});
    io.input(hidden, "hidden", "n h", "from the forward", {.contiguous = true});
    io.input(d_logits, "d_logits", "n c", "gradient of logits", {.contiguous = true});
    io.input(d_hidden, "d_hidden", "n h", "gradient of hidden, 0 when absent",
             {.contiguous = true});
    io.output(d_x, "d_x", "n f", "gradient of x", {.contiguous = true});
    io.output(d_w1, "d_w1", "f h", "gradient of w1", {.contiguous = true});
    io.output(d_b1, "d_b1", "h", "gradient of b1", {.contiguous = true});
    io.output(d_w2, "d_w2", "h c", "gradient of w2", {.contiguous = true});
    io.output(d_b2, "d_b2", "c", "gradient of b2", {.contiguous = true});
    io.attribute(activation, "activation", "between the layers");
  }
  Cost cost() const {
    const auto n = static_cast<double>(x.extent(0));
    return {n * (4 * static_cast<double>(w1.size() + w2.size()) +
                 4 * static_cast<double>(w1.extent(1)) + static_cast<double>(w2.extent(1))),
            sizeof(Real) * 2 * static_cast<double>(x.size() + hidden.size() + d_logits.size()),
            true};
  }
  void run(const Context& ctx) const {
    Workspace::Scope scratch(ctx.workspace());
    backward(detail::scratch_matrix<Real>(scratch, x.extent(0), w1.extent(1)),
             [&](In<Real, 2> a, In<Real, 2> b, Out<Real, 2> c) {
               gemm(ctx, Real(1), a, b, Real(0), c);
             });
  }
  void reference() const {
    std::vector<Real> memory(static_cast<std::size_t>(hidden.size()));
    backward(
        Out<Real, 2>(memory.data(), {x.extent(0), w1.extent(1)}),
        [](In<Real, 2> a, In<Real, 2> b, Out<Real, 2> c) { detail::plain_gemm<Real>(a, b, c); });
  }

 private:
  template <class Product>
  void backward(Out<Real, 2> d_h, Product&& product) const {
    product(d_logits, transposed(w2), d_h);
    for (std::int64_t i = 0; i < d_h.size(); ++i) {
      Real& gradient = d_h.data_handle()[i];
      if (d_hidden) gradient += d_hidden->data_handle()[i];
      gradient *= slope(activation, hidden.data_handle()[i]);
    }
    product(d_h, transposed(w1), d_x);
    product(transposed(x), d_h, d_w1);
    product(transposed(hidden), d_logits, d_w2);
    std::fill_n(d_b1.data_handle(), d_b1.size(), Real(0));
    std::fill_n(d_b2.data_handle(), d_b2.size(), Real(0));
    detail::add_column_sums<Real>(d_h, d_b1);
    detail::add_column_sums<Real>(d_logits, d_b2);
  }
};

static_assert(OperatorStruct<DerivedForwardBackward<float>>);
inline constexpr Function<DerivedForwardBackward> derived_forward_backward;

}  // namespace researchkit::bikt
