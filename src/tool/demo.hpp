#pragma once

#include "researchkit/core/context.hpp"
#include "researchkit/core/error.hpp"

namespace researchkit::tool {

// Each prints what its namespace does on data made on the spot. Throws Error if what came out is
// not what it should be.
void demo_dynapipe(const Context& ctx);
void demo_fusefps(const Context& ctx);

}  // namespace researchkit::tool
