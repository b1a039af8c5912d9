#include "fuzz/fuzz.hpp"
#include "researchkit/core/io/safetensors.hpp"

using namespace researchkit;

// Whatever parses must survive a write and a read.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return fuzz::feed(data, size, [](std::span<const std::byte> bytes) {
    const SafeTensors file = parse_safetensors(bytes, "fuzz");
    fuzz::must_succeed([&] {
      write_safetensors(fuzz::scratch() / "a", file.tensors, file.metadata);
      const SafeTensors back = read_safetensors(fuzz::scratch() / "a");
      fuzz::require(back.metadata == file.metadata && back.tensors.size() == file.tensors.size());
      for (const auto& [name, tensor] : file.tensors) {
        fuzz::require(back.tensors.contains(name) && fuzz::same(tensor, back.tensors.at(name)));
      }
    });
  });
}
