#include "researchkit/dynapipe/executor.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>

namespace researchkit::dynapipe {
namespace {

/// Padded activations of a micro-batch, as rows of tokens.
template <class Real>
using Rows = std::vector<Real>;

template <class Real>
In<Real, 2> view_of(const Rows<Real>& rows, std::int64_t hidden) {
  return {rows.data(), {static_cast<std::int64_t>(rows.size()) / hidden, hidden}};
}
template <class Real>
Out<Real, 2> view_of(Rows<Real>& rows, std::int64_t hidden) {
  return {rows.data(), {static_cast<std::int64_t>(rows.size()) / hidden, hidden}};
}

/// One stage's arithmetic on micro-batches.
template <class Real>
class Stage {
 public:
  Stage(const Context& ctx, const MlpParameters<Real>& parameters, const PipelineData<Real>& data)
      : ctx_(ctx), parameters_(parameters), data_(data), hidden_(parameters.w1.extent(0)) {}

  /// Inputs of a micro-batch, zeros behind the end of each sequence.
  Rows<Real> load(const MicroBatch& batch) const {
    Rows<Real> rows(size_of(batch));
    for_valid(batch, [&](std::size_t at, std::int32_t sample, std::int64_t t, std::int64_t h) {
      rows[at] = data_.inputs(sample, t, h);
    });
    return rows;
  }

  Rows<Real> forward(const Rows<Real>& x) const {
    Rows<Real> y(x.size());
    mlp_stage(ctx_, view_of(x, hidden_), parameters_.weights(), view_of(y, hidden_));
    return y;
  }

  /// Loss of the last stage's output, and its gradient.
  std::pair<double, Rows<Real>> loss(const MicroBatch& batch, const Rows<Real>& y) const {
    Rows<Real> gradient(y.size());
    double sum = 0;
    for_valid(batch, [&](std::size_t at, std::int32_t sample, std::int64_t t, std::int64_t h) {
      const double error =
          static_cast<double>(y[at]) - static_cast<double>(data_.targets(sample, t, h));
      sum += error * error;
      gradient[at] = static_cast<Real>(error / data_.norm);
    });
    return {0.5 * sum / data_.norm, std::move(gradient)};
  }

  /// The gradient of x; that of the weights goes to `gradient`.
  Rows<Real> backward(const Rows<Real>& x, const Rows<Real>& d_y,
                      MlpParameters<Real>& gradient) const {
    gradient = MlpParameters<Real>(hidden_, parameters_.w1.extent(1));
    Rows<Real> d_x(x.size());
    mlp_stage_backward(ctx_, view_of(x, hidden_), parameters_.weights(), view_of(d_y, hidden_),
                       view_of(d_x, hidden_), gradient.gradients());
    return d_x;
  }

  std::size_t size_of(const MicroBatch& batch) const {
    return static_cast<std::size_t>(std::int64_t{batch.shape.samples} * batch.shape.input *
                                    hidden_);
  }
  std::int64_t hidden() const { return hidden_; }

 private:
  template <class Body>
  void for_valid(const MicroBatch& batch, Body&& body) const {
    for (std::size_t b = 0; b < batch.samples.size(); ++b) {
      const std::int32_t sample = batch.samples[b];
      for (std::int64_t t = 0; t < data_.lengths(sample); ++t) {
        const std::int64_t row = static_cast<std::int64_t>(b) * batch.shape.input + t;
        for (std::int64_t h = 0; h < hidden_; ++h) {
          body(static_cast<std::size_t>(row * hidden_ + h), sample, t, h);
        }
      }
    }
  }

