#include <fmt/format.h>

#include <array>
#include <set>

#include "researchkit/dynapipe/planner.hpp"
#include "src/dynapipe/plan_limits.hpp"

namespace researchkit::dynapipe {
namespace {

/// Runs the instructions of a stage on a table of slots; words for the first misuse.
std::optional<std::string> find_buffer_fault(const std::vector<Instruction>& program,
                                             std::int32_t slots) {
  std::vector<char> live(static_cast<std::size_t>(slots), 0);
  std::set<std::array<std::int32_t, 3>> receiving;
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
    const auto key = [&](std::int32_t direction) {
      return std::array{step.chunk, step.micro_batch, direction};
    };
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
std::optional<std::string> find_shape_fault(const Program& program, std::int64_t chunks) {
  const auto shapes_of = [&](std::size_t stage, Opcode op) {
    std::vector<std::array<std::int32_t, 5>> shapes;
    for (const Instruction& step : program.stages[stage]) {
      if (step.op != op) continue;
      shapes.push_back({step.micro_batch, step.mbs, step.length[0], step.length[1], step.hidden});
    }
    return shapes;
  };
  // With chunks the last device sends to the first.
  const std::size_t devices = program.stages.size();
  for (std::size_t s = 0; s + (chunks > 1 ? 0 : 1) < devices; ++s) {
    const std::size_t next = (s + 1) % devices;
    if (shapes_of(s, Opcode::send_act_start) != shapes_of(next, Opcode::recv_act_start) ||
        shapes_of(next, Opcode::send_grad_start) != shapes_of(s, Opcode::recv_grad_start)) {
      return fmt::format("stages {} and {} disagree about what they exchange", s, next);
    }
  }
  return std::nullopt;
}

/// Samples fit into their sequences, with separators between them.
std::optional<std::string> find_length_fault(const MicroBatch& batch,
                                             std::span<const SampleLength> mini_batch) {
  struct Tokens {
    std::int64_t input = 0, target = 0;
  };
  std::vector<Tokens> used(static_cast<std::size_t>(batch.shape.samples));
  for (std::size_t b = 0; b < batch.samples.size(); ++b) {
    const std::size_t at = batch.packed() ? static_cast<std::size_t>(batch.sequence_of[b]) : b;
    const SampleLength& sample = mini_batch[static_cast<std::size_t>(batch.samples[b])];
    Tokens& tokens = used[at];
    const int separator = tokens.input > 0 ? 1 : 0;
    tokens.input += sample.input + separator;
    if (batch.shape.target > 0) tokens.target += sample.target + separator;
    if (tokens.input <= batch.shape.input && tokens.target <= batch.shape.target) continue;
    return fmt::format("sample {} does not fit into sequence {}", batch.samples[b], at);
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::string> detail::find_sequence_fault(const MicroBatch& batch) {
  if (!batch.packed()) {
    if (batch.samples.size() <= static_cast<std::size_t>(batch.shape.samples)) return std::nullopt;
    return fmt::format("{} samples in {} sequences", batch.samples.size(), batch.shape.samples);
  }
  if (batch.sequence_of.size() != batch.samples.size()) {
    return fmt::format("{} samples, sequences of {}", batch.samples.size(),
                       batch.sequence_of.size());
  }
  for (const std::int32_t sequence : batch.sequence_of) {
    if (sequence < 0 || sequence >= batch.shape.samples) {
      return fmt::format("no sequence {} of {}", sequence, batch.shape.samples);
    }
  }
  return std::nullopt;
}

std::optional<std::string> find_plan_fault(const IterationPlan& plan,
                                           std::span<const SampleLength> mini_batch,
                                           double memory_limit_mb) {
  if (auto words =
          find_plan_fault(plan, static_cast<std::int64_t>(mini_batch.size()), memory_limit_mb)) {
    return words;
  }
  for (std::size_t g = 0; g < plan.replicas.size(); ++g) {
    for (const MicroBatch& batch : plan.replicas[g].micro_batches) {
      if (const auto words = find_length_fault(batch, mini_batch)) {
        return fmt::format("replica {}: {}", g, *words);
      }
    }
  }
  return std::nullopt;
}

std::optional<std::string> find_plan_fault(const IterationPlan& plan, std::int64_t samples,
                                           double memory_limit_mb) {
  std::vector<int> times(static_cast<std::size_t>(samples), 0);
  for (std::size_t g = 0; g < plan.replicas.size(); ++g) {
    const ReplicaPlan& replica = plan.replicas[g];
    const auto fault = [&](const std::string& what) {
      return fmt::format("replica {}: {}", g, what);
    };
    for (const MicroBatch& batch : replica.micro_batches) {
      if (const auto words = detail::find_sequence_fault(batch)) return fault(*words);
      for (const std::int32_t i : batch.samples) {
        if (i < 0 || i >= samples) return fault(fmt::format("no sample {}", i));
        ++times[static_cast<std::size_t>(i)];
      }
    }
    if (const auto words =
            find_transfer_fault(replica.order, replica.communication, replica.chunks)) {
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
    if (const auto words = find_shape_fault(replica.program, replica.chunks)) return fault(*words);
  }
  for (std::size_t i = 0; i < times.size(); ++i) {
    if (times[i] != 1) return fmt::format("sample {} is in {} micro-batches", i, times[i]);
  }
  return std::nullopt;
}

}  // namespace researchkit::dynapipe
