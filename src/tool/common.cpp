#include <fmt/format.h>

#include "researchkit/core/error.hpp"
#include "src/tool/tool.hpp"

namespace researchkit::tool {

std::string examples(std::initializer_list<std::string_view> lines) {
  std::string text = "\nExamples:\n";
  for (const std::string_view line : lines) text += fmt::format("  {}\n", line);
  return text;
}

Device parse_device(const std::string& text) {
  if (text == "cpu") return Device::host();
  if (text.starts_with("cuda")) {
    throw Error(fmt::format("device '{}': this build has no CUDA device code, only cpu", text));
  }
  throw Error(fmt::format("device '{}': wanted cpu, cuda or cuda:<number>", text));
}

std::string show_seconds(double seconds) {
  if (seconds < 1e-3) return fmt::format("{:.3g} us", seconds * 1e6);
  if (seconds < 1) return fmt::format("{:.3g} ms", seconds * 1e3);
  return fmt::format("{:.3g} s", seconds);
}

}  // namespace researchkit::tool
