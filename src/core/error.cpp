#include "researchkit/core/error.hpp"

#include <fmt/format.h>

namespace researchkit {

Error::Error(std::string_view operator_name, std::string_view argument, std::string_view wanted,
             std::string_view got)
    : std::runtime_error(fmt::format(
          "{}{}{}wanted {}, got {}", operator_name, operator_name.empty() ? "" : ": ",
          argument.empty() ? "" : fmt::format("argument '{}': ", argument), wanted, got)),
      operator_name_(operator_name),
      argument_(argument),
      wanted_(wanted),
      got_(got) {}

}  // namespace researchkit
