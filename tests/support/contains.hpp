#pragma once

#include <string>

#include "support/catch.hpp"

namespace researchkit::test {

/// CHECK_THAT(text, contains("part")), under the name that both versions of Catch2 can serve.
inline auto contains(const std::string& part) {
#if __has_include(<catch2/catch_all.hpp>)
  return Catch::Matchers::ContainsSubstring(part);
#else
  return Catch::Matchers::Contains(part);
#endif
}

}  // namespace researchkit::test
