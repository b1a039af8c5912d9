#include "fuzz/fuzz.hpp"
#include "researchkit/core/context.hpp"
#include "researchkit/graph/import.hpp"

using namespace researchkit;

// Whatever parses must be a legal matrix.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using graph::GraphFormat;
  for (const auto format : {GraphFormat::edge_list, GraphFormat::matrix_market, GraphFormat::npz}) {
    fuzz::feed(data, size, [&](std::span<const std::byte> bytes) {
      const auto list = graph::parse_graph(bytes, format, "fuzz");
      if (list.num_rows > 1'000'000 || list.num_cols > 1'000'000) return;
      fuzz::must_succeed([&] { list.to_csr<float>(Context({.threads = 1})); });
    });
  }
  return 0;
}
