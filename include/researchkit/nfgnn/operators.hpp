#pragma once

// The operators of this namespace and their free functions.
#include "researchkit/nfgnn/operators_filter.hpp"
#include "researchkit/nfgnn/operators_model.hpp"
#include "researchkit/nfgnn/operators_propagate.hpp"

namespace researchkit {
class Registry;
}

namespace researchkit::nfgnn {

/// Registers every operator of this namespace.
void register_nfgnn(Registry& registry);

}  // namespace researchkit::nfgnn
