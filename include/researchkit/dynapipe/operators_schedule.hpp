#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "researchkit/core/arbitrary.hpp"
#include "researchkit/core/operator.hpp"
#include "researchkit/dynapipe/random_pipeline.hpp"
#include "researchkit/dynapipe/reorder.hpp"
#include "researchkit/dynapipe/schedule.hpp"
#include "researchkit/dynapipe/simulator.hpp"

namespace researchkit::dynapipe {
namespace detail {

inline constexpr std::string_view kMegabytes = "(-inf, inf)";
inline constexpr std::string_view kMilliseconds = "[0, inf)";

inline void describe_memory(Description& io, In<double, 2>& stored, In<double, 2>& peak,
                            In<double, 1>& state_mem) {
  io.dimension("S", "[1, 65536]", "stages");
  io.input(stored, "stored", "M S", "MB kept from the forward to the backward", {.in = kMegabytes});
  io.input(peak, "peak", "M S", "MB needed while the forward runs", {.in = kMegabytes});
  io.input(state_mem, "state_mem", "S", "MB that are always there", {.in = kMegabytes});
}

inline void describe_times(Description& io, In<double, 2>& fw, In<double, 2>& bw,
                           In<double, 2>& comm_fw, In<double, 2>& comm_bw) {
  io.input(fw, "fw", "M S", "ms of each forward", {.in = kMilliseconds});
  io.input(bw, "bw", "M S", "ms of each backward", {.in = kMilliseconds});
  io.input(comm_fw, "comm_fw", "M S-1", "ms of the transfer to the next stage",
           {.in = kMilliseconds});
  io.input(comm_bw, "comm_bw", "M S-1", "ms of the transfer of the gradient back",
           {.in = kMilliseconds});
}

/// Refuses an order whose rows are no permutations.
inline void check_order(const Check& check, In<std::int32_t, 2> order) {
  const std::int64_t operations = order.extent(1);
  if (operations % 2 != 0) {
    check.refuse("order", "a forward and a backward of each micro-batch",
                 std::to_string(operations) + " operations");
  }
  std::vector<char> seen(static_cast<std::size_t>(operations));
  for (std::int64_t s = 0; s < order.extent(0); ++s) {
    std::fill(seen.begin(), seen.end(), char{0});
    for (std::int64_t p = 0; p < operations; ++p) {
      const std::int32_t code = order(s, p);
      const std::string got = std::to_string(code) + " at " + to_string(Shape{s, p});
      if (code < 0 || code >= operations) {
        check.refuse("order", "operations of 0 .. " + std::to_string(operations - 1), got);
      }
      if (seen[static_cast<std::size_t>(code)]++ != 0) {
        check.refuse("order", "a permutation in each row", got + " again");
      }
    }
  }
}

}  // namespace detail

/// The order of operations of every stage; see make_schedule in schedule.hpp.
struct MakeSchedule {
  static constexpr std::string_view name = "dynapipe.make_schedule";
  static constexpr std::string_view summary = "The order of forwards and backwards of every stage.";

  In<double, 2> stored = {};         // [M, S]
  In<double, 2> peak = {};           // [M, S]
  In<double, 1> state_mem = {};      // [S]
  Out<std::int32_t, 2> order = {};   // [S, 2 M]
  Out<std::int32_t, 1> status = {};  // [1]
  SchedulePolicy policy = SchedulePolicy::cyclic;
  double memory_limit = std::numeric_limits<double>::infinity();
  std::int64_t max_inflight = 0;

  void describe(Description& io) {
    detail::describe_memory(io, stored, peak, state_mem);
    io.output(order, "order", "S 2*M", "2 m: forward of m, 2 m + 1: its backward");
    io.output(status, "status", "1", "1: memory lets nothing finish, order is -1");
    io.attribute(policy, "policy", "which schedule");
    io.attribute(memory_limit, "memory_limit", "MB of a stage (cyclic)", {.in = "[-inf, inf]"});
    io.attribute(max_inflight, "max_inflight", "micro-batches on a stage (cyclic); 0: any number",
                 {.in = "[0, inf)"});
  }
  Cost cost() const {
    const auto operations = static_cast<double>(stored.size());
    return {4 * operations, 24 * operations, true};
  }
  void run(const Context&) const { status(0) = make_schedule(memory(), options(), order) ? 0 : 1; }
  void reference() const {
    const bool feasible = policy == SchedulePolicy::cyclic
                              ? reference::make_cyclic_schedule(memory(), options(), order)
                              : make_schedule(memory(), options(), order);
    status(0) = feasible ? 0 : 1;
  }

 private:
  StageMemory memory() const { return {stored, peak, state_mem}; }
  ScheduleOptions options() const { return {policy, memory_limit, max_inflight}; }
};
static_assert(OperatorStruct<MakeSchedule>);
inline auto make_schedule(const Context& ctx, MakeSchedule op) { return run(ctx, op); }

/// A schedule over time; see simulate_schedule in simulator.hpp.
struct SimulateSchedule {
  static constexpr std::string_view name = "dynapipe.simulate_schedule";
  static constexpr std::string_view summary =
      "Start times, makespan, work and memory of a "
      "schedule.";

  In<std::int32_t, 2> order = {};    // [S, 2 M]
  In<double, 2> fw = {};             // [M, S]
  In<double, 2> bw = {};             // [M, S]
  In<double, 2> comm_fw = {};        // [M, S - 1]
  In<double, 2> comm_bw = {};        // [M, S - 1]
  In<double, 2> stored = {};         // [M, S]
  In<double, 2> peak = {};           // [M, S]
  In<double, 1> state_mem = {};      // [S]
  Out<double, 2> start = {};         // [S, 2 M]
  Out<double, 2> comm_start = {};    // [S, 2 M]
  Out<double, 1> makespan = {};      // [1]
  Out<double, 1> peak_mem = {};      // [S]
  Out<double, 1> busy = {};          // [S]
  Out<std::int32_t, 1> status = {};  // [1]
  CommStreams comm_streams = CommStreams::device;

