#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "researchkit/core/context.hpp"
#include "researchkit/core/function_ref.hpp"

namespace researchkit {

/// Calls `body(block)` for block = 0 .. blocks-1 on up to ctx.threads() threads, each block once,
/// handed out in ascending order to whoever is free.
///
/// Called from inside a parallel loop it runs on the calling thread. If blocks throw, the exception
/// of the lowest block is rethrown after all threads have left. Checks for cancellation.
void parallel_blocks(const Context& ctx, std::int64_t blocks,
                     FunctionRef<void(std::int64_t block)> body);

/// Calls `body(begin, end)` for the pieces [0, grain), [grain, 2 grain), ... of [0, n).
///
/// The pieces depend on n and grain alone, never on the number of threads. Use it where pieces
/// write disjoint memory; where they combine, use parallel_reduce.
template <class Body>
void parallel_for(const Context& ctx, std::int64_t n, std::int64_t grain, Body&& body) {
  grain = std::max<std::int64_t>(grain, 1);
  parallel_blocks(ctx, (n + grain - 1) / grain, [&](std::int64_t block) {
    body(block * grain, std::min(n, (block + 1) * grain));
  });
}

/// Combines `map(begin, end)` over the pieces of [0, n) in ascending order:
/// combine(... combine(combine(identity, piece 0), piece 1) ...). The result has the same bits for
/// any number of threads.
template <class T, class Map, class Combine>
T parallel_reduce(const Context& ctx, std::int64_t n, std::int64_t grain, T identity, Map&& map,
                  Combine&& combine) {
  grain = std::max<std::int64_t>(grain, 1);
  std::vector<T> parts(static_cast<std::size_t>((n + grain - 1) / grain), identity);
  parallel_for(ctx, n, grain, [&](std::int64_t begin, std::int64_t end) {
    parts[static_cast<std::size_t>(begin / grain)] = map(begin, end);
  });
  T result = std::move(identity);
  for (auto& part : parts) result = combine(std::move(result), std::move(part));
  return result;
}

}  // namespace researchkit