  const Context& ctx_;
  const MlpParameters<Real>& parameters_;
  const PipelineData<Real>& data_;
  std::int64_t hidden_;
};

template <class Real>
void add_to(const MlpParameters<Real>& sum, const MlpParameters<Real>& term) {
  const auto to = sum.parts(), from = term.parts();
  for (std::size_t p = 0; p < to.size(); ++p) {
    for (std::size_t i = 0; i < to[p].size(); ++i) to[p][i] += from[p][i];
  }
}

/// Runs the instructions of one stage.
template <class Real>
class Executor {
 public:
  Executor(const Context& ctx, Communicator& ranks, const StoredPlan& plan, std::size_t stage,
           const MlpParameters<Real>& parameters, const PipelineData<Real>& data)
      : ctx_(ctx),
        ranks_(ranks),
        plan_(plan),
        stage_number_(stage),
        first_rank_(ranks.rank() - static_cast<int>(stage)),
        last_(stage + 1 == plan.program.stages.size()),
        stage_(ctx, parameters, data),
        slots_(static_cast<std::size_t>(plan.program.slots[stage])),
        inputs_(plan.micro_batches.size()),
        gradients_(plan.micro_batches.size()) {}

  StageRun<Real> run() {
    for (const Instruction& step : plan_.program.stages[stage_number_]) {
      ctx_.check_cancelled();
      execute(step);
    }
    for (auto& [key, sending] : sending_) sending.transfer->wait();
    return std::move(result_);
  }

  /// In ascending order of the micro-batches, whatever the order of execution.
  void add_gradients(const MlpParameters<Real>& sum) const {
    for (const auto& gradient : gradients_) add_to(sum, gradient);
  }

 private:
  // A slot is shared with the transfers that still read it: freeing it does not take it from them.
  using Buffer = std::shared_ptr<Rows<Real>>;
  struct Sending {
    std::unique_ptr<Transfer> transfer;
    Buffer buffer;
  };
  using Key = std::pair<std::int32_t, int>;  // micro-batch, 0 activation or 1 gradient

  void execute(const Instruction& step) {
    switch (step.op) {
      case Opcode::load_input:
        put(step, std::make_shared<Rows<Real>>(stage_.load(batch(step))));
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
        slot(step).reset();
        --live_;
        break;
    }
  }

  const MicroBatch& batch(const Instruction& step) const {
    return plan_.micro_batches[static_cast<std::size_t>(step.micro_batch)];
  }
  Buffer& slot(const Instruction& step) {
    if (step.buffer[0] < 0) throw Error("an instruction without a buffer");
    return slots_[static_cast<std::size_t>(step.buffer[0])];
  }
  Rows<Real>& rows(const Instruction& step) {
    Buffer& buffer = slot(step);
    if (!buffer) throw Error(fmt::format("slot {} is not alive", step.buffer[0]));
    return *buffer;
  }
  void put(const Instruction& step, Buffer buffer) {
    slot(step) = std::move(buffer);
    result_.live_slots = std::max(result_.live_slots, ++live_);
  }
  static Key key_of(const Instruction& step) {
    const bool gradient = step.op >= Opcode::send_grad_start;
    return {step.micro_batch, gradient ? 1 : 0};
  }
  int rank_of(std::int32_t peer) const { return first_rank_ + peer; }
  static int tag_of(const Key& key) { return 2 * key.first + key.second; }

  void start_receive(const Instruction& step) {
    const Key key = key_of(step);
    auto buffer = std::make_shared<Rows<Real>>(stage_.size_of(batch(step)));
    receiving_[key] = {ranks_.start_receive(std::as_writable_bytes(std::span(*buffer)),
                                            rank_of(step.peer), tag_of(key)),
                       buffer};
    put(step, std::move(buffer));
  }

  void start_send(const Instruction& step) {
    const Key key = key_of(step);
    rows(step);
    Buffer buffer = slot(step);
    sending_[key] = {ranks_.start_send(std::as_bytes(std::span(std::as_const(*buffer))),
                                       rank_of(step.peer), tag_of(key)),
                     std::move(buffer)};
  }

  void finish(std::map<Key, Sending>& pending, const Instruction& step) {
    const auto found = pending.find(key_of(step));
    if (found == pending.end()) throw Error("waits for a transfer that was not started");
    found->second.transfer->wait();
    pending.erase(found);
  }

