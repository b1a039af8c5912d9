#include "researchkit/core/registry.hpp"
#include "researchkit/graph/operators.hpp"

namespace researchkit::graph {

void register_graph(Registry& registry) {
  registry.add<CooToCsr>();
  registry.add<GraphNorm>();
  registry.add<RowNormalize>();
  registry.add<Spmm>();
  registry.add<SpmmBackward>();
  registry.add<Sddmm>();
  registry.add<SddmmBackward>();
  registry.add<EdgeSoftmaxAggregate>();
  registry.add<EdgeSoftmaxAggregateBackward>();
  registry.add<LogSoftmaxNll>();
  registry.add<LogSoftmaxNllBackward>();
  registry.add<Dropout>();
  registry.add<DropoutBackward>();
  registry.add<AdamStep>();
}

}  // namespace researchkit::graph
