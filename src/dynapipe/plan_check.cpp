#include <fmt/format.h>

#include <set>

#include "researchkit/dynapipe/planner.hpp"

namespace researchkit::dynapipe {
namespace {

/// Runs the instructions of a stage on a table of slots; words for the first misuse.
std::optional<std::string> find_buffer_fault(const std::vector<Instruction>& program,
                                             std::int32_t slots) {
  std::vector<char> live(static_cast<std::size_t>(slots), 0);
  std::set<std::pair<std::int32_t, int>> receiving;
  for (std::size_t k = 0; k < program.size(); ++k) {
    const Instruction& step = program[k];
    const auto fault = [&](std::string_view what) {
      return fmt::format("instruction {} ({} of {}): {}", k, name_of(step.op), step.micro_batch,
                         what);
    };
    const bool allocates = step.op == Opcode::load_input || step.op == Opcode::recv_act_start ||
                           step.op == Opcode::recv_grad_start;
    for (const std::int32_t slot : step.buffer) {
      if (slot < 0) continue;
      if (slot >= slots) return fault("no such slot");
      char& used = live[static_cast<std::size_t>(slot)];
      if (allocates == (used != 0)) return fault(allocates ? "a live slot" : "a dead slot");
      if (allocates) used = 1;
      if (step.op == Opcode::free_buffer) used = 0;
    }
    const auto key = [&](int direction) { return std::pair{step.micro_batch, direction}; };
    if (step.op == Opcode::recv_act_start) receiving.insert(key(0));
    if (step.op == Opcode::recv_grad_start) receiving.insert(key(1));
    if (step.op == Opcode::recv_act_finish && receiving.erase(key(0)) == 0) {
      return fault("nothing was received");
    }
    if (step.op == Opcode::recv_grad_finish && receiving.erase(key(1)) == 0) {
      return fault("nothing was received");
    }
    if (step.op == Opcode::forward && receiving.contains(key(0))) return fault("not waited for");
    if (step.op == Opcode::backward && receiving.contains(key(1))) return fault("not waited for");
  }
  for (std::size_t slot = 0; slot < live.size(); ++slot) {
    if (live[slot] != 0) return fmt::format("slot {} is never freed", slot);
  }
  return std::nullopt;
}

/// Both ends of every transfer carry tensors of the same shape.
std::optional<std::string> find_shape_fault(const Program& program) {
  const auto shapes_of = [&](std::size_t stage, Opcode op) {
    std::vector<std::array<std::int32_t, 5>> shapes;
    for (const Instruction& step : program.stages[stage]) {
      if (step.op != op) continue;
      shapes.push_back({step.micro_batch, step.mbs, step.length[0], step.length[1], step.hidden});
    }
    return shapes;
  };
  for (std::size_t s = 0; s + 1 < program.stages.size(); ++s) {
    if (shapes_of(s, Opcode::send_act_start) != shapes_of(s + 1, Opcode::recv_act_start) ||
        shapes_of(s + 1, Opcode::send_grad_start) != shapes_of(s, Opcode::recv_grad_start)) {
      return fmt::format("stages {} and {} disagree about what they exchange", s, s + 1);
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::string> find_plan_fault(const IterationPlan& plan, std::int64_t samples,
                                           double memory_limit_mb) {
  std::vector<int> times(static_cast<std::size_t>(samples), 0);
  for (std::size_t g = 0; g < plan.replicas.size(); ++g) {
    const ReplicaPlan& replica = plan.replicas[g];
    const auto fault = [&](const std::string& what) {
      return fmt::format("replica {}: {}", g, what);
    };
    for (const MicroBatch& batch : replica.micro_batches) {
      for (const std::int32_t i : batch.samples) {
        if (i < 0 || i >= samples) return fault(fmt::format("no sample {}", i));
        ++times[static_cast<std::size_t>(i)];
      }
    }
    if (const auto words = find_transfer_fault(replica.order, replica.communication)) {
      return fault(*words);
    }
    for (const Channel channel : {Channel::single, Channel::pair}) {
      if (check_deadlock(replica.communication, channel).status != ChannelStatus::ok) {
        return fault(fmt::format("deadlock on channels of kind {}", name_of(channel)));
      }
    }
    for (std::size_t s = 0; s < replica.program.stages.size(); ++s) {
      if (const auto words =
              find_buffer_fault(replica.program.stages[s], replica.program.slots[s])) {
        return fault(fmt::format("stage {}: {}", s, *words));
      }
      if (replica.peak_mb[s] > memory_limit_mb) {
        return fault(
            fmt::format("stage {}: {:.1f} MB of {:.1f}", s, replica.peak_mb[s], memory_limit_mb));
      }
    }
    if (const auto words = find_shape_fault(replica.program)) return fault(*words);
  }
  for (std::size_t i = 0; i < times.size(); ++i) {
    if (times[i] != 1) return fmt::format("sample {} is in {} micro-batches", i, times[i]);
  }
  return std::nullopt;
}

}  // namespace researchkit::dynapipe
