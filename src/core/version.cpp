#include "researchkit/core/version.hpp"

namespace researchkit {

std::string_view version() { return RESEARCHKIT_VERSION; }

}  // namespace researchkit
