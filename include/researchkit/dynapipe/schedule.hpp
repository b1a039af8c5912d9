#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "researchkit/core/tensor.hpp"
#include "researchkit/dynapipe/attributes.hpp"

namespace researchkit::dynapipe {

/// Memory of micro-batches on stages, in MB.
struct StageMemory {
  In<double, 2> stored;     ///< [M, S]: activations from the forward to the backward
  In<double, 2> peak;       ///< [M, S]: needed while the forward runs
  In<double, 1> state_mem;  ///< [S]: always there
};

struct ScheduleOptions {
  SchedulePolicy policy = SchedulePolicy::cyclic;
  double memory_limit = std::numeric_limits<double>::infinity();  ///< MB of a stage, for cyclic
  std::int64_t max_inflight = 0;  ///< micro-batches that a stage may hold, for cyclic; 0: any
};

/// An operation in a schedule: 2 m is the forward of micro-batch m, 2 m + 1 its backward.
using OperationCode = std::int32_t;
inline constexpr std::int32_t micro_batch_of(OperationCode code) { return code >> 1; }
inline constexpr bool is_backward(OperationCode code) { return (code & 1) != 0; }

namespace detail {

/// Writes the order of every stage for policies without memory.
inline void write_fixed_order(SchedulePolicy policy, std::int64_t micro_batches,
                              Out<std::int32_t, 2> order) {
  const std::int64_t stages = order.extent(0);
  for (std::int64_t s = 0; s < stages; ++s) {
    std::int64_t forwards =
        policy == SchedulePolicy::gpipe ? micro_batches : std::min(stages - s, micro_batches);
    std::int64_t at = 0;
    for (std::int64_t m = 0; m < forwards; ++m) order(s, at++) = static_cast<std::int32_t>(2 * m);
    for (std::int64_t m = 0; m < micro_batches; ++m) {
      order(s, at++) = static_cast<std::int32_t>(2 * m + 1);
      if (forwards < micro_batches) order(s, at++) = static_cast<std::int32_t>(2 * forwards++);
    }
  }
}

/// What a stage has done. Queues are first in, first out and filled in ascending order, so a queue
/// is the number of micro-batches that entered it and the number that left.
struct StageProgress {
  double memory = 0;
  std::int64_t forwards = 0, backwards = 0;
  std::int64_t forwards_ready = 0, backwards_ready = 0;
  std::int64_t inflight() const { return forwards - backwards; }
};

/// One cycle of every stage after another; false where none could do anything.
inline bool run_cycle(const StageMemory& memory, const ScheduleOptions& options,
                      std::vector<StageProgress>& stages, Out<std::int32_t, 2> order) {
  bool progress = false;
  std::int64_t arrived = 0;  // in this cycle, at the stage that comes next: waits for the next one
  for (std::size_t s = 0; s < stages.size(); ++s) {
    StageProgress& stage = stages[s];
    const bool forward_waits = stage.forwards < stage.forwards_ready - arrived;
    arrived = 0;
    const auto emit = [&](std::int64_t code) {
      order(s, stage.forwards + stage.backwards) = static_cast<std::int32_t>(code);
      progress = true;
    };
    if (stage.backwards < stage.backwards_ready) {
      const std::int64_t m = stage.backwards;
      emit(2 * m + 1);
      ++stage.backwards;
      stage.memory -= memory.stored(m, s);
      if (s > 0) ++stages[s - 1].backwards_ready;
    }
    if (!forward_waits) continue;
    const std::int64_t m = stage.forwards;
    const bool full = stage.memory + memory.peak(m, s) > options.memory_limit ||
                      (options.max_inflight > 0 && stage.inflight() >= options.max_inflight);
    if (full) continue;
    emit(2 * m);
    ++stage.forwards;
    stage.memory += memory.stored(m, s);
    if (s + 1 < stages.size()) {
      ++stages[s + 1].forwards_ready;
      arrived = 1;
    } else {
      ++stage.backwards_ready;
    }
  }
  return progress;
}

}  // namespace detail

/// Writes the order of operations of every stage, [S, 2 M]; false, and -1 everywhere, where the
/// memory limit lets no schedule finish.
///
///     Array<std::int32_t, 2> order({stages, 2 * micro_batches});
///     bool feasible = make_schedule({stored, peak, state}, {.memory_limit = 36000}, order);
///
/// `cyclic`: in each cycle a stage runs at most one backward and one forward, heads of its queues at
/// the start of the cycle, and skips a forward that memory has no room for. O(M S).
/// Source: DynaPipe (arXiv 2311.10418), memory-aware adaptive schedule.
inline bool make_schedule(const StageMemory& memory, const ScheduleOptions& options,
                          Out<std::int32_t, 2> order) {
  const std::int64_t micro_batches = memory.stored.extent(0), stages = memory.stored.extent(1);
  if (options.policy != SchedulePolicy::cyclic) {
    detail::write_fixed_order(options.policy, micro_batches, order);
    return true;
  }
  std::vector<detail::StageProgress> progress(static_cast<std::size_t>(stages));
  for (std::int64_t s = 0; s < stages; ++s) {
    progress[static_cast<std::size_t>(s)].memory = memory.state_mem(s);
  }
  progress[0].forwards_ready = micro_batches;
  while (detail::run_cycle(memory, options, progress, order)) {
  }
  const bool feasible = std::all_of(progress.begin(), progress.end(), [&](const auto& stage) {
    return stage.backwards == micro_batches;
  });
  if (feasible) return true;
  for (std::int64_t s = 0; s < stages; ++s) {
    for (std::int64_t p = 0; p < 2 * micro_batches; ++p) order(s, p) = -1;
  }
  return false;
}

namespace reference {

/// make_schedule for `cyclic` with explicit queues.
inline bool make_cyclic_schedule(const StageMemory& memory, const ScheduleOptions& options,
                                 Out<std::int32_t, 2> order) {
  const std::int64_t micro_batches = memory.stored.extent(0);
  const auto stages = static_cast<std::size_t>(memory.stored.extent(1));
  using Queue = std::vector<std::int64_t>;
  std::vector<Queue> forwards(stages), backwards(stages);
  std::vector<double> used(stages);
  std::vector<std::int64_t> inflight(stages), done(stages);
  for (std::size_t s = 0; s < stages; ++s) used[s] = memory.state_mem(s);
  for (std::int64_t m = 0; m < micro_batches; ++m) forwards[0].push_back(m);
  const auto take = [](Queue& queue) {
    const std::int64_t head = queue.front();
    queue.erase(queue.begin());
    return head;
  };
  for (bool progress = true; progress;) {
    progress = false;
    std::vector<Queue> forwards_in(stages), backwards_in(stages);
    for (std::size_t s = 0; s < stages; ++s) {
      if (!backwards[s].empty()) {
        const std::int64_t m = take(backwards[s]);
        order(s, done[s]++) = static_cast<std::int32_t>(2 * m + 1);
        used[s] -= memory.stored(m, s);
        --inflight[s];
        if (s > 0) backwards_in[s - 1].push_back(m);
        progress = true;
      }
      if (forwards[s].empty()) continue;
      if (used[s] + memory.peak(forwards[s].front(), s) > options.memory_limit) continue;
      if (options.max_inflight > 0 && inflight[s] >= options.max_inflight) continue;
      const std::int64_t m = take(forwards[s]);
      order(s, done[s]++) = static_cast<std::int32_t>(2 * m);
      used[s] += memory.stored(m, s);
      ++inflight[s];
      (s + 1 < stages ? forwards_in[s + 1] : backwards_in[s]).push_back(m);
      progress = true;
    }
    for (std::size_t s = 0; s < stages; ++s) {
      forwards[s].insert(forwards[s].end(), forwards_in[s].begin(), forwards_in[s].end());
      backwards[s].insert(backwards[s].end(), backwards_in[s].begin(), backwards_in[s].end());
    }
  }
  const bool feasible =
      std::all_of(done.begin(), done.end(), [&](std::int64_t d) { return d == 2 * micro_batches; });
  if (feasible) return true;
  for (std::size_t s = 0; s < stages; ++s) {
    for (std::int64_t p = 0; p < 2 * micro_batches; ++p) order(s, p) = -1;
  }
  return false;
}

}  // namespace reference
}  // namespace researchkit::dynapipe
