#include "researchkit/core/registry.hpp"
#include "researchkit/nfgnn/operators.hpp"

namespace researchkit::nfgnn {

void register_nfgnn(Registry& registry) {
  registry.add<Propagate>();
  registry.add<PropagateBackward>();
  registry.add<NodeFilterCoefficients>();
  registry.add<NodeFilterCoefficientsBackward>();
  registry.add<NodeVariantFilter>();
  registry.add<NodeVariantFilterBackward>();
  registry.add<NodeOrientedFilter>();
  registry.add<NodeOrientedFilterBackward>();
  registry.add<NfgnnModelStep>();
  registry.add<NfgnnModelStepBackward>();
}

}  // namespace researchkit::nfgnn
