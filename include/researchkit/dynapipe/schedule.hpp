#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "researchkit/core/tensor.hpp"
#include "researchkit/dynapipe/attributes.hpp"
#include "researchkit/dynapipe/interleaving.hpp"

namespace researchkit::dynapipe {

/// Memory of micro-batches on the V = C S stages of S devices (interleaving.hpp), in MB.
struct StageMemory {
  In<double, 2> stored;     ///< [M, V]: activations from the forward to the backward
  In<double, 2> peak;       ///< [M, V]: needed while the forward runs
  In<double, 1> state_mem;  ///< [S]: always there, on each device

  /// V stages on S devices.
  Interleaving places() const {
    return {state_mem.extent(0), stored.extent(1) / state_mem.extent(0), stored.extent(0)};
  }
};

struct ScheduleOptions {
  SchedulePolicy policy = SchedulePolicy::cyclic;
  double memory_limit = std::numeric_limits<double>::infinity();  ///< MB of a device, for cyclic
  std::int64_t max_inflight = 0;  ///< micro-batches that a device may hold, for cyclic; 0: any
};

namespace detail {

/// Operations of a device in groups of as many micro-batches as there are devices, chunk after chunk,
/// backwards from the last chunk on; -1 for micro-batches that the last group lacks.
inline std::vector<OperationCode> grouped_operations(const Interleaving& places,
                                                     std::int64_t device, bool backward) {
  std::vector<OperationCode> codes;
  for (std::int64_t first = 0; first < places.micro_batches; first += places.devices) {
    for (std::int64_t c = 0; c < places.chunks; ++c) {
      const std::int64_t chunk = backward ? places.chunks - 1 - c : c;
      for (std::int64_t m = first; m < first + places.devices; ++m) {
        const std::int64_t stage = chunk * places.devices + device;
        codes.push_back(m < places.micro_batches ? places.code(stage, m, backward) : -1);
      }
    }
  }
  return codes;
}

/// Writes the order of every device for policies without memory. With several chunks 1F1B is the
/// interleaved schedule of Narayanan et al., arXiv 2104.04473, section 2.2, for whole groups of
/// micro-batches, without those that the last group lacks: leaving micro-batches out of an order that
/// ends cannot block it.
inline void write_fixed_order(SchedulePolicy policy, const Interleaving& places,
                              Out<std::int32_t, 2> order) {
  for (std::int64_t s = 0; s < places.devices; ++s) {
    const auto forward = grouped_operations(places, s, false);
    const auto backward = grouped_operations(places, s, true);
    const std::int64_t behind = places.devices - s;  // devices from this one on
    const std::int64_t warm_up =
        places.chunks == 1 ? behind : 2 * (behind - 1) + (places.chunks - 1) * places.devices + 1;
    const std::size_t first = policy == SchedulePolicy::gpipe
                                  ? forward.size()
                                  : std::min(static_cast<std::size_t>(warm_up), forward.size());
    std::int64_t at = 0;
    const auto emit = [&](OperationCode code) {
      if (code >= 0) order(s, at++) = code;
    };
    for (std::size_t k = 0; k < first; ++k) emit(forward[k]);
    for (std::size_t k = 0; k < backward.size(); ++k) {
      emit(backward[k]);
      if (first + k < forward.size()) emit(forward[first + k]);
    }
  }
}

/// The adaptive schedule under construction.
class CyclicSchedule {
 public:
  CyclicSchedule(const StageMemory& memory, const ScheduleOptions& options,
                 const Interleaving& places, Out<std::int32_t, 2> order)
      : memory_(memory),
        options_(options),
        places_(places),
        order_(order),
        stages_(static_cast<std::size_t>(places.stages())),
        devices_(static_cast<std::size_t>(places.devices)) {
    for (std::int64_t s = 0; s < places.devices; ++s) devices_[at(s)].memory = memory.state_mem(s);
    stages_[0].forwards_ready = places.micro_batches;
  }

  /// One cycle of every device after another; false where none could do anything. A device runs the
  /// heads of its queues at the start of the cycle: a backward, then a forward, of the deepest chunks
  /// that have one.
  bool cycle() {
    bool progress = false;
    arrivals_.clear();
    for (std::int64_t s = 0; s < places_.devices; ++s) {
      for (std::int64_t c = places_.chunks; c-- > 0;) {
        const Stage& waiting = stages_[at(c * places_.devices + s)];
        if (waiting.backwards == waiting.backwards_ready) continue;
        run_backward(s, c);
        progress = true;
        break;
      }
      for (std::int64_t c = places_.chunks; c-- > 0;) {
        const Stage& waiting = stages_[at(c * places_.devices + s)];
        if (waiting.forwards == waiting.forwards_ready) continue;
        if (c == 0 && !admits(s)) break;
        run_forward(s, c);
        progress = true;
        break;
      }
    }
    for (std::int64_t* ready : arrivals_) ++*ready;
    return progress;
  }

