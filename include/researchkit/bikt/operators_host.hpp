#pragma once

#include <fmt/format.h>

#include "researchkit/bikt/hosts.hpp"
#include "researchkit/core/blas.hpp"
#include "researchkit/graph/build.hpp"
#include "researchkit/graph/checks.hpp"
#include "researchkit/graph/dense.hpp"
#include "researchkit/graph/reference.hpp"
#include "researchkit/graph/reference_build.hpp"
#include "researchkit/graph/sparse.hpp"

namespace researchkit::bikt {

/// A host and its derived model in evaluation mode: logits with the graph, and with every propagation
/// taken out of the same weights.
///
///     researchkit run bikt.bikt_host host=gat indptr=... indices=... x=... w1=... ...
///
/// The graph is the raw adjacency; each host normalises it as its paper does. The weights are named
/// tensors, those of weights_of(host) and no others. A composition on dense features, without gradient.
template <class Real, class Index>
struct BiktHost {
  static constexpr std::string_view name = "bikt.bikt_host";
  static constexpr std::string_view summary = "Logits of a host and of its derived model.";
  static constexpr Tolerance tolerance{.rtol = 1e-4, .atol = 1e-4};  // the order of BLAS's sums

  In<Index, 1> indptr = {};          // [n+1]
  In<Index, 1> indices = {};         // [nnz]
  In<Real, 2> x = {};                // [n, f]
  InMap<Real> weights = {};          // as weights_of says
  Out<Real, 2> logits = {};          // [n, c]
  Out<Real, 2> derived_logits = {};  // [n, c]
  Host host = Host::gcn;

  void describe(Description& io) {
    graph::describe_pattern(io, indptr, indices);
    io.input(x, "x", "n f", "features", {.contiguous = true});
    io.input(weights, "weights", "", "the host's weights", {.contiguous = true});
    io.output(logits, "logits", "n c", "with the graph", {.contiguous = true});
    io.output(derived_logits, "derived_logits", "n c", "without", {.contiguous = true});
    io.attribute(host, "host", "which network");
  }
  void validate(const Check& check) const {
    graph::require_csr(check, indptr, indices.extent(0));
    unify(&check);
  }
  void infer(Extents& extents) const { extents.set("c", unify(nullptr).find("c").value_or(0)); }
  /// An upper bound: ten propagations and products of the widest rows.
  Cost cost() const {
    double weight_count = 0, widest = static_cast<double>(x.extent(1));
    for (const auto& [label, tensor] : weights) {
      weight_count += static_cast<double>(tensor.size());
      widest = std::max(widest, static_cast<double>(tensor.shape().back()));
    }
    const auto n = static_cast<double>(x.extent(0));
    const auto entries = static_cast<double>(indices.size()) + n;
    return {4 * n * weight_count + 30 * (entries + n) * widest, n * weight_count, true};
  }
  void run(const Context& ctx) const {
    HostBackend<Real> backend;
    backend.product = [&](In<Real, 2> a, In<Real, 2> b, Out<Real, 2> c) {
      gemm(ctx, Real(1), a, b, Real(0), c);
    };
    const auto p = graph::kernels::graph_norm<Real, Index>(ctx, adjacency(), mode(), self_loop());
    const graph::CsrView<Real, Index> view{p.indptr.data(), p.indices.data(), p.values.data(),
                                           x.extent(0), x.extent(0)};
    const auto operated = host == Host::gin ? adjacency() : view;
    backend.propagate = [&](const Dense<Real>& a) {
      Dense<Real> y(a.rows, a.columns);
      graph::kernels::spmm<Real, Index>(ctx, operated, Real(1), a.values.data(), a.columns, Real(0),
                                        nullptr, y.values.data());
      return y;
    };
    backend.attend = [&](const Dense<Real>& h, const Dense<Real>& s_src, const Dense<Real>& s_dst,
                         std::int64_t heads) {
      if (host == Host::fagcn) return signed_sum(h, s_src, s_dst);
      Dense<Real> y(h.rows, h.columns), alpha(view.entries(), heads);
      graph::kernels::edge_softmax<Real, Index>(
          ctx, view, heads, h.columns / heads, 0.2, h.values.data(), s_src.values.data(),
          s_dst.values.data(), y.values.data(), alpha.values.data());
      return y;
    };
    write(backend);
  }
  void reference() const {
    HostBackend<Real> backend;
    backend.product = [](In<Real, 2> a, In<Real, 2> b, Out<Real, 2> c) {
      for (std::int64_t i = 0; i < c.extent(0); ++i) {
        for (std::int64_t j = 0; j < c.extent(1); ++j) {
          Real sum = 0;
          for (std::int64_t k = 0; k < a.extent(1); ++k) sum += a(i, k) * b(k, j);
          c(i, j) = sum;
        }
      }
    };
    const auto p = graph::reference::graph_norm<Real, Index>(adjacency(), mode(), self_loop());
    const graph::CsrView<Real, Index> view{p.indptr.data(), p.indices.data(), p.values.data(),
                                           x.extent(0), x.extent(0)};
    const auto operated = host == Host::gin ? adjacency() : view;
    backend.propagate = [&](const Dense<Real>& a) {
      Dense<Real> y(a.rows, a.columns);
      graph::reference::spmm<Real, Index>(operated, Real(1), a.view(), Real(0), nullptr, y.view());
      return y;
    };
    backend.attend = [&](const Dense<Real>& h, const Dense<Real>& s_src, const Dense<Real>& s_dst,
                         std::int64_t heads) {
      return host == Host::fagcn ? signed_sum(h, s_src, s_dst)
                                 : attention(view, h, s_src, s_dst, heads);
    };
    write(backend);
  }
  static void arbitrary(Arbitrary& random) {
    graph::arbitrary_square_csr(random);
    const Host host = static_cast<Host>(random.integer(0, 7));
    random.call.attributes["host"] = std::string(name_of(host));
    SymbolTable sizes;
    sizes.set("f", random.size("f"));
    for (const char* symbol : {"h", "h1", "h2", "h3", "c", "m", "d", "l", "heads"}) {
      sizes.set(symbol, random.integer(1, 4));
    }
    for (const WeightShape& weight : weights_of(host)) {
      Shape shape;
      for (const Expression& axis : parse_shape(weight.shape))
        shape.push_back(*axis.evaluate(sizes));
      Tensor tensor(random.call.inputs.at("x").dtype(), shape);
      visit_dtype(tensor.dtype(), [&]<class T>(T) {
        for (T& value : tensor.values<T>()) value = static_cast<T>(0.5 * random.normal());
      });
      random.call.inputs.set(std::string(weight.name), tensor);
    }
  }

