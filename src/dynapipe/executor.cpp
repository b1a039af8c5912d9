#include "researchkit/dynapipe/executor.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>

#include "src/dynapipe/gradient_sum.hpp"
#include "src/dynapipe/plan_limits.hpp"
#include "src/dynapipe/stage_clock.hpp"

namespace researchkit::dynapipe {
namespace {

std::span<std::byte> bytes_of(Tensor& tensor) {
  return {static_cast<std::byte*>(tensor.data()), tensor.bytes()};
}

Interleaving places_of_plan(const StoredPlan& plan) {
  return {static_cast<std::int64_t>(plan.program.stages.size()), plan.chunks,
          static_cast<std::int64_t>(plan.micro_batches.size())};
}

/// Runs the instructions of one device.
class Executor {
 public:
  Executor(const Context& ctx, Communicator& ranks, const StoredPlan& plan, std::size_t number,
           std::span<PipelineStage* const> chunks, const RunOptions& options)
      : ctx_(ctx),
        ranks_(ranks),
        plan_(plan),
        number_(number),
        first_rank_(ranks.rank() - static_cast<int>(number)),
        places_(places_of_plan(plan)),
        chunks_(chunks),
        slots_(static_cast<std::size_t>(plan.program.slots[number])) {
    for (const PipelineStage* chunk : chunks) {
      sums_.emplace_back(chunk->weights(), options.deterministic);
    }
  }

  StageRun run() {
    for (const Instruction& step : plan_.program.stages[number_]) {
      ctx_.check_cancelled();
      execute(step);
    }
    for (auto& [key, sending] : sending_) wait(sending);
    for (detail::GradientSum& sum : sums_) result_.gradients.push_back(sum.take());
    return std::move(result_);
  }

 private:
  // A slot is shared with the transfers that still read it: freeing it does not take it from them.
  struct Transfers {
    std::vector<std::unique_ptr<Transfer>> transfers;
    Activations tensors;
  };
  /// What travels: chunk of the sender, micro-batch, 0 activation or 1 gradient.
  struct Key {
    std::int32_t chunk, micro_batch;
    int gradient;
    friend bool operator<(const Key& a, const Key& b) {
      return std::tie(a.chunk, a.micro_batch, a.gradient) <
             std::tie(b.chunk, b.micro_batch, b.gradient);
    }
  };

  void execute(const Instruction& step) {
    switch (step.op) {
      case Opcode::load_input:
        // The decoder's input takes a slot of its own, beside what was received from the encoder.
        put(step, 0, stage(step).load(batch(step), number_of(step) > 0));
        break;
      case Opcode::recv_act_start:
      case Opcode::recv_grad_start:
        start_receive(step);
        break;
      case Opcode::recv_act_finish:
      case Opcode::recv_grad_finish:
        finish(receiving_, step);
        break;
      case Opcode::send_act_start:
      case Opcode::send_grad_start:
        start_send(step);
        break;
      case Opcode::send_act_finish:
      case Opcode::send_grad_finish:
        finish(sending_, step);
        break;
      case Opcode::forward:
        forward(step);
        break;
      case Opcode::backward:
        backward(step);
        break;
      case Opcode::free_buffer:
        for (std::size_t t = 0; t < 2 && step.buffer[t] >= 0; ++t) {
          slot(step, t) = Tensor();
          --live_;
        }
        break;
    }
  }

