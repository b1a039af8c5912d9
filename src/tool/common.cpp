#include <fmt/format.h>

#include "researchkit/core/device_name.hpp"
#include "researchkit/core/error.hpp"
#include "src/tool/tool.hpp"

#ifdef RESEARCHKIT_HAS_EMULATOR
#include "tests/support/emulator/emulated_backend.hpp"
#endif

namespace researchkit::tool {
namespace {

#ifdef RESEARCHKIT_HAS_EMULATOR
constexpr bool kHasEmulator = true;
#else
constexpr bool kHasEmulator = false;
#endif

}  // namespace

std::string examples(std::initializer_list<std::string_view> lines) {
  std::string text = "\nExamples:\n";
  for (const std::string_view line : lines) text += fmt::format("  {}\n", line);
  return text;
}

Device parse_device(const std::string& text) {
  if (const auto device = device_named(text)) return *device;
#ifdef RESEARCHKIT_HAS_EMULATOR
  if (text == "emulated") return emulated_device();
#endif
  throw Error(fmt::format("device '{}': wanted cpu, cuda{} or cuda:<number>", text,
                          kHasEmulator ? ", emulated" : ""));
}

std::string show_seconds(double seconds) {
  if (seconds < 1e-3) return fmt::format("{:.3g} us", seconds * 1e6);
  if (seconds < 1) return fmt::format("{:.3g} ms", seconds * 1e3);
  return fmt::format("{:.3g} s", seconds);
}

}  // namespace researchkit::tool
