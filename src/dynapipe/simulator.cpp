#include "researchkit/dynapipe/simulator.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace researchkit::dynapipe {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

void fill(Out<double, 2> table, double value) {
  for (std::int64_t i = 0; i < table.extent(0); ++i) {
    for (std::int64_t j = 0; j < table.extent(1); ++j) table(i, j) = value;
  }
}

void measure_use(In<std::int32_t, 2> order, const StageTimes& times, const StageMemory& memory,
                 const StageUse& use) {
  for (std::int64_t s = 0; s < order.extent(0); ++s) {
    double used = memory.state_mem(s), peak = used, busy = 0;
    for (std::int64_t p = 0; p < order.extent(1); ++p) {
      const std::int64_t m = micro_batch_of(order(s, p));
      if (is_backward(order(s, p))) {
        used -= memory.stored(m, s);
        busy += times.bw(m, s);
      } else {
        peak = std::max(peak, used + memory.peak(m, s));
        used += memory.stored(m, s);
        peak = std::max(peak, used);
        busy += times.fw(m, s);
      }
    }
    use.peak_mem(s) = peak;
    use.busy(s) = busy;
  }
}

void clear_use(const StageUse& use) {
  for (std::int64_t s = 0; s < use.busy.extent(0); ++s) use.peak_mem(s) = use.busy(s) = 0;
}

struct StageClock {
  double free = 0;
  std::array<double, 2> stream_free{};
  std::int64_t position = 0;
};

/// One simulation under way.
struct Simulation {
  In<std::int32_t, 2> order;
  const StageTimes& times;
  CommStreams streams;
  const Timeline& timeline;
  std::int64_t stages, micro_batches;
  std::vector<StageClock> clocks;
  std::vector<double> arrival;  // [2, M, S]

  Simulation(In<std::int32_t, 2> order_, const StageTimes& times_, CommStreams streams_,
             const Timeline& timeline_)
      : order(order_),
        times(times_),
        streams(streams_),
        timeline(timeline_),
        stages(order_.extent(0)),
        micro_batches(order_.extent(1) / 2),
        clocks(static_cast<std::size_t>(stages)),
        arrival(static_cast<std::size_t>(2 * stages * micro_batches), kNever) {
    for (std::int64_t m = 0; m < micro_batches; ++m) arrives(0, m, 0) = 0;
  }

  double& arrives(std::int64_t direction, std::int64_t m, std::int64_t s) {
    return arrival[static_cast<std::size_t>((direction * micro_batches + m) * stages + s)];
  }

  /// Runs a stage as far as its inputs have arrived; the number of operations done.
  std::int64_t advance(std::int64_t s) {
    StageClock& clock = clocks[static_cast<std::size_t>(s)];
    const std::int64_t begin = clock.position;
    for (; clock.position < order.extent(1); ++clock.position) {
      const std::int32_t code = order(s, clock.position);
      const std::int64_t m = micro_batch_of(code);
      const bool backward = is_backward(code);
      const double arrived = arrives(backward ? 1 : 0, m, s);
      if (arrived == kNever) break;
      const double start = std::max(clock.free, arrived);
      const double end = start + (backward ? times.bw(m, s) : times.fw(m, s));
      timeline.start(s, clock.position) = start;
      clock.free = end;
      if (!backward && s == stages - 1) {
        arrives(1, m, s) = end;
      } else if (!backward || s > 0) {
        double& stream = clock.stream_free[backward && streams == CommStreams::link ? 1 : 0];
        const double send = std::max(stream, end);
        timeline.comm_start(s, clock.position) = send;
        stream = send + (backward ? times.comm_bw(m, s - 1) : times.comm_fw(m, s));
        arrives(backward ? 1 : 0, m, backward ? s - 1 : s + 1) = stream;
      }
    }
    return clock.position - begin;
  }
};

}  // namespace

