#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

namespace researchkit::detail {

/// What a rank waits for.
struct Waiting {
  int peer = -1;
  std::string what;
};

/// Words for a transfer: "activations of micro-batch 3 (2048 bytes, tag 6)".
inline std::string describe_transfer(std::string_view what, std::string_view direction,
                                     std::size_t bytes, int tag) {
  if (tag < 0) return fmt::format("{} ({} of {} bytes)", what, direction, bytes);
  return fmt::format("{} ({} bytes, tag {})", what.empty() ? direction : what, bytes, tag);
}

/// Finds who keeps `rank` waiting: follows the chain of ranks that wait for one another to the one
/// that waits for nobody. `waiting_of(rank)` is what a rank waits for, nothing if it does not wait
/// or does not say so.
template <class WaitingOf>
std::string explain_wait(int rank, double seconds, WaitingOf&& waiting_of) {
  std::vector<int> chain = {rank};
  std::string path;
  for (int at = rank;;) {
    const std::optional<Waiting> waiting = waiting_of(at);
    if (!waiting) {
      return fmt::format("rank {}: rank {} did not answer within {:.3g} s; {}", rank, at, seconds,
                         path);
    }
    path += fmt::format("{}rank {} waits for rank {}: {}", path.empty() ? "" : "; ", at,
                        waiting->peer, waiting->what);
    at = waiting->peer;
    if (std::find(chain.begin(), chain.end(), at) != chain.end()) {
      return fmt::format("rank {}: deadlock, rank {} waits for itself, after {:.3g} s: {}", rank,
                         at, seconds, path);
    }
    chain.push_back(at);
  }
}

}  // namespace researchkit::detail
