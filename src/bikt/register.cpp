#include "researchkit/bikt/operators.hpp"
#include "researchkit/core/registry.hpp"

namespace researchkit::bikt {

void register_bikt(Registry& registry) {
  registry.add<DistillKl>();
  registry.add<DistillKlBackward>();
  registry.add<ConfidenceGate>();
  registry.add<BiktTransferLoss>();
  registry.add<BiktTransferLossBackward>();
  registry.add<ClassPrototypes>();
  registry.add<ClassPrototypesBackward>();
  registry.add<PrototypeAlignLoss>();
  registry.add<PrototypeAlignLossBackward>();
  registry.add<DualPropagateLinear>();
  registry.add<DualPropagateLinearBackward>();
  registry.add<DerivedForward>();
  registry.add<DerivedForwardBackward>();
  registry.add<FagcnAggregate>();
  registry.add<FagcnAggregateBackward>();
  registry.add<BiktHost>();
}

}  // namespace researchkit::bikt
