#pragma once

#include "researchkit/bikt/layers.hpp"

namespace researchkit::bikt {

/// A host that tells the classes of graphs: its rows are sums over the nodes of each graph, of both
/// branches alike. Parameters are those of the host below; trained by
///
///     Trainer trainer(ctx, std::make_shared<PooledHost<float>>(host, graphs.members), graph, graphs, split, {});
template <class Real = float>
class PooledHost : public DerivableHost<Real> {
 public:
  /// `members` [graphs, nodes] has 1 where a node is the graph's.
  PooledHost(std::shared_ptr<const DerivableHost<Real>> host, graph::Csr<Real> members)
      : host_(std::move(host)), members_(std::move(members)) {}

  std::vector<autograd::Parameter> parameters() const override { return host_->parameters(); }
  HostOutput forward(Tape& tape, const HostGraph<Real>& graph, HostInput<Real>& x,
                     const Pass& pass) const override {
    const HostOutput nodes = host_->forward(tape, graph, x, pass);
    return {propagate(tape, members_, nodes.hidden), propagate(tape, members_, nodes.logits)};
  }

 private:
  std::shared_ptr<const DerivableHost<Real>> host_;
  graph::Csr<Real> members_;
};

}  // namespace researchkit::bikt