  PipelineStage& stage(const Instruction& step) const {
    return *chunks_[static_cast<std::size_t>(step.chunk)];
  }
  /// The stage of the model that an instruction is of.
  std::int64_t number_of(const Instruction& step) const {
    return step.chunk * places_.devices + static_cast<std::int64_t>(number_);
  }
  const MicroBatch& batch(const Instruction& step) const {
    return plan_.micro_batches[static_cast<std::size_t>(step.micro_batch)];
  }
  Tensor& slot(const Instruction& step, std::size_t t) {
    const std::int32_t at = step.buffer[t];
    if (at < 0 || static_cast<std::size_t>(at) >= slots_.size()) {
      throw Error(
          fmt::format("{} of micro-batch {}: no slot {}", name_of(step.op), step.micro_batch, at));
    }
    return slots_[static_cast<std::size_t>(at)];
  }
  /// The tensors of an instruction.
  Activations tensors(const Instruction& step) {
    Activations found;
    for (std::size_t t = 0; t < 2 && step.buffer[t] >= 0; ++t) {
      found.push_back(slot(step, t));
      if (!found.back().defined()) {
        throw Error(fmt::format("{} of micro-batch {}: slot {} is not alive", name_of(step.op),
                                step.micro_batch, step.buffer[t]));
      }
    }
    if (found.empty()) throw Error("an instruction without a buffer");
    return found;
  }
  void put(const Instruction& step, std::size_t t, Tensor tensor) {
    slot(step, t) = std::move(tensor);
    result_.live_slots = std::max(result_.live_slots, ++live_);
  }
  void replace(const Instruction& step, const Activations& with) {
    for (std::size_t t = 0; t < with.size(); ++t) slot(step, t) = with[t];
  }

  Key key_of(const Instruction& step) const {
    const bool gradient = step.op >= Opcode::send_grad_start;
    std::int64_t sender = number_of(step);
    if (step.op == Opcode::recv_act_start || step.op == Opcode::recv_act_finish) --sender;
    if (step.op == Opcode::recv_grad_start || step.op == Opcode::recv_grad_finish) ++sender;
    return {static_cast<std::int32_t>(places_.chunk_of(sender)), step.micro_batch,
            gradient ? 1 : 0};
  }
  int rank_of(std::int32_t peer) const { return first_rank_ + peer; }
  int tag_of(const Key& key, std::size_t t) const {
    const auto transfer = key.chunk * static_cast<int>(places_.micro_batches) + key.micro_batch;
    return 4 * transfer + 2 * key.gradient + static_cast<int>(t);
  }
  std::string words_for(const Key& key) const {
    return fmt::format("{} of micro-batch {}{}", key.gradient == 0 ? "activations" : "gradients",
                       key.micro_batch,
                       places_.chunks > 1 ? fmt::format(" from chunk {}", key.chunk) : "");
  }

  void start_receive(const Instruction& step) {
    const Key key = key_of(step);
    Transfers& receiving = receiving_[key] = {};
    for (std::size_t t = 0; t < 2 && step.buffer[t] >= 0; ++t) {
      Tensor tensor(stage(step).dtype(), {step.mbs, step.length[t], step.hidden});
      receiving.transfers.push_back(ranks_.start_receive(bytes_of(tensor), rank_of(step.peer),
                                                         tag_of(key, t), words_for(key)));
      receiving.tensors.push_back(tensor);
      put(step, t, std::move(tensor));
    }
  }

  void start_send(const Instruction& step) {
    const Key key = key_of(step);
    Transfers& sending = sending_[key] = {};
    sending.tensors = tensors(step);
    for (std::size_t t = 0; t < sending.tensors.size(); ++t) {
      sending.transfers.push_back(ranks_.start_send(
          bytes_of(sending.tensors[t]), rank_of(step.peer), tag_of(key, t), words_for(key)));
    }
  }

  static void wait(Transfers& pending) {
    for (const auto& transfer : pending.transfers) transfer->wait();
  }
  void finish(std::map<Key, Transfers>& pending, const Instruction& step) const {
    const auto found = pending.find(key_of(step));
    if (found == pending.end()) throw Error("waits for a transfer that was not started");
    wait(found->second);
    pending.erase(found);
  }

  void note_memory() {
    std::size_t bytes = 0;
    for (const PipelineStage* chunk : chunks_) bytes += chunk->kept_bytes();
    for (const Tensor& tensor : slots_) bytes += tensor.defined() ? tensor.bytes() : 0;
    result_.peak_bytes = std::max(result_.peak_bytes, bytes);
  }

