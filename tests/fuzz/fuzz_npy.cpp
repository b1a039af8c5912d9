#include "fuzz/fuzz.hpp"
#include "researchkit/core/io/npy.hpp"

using namespace researchkit;

// Whatever parses must survive a write and a read.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return fuzz::feed(data, size, [](std::span<const std::byte> bytes) {
    const Tensor tensor = parse_npy(bytes, "fuzz");
    fuzz::must_succeed([&] {
      write_npy(fuzz::scratch() / "a.npy", tensor);
      fuzz::require(fuzz::same(tensor, read_npy(fuzz::scratch() / "a.npy")));
    });
  });
}