 private:
  graph::CsrView<Real, Index> adjacency() const {
    return graph::csr_view<Real, Index>(indptr, indices, nullptr, x.extent(0));
  }
  graph::Normalization mode() const {
    if (host == Host::sage) return graph::Normalization::rw;
    return host == Host::gat ? graph::Normalization::none : graph::Normalization::sym;
  }
  double self_loop() const { return host == Host::sage ? 0 : 1; }

  /// The sizes that the weights agree on. Refuses, if `check` is given, what is missing, of another shape, or
  /// of a name that the host has no weight for.
  SymbolTable unify(const Check* check) const {
    SymbolTable sizes;
    sizes.set("f", x.extent(1));
    const auto expected = weights_of(host);
    for (const WeightShape& weight : expected) {
      const Tensor* tensor = weights.find(weight.name);
      const auto axes = parse_shape(weight.shape);
      bool fits = tensor != nullptr && tensor->shape().size() == axes.size();
      for (std::size_t axis = 0; fits && axis < axes.size(); ++axis) {
        const std::int64_t extent = tensor->extent(static_cast<int>(axis));
        if (const auto known = axes[axis].evaluate(sizes)) {
          fits = *known == extent;
        } else if (const auto solved = axes[axis].solve(sizes, extent)) {
          fits = solved->second >= 1;
          sizes.set(solved->first, solved->second);
        } else {
          fits = false;
        }
      }
      if (!fits && check != nullptr) {
        check->refuse(weight.name, fmt::format("a tensor of shape [{}]", weight.shape),
                      tensor == nullptr ? "none" : "shape " + to_string(tensor->shape()));
      }
    }
    for (const auto& [label, tensor] : weights) {
      const bool known =
          std::any_of(expected.begin(), expected.end(),
                      [&, &label = label](const auto& w) { return w.name == label; });
      if (!known && check != nullptr) {
        check->refuse(label, "a weight of the host", "a tensor of another name");
      }
    }
    return sizes;
  }

  /// FAGCN's sum of neighbours, without the first features.
  Dense<Real> signed_sum(const Dense<Real>& h, const Dense<Real>& s_src,
                         const Dense<Real>& s_dst) const {
    using std::tanh;
    const auto a = adjacency();
    const auto factor = [&](std::int64_t i) {
      return 1 / std::sqrt(static_cast<double>(std::max<std::int64_t>(a.end(i) - a.begin(i), 1)));
    };
    Dense<Real> y(h.rows, h.columns);
    for (std::int64_t i = 0; i < a.rows; ++i) {
      for (std::int64_t e = a.begin(i); e < a.end(i); ++e) {
        const std::int64_t j = a.column(e);
        const Real weight = tanh(s_dst(i, 0) + s_src(j, 0)) * Real(factor(i) * factor(j));
        for (std::int64_t c = 0; c < h.columns; ++c) y(i, c) += weight * h(j, c);
      }
    }
    return y;
  }
  static Dense<Real> attention(const graph::CsrView<Real, Index>& a, const Dense<Real>& h,
                               const Dense<Real>& s_src, const Dense<Real>& s_dst,
                               std::int64_t heads) {
    using std::exp;
    const std::int64_t d = h.columns / heads;
    Dense<Real> y(h.rows, h.columns);
    for (std::int64_t i = 0; i < a.rows; ++i) {
      for (std::int64_t head = 0; head < heads; ++head) {
        const auto score = [&](std::int64_t e) {
          const Real q = s_dst(i, head) + s_src(a.column(e), head);
          return q >= Real(0) ? q : Real(0.2) * q;
        };
        Real largest = Real(-HUGE_VAL), sum = 0;
        for (std::int64_t e = a.begin(i); e < a.end(i); ++e) largest = std::max(largest, score(e));
        for (std::int64_t e = a.begin(i); e < a.end(i); ++e) sum += exp(score(e) - largest);
        for (std::int64_t e = a.begin(i); e < a.end(i); ++e) {
          const Real weight = exp(score(e) - largest) / sum;
          for (std::int64_t c = 0; c < d; ++c) {
            y(i, head * d + c) += weight * h(a.column(e), head * d + c);
          }
        }
      }
    }
    return y;
  }
  void write(HostBackend<Real>& backend) const {
    Dense<Real> features(x.extent(0), x.extent(1));
    std::copy_n(x.data_handle(), x.size(), features.values.begin());
    for (const bool derived : {false, true}) {
      backend.derived = derived;
      const Dense<Real> z = HostForward<Real>(backend, weights)(host, features);
      const Out<Real, 2>& to = derived ? derived_logits : logits;
      std::copy(z.values.begin(), z.values.end(), to.data_handle());
    }
  }
};

static_assert(OperatorStruct<BiktHost<float, std::int32_t>>);
inline constexpr IndexedFunction<BiktHost> bikt_host;

}  // namespace researchkit::bikt
