#include "researchkit/core/registry.hpp"
#include "researchkit/dynapipe/operators.hpp"

namespace researchkit::dynapipe {

void register_dynapipe(Registry& registry) {
  registry.add<FlanLengths>();
  registry.add<OrderSamples>();
  registry.add_ranks<ProfileInterp<2>, ProfileInterp<3>>();
  registry.add<WindowCosts>();
  registry.add<MicrobatchDp>();
  registry.add<BalancedPartition>();
  registry.add<MakeSchedule>();
  registry.add<SimulateSchedule>();
  registry.add<ReorderMicrobatches>();
  registry.add<PlanCommunication>();
  registry.add<CheckDeadlock>();
  registry.add<LowerPlan>();
  registry.add<PackNextFit>();
  registry.add<TokenMicrobatches>();
  registry.add<PaddingStatistics>();
  registry.add<TransformerCost>();
  registry.add<MlpStage>();
  registry.add<MlpStageBackward>();
  registry.add<MaskedLoss>();
  registry.add<MaskedLossBackward>();
}

}  // namespace researchkit::dynapipe
