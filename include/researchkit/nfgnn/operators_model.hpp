#pragma once

#include "researchkit/core/blas.hpp"
#include "researchkit/graph/dense.hpp"
#include "researchkit/graph/reference.hpp"
#include "researchkit/nfgnn/operators_filter.hpp"

namespace researchkit::nfgnn {

namespace detail {

/// The arguments of nfgnn_model and its backward.
template <class Real, class Index>
struct ModelArguments {
  In<Index, 1> indptr = {};       // [n+1]
  In<Index, 1> indices = {};      // [nnz]
  In<Real, 2> x = {};             // [n, f]
  In<Real, 1> values = {};        // [nnz]
  In<Real, 2> w1 = {};            // [f, hidden]
  In<Real, 1> b1 = {};            // [hidden]
  In<Real, 2> w2 = {};            // [hidden, c]
  In<Real, 1> b2 = {};            // [c]
  In<Real, 3> w = {};             // [K+1 or 1, c, R]
  In<Real, 2> b = {};             // [K+1 or 1, R]
  In<Real, 2> gamma = {};         // [R, K+1]
  In<Index, 1> labels = {};       // [n]
  In<std::uint8_t, 1> mask = {};  // [n]
  std::int64_t K = 10;
  std::int64_t rank = 3;
  std::int64_t hidden = 64;

  void describe_inputs(Description& io) {
    io.dimension("c", "[1, inf)", "classes");
    graph::describe_pattern(io, indptr, indices);
    io.input(x, "x", "n f", "features", {.contiguous = true});
    io.input(values, "values", "nnz", "entries of the symmetric operator", {.contiguous = true});
    io.input(w1, "w1", "f hidden", "first layer", {.contiguous = true});
    io.input(b1, "b1", "hidden", "its offsets", {.contiguous = true});
    io.input(w2, "w2", "hidden c", "second layer", {.contiguous = true});
    io.input(b2, "b2", "c", "its offsets", {.contiguous = true});
    io.input(w, "w", "w_orders c rank", "projections", {.contiguous = true});
    io.input(b, "b", "b_orders rank", "their offsets", {.contiguous = true});
    io.input(gamma, "gamma", "rank K+1", "global part", {.contiguous = true});
    io.input(labels, "labels", "n", "class of each node, in [0, c) where masked",
             {.contiguous = true});
    io.input(mask, "mask", "n", "nodes whose loss counts", {.contiguous = true});
  }
  void describe_attributes(Description& io) {
    io.attribute(K, "K", "highest order of the filter", {.in = "[0, 1024]"});
    io.attribute(rank, "rank", "rank of the coefficients", {.in = "[1, inf)"});
    io.attribute(hidden, "hidden", "width of the first layer", {.in = "[0, inf)"});
  }
  void validate(const Check& check) const {
    graph::require_csr(check, indptr, indices.extent(0));
    graph::require_labels(check, labels, mask, b2.extent(0));
    require_orders(check, w, b, K + 1);
  }
  graph::CsrView<Real, Index> view() const {
    return graph::csr_view<Real>(indptr, indices, values.data_handle(), x.extent(0));
  }
  reference::Parameters<Real> parameters() const {
    return parameters_of(w, b, gamma, Gate::tanh, true);
  }
  double flops() const {
    const auto n = static_cast<double>(x.extent(0)), c = static_cast<double>(b2.extent(0));
    const auto f = static_cast<double>(x.extent(1)), width = static_cast<double>(hidden);
    return 2 * n * width * (f + c) +
           static_cast<double>(K + 1) * (2 * static_cast<double>(indices.extent(0)) * c +
                                         n * static_cast<double>(rank) * (2 * c + 4) + 6 * n * c);
  }
  static void arbitrary(Arbitrary& random) {
    random.sizes.set("K", random.integer(0, 3));
    random.sizes.set("rank", random.integer(1, 3));
    random.sizes.set("hidden", random.integer(0, 9));
    for (const char* name : {"K", "rank", "hidden"}) {
      random.call.attributes[name] = random.size(name);
      random.resize(name, random.size(name));
    }
    graph::arbitrary_square_csr(random);
    graph::arbitrary_labels(random);
    arbitrary_orders(random, random.size("K") + 1);
    make_symmetric(random);
  }

