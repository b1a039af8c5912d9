#pragma once

// The operator structs of this namespace and their free functions.
#include "researchkit/dynapipe/operators_communication.hpp"
#include "researchkit/dynapipe/operators_model.hpp"
#include "researchkit/dynapipe/operators_partition.hpp"
#include "researchkit/dynapipe/operators_samples.hpp"
#include "researchkit/dynapipe/operators_schedule.hpp"
#include "researchkit/dynapipe/operators_windows.hpp"

namespace researchkit {
class Registry;
}

namespace researchkit::dynapipe {

/// Registers every operator of this namespace.
void register_dynapipe(Registry& registry);

}  // namespace researchkit::dynapipe
