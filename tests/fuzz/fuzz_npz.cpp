#include "fuzz/fuzz.hpp"
#include "researchkit/core/io/npy.hpp"

using namespace researchkit;

// Whatever parses must survive a write and a read, with and without compression.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return fuzz::feed(data, size, [](std::span<const std::byte> bytes) {
    const auto tensors = parse_npz(bytes, "fuzz");
    fuzz::must_succeed([&] {
      for (const auto compression : {NpzCompression::stored, NpzCompression::deflated}) {
        write_npz(fuzz::scratch() / "a.npz", tensors, compression);
        const auto back = read_npz(fuzz::scratch() / "a.npz");
        fuzz::require(back.size() == tensors.size());
        for (const auto& [name, tensor] : tensors) {
          fuzz::require(back.contains(name) && fuzz::same(tensor, back.at(name)));
        }
      }
    });
  });
}