double simulate_schedule(In<std::int32_t, 2> order, const StageTimes& times,
                         const StageMemory& memory, CommStreams streams, const Timeline& timeline,
                         const StageUse& use) {
  fill(timeline.start, -1);
  fill(timeline.comm_start, -1);
  Simulation simulation(order, times, streams, timeline);
  for (std::int64_t left = order.size(); left > 0;) {
    std::int64_t done = 0;
    for (std::int64_t s = 0; s < simulation.stages; ++s) done += simulation.advance(s);
    if (done == 0) {
      clear_use(use);
      return -1;
    }
    left -= done;
  }
  measure_use(order, times, memory, use);
  double makespan = 0;
  for (const StageClock& clock : simulation.clocks) makespan = std::max(makespan, clock.free);
  return makespan;
}

namespace reference {

double simulate_schedule(In<std::int32_t, 2> order, const StageTimes& times,
                         const StageMemory& memory, CommStreams streams, const Timeline& timeline,
                         const StageUse& use) {
  fill(timeline.start, -1);
  fill(timeline.comm_start, -1);
  const std::int64_t stages = order.extent(0), operations = order.extent(1);
  const auto position = [&](std::int64_t s, std::int64_t code) {
    std::int64_t p = 0;
    while (order(s, p) != code) ++p;
    return p;
  };
  const auto duration = [&](std::int64_t s, std::int64_t p) {
    const std::int64_t m = micro_batch_of(order(s, p));
    return is_backward(order(s, p)) ? times.bw(m, s) : times.fw(m, s);
  };
  const auto end = [&](std::int64_t s, std::int64_t p) {
    return timeline.start(s, p) + duration(s, p);
  };
  const auto sends = [&](std::int64_t s, std::int64_t p) {
    return is_backward(order(s, p)) ? s > 0 : s + 1 < stages;
  };
  const auto sent = [&](std::int64_t s, std::int64_t p) {
    const std::int64_t m = micro_batch_of(order(s, p));
    return timeline.comm_start(s, p) +
           (is_backward(order(s, p)) ? times.comm_bw(m, s - 1) : times.comm_fw(m, s));
  };
  // When the input of an operation arrives; -1 while nobody knows.
  const auto arrival = [&](std::int64_t s, std::int64_t p) -> double {
    const std::int32_t code = order(s, p);
    if (!is_backward(code) && s == 0) return 0;
    if (is_backward(code) && s == stages - 1) {
      const std::int64_t forward = position(s, code - 1);
      return timeline.start(s, forward) < 0 ? -1 : end(s, forward);
    }
    const std::int64_t sender = is_backward(code) ? s + 1 : s - 1;
    const std::int64_t producer = position(sender, code);
    return timeline.comm_start(sender, producer) < 0 ? -1 : sent(sender, producer);
  };
  for (bool changed = true; changed;) {
    changed = false;
    for (std::int64_t s = 0; s < stages; ++s) {
      for (std::int64_t p = 0; p < operations; ++p) {
        if (timeline.start(s, p) >= 0) continue;
        if (p > 0 && timeline.start(s, p - 1) < 0) continue;
        const double arrived = arrival(s, p);
        if (arrived < 0) continue;
        timeline.start(s, p) = std::max(p > 0 ? end(s, p - 1) : 0, arrived);
        changed = true;
        if (!sends(s, p)) continue;
        double send = end(s, p);
        for (std::int64_t earlier = 0; earlier < p; ++earlier) {
          const bool shared = streams == CommStreams::device ||
                              is_backward(order(s, earlier)) == is_backward(order(s, p));
          if (sends(s, earlier) && shared) send = std::max(send, sent(s, earlier));
        }
        timeline.comm_start(s, p) = send;
      }
    }
  }
  double makespan = 0;
  for (std::int64_t s = 0; s < stages && operations > 0; ++s) {
    if (timeline.start(s, operations - 1) < 0) {
      clear_use(use);
      return -1;
    }
    makespan = std::max(makespan, end(s, operations - 1));
  }
  measure_use(order, times, memory, use);
  return makespan;
}

}  // namespace reference
}  // namespace researchkit::dynapipe
