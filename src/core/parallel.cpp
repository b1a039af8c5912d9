#include "researchkit/core/parallel.hpp"

#include <omp.h>

#include <exception>
#include <limits>

namespace researchkit {

void parallel_blocks(const Context& ctx, std::int64_t blocks,
                     FunctionRef<void(std::int64_t block)> body) {
  ctx.check_cancelled();
  const auto threads = static_cast<int>(std::min<std::int64_t>(ctx.threads(), blocks));
  if (threads <= 1 || omp_in_parallel() != 0) {
    for (std::int64_t block = 0; block < blocks; ++block) body(block);
    return;
  }
  std::exception_ptr failure;
  std::int64_t failed_block = std::numeric_limits<std::int64_t>::max();
  // Blocks are handed out in ascending order, so every block below the first failure has started
  // and the lowest failing one is always seen, whatever the timing.
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
  for (std::int64_t block = 0; block < blocks; ++block) {
    try {
      body(block);
    } catch (...) {
#pragma omp critical(researchkit_parallel_failure)
      if (block < failed_block) {
        failed_block = block;
        failure = std::current_exception();
      }
    }
  }
  if (failure) std::rethrow_exception(failure);
  ctx.check_cancelled();
}

}  // namespace researchkit