  template <class Work>
  void timed(Work&& work) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    result_.busy_ms +=
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  }

  void forward(const Instruction& step) {
    timed([&] {
      auto& x = inputs_[static_cast<std::size_t>(step.micro_batch)];
      x = rows(step);
      slot(step) = std::make_shared<Rows<Real>>(stage_.forward(x));
    });
  }

  void backward(const Instruction& step) {
    timed([&] {
      const auto m = static_cast<std::size_t>(step.micro_batch);
      Rows<Real> d_y;
      if (last_) {
        auto [loss, gradient] = stage_.loss(batch(step), rows(step));
        result_.loss += loss;
        d_y = std::move(gradient);
      } else {
        d_y = rows(step);
      }
      slot(step) = std::make_shared<Rows<Real>>(stage_.backward(inputs_[m], d_y, gradients_[m]));
      Rows<Real>().swap(inputs_[m]);
    });
  }

  const Context& ctx_;
  Communicator& ranks_;
  const StoredPlan& plan_;
  std::size_t stage_number_;
  int first_rank_;
  bool last_;
  Stage<Real> stage_;
  std::vector<Buffer> slots_;
  std::vector<Rows<Real>> inputs_;  // of the stage, kept from the forward to the backward
  std::vector<MlpParameters<Real>> gradients_;
  std::map<Key, Sending> receiving_, sending_;
  std::int64_t live_ = 0;
  StageRun<Real> result_;
};

template <class Real>
void check_fit(std::span<const StoredPlan> plans, const MlpParameters<Real>& parameters,
               const PipelineData<Real>& data, std::int64_t ranks) {
  const auto refuse = [](std::string_view argument, std::string_view wanted,
                         const std::string& got) {
    throw Error("dynapipe.run_pipeline", argument, wanted, got);
  };
  if (plans.empty()) refuse("plans", "one for each replica", "none");
  const std::size_t stages = plans[0].program.stages.size();
  if (ranks > 0 && static_cast<std::size_t>(ranks) != stages * plans.size()) {
    refuse("ranks", fmt::format("{} stages times {} replicas", stages, plans.size()),
           fmt::format("{}", ranks));
  }
  for (const StoredPlan& plan : plans) {
    if (plan.program.stages.size() != stages) {
      refuse("plans", "the same number of stages in each",
             fmt::format("{} and {}", stages, plan.program.stages.size()));
    }
    if (static_cast<std::size_t>(plan.n_enc_stages) != stages) {
      refuse("plans", "plans of decoder-only models", "one of an encoder-decoder model");
    }
    for (const MicroBatch& batch : plan.micro_batches) {
      if (batch.samples.size() > static_cast<std::size_t>(batch.shape.samples)) {
        refuse("plans", "at most as many samples as the shape says",
               fmt::format("{}", batch.samples.size()));
      }
      for (const std::int32_t sample : batch.samples) {
        if (sample >= data.lengths.extent(0) || data.lengths(sample) > batch.shape.input ||
            data.lengths(sample) > data.inputs.extent(1)) {
          refuse("plans", "samples of the data that fit into their micro-batch",
                 fmt::format("sample {}", sample));
        }
      }
    }
  }
  const std::int64_t hidden = parameters.w1.extent(0);
  if (data.inputs.extent(2) != hidden || data.targets.extents() != data.inputs.extents()) {
    refuse("data", fmt::format("inputs and targets [n, T, {}]", hidden),
           fmt::format("inputs of width {}", data.inputs.extent(2)));
  }
}

template <class Real>
StageRun<Real> run_rank(const Context& ctx, Communicator& ranks, std::span<const StoredPlan> plans,
                        const MlpParameters<Real>& parameters, const PipelineData<Real>& data) {
  check_fit(plans, parameters, data, ranks.size());
  const auto stages = static_cast<int>(plans[0].program.stages.size());
  const auto replica = static_cast<std::size_t>(ranks.rank() / stages);
  const auto stage = static_cast<std::size_t>(ranks.rank() % stages);
  try {
    Executor<Real> executor(ctx, ranks, plans[replica], stage, parameters, data);
    StageRun<Real> run = executor.run();
    run.gradient = MlpParameters<Real>(parameters.w1.extent(0), parameters.w1.extent(1));
    executor.add_gradients(run.gradient);
    // A replica without micro-batches still takes part.
    const auto replicas = ranks.split(static_cast<int>(stage), static_cast<int>(replica));
    for (const std::span<Real> part : run.gradient.parts()) replicas->all_reduce(part);
    return run;
  } catch (const std::exception& error) {
    ranks.abandon(error.what());
    throw;
  }
}

template <class Real>
std::vector<MlpParameters<Real>> run_alone(const Context& ctx, std::span<const StoredPlan> plans,
                                           std::span<const MlpParameters<Real>> parameters,
                                           const PipelineData<Real>& data) {
  check_fit(plans, parameters[0], data, 0);
  const std::size_t stages = parameters.size();
  const std::int64_t hidden = parameters[0].w1.extent(0), inner = parameters[0].w1.extent(1);
  std::vector<MlpParameters<Real>> total;
  for (std::size_t g = 0; g < plans.size(); ++g) {
    std::vector<MlpParameters<Real>> sums;
    for (std::size_t s = 0; s < stages; ++s) sums.emplace_back(hidden, inner);
    for (const MicroBatch& batch : plans[g].micro_batches) {
      std::vector<Rows<Real>> x = {Stage<Real>(ctx, parameters[0], data).load(batch)};
      for (std::size_t s = 0; s < stages; ++s) {
        x.push_back(Stage<Real>(ctx, parameters[s], data).forward(x.back()));
      }
      Rows<Real> gradient = Stage<Real>(ctx, parameters[0], data).loss(batch, x.back()).second;
      for (std::size_t s = stages; s-- > 0;) {
        MlpParameters<Real> own;
        gradient = Stage<Real>(ctx, parameters[s], data).backward(x[s], gradient, own);
        add_to(sums[s], own);
      }
    }
    if (g == 0) {
      total = std::move(sums);
    } else {
      for (std::size_t s = 0; s < stages; ++s) add_to(total[s], sums[s]);
    }
  }
  return total;
}

}  // namespace