  void describe(Description& io) {
    io.input(order, "order", "S 2*M", "a permutation of the operations in each row");
    detail::describe_times(io, fw, bw, comm_fw, comm_bw);
    detail::describe_memory(io, stored, peak, state_mem);
    io.output(start, "start", "S 2*M", "ms, -1: never");
    io.output(comm_start, "comm_start", "S 2*M", "ms of the transfer of the result, -1: none");
    io.output(makespan, "makespan", "1", "ms until the last stage ends, -1: never");
    io.output(peak_mem, "peak_mem", "S", "largest MB");
    io.output(busy, "busy", "S", "ms of work");
    io.output(status, "status", "1", "1: the order can never finish");
    io.attribute(comm_streams, "comm_streams", "which transfers wait for one another");
  }
  void validate(const Check& check) const { detail::check_order(check, order); }
  Cost cost() const {
    const auto operations = static_cast<double>(fw.size());
    return {8 * operations, 88 * operations, true};
  }
  void run(const Context&) const {
    store(simulate_schedule(order, times(), memory(), comm_streams, {start, comm_start},
                            {peak_mem, busy}));
  }
  void reference() const {
    store(reference::simulate_schedule(order, times(), memory(), comm_streams, {start, comm_start},
                                       {peak_mem, busy}));
  }
  static void arbitrary(Arbitrary& random) {
    const detail::RandomPipeline pipeline(random);
    pipeline.set_inputs(random.call.inputs);
    // Some orders that can never finish.
    if (!random.chance(0.2)) return;
    Tensor* order = random.call.inputs.find("order");
    auto codes = order->values<std::int32_t>();
    std::reverse(codes.begin(), codes.end());
  }

 private:
  StageTimes times() const { return {fw, bw, comm_fw, comm_bw}; }
  StageMemory memory() const { return {stored, peak, state_mem}; }
  void store(double end) const {
    makespan(0) = end;
    status(0) = end < 0 ? 1 : 0;
  }
};
static_assert(OperatorStruct<SimulateSchedule>);
inline auto simulate_schedule(const Context& ctx, SimulateSchedule op) { return run(ctx, op); }

/// The order of micro-batches that finishes first; see reorder_microbatches in reorder.hpp.
struct ReorderMicrobatches {
  static constexpr std::string_view name = "dynapipe.reorder_microbatches";
  static constexpr std::string_view summary =
      "The order of micro-batches whose schedule finishes "
      "first.";

  In<double, 2> fw = {};             // [M, S]
  In<double, 2> bw = {};             // [M, S]
  In<double, 2> comm_fw = {};        // [M, S - 1]
  In<double, 2> comm_bw = {};        // [M, S - 1]
  In<double, 2> stored = {};         // [M, S]
  In<double, 2> peak = {};           // [M, S]
  In<double, 1> state_mem = {};      // [S]
  Out<std::int32_t, 1> perm = {};    // [M]
  Out<double, 1> makespan = {};      // [1]
  Out<std::int32_t, 1> status = {};  // [1]
  SchedulePolicy policy = SchedulePolicy::cyclic;
  double memory_limit = std::numeric_limits<double>::infinity();
  std::int64_t clusters = 0;
  CommStreams comm_streams = CommStreams::device;

  void describe(Description& io) {
    detail::describe_times(io, fw, bw, comm_fw, comm_bw);
    detail::describe_memory(io, stored, peak, state_mem);
    io.output(perm, "perm", "M", "micro-batches in order; -1: none fits into memory");
    io.output(makespan, "makespan", "1", "its ms; -1: none");
    io.output(status, "status", "1", "1: no order fits into memory");
    io.attribute(policy, "policy", "which schedule");
    io.attribute(memory_limit, "memory_limit", "MB of a stage", {.in = "[-inf, inf]"});
    io.attribute(clusters, "clusters",
                 "clusters of equal time; 0: 3 above 20 micro-batches, else 4", {.in = "[0, 6]"});
    io.attribute(comm_streams, "comm_streams", "which transfers wait for one another");
  }
  Cost cost() const {
    const auto operations = static_cast<double>(fw.size());
    return {25 * 12 * operations, 48 * operations, true};
  }
  void run(const Context& ctx) const { compute(ctx); }
  void reference() const { compute(Context({.threads = 1})); }
  static void arbitrary(Arbitrary& random) {
    const detail::RandomPipeline pipeline(random);
    pipeline.set_inputs(random.call.inputs);
    if (random.chance(0.5)) random.call.attributes.erase("memory_limit");
  }

 private:
  void compute(const Context& ctx) const {
    const Reordering best =
        reorder_microbatches(ctx, {fw, bw, comm_fw, comm_bw}, {stored, peak, state_mem},
                             {{policy, memory_limit, 0}, clusters, comm_streams});
    const bool found = best.makespan >= 0;
    for (std::int64_t m = 0; m < perm.extent(0); ++m) {
      perm(m) = found ? static_cast<std::int32_t>(best.perm[static_cast<std::size_t>(m)]) : -1;
    }
    makespan(0) = best.makespan;
    status(0) = found ? 0 : 1;
  }
};
static_assert(OperatorStruct<ReorderMicrobatches>);
inline auto reorder_microbatches(const Context& ctx, ReorderMicrobatches op) {
  return run(ctx, op);
}

}  // namespace researchkit::dynapipe
