#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>

namespace researchkit::emulator {

/// A launch, as core/cuda/launch.hpp asks for it.
struct GridShape {
  std::int64_t blocks = 1;
  int block_threads = 32;
  int cluster_blocks = 1;
  std::size_t shared_bytes = 0;
};

/// Runs `body` once as every thread of the grid, clusters in parallel on up to `workers` threads.
/// Throws the Error of the first block that broke a rule, in the name of `kernel`.
void run_grid(std::string_view kernel, const GridShape& shape, int workers,
              const std::function<void()>& body);

}  // namespace researchkit::emulator
