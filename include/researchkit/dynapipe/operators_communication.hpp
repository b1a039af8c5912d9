#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "researchkit/core/arbitrary.hpp"
#include "researchkit/core/operator.hpp"
#include "researchkit/dynapipe/communication.hpp"
#include "researchkit/dynapipe/lowering.hpp"
#include "researchkit/dynapipe/operators_schedule.hpp"

namespace researchkit::dynapipe {
namespace detail {

/// Refuses offsets that do not cut [0, rows] and rows that name no stage or their own.
inline void check_transfer_ends(const Check& check, In<std::int32_t, 2> comm,
                                In<std::int32_t, 1> offsets) {
  const std::int64_t stages = offsets.extent(0) - 1, rows = comm.extent(0);
  for (std::int64_t s = 0; s <= stages; ++s) {
    const std::int64_t least = s == 0 ? 0 : offsets(s - 1), most = s == 0 ? 0 : rows;
    if (offsets(s) < least || offsets(s) > most || (s == stages && offsets(s) != rows)) {
      check.refuse("offsets", "ascending numbers from 0 to " + std::to_string(rows),
                   std::to_string(offsets(s)) + " at [" + std::to_string(s) + "]");
    }
  }
  for (std::int64_t s = 0; s < stages; ++s) {
    for (std::int64_t k = offsets(s); k < offsets(s + 1); ++k) {
      const std::string where = " in row " + std::to_string(k);
      if (comm(k, 0) < 0 || comm(k, 0) > 3) {
        check.refuse("comm", "kinds 0 .. 3", std::to_string(comm(k, 0)) + where);
      }
      if (comm(k, 2) < 0 || comm(k, 2) >= stages) {
        check.refuse("comm", "peers 0 .. " + std::to_string(stages - 1),
                     std::to_string(comm(k, 2)) + where);
      }
      if (comm(k, 2) == s) {
        check.refuse("comm", "peers other than the stage itself", std::to_string(s) + where);
      }
    }
  }
}

inline CommunicationPlan plan_of(In<std::int32_t, 2> comm, In<std::int32_t, 1> offsets) {
  CommunicationPlan plan(static_cast<std::size_t>(offsets.extent(0) - 1));
  for (std::size_t s = 0; s < plan.size(); ++s) {
    for (std::int64_t k = offsets(s); k < offsets(s + 1); ++k) {
      plan[s].push_back(
          {static_cast<TransferKind>(comm(k, 0)), comm(k, 1), comm(k, 2), comm(k, 3)});
    }
  }
  return plan;
}

inline void store_plan(const CommunicationPlan& plan, Out<std::int32_t, 2> comm,
                       Out<std::int32_t, 1> offsets) {
  std::int32_t k = 0;
  offsets(0) = 0;
  for (std::size_t s = 0; s < plan.size(); ++s) {
    for (const TransferEnd& end : plan[s]) {
      comm(k, 0) = static_cast<std::int32_t>(end.kind);
      comm(k, 1) = end.micro_batch;
      comm(k, 2) = end.peer;
      comm(k, 3) = end.position;
      ++k;
    }
    offsets(s + 1) = k;
  }
}

/// Sets `comm` and `offsets` of a random call.
inline void set_transfers(const CommunicationPlan& plan, TensorMap& inputs) {
  std::int64_t rows = 0;
  for (const auto& list : plan) rows += static_cast<std::int64_t>(list.size());
  const Array<std::int32_t, 2> comm({rows, 4});
  const Array<std::int32_t, 1> offsets({static_cast<std::int64_t>(plan.size()) + 1});
  store_plan(plan, comm, offsets);
  inputs.set("comm", comm.tensor());
  inputs.set("offsets", offsets.tensor());
}

}  // namespace detail

/// Every send and receive of a simulated schedule; see plan_communication in communication.hpp.
struct PlanCommunication {
  static constexpr std::string_view name = "dynapipe.plan_communication";
  static constexpr std::string_view summary =
      "Orders all transfers so that blocking channels "
      "cannot deadlock.";

  In<std::int32_t, 2> order = {};     // [S, N], N = 2 M
  In<double, 2> start = {};           // [S, N]
  In<double, 2> comm_start = {};      // [S, N]
  Out<std::int32_t, 2> comm = {};     // [K, 4]
  Out<std::int32_t, 1> offsets = {};  // [S + 1]

