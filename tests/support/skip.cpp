#include "support/skip.hpp"

#include <fmt/format.h>

#include <cstdio>

namespace researchkit::test {

void skip(std::string_view reason) {
  fmt::print("test skipped: {}\n", reason);
  std::fflush(stdout);
}

}  // namespace researchkit::test
