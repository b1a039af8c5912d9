#include <string_view>

#include "fuzz/fuzz.hpp"
#include "researchkit/dynapipe/plan_file.hpp"

using namespace researchkit;

// Whatever parses must survive both forms.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return fuzz::feed(data, size, [](std::span<const std::byte> bytes) {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    const dynapipe::StoredPlan plan = dynapipe::plan_from_json(text);
    fuzz::must_succeed([&] {
      fuzz::require(dynapipe::plan_from_json(dynapipe::plan_to_json(plan)) == plan);
      fuzz::require(dynapipe::plan_from_bytes(dynapipe::plan_to_bytes(plan)) == plan);
    });
  });
}
