#include "fuzz/fuzz.hpp"
#include "researchkit/dynapipe/plan_file.hpp"

using namespace researchkit;

// Whatever parses must survive a write and a read.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return fuzz::feed(data, size, [](std::span<const std::byte> bytes) {
    const dynapipe::StoredPlan plan = dynapipe::plan_from_bytes(bytes);
    fuzz::must_succeed(
        [&] { fuzz::require(dynapipe::plan_from_bytes(dynapipe::plan_to_bytes(plan)) == plan); });
  });
}
