#pragma once

#include <string_view>

namespace researchkit {

/// Version of the library that is linked, "major.minor.patch".
std::string_view version();

}  // namespace researchkit