 private:
  /// The model promises a symmetric operator: a diagonal one is.
  static void make_symmetric(Arbitrary& random) {
    const Tensor* old = random.call.inputs.find("indptr");
    const std::int64_t n = old->extent(0) - 1;
    random.resize("nnz", n);
    Tensor indptr(old->dtype(), {n + 1}), indices(old->dtype(), {n});
    visit_dtype(indptr.dtype(), [&]<class T>(T) {
      for (std::int64_t i = 0; i <= n; ++i) {
        indptr.values<T>()[static_cast<std::size_t>(i)] = static_cast<T>(i);
        if (i < n) indices.values<T>()[static_cast<std::size_t>(i)] = static_cast<T>(i);
      }
    });
    random.call.inputs.set("indptr", indptr);
    random.call.inputs.set("indices", indices);
    contract(random);
  }
};

/// What a forward pass of the model leaves for the backward.
template <class Real, class Index>
struct ModelState {
  TensorView<Real, 2> h1, logits, y;  // [n, hidden], [n, c] twice
  std::vector<Real*> t;
  Real* eta;
  std::int64_t stride;

  ModelState(const Context& ctx, Workspace::Scope& scratch, const ModelArguments<Real, Index>& m) {
    const std::int64_t n = m.x.extent(0), c = m.b2.extent(0);
    stride = padded_columns(c);
    const auto matrix = [&](std::int64_t columns) {
      const auto memory = scratch.allocate<Real>(static_cast<std::size_t>(n * columns));
      return TensorView<Real, 2>(memory.data(), {n, columns});
    };
    h1 = matrix(m.hidden);
    logits = matrix(c);
    y = matrix(c);
    gemm(ctx, Real(1), m.x, m.w1, Real(0), h1);
    parallel_for(ctx, n, 512, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        for (std::int64_t j = 0; j < m.hidden; ++j) {
          h1(i, j) = std::max(h1(i, j) + m.b1(j), Real(0));
        }
      }
    });
    gemm(ctx, Real(1), In<Real, 2>(h1), m.w2, Real(0), logits);
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = 0; j < c; ++j) logits(i, j) += m.b2(j);
    }
    t = order_buffers<Real>(scratch, m.K + 1, n * stride);
    eta = scratch.allocate<Real>(static_cast<std::size_t>(n * (m.K + 1))).data();
    Real* const sum = scratch.allocate<Real>(static_cast<std::size_t>(n * stride)).data();
    copy_columns<Real>(ctx, logits.data_handle(), c, n, t[0], stride);
    filter_forward<Real, Index>(ctx, m.view(), coefficients_of(m.parameters(), n, stride),
                                Basis::chebyshev, t, eta, sum);
    copy_columns<Real>(ctx, sum, stride, n, y.data_handle(), c);
  }
};

/// The same in plain loops.
template <class Real, class Index>
struct ReferenceModel {
  std::vector<Real> h1, logits, y, eta;
  reference::Stack<Real> t{0, 0, 0};

  explicit ReferenceModel(const ModelArguments<Real, Index>& m)
      : h1(static_cast<std::size_t>(m.x.extent(0) * m.hidden)),
        logits(static_cast<std::size_t>(m.x.extent(0) * m.b2.extent(0))),
        y(logits.size()),
        eta(static_cast<std::size_t>(m.x.extent(0) * (m.K + 1))) {
    const std::int64_t n = m.x.extent(0), c = m.b2.extent(0);
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = 0; j < m.hidden; ++j) {
        Real sum = m.b1(j);
        for (std::int64_t k = 0; k < m.x.extent(1); ++k) sum += m.x(i, k) * m.w1(k, j);
        h1[static_cast<std::size_t>(i * m.hidden + j)] = sum > Real(0) ? sum : Real(0);
      }
      for (std::int64_t j = 0; j < c; ++j) {
        Real sum = m.b2(j);
        for (std::int64_t k = 0; k < m.hidden; ++k) {
          sum += h1[static_cast<std::size_t>(i * m.hidden + k)] * m.w2(k, j);
        }
        logits[static_cast<std::size_t>(i * c + j)] = sum;
      }
    }
    const In<Real, 2> signal(logits.data(), {n, c});
    t = reference::propagate<Real, Index>(m.view(), signal, m.K + 1, Basis::chebyshev);
    const Out<Real, 2> coefficients(eta.data(), {n, m.K + 1});
    reference::coefficients(t, m.parameters(), coefficients);
    reference::weighted_sum<Real>(t, coefficients, Out<Real, 2>(y.data(), {n, c}));
  }
};

/// y - log sum exp(y) of each row.
template <class Real>
void log_softmax_rows(In<Real, 2> y, Out<Real, 2> log_probs) {
  using std::exp, std::log;
  for (std::int64_t i = 0; i < y.extent(0); ++i) {
    Real largest = y(i, 0), sum = 0;
    for (std::int64_t j = 1; j < y.extent(1); ++j) largest = std::max(largest, y(i, j));
    for (std::int64_t j = 0; j < y.extent(1); ++j) sum += exp(y(i, j) - largest);
    const Real log_sum = log(sum);
    for (std::int64_t j = 0; j < y.extent(1); ++j) log_probs(i, j) = (y(i, j) - largest) - log_sum;
  }
}

}  // namespace detail

