#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "researchkit/autograd/optimizers.hpp"
#include "researchkit/autograd/tape.hpp"
#include "researchkit/graph/csr.hpp"
#include "researchkit/graph/dense.hpp"

namespace researchkit::bikt {

using autograd::Tape;
using autograd::Variable;

/// How a host is run.
struct Pass {
  bool propagate = true;  ///< false: the derived model, every propagation taken out
  bool training = false;  ///< with dropout
  double dropout = 0;
  std::uint64_t seed = 0;
  std::int64_t step = 0;  ///< picks the masks

  /// The mask of one of the host's layers, `site` = 1, 2, ..., 31; that of the features is site 0. Both
  /// branches have masks of their own.
  graph::DropoutKey mask(std::int64_t site) const {
    const std::int64_t own = site == 0 ? 0 : 2 * site + (propagate ? 0 : 1);
    return {training ? dropout : 0, seed, static_cast<std::uint64_t>(step * 64 + own)};
  }
};

/// The features in one step, shared by both branches: one dropout mask, and one product with each
/// weight, however often it is asked for.
template <class Real>
class HostInput {
 public:
  /// Dropout acts on the stored values; zeros stay zero.
  HostInput(const Context& ctx, graph::Csr<Real> features, const graph::DropoutKey& mask);

  std::int64_t nodes() const { return features_.rows(); }
  std::int64_t columns() const { return features_.columns(); }
  /// X w of a weight [columns, d]: the same variable for the same weight, so that the gradients of both
  /// branches add up before they go through one product with the transpose.
  Variable times(Tape& tape, const Variable& w);

 private:
  struct Values;
  graph::Csr<Real> features_;
  std::shared_ptr<Values> values_;
  std::vector<std::pair<const Tensor*, Variable>> products_;
};

/// The graph as hosts see it: the adjacency, and the operators that they propagate with, made on first
/// use. Copies share them.
template <class Real>
class HostGraph {
 public:
  /// A graph without nodes, for derived models.
  HostGraph() : HostGraph(Context(), graph::Csr<Real>()) {}
  HostGraph(Context ctx, graph::Csr<Real> adjacency);

  const graph::Csr<Real>& adjacency() const { return state_->adjacency; }
  /// graph_norm of the adjacency.
  const graph::Csr<Real>& normalized(graph::Normalization mode, double self_loop) const;
  /// 1 / sqrt(degree) of each node, [nodes], degrees at least 1.
  const Tensor& inverse_root_degrees() const;

 private:
  struct State {
    Context ctx;
    graph::Csr<Real> adjacency;
    std::mutex mutex;
    std::map<std::pair<graph::Normalization, double>, graph::Csr<Real>> operators;
    Tensor inverse_root_degrees;
  };
  std::shared_ptr<State> state_;
};

/// What a pass gives.
struct HostOutput {
  Variable hidden;  ///< [nodes, d], what the last transformation takes, dropout done
  Variable logits;  ///< [nodes, classes]
};

/// A graph network that can be run with and without propagation. Whatever implements this is trained
/// by BiKT without further code:
///
///     class TwoHops : public DerivableHost<float> {
///       HostOutput forward(Tape& tape, const HostGraph<float>& graph, HostInput<float>& x,
///                          const Pass& pass) const override {
///         Variable h = x.times(tape, w_);
///         if (pass.propagate) {
///           const auto& p = graph.normalized(graph::Normalization::sym, 1);
///           h = propagate(tape, p, propagate(tape, p, h));
///         }
///         return {h, linear(tape, h, out_)};
///       }
///       ...
///     };
template <class Real = float>
class DerivableHost {
 public:
  virtual ~DerivableHost() = default;

  /// What is trained, by name.
  virtual std::vector<autograd::Parameter> parameters() const = 0;
  /// One pass on the tape. The derived model must not touch the graph, and uses the same parameters.
  virtual HostOutput forward(Tape& tape, const HostGraph<Real>& graph, HostInput<Real>& x,
                             const Pass& pass) const = 0;

 protected:
  DerivableHost() = default;
  DerivableHost(const DerivableHost&) = default;
  DerivableHost& operator=(const DerivableHost&) = default;
  DerivableHost(DerivableHost&&) noexcept = default;
  DerivableHost& operator=(DerivableHost&&) noexcept = default;
};

/// A host whose propagation is never on: a multilayer perceptron of its own, the line to compare
/// derived models with.
template <class Real = float>
class WithoutPropagation : public DerivableHost<Real> {
 public:
  explicit WithoutPropagation(std::shared_ptr<const DerivableHost<Real>> host)
      : host_(std::move(host)) {}
  std::vector<autograd::Parameter> parameters() const override { return host_->parameters(); }
  HostOutput forward(Tape& tape, const HostGraph<Real>& graph, HostInput<Real>& x,
                     const Pass& pass) const override {
    Pass without = pass;
    without.propagate = false;
    return host_->forward(tape, graph, x, without);
  }

 private:
  std::shared_ptr<const DerivableHost<Real>> host_;
};

}  // namespace researchkit::bikt