  void describe(Description& io) {
    io.dimension("S", "[1, 65536]", "stages");
    io.input(order, "order", "S N", "a permutation of the operations in each row");
    io.input(start, "start", "S N", "ms at which they start, ascending", {.in = "[0, inf)"});
    io.input(comm_start, "comm_start", "S N", "ms at which the result is sent, -1: it is not",
             {.in = "[-1, inf)"});
    io.output(comm, "comm", "K 4", "kind, micro-batch, peer, operations before it; by stage");
    io.output(offsets, "offsets", "S+1", "first row of each stage");
  }
  void validate(const Check& check) const {
    detail::check_order(check, order);
    for (std::int64_t s = 0; s < order.extent(0); ++s) {
      for (std::int64_t p = 0; p < order.extent(1); ++p) {
        const std::string where = " at " + to_string(Shape{s, p});
        if (p > 0 && start(s, p) < start(s, p - 1)) {
          check.refuse("start", "ascending numbers in each row",
                       std::to_string(start(s, p)) + where);
        }
        const bool nowhere = is_backward(order(s, p)) ? s == 0 : s == order.extent(0) - 1;
        if (nowhere && comm_start(s, p) >= 0) {
          check.refuse("comm_start", "-1 where there is no neighbour to send to",
                       std::to_string(comm_start(s, p)) + where);
        }
      }
    }
  }
  void infer(Extents& extents) const {
    std::int64_t transfers = 0;
    for (std::int64_t s = 0; s < order.extent(0); ++s) {
      for (std::int64_t p = 0; p < order.extent(1); ++p) transfers += comm_start(s, p) >= 0 ? 1 : 0;
    }
    extents.set("K", 2 * transfers);
  }
  Cost cost() const {
    const auto k = static_cast<double>(2 * order.size());
    return {k * std::log2(k + 1), 20 * static_cast<double>(order.size()) + 16 * k, true};
  }
  void run(const Context&) const {
    detail::store_plan(plan_communication(order, start, comm_start), comm, offsets);
  }
  void reference() const;
  static void arbitrary(Arbitrary& random) {
    detail::RandomPipeline(random).set_inputs(random.call.inputs);
  }
};

/// By the definition: counts by scanning, positions by searching.
inline void PlanCommunication::reference() const {
  CommunicationPlan plan(static_cast<std::size_t>(order.extent(0)));
  const auto started = [&](std::int64_t s, double before) {
    std::int32_t count = 0;
    for (std::int64_t p = 0; p < order.extent(1); ++p) count += start(s, p) < before ? 1 : 0;
    return count;
  };
  const auto last = [&](std::int64_t s) {
    const auto& list = plan[static_cast<std::size_t>(s)];
    return list.empty() ? 0 : list.back().position;
  };
  for (const detail::Transfer& transfer : detail::transfers_by_start(order, comm_start)) {
    const bool gradient = transfer.direction == 1;
    const std::int32_t s = transfer.sender, r = gradient ? s - 1 : s + 1;
    std::int32_t use = 0;
    while (order(r, use) != 2 * transfer.micro_batch + transfer.direction) ++use;
    const std::int32_t send =
        std::max({transfer.producer + 1, last(s), started(s, transfer.start)});
    const std::int32_t receive = std::min(std::max(last(r), started(r, transfer.start)), use);
    plan[static_cast<std::size_t>(s)].push_back(
        {gradient ? TransferKind::send_grad : TransferKind::send_act, transfer.micro_batch, r,
         send});
    plan[static_cast<std::size_t>(r)].push_back(
        {gradient ? TransferKind::recv_grad : TransferKind::recv_act, transfer.micro_batch, s,
         receive});
  }
  detail::store_plan(plan, comm, offsets);
}
static_assert(OperatorStruct<PlanCommunication>);
inline auto plan_communication(const Context& ctx, PlanCommunication op) { return run(ctx, op); }

/// Whether ordered blocking channels can run these transfers; see check_deadlock in
/// communication.hpp.
struct CheckDeadlock {
  static constexpr std::string_view name = "dynapipe.check_deadlock";
  static constexpr std::string_view summary =
      "Whether ordered blocking channels can run a plan to "
      "its end.";

  In<std::int32_t, 2> comm = {};     // [K, 4]
  In<std::int32_t, 1> offsets = {};  // [S + 1]
  Out<std::int32_t, 1> status = {};  // [1]
  Out<std::int32_t, 1> done = {};    // [S]
  Channel channel = Channel::single;

  void describe(Description& io) {
    io.dimension("S", "[1, 65536]", "stages");
    io.input(comm, "comm", "K 4", "kind, micro-batch, peer, position; by stage");
    io.input(offsets, "offsets", "S+1", "first row of each stage");
    io.output(status, "status", "1", "0: it can, 1: deadlock, 2: two ends disagree");
    io.output(done, "done", "S", "transfers of each stage that happen");
    io.attribute(channel, "channel", "a channel for each stage, or for each pair");
  }
  void validate(const Check& check) const { detail::check_transfer_ends(check, comm, offsets); }
  Cost cost() const {
    const auto k = static_cast<double>(comm.extent(0));
    return {k, 16 * k + 8 * static_cast<double>(offsets.extent(0)), true};
  }
  void run(const Context&) const { reference(); }
  void reference() const {
    const ChannelCheck check = check_deadlock(detail::plan_of(comm, offsets), channel);
    status(0) = static_cast<std::int32_t>(check.status);
    for (std::size_t s = 0; s < check.done.size(); ++s) done(s) = check.done[s];
  }
  static void arbitrary(Arbitrary& random) {
    const detail::RandomPipeline pipeline(random);
    CommunicationPlan plan =
        random.chance(0.5) ? pipeline.plan : naive_communication(pipeline.order);
    detail::set_transfers(plan, random.call.inputs);
  }
};
static_assert(OperatorStruct<CheckDeadlock>);
inline auto check_deadlock(const Context& ctx, CheckDeadlock op) { return run(ctx, op); }

/// Turns order and transfers into instructions; see lower_plan in lowering.hpp.
struct LowerPlan {
  static constexpr std::string_view name = "dynapipe.lower_plan";
  static constexpr std::string_view summary =
      "Turns a schedule and its transfers into the "
      "instructions of every stage.";