/// The whole NFGNN in evaluation mode: two dense layers, the node-oriented filter over their logits,
/// log-softmax and the cross entropy of the masked nodes.
///
/// A composition of operators on dense features, for checks and small data; NfgnnModel trains, with
/// sparse features and without allocating.
template <class Real, class Index>
struct NfgnnModelStep : detail::ModelArguments<Real, Index> {
  static constexpr std::string_view name = "nfgnn.nfgnn_model";
  static constexpr std::string_view summary = "Log probabilities and loss of a whole NFGNN.";
  static constexpr Tolerance tolerance{.rtol = 1e-5, .atol = 1e-5};  // as node_oriented_filter

  Out<Real, 2> log_probs = {};  // [n, c]
  Out<Real, 1> loss = {};       // [1]

  void describe(Description& io) {
    this->describe_inputs(io);
    io.output(log_probs, "log_probs", "n c", "log probabilities", {.contiguous = true});
    io.output(loss, "loss", "1", "mean over the masked nodes", {.contiguous = true});
    this->describe_attributes(io);
  }
  Cost cost() const { return {this->flops(), this->flops(), true}; }
  void run(const Context& ctx) const {
    Workspace::Scope scratch(ctx.workspace());
    const detail::ModelState<Real, Index> state(ctx, scratch, *this);
    detail::log_softmax_rows<Real>(state.y, log_probs);
    loss(0) = graph::kernels::log_softmax_nll<Real, Index>(
        ctx, state.y, this->labels.data_handle(), this->mask.data_handle(), graph::Reduction::mean);
  }
  void reference() const {
    const detail::ReferenceModel<Real, Index> model(*this);
    const std::int64_t n = this->x.extent(0), c = this->b2.extent(0);
    detail::log_softmax_rows<Real>(In<Real, 2>(model.y.data(), {n, c}), log_probs);
    Real sum = 0;
    std::int64_t count = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      if (this->mask(i) == 0) continue;
      sum = sum - log_probs(i, static_cast<std::int64_t>(this->labels(i)));
      ++count;
    }
    loss(0) = count == 0 ? sum : sum / static_cast<Real>(count);
  }
};

static_assert(OperatorStruct<NfgnnModelStep<float, std::int32_t>>);

/// Gradients of nfgnn_model's loss with respect to all its parameters.
template <class Real, class Index>
struct NfgnnModelStepBackward : detail::ModelArguments<Real, Index> {
  static constexpr std::string_view name = "nfgnn.nfgnn_model_backward";
  static constexpr std::string_view summary = "Gradient of nfgnn_model.";
  static constexpr Tolerance tolerance{.rtol = 1e-4, .atol = 1e-4};  // as node_oriented_filter's

  In<Real, 1> d_loss = {};    // [1]
  Out<Real, 2> d_w1 = {};     // [f, hidden]
  Out<Real, 1> d_b1 = {};     // [hidden]
  Out<Real, 2> d_w2 = {};     // [hidden, c]
  Out<Real, 1> d_b2 = {};     // [c]
  Out<Real, 3> d_w = {};      // [K+1 or 1, c, R]
  Out<Real, 2> d_b = {};      // [K+1 or 1, R]
  Out<Real, 2> d_gamma = {};  // [R, K+1]