template <class Real>
std::vector<std::span<Real>> MlpParameters<Real>::parts() const {
  const auto span_of = [](const auto& array) {
    return std::span<Real>(array.data_handle(), static_cast<std::size_t>(array.size()));
  };
  return {span_of(w1), span_of(b1), span_of(w2), span_of(b2)};
}
template struct MlpParameters<float>;
template struct MlpParameters<double>;

StageRun<float> run_pipeline(const Context& ctx, Communicator& ranks,
                             std::span<const StoredPlan> plans,
                             const MlpParameters<float>& parameters,
                             const PipelineData<float>& data) {
  return run_rank(ctx, ranks, plans, parameters, data);
}
StageRun<double> run_pipeline(const Context& ctx, Communicator& ranks,
                              std::span<const StoredPlan> plans,
                              const MlpParameters<double>& parameters,
                              const PipelineData<double>& data) {
  return run_rank(ctx, ranks, plans, parameters, data);
}
std::vector<MlpParameters<float>> run_stages_alone(const Context& ctx,
                                                   std::span<const StoredPlan> plans,
                                                   std::span<const MlpParameters<float>> parameters,
                                                   const PipelineData<float>& data) {
  return run_alone(ctx, plans, parameters, data);
}
std::vector<MlpParameters<double>> run_stages_alone(
    const Context& ctx, std::span<const StoredPlan> plans,
    std::span<const MlpParameters<double>> parameters, const PipelineData<double>& data) {
  return run_alone(ctx, plans, parameters, data);
}

}  // namespace researchkit::dynapipe