  void forward(const Instruction& step) {
    const detail::StageTime time = detail::timed([&] {
      replace(step,
              stage(step).forward(step.micro_batch, batch(step), tensors(step), plan_.recompute));
    });
    result_.forward_ms += time.wall_ms;
    result_.processor_ms += time.processor_ms;
    note_memory();
  }

  void backward(const Instruction& step) {
    const bool last = number_of(step) + 1 == places_.stages();
    const detail::StageTime time = detail::timed([&] {
      PipelineStage::Gradients gradients =
          stage(step).backward(step.micro_batch, batch(step), last ? Activations() : tensors(step));
      result_.loss += gradients.loss;
      replace(step, gradients.d_x);
      sums_[static_cast<std::size_t>(step.chunk)].add(step.micro_batch,
                                                      std::move(gradients.d_weights));
    });
    result_.backward_ms += time.wall_ms;
    result_.processor_ms += time.processor_ms;
  }

  const Context& ctx_;
  Communicator& ranks_;
  const StoredPlan& plan_;
  std::size_t number_;
  int first_rank_;
  Interleaving places_;
  std::span<PipelineStage* const> chunks_;
  std::vector<Tensor> slots_;
  std::map<Key, Transfers> receiving_, sending_;
  std::int64_t live_ = 0;
  std::vector<detail::GradientSum> sums_;
  StageRun result_;
};

[[noreturn]] void refuse(std::string_view argument, std::string_view wanted,
                         const std::string& got) {
  throw Error("dynapipe.run_pipeline", argument, wanted, got);
}

void check_plan(const StoredPlan& plan, const Interleaving& places,
                std::span<PipelineStage* const> stages) {
  const auto devices = static_cast<std::size_t>(places.devices);
  if (plan.program.stages.size() != devices || plan.program.slots.size() != devices ||
      plan.chunks != places.chunks) {
    refuse("plans", "the same number of stages in each",
           fmt::format("{} x {} and {} x {}", places.chunks, devices, plan.chunks,
                       plan.program.stages.size()));
  }
  const std::int64_t hidden = stages[0]->hidden();
  if (plan.hidden != hidden) {
    refuse("plans", fmt::format("plans of width {}", hidden),
           fmt::format("one of width {}", plan.hidden));
  }
  const std::int64_t most = Communicator::kLargestTag / 4 / places.chunks;
  if (static_cast<std::int64_t>(plan.micro_batches.size()) > most) {
    refuse("plans", fmt::format("at most {} micro-batches", most),
           fmt::format("{}", plan.micro_batches.size()));
  }
  for (const MicroBatch& batch : plan.micro_batches) {
    if (const auto words = detail::find_sequence_fault(batch)) {
      refuse("plans", "samples in sequences of their micro-batch", *words);
    }
    for (const PipelineStage* stage : stages) stage->check(batch);
  }
  for (const auto& program : plan.program.stages) {
    for (const Instruction& step : program) {
      if (step.micro_batch < 0 ||
          static_cast<std::size_t>(step.micro_batch) >= plan.micro_batches.size()) {
        refuse("plans", "micro-batches of the plan", fmt::format("{}", step.micro_batch));
      }
      if (step.chunk < 0 || step.chunk >= plan.chunks) {
        refuse("plans", "chunks of the plan", fmt::format("{}", step.chunk));
      }
    }
  }
}

/// `stages` are those of a device where there are ranks, else all of them.
void check_fit(std::span<const StoredPlan> plans, std::span<PipelineStage* const> stages,
               std::optional<std::int64_t> ranks) {
  if (plans.empty()) refuse("plans", "one for each replica", "none");
  const Interleaving places = places_of_plan(plans[0]);
  if (places.devices < 1 || places.chunks < 1) refuse("plans", "plans with stages", "none");
  if (ranks && *ranks != places.devices * static_cast<std::int64_t>(plans.size())) {
    refuse("ranks", fmt::format("{} stages times {} replicas", places.devices, plans.size()),
           fmt::format("{}", *ranks));
  }
  const std::int64_t wanted = ranks ? places.chunks : places.stages();
  if (static_cast<std::int64_t>(stages.size()) != wanted) {
    refuse(ranks ? "chunks" : "stages", fmt::format("{}", wanted),
           fmt::format("{}", stages.size()));
  }
  for (const StoredPlan& plan : plans) check_plan(plan, places, stages);
}

/// All stages forward and back for one micro-batch.
void run_micro_batch(std::int32_t m, const StoredPlan& plan, std::span<PipelineStage* const> stages,
                     std::vector<detail::GradientSum>& sums) {
  const MicroBatch& batch = plan.micro_batches[static_cast<std::size_t>(m)];
  const auto first_decoder = static_cast<std::size_t>(plan.n_enc_stages);
  Activations x = {stages[0]->load(batch, false)};
  for (std::size_t s = 0; s < stages.size(); ++s) {
    if (s == first_decoder) x.push_back(stages[s]->load(batch, true));
    x = stages[s]->forward(m, batch, std::move(x), plan.recompute);
  }
  Activations d_y;
  for (std::size_t s = stages.size(); s-- > 0;) {
    PipelineStage::Gradients gradients = stages[s]->backward(m, batch, std::move(d_y));
    sums[s].add(m, std::move(gradients.d_weights));
    d_y = std::move(gradients.d_x);
    if (s == first_decoder) d_y.resize(1);  // the encoder's part alone travels back
  }
}

}  // namespace

StageRun run_pipeline(const Context& ctx, Communicator& ranks, std::span<const StoredPlan> plans,
                      std::span<PipelineStage* const> chunks, const RunOptions& options) {
  check_fit(plans, chunks, ranks.size());
  const auto devices = static_cast<int>(plans[0].program.stages.size());
  const int replica = ranks.rank() / devices, number = ranks.rank() % devices;
  try {
    Executor executor(ctx, ranks, plans[static_cast<std::size_t>(replica)],
                      static_cast<std::size_t>(number), chunks, options);
    StageRun run = executor.run();
    if (plans.size() == 1) return run;
    // A replica without micro-batches still takes part.
    const auto replicas = ranks.split(number, replica);
    for (TensorMap& gradients : run.gradients) {
      for (auto& [name, gradient] : gradients) {
        visit_dtype(gradient.dtype(), [&, &gradient = gradient]<class T>(T) {
          if constexpr (std::is_floating_point_v<T>) replicas->all_reduce(gradient.values<T>());
        });
      }
    }
    return run;
  } catch (const std::exception& error) {
    ranks.abandon(error.what());
    throw;
  }
}

StageRun run_pipeline(const Context& ctx, Communicator& ranks, std::span<const StoredPlan> plans,
                      PipelineStage& stage, const RunOptions& options) {
  PipelineStage* const own = &stage;
  return run_pipeline(ctx, ranks, plans, std::span(&own, 1), options);
}

std::vector<TensorMap> run_stages_alone(const Context& ctx, std::span<const StoredPlan> plans,
                                        std::span<PipelineStage* const> stages) {
  check_fit(plans, stages, std::nullopt);
  std::vector<TensorMap> total;
  for (const StoredPlan& plan : plans) {
    std::vector<detail::GradientSum> sums;
    for (const PipelineStage* stage : stages) sums.emplace_back(stage->weights(), true);
    for (std::size_t m = 0; m < plan.micro_batches.size(); ++m) {
      ctx.check_cancelled();
      run_micro_batch(static_cast<std::int32_t>(m), plan, stages, sums);
    }
    for (std::size_t s = 0; s < stages.size(); ++s) {
      TensorMap sum = sums[s].take();
      if (&plan == plans.data()) {
        total.push_back(std::move(sum));
      } else {
        detail::add_to(total[s], sum);
      }
    }
  }
  return total;
}

}  // namespace researchkit::dynapipe