  void describe(Description& io) {
    this->describe_inputs(io);
    io.input(d_loss, "d_loss", "1", "gradient of the loss", {.contiguous = true});
    io.output(d_w1, "d_w1", "f hidden", "gradient of w1", {.contiguous = true});
    io.output(d_b1, "d_b1", "hidden", "gradient of b1", {.contiguous = true});
    io.output(d_w2, "d_w2", "hidden c", "gradient of w2", {.contiguous = true});
    io.output(d_b2, "d_b2", "c", "gradient of b2", {.contiguous = true});
    io.output(d_w, "d_w", "w_orders c rank", "gradient of w", {.contiguous = true});
    io.output(d_b, "d_b", "b_orders rank", "gradient of b", {.contiguous = true});
    io.output(d_gamma, "d_gamma", "rank K+1", "gradient of gamma", {.contiguous = true});
    this->describe_attributes(io);
  }
  Cost cost() const { return {3 * this->flops(), 3 * this->flops(), true}; }
  void run(const Context& ctx) const {
    Workspace::Scope scratch(ctx.workspace());
    const detail::ModelState<Real, Index> state(ctx, scratch, *this);
    const std::int64_t n = this->x.extent(0), c = this->b2.extent(0), stride = state.stride;
    const auto buffers = order_buffers<Real>(scratch, 3, n * stride);
    const auto d_t = order_buffers<Real>(scratch, this->K + 1, n * stride);
    const auto d_logits = scratch.allocate<Real>(static_cast<std::size_t>(n * c));
    const Out<Real, 2> d_z(d_logits.data(), {n, c});
    graph::kernels::log_softmax_nll_backward<Real, Index>(ctx, state.y, this->labels.data_handle(),
                                                          this->mask.data_handle(),
                                                          graph::Reduction::mean, d_loss(0), d_z);
    copy_columns<Real>(ctx, d_logits.data(), c, n, buffers[2], stride);
    const auto model = detail::coefficients_of(this->parameters(), n, stride);
    const ParameterGradients<Real> gradients(scratch, model);
    AdjointRecursion<Real, Index> recursion(this->view(), Basis::chebyshev, this->K + 1, stride,
                                            buffers[0], buffers[1]);
    filter_backward<Real, Index>(ctx, model, state.t, state.eta, buffers[2], nullptr, d_t,
                                 gradients, recursion);
    gradients.write(model, d_w.data_handle(), d_b.data_handle(), d_gamma.data_handle());
    copy_columns<Real>(ctx, recursion.result(), stride, n, d_logits.data(), c);

    const auto d_hidden = scratch.allocate<Real>(static_cast<std::size_t>(n * this->hidden));
    const Out<Real, 2> d_h(d_hidden.data(), {n, this->hidden});
    gemm(ctx, Real(1), In<Real, 2>(d_z), transposed(this->w2), Real(0), d_h);
    for (std::int64_t i = 0; i < d_h.size(); ++i) {
      if (!(state.h1.data_handle()[i] > 0)) d_h.data_handle()[i] = 0;
    }
    gemm(ctx, Real(1), transposed(In<Real, 2>(state.h1)), In<Real, 2>(d_z), Real(0), d_w2);
    gemm(ctx, Real(1), transposed(this->x), In<Real, 2>(d_h), Real(0), d_w1);
    column_sums(d_z, d_b2);
    column_sums(d_h, d_b1);
  }
  void reference() const {
    const detail::ReferenceModel<Real, Index> model(*this);
    const std::int64_t n = this->x.extent(0), c = this->b2.extent(0), hidden = this->hidden;
    std::int64_t count = 0;
    for (std::int64_t i = 0; i < n; ++i) count += this->mask(i) != 0 ? 1 : 0;
    std::vector<Real> d_y(static_cast<std::size_t>(n * c));
    for (std::int64_t i = 0; i < n; ++i) {
      if (this->mask(i) == 0) continue;
      graph::reference::nll_gradient(model.y.data() + i * c, c,
                                     static_cast<std::int64_t>(this->labels(i)),
                                     d_loss(0) / static_cast<Real>(count), d_y.data() + i * c);
    }
    reference::Stack<Real> d(this->K + 1, n, c);
    std::vector<Real> d_eta(model.eta.size());
    reference::weighted_sum_backward<Real>(model.t, In<Real, 2>(model.eta.data(), {n, this->K + 1}),
                                           In<Real, 2>(d_y.data(), {n, c}), d_eta, d);
    reference::coefficients_backward(model.t, this->parameters(), d_eta, d, d_w, d_b, d_gamma);
    reference::propagate_backward<Real, Index>(this->view(), Basis::chebyshev, d);
    for (const auto& [data, size] :
         {std::pair{d_w1.data_handle(), d_w1.size()}, std::pair{d_b1.data_handle(), d_b1.size()},
          std::pair{d_w2.data_handle(), d_w2.size()}, std::pair{d_b2.data_handle(), d_b2.size()}}) {
      std::fill_n(data, size, Real(0));
    }
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = 0; j < c; ++j) d_b2(j) += d(0, i, j);
      for (std::int64_t k = 0; k < hidden; ++k) {
        const Real h = model.h1[static_cast<std::size_t>(i * hidden + k)];
        Real sum = 0;
        for (std::int64_t j = 0; j < c; ++j) {
          d_w2(k, j) += h * d(0, i, j);
          sum += d(0, i, j) * this->w2(k, j);
        }
        if (!(h > Real(0))) continue;
        d_b1(k) += sum;
        for (std::int64_t f = 0; f < this->x.extent(1); ++f) d_w1(f, k) += this->x(i, f) * sum;
      }
    }
  }

 private:
  static void column_sums(Out<Real, 2> rows, Out<Real, 1> sums) {
    std::fill_n(sums.data_handle(), sums.size(), Real(0));
    for (std::int64_t i = 0; i < rows.extent(0); ++i) {
      for (std::int64_t j = 0; j < rows.extent(1); ++j) sums(j) += rows(i, j);
    }
  }
};

static_assert(OperatorStruct<NfgnnModelStepBackward<float, std::int32_t>>);

}  // namespace researchkit::nfgnn
