#pragma once

#include <string_view>

namespace researchkit::test {

/// Marks the running test case as skipped; ctest reads the line that it prints.
/// `if (!have_device) return skip("no CUDA device");` before anything is checked.
void skip(std::string_view reason);

}  // namespace researchkit::test