  bool finished() const {
    return std::all_of(stages_.begin(), stages_.end(), [&](const Stage& stage) {
      return stage.backwards == places_.micro_batches;
    });
  }

 private:
  /// Queues are first in, first out and filled in ascending order, so a queue is the number of
  /// micro-batches that entered it and the number that left.
  struct Stage {
    std::int64_t forwards = 0, backwards = 0;
    std::int64_t forwards_ready = 0, backwards_ready = 0;
  };
  struct Device {
    double memory = 0;  // of the states, and of all chunks of the micro-batches that were let in
    std::int64_t done = 0;
  };

  static std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

  void emit(std::int64_t s, std::int64_t k, bool backward) {
    order_(s, devices_[at(s)].done++) = static_cast<OperationCode>(2 * k + (backward ? 1 : 0));
  }
  void run_backward(std::int64_t s, std::int64_t c) {
    const std::int64_t v = c * places_.devices + s, m = stages_[at(v)].backwards++;
    emit(s, c * places_.micro_batches + m, true);
    devices_[at(s)].memory -= memory_.stored(m, v);
    if (v > 0) arrivals_.push_back(&stages_[at(v - 1)].backwards_ready);
  }
  void run_forward(std::int64_t s, std::int64_t c) {
    const std::int64_t v = c * places_.devices + s, m = stages_[at(v)].forwards++;
    emit(s, c * places_.micro_batches + m, false);
    if (c == 0) devices_[at(s)].memory += stored(s, m);
    arrivals_.push_back(v + 1 < places_.stages() ? &stages_[at(v + 1)].forwards_ready
                                                 : &stages_[at(v)].backwards_ready);
  }

  /// MB of a micro-batch in all chunks of a device.
  double stored(std::int64_t s, std::int64_t m) const {
    double sum = memory_.stored(m, s);
    if (places_.chunks == 1) return sum;
    for (std::int64_t v = s + places_.devices; v < places_.stages(); v += places_.devices) {
      sum += memory_.stored(m, v);
    }
    return sum;
  }
  /// MB beyond what is stored that the next forwards of micro-batches below `end` may need.
  double excess(std::int64_t s, std::int64_t end) const {
    double most = 0;
    const std::int64_t deepest = (places_.chunks - 1) * places_.devices + s;
    for (std::int64_t m = stages_[at(deepest)].forwards; m < end; ++m) {
      for (std::int64_t v = s; v < places_.stages(); v += places_.devices) {
        most = std::max(most, memory_.peak(m, v) - memory_.stored(m, v));
      }
    }
    return most;
  }
  /// Whether the next micro-batch may enter a device. With several chunks all of them are counted from
  /// then on: else the forwards of one chunk could take the room that the next one needs.
  bool admits(std::int64_t s) const {
    const Stage& stage = stages_[at(s)];
    const std::int64_t m = stage.forwards;
    const double needed =
        places_.chunks == 1 ? memory_.peak(m, s) : stored(s, m) + excess(s, m + 1);
    return !(devices_[at(s)].memory + needed > options_.memory_limit ||
             (options_.max_inflight > 0 && m - stage.backwards >= options_.max_inflight));
  }

  StageMemory memory_;
  ScheduleOptions options_;
  Interleaving places_;
  Out<std::int32_t, 2> order_;
  std::vector<Stage> stages_;
  std::vector<std::int64_t*> arrivals_;  // of this cycle: they are there in the next one
  std::vector<Device> devices_;
};

}  // namespace detail

/// Writes the order of operations of every device, [S, 2 C M]; false, and -1 everywhere, where the
/// memory limit lets no schedule finish.
///
///     Array<std::int32_t, 2> order({stages, 2 * micro_batches});
///     bool feasible = make_schedule({stored, peak, state}, {.memory_limit = 36000}, order);
///
/// `cyclic`: in each cycle a device runs at most one backward and one forward, heads of its queues at
/// the start of the cycle, and skips a forward that memory has no room for. Of several chunks the
/// deepest that can go on does; a micro-batch enters a device when there is room for all its chunks.
/// O(M V).
/// Source: DynaPipe (arXiv 2311.10418), memory-aware adaptive schedule.
inline bool make_schedule(const StageMemory& memory, const ScheduleOptions& options,
                          Out<std::int32_t, 2> order) {
  const Interleaving places = memory.places();
  if (options.policy != SchedulePolicy::cyclic) {
    detail::write_fixed_order(options.policy, places, order);
    return true;
  }
  detail::CyclicSchedule schedule(memory, options, places, order);
  while (schedule.cycle()) {
  }
  if (schedule.finished()) return true;
  for (std::int64_t s = 0; s < places.devices; ++s) {
    for (std::int64_t p = 0; p < order.extent(1); ++p) order(s, p) = -1;
  }
  return false;
}

namespace reference {

/// make_schedule for `cyclic` and one chunk, with explicit queues.
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
