#pragma once

#include <string_view>

namespace researchkit {

/// Version of the library that is linked, "major.minor.patch": `fmt::print("{}\n", researchkit::version());`
std::string_view version();

}  // namespace researchkit