  In<std::int32_t, 2> order = {};    // [S, 2 M]
  In<std::int32_t, 2> comm = {};     // [T, 4]
  In<std::int32_t, 1> offsets = {};  // [S + 1]
  In<std::int32_t, 2> shapes = {};   // [M, 3]
  Out<std::int32_t, 2> instr = {};   // [K, 10]
  Out<std::int32_t, 1> slots = {};   // [S]
  Extent rows = {};
  std::int64_t hidden = 0;
  std::int64_t n_enc_stages = 1;

  void describe(Description& io) {
    io.dimension("S", "[1, 65536]", "stages");
    io.input(order, "order", "S 2*M", "a permutation of the operations in each row");
    io.input(comm, "comm", "T 4", "kind, micro-batch, peer, position; by stage");
    io.input(offsets, "offsets", "S+1", "first row of each stage");
    io.input(shapes, "shapes", "M 3", "samples, padded input and target length",
             {.in = "[0, 268435456]"});
    io.output(instr, "instr", "K 10",
              "stage, opcode, micro-batch, peer, two buffers, samples, two lengths, hidden");
    io.output(slots, "slots", "S", "buffer slots of each stage");
    io.extent(rows, "K", "T+9*S*M", "instructions");
    io.attribute(hidden, "hidden", "width of the activations, must be given",
                 {.in = "[1, 1073741824]"});
    io.attribute(n_enc_stages, "n_enc_stages", "stages of the encoder; S: decoder-only",
                 {.in = "[1, S]"});
  }
  void validate(const Check& check) const {
    detail::check_order(check, order);
    detail::check_transfer_ends(check, comm, offsets);
    if (const auto fault = find_transfer_fault(order, detail::plan_of(comm, offsets))) {
      check.refuse("comm", "each transfer once, where it can happen", *fault);
    }
  }
  Cost cost() const {
    const std::int64_t micro_batches = order.size() / 2;  // of all stages
    const auto k = static_cast<double>(comm.extent(0) + 9 * micro_batches);
    return {k, 56 * k, true};
  }
  void run(const Context&) const { reference(); }
  void reference() const {
    std::vector<MicroBatchShape> batches(static_cast<std::size_t>(shapes.extent(0)));
    for (std::size_t m = 0; m < batches.size(); ++m) {
      batches[m] = {shapes(m, 0), shapes(m, 1), shapes(m, 2)};
    }
    const Program program =
        lower_plan(order, detail::plan_of(comm, offsets), batches,
                   {static_cast<std::int32_t>(hidden), static_cast<std::int32_t>(n_enc_stages)});
    std::int64_t k = 0;
    for (const auto& stage : program.stages) {
      for (const Instruction& step : stage) {
        const std::array<std::int32_t, 10> columns = {
            step.stage,       static_cast<std::int32_t>(step.op),
            step.micro_batch, step.peer,
            step.buffer[0],   step.buffer[1],
            step.mbs,         step.length[0],
            step.length[1],   step.hidden};
        for (std::size_t c = 0; c < columns.size(); ++c) instr(k, c) = columns[c];
        ++k;
      }
    }
    for (std::size_t s = 0; s < program.slots.size(); ++s) slots(s) = program.slots[s];
    rows.set(k);
  }
  static void arbitrary(Arbitrary& random) {
    const detail::RandomPipeline pipeline(random);
    pipeline.set_inputs(random.call.inputs);
    detail::set_transfers(pipeline.plan, random.call.inputs);
    Tensor shapes(DType::i32, {pipeline.micro_batches, 3});
    for (std::int32_t& value : shapes.values<std::int32_t>()) {
      value = static_cast<std::int32_t>(random.integer(1, 64));
    }
    random.call.inputs.set("shapes", shapes);
    random.call.attributes["n_enc_stages"] = random.integer(1, pipeline.stages);
    random.call.attributes["hidden"] = random.integer(1, 64);
  }
};
static_assert(OperatorStruct<LowerPlan>);
inline auto lower_plan(const Context& ctx, LowerPlan op) { return run(ctx, op); }

}  // namespace researchkit::dynapipe
