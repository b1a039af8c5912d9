#pragma once

#include "researchkit/dynapipe/plan_file.hpp"

namespace researchkit::dynapipe::detail {

/// Throws Error where a plan that was read names what it does not have.
void check_stored_plan(const StoredPlan& plan);

}  // namespace researchkit::dynapipe::detail
