#pragma once

// The operator structs of this namespace and their free functions.
#include "researchkit/fusefps/operators_demo.hpp"
#include "researchkit/fusefps/operators_grouping.hpp"
#include "researchkit/fusefps/operators_quality.hpp"
#include "researchkit/fusefps/operators_ragged.hpp"
#include "researchkit/fusefps/operators_sampling.hpp"
#include "researchkit/fusefps/operators_sampling_backward.hpp"

namespace researchkit {
class Registry;
}

namespace researchkit::fusefps {

/// Registers every operator of this namespace.
void register_fusefps(Registry& registry);

}  // namespace researchkit::fusefps
