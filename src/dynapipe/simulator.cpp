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
  const Interleaving places = memory.places();
  for (std::int64_t s = 0; s < order.extent(0); ++s) {
    double used = memory.state_mem(s), peak = used, busy = 0;
    for (std::int64_t p = 0; p < order.extent(1); ++p) {
      const auto [m, chunk, v] = places.operation(s, order(s, p));
      if (is_backward(order(s, p))) {
        used -= memory.stored(m, v);
        busy += times.bw(m, v);
      } else {
        peak = std::max(peak, used + memory.peak(m, v));
        used += memory.stored(m, v);
        peak = std::max(peak, used);
        busy += times.fw(m, v);
      }
    }
    use.peak_mem(s) = peak;
    use.busy(s) = busy;
  }
}

void clear_use(const StageUse& use) {
  for (std::int64_t s = 0; s < use.busy.extent(0); ++s) use.peak_mem(s) = use.busy(s) = 0;
}

struct DeviceClock {
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
  Interleaving places;
  std::int64_t stages;
  std::vector<DeviceClock> clocks;
  std::vector<double> arrival;  // [2, M, V]

  Simulation(In<std::int32_t, 2> order_, const StageTimes& times_, const Interleaving& places_,
             CommStreams streams_, const Timeline& timeline_)
      : order(order_),
        times(times_),
        streams(streams_),
        timeline(timeline_),
        places(places_),
        stages(places_.stages()),
        clocks(static_cast<std::size_t>(places_.devices)),
        arrival(static_cast<std::size_t>(2 * stages * places_.micro_batches), kNever) {
    for (std::int64_t m = 0; m < places.micro_batches; ++m) arrives(0, m, 0) = 0;
  }

  double& arrives(std::int64_t direction, std::int64_t m, std::int64_t v) {
    return arrival[static_cast<std::size_t>((direction * places.micro_batches + m) * stages + v)];
  }

  /// Runs a device as far as its inputs have arrived; the number of operations done.
  std::int64_t advance(std::int64_t s) {
    DeviceClock& clock = clocks[static_cast<std::size_t>(s)];
    const std::int64_t begin = clock.position;
    for (; clock.position < order.extent(1); ++clock.position) {
      const std::int32_t code = order(s, clock.position);
      const auto [m, chunk, v] = places.operation(s, code);
      const bool backward = is_backward(code);
      const double arrived = arrives(backward ? 1 : 0, m, v);
      if (arrived == kNever) break;
      const double start = std::max(clock.free, arrived);
      const double end = start + (backward ? times.bw(m, v) : times.fw(m, v));
      timeline.start(s, clock.position) = start;
      clock.free = end;
      if (!backward && v == stages - 1) {
        arrives(1, m, v) = end;
      } else if (!backward || v > 0) {
        const std::int64_t next = backward ? v - 1 : v + 1;
        arrives(backward ? 1 : 0, m, next) = places.alone() ? end : send(s, m, next, backward, end);
      }
    }
    return clock.position - begin;
  }

  /// Sends what the operation at hand made to stage `next`; when it arrives.
  double send(std::int64_t s, std::int64_t m, std::int64_t next, bool backward, double made) {
    DeviceClock& clock = clocks[static_cast<std::size_t>(s)];
    double& stream = clock.stream_free[backward && streams == CommStreams::link ? 1 : 0];
    const double begin = std::max(stream, made);
    timeline.comm_start(s, clock.position) = begin;
    stream = begin + (backward ? times.comm_bw(m, next) : times.comm_fw(m, next - 1));
    return stream;
  }
};

}  // namespace

double simulate_schedule(In<std::int32_t, 2> order, const StageTimes& times,
                         const StageMemory& memory, CommStreams streams, const Timeline& timeline,
                         const StageUse& use) {
  fill(timeline.start, -1);
  fill(timeline.comm_start, -1);
  Simulation simulation(order, times, memory.places(), streams, timeline);
  for (std::int64_t left = order.size(); left > 0;) {
    std::int64_t done = 0;
    for (std::int64_t s = 0; s < order.extent(0); ++s) done += simulation.advance(s);
    if (done == 0) {
      clear_use(use);
      return -1;
    }
    left -= done;
  }
  measure_use(order, times, memory, use);
  double makespan = 0;
  for (const DeviceClock& clock : simulation.clocks) makespan = std::max(makespan, clock.free);
  return makespan;
}

namespace reference {

double simulate_schedule(In<std::int32_t, 2> order, const StageTimes& times,
                         const StageMemory& memory, CommStreams streams, const Timeline& timeline,
                         const StageUse& use) {
  fill(timeline.start, -1);
  fill(timeline.comm_start, -1);
  const Interleaving places = memory.places();
  const std::int64_t devices = order.extent(0), operations = order.extent(1);
  const auto at = [&](std::int64_t s, std::int64_t p) { return places.operation(s, order(s, p)); };
  const auto position = [&](std::int64_t s, std::int64_t code) {
    std::int64_t p = 0;
    while (order(s, p) != code) ++p;
    return p;
  };
  const auto duration = [&](std::int64_t s, std::int64_t p) {
    const auto [m, chunk, v] = at(s, p);
    return is_backward(order(s, p)) ? times.bw(m, v) : times.fw(m, v);
  };
  const auto end = [&](std::int64_t s, std::int64_t p) {
    return timeline.start(s, p) + duration(s, p);
  };
  const auto sends = [&](std::int64_t s, std::int64_t p) {
    const std::int64_t v = at(s, p).stage;
    return !places.alone() && (is_backward(order(s, p)) ? v > 0 : v + 1 < places.stages());
  };
  const auto sent = [&](std::int64_t s, std::int64_t p) {
    const auto [m, chunk, v] = at(s, p);
    return timeline.comm_start(s, p) +
           (is_backward(order(s, p)) ? times.comm_bw(m, v - 1) : times.comm_fw(m, v));
  };
  // When the input of an operation arrives; -1 while nobody knows.
  const auto arrival = [&](std::int64_t s, std::int64_t p) -> double {
    const bool backward = is_backward(order(s, p));
    const auto [m, chunk, v] = at(s, p);
    if (!backward && v == 0) return 0;
    if (backward && v == places.stages() - 1) {
      const std::int64_t forward = position(s, places.code(v, m, false));
      return timeline.start(s, forward) < 0 ? -1 : end(s, forward);
    }
    const std::int64_t from = backward ? v + 1 : v - 1, sender = places.device_of(from);
    const std::int64_t producer = position(sender, places.code(from, m, backward));
    if (places.alone()) return timeline.start(s, producer) < 0 ? -1 : end(s, producer);
    return timeline.comm_start(sender, producer) < 0 ? -1 : sent(sender, producer);
  };
  for (bool changed = true; changed;) {
    changed = false;
    for (std::int64_t s = 0; s < devices; ++s) {
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
  for (std::int64_t s = 0; s < devices && operations > 0; ++s) {
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
