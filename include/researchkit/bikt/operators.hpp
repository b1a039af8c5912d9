#pragma once

// The operators of this namespace and their free functions.
#include "researchkit/bikt/operators_fagcn.hpp"
#include "researchkit/bikt/operators_host.hpp"
#include "researchkit/bikt/operators_layers.hpp"
#include "researchkit/bikt/operators_prototypes.hpp"
#include "researchkit/bikt/operators_transfer_loss.hpp"

namespace researchkit {
class Registry;
}

namespace researchkit::bikt {

/// Registers every operator of this namespace.
void register_bikt(Registry& registry);

}  // namespace researchkit::bikt
