#pragma once

#include "researchkit/core/communicator.hpp"

namespace researchkit::test {

/// Calls every operation of a communicator and holds the results against what they must be; throws
/// Error for the first that differs. Called by all ranks, whatever carries their messages.
void check_communicator(Communicator& ranks);

}  // namespace researchkit::test
