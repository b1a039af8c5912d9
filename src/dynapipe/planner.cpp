#include "researchkit/dynapipe/planner.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <optional>

#include "researchkit/core/error.hpp"
#include "researchkit/dynapipe/balance.hpp"
#include "researchkit/dynapipe/microbatch_dp.hpp"
#include "src/dynapipe/stage_tables.hpp"

namespace researchkit::dynapipe {
namespace {

constexpr std::string_view kPlan = "dynapipe.plan";
constexpr double kInfinity = std::numeric_limits<double>::infinity();

class Stopwatch {
 public:
  /// Milliseconds since construction or the last lap.
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    return std::chrono::duration<double, std::milli>(now - std::exchange(last_, now)).count();
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

/// fp16 weights and gradients, fp32 weights and two moments, in units of the fp16 weights.
double states_per_weight(const Cluster& cluster) {
  const auto d = static_cast<double>(cluster.replicas);
  return (cluster.zero >= 3 ? 1 / d : 1) + (cluster.zero >= 2 ? 1 / d : 1) +
         6 * (cluster.zero >= 1 ? 1 / d : 1);
}

void check_mini_batch(std::span<const SampleLength> mini_batch, const Model& model) {
  if (mini_batch.empty()) throw Error(kPlan, "mini_batch", "at least one sample", "none");
  const bool has_decoder = model.profile->kind() == ModelKind::encdec;
  for (std::size_t i = 0; i < mini_batch.size(); ++i) {
    const SampleLength& sample = mini_batch[i];
    const auto refuse = [&](std::string_view wanted, std::int32_t got) {
      throw Error(kPlan, "mini_batch", wanted, fmt::format("{} at [{}]", got, i));
    };
    if (sample.input < 1 || sample.input > kMaxLength) {
      refuse("inputs of 1 .. 2^28 tokens", sample.input);
    }
    if (sample.target < 0 || sample.target > kMaxLength) {
      refuse("targets of at most 2^28 tokens", sample.target);
    }
    if ((sample.target > 0) != has_decoder) {
      refuse(has_decoder ? "targets of at least 1 token" : "no targets for a decoder-only model",
             sample.target);
    }
  }
}

/// Windows of ordered samples that fit, in ticks.
WindowRows fitting_windows(const Context& ctx, std::span<const SampleLength> ordered,
                           ShapeCosts& costs, const PlanOptions& options, double stored_limit,
                           double peak_limit) {
  WindowRows rows;
  const auto n = static_cast<std::int64_t>(ordered.size());
  const std::int64_t longest_window = options.longest_window > 0 ? options.longest_window : n;
  // The longest sequences from each sample on: behind them a window's shape changes no more.
  std::vector<SampleLength> ahead(ordered.size() + 1);
  for (std::size_t i = ordered.size(); i-- > 0;) {
    ahead[i] = {std::max(ahead[i + 1].input, ordered[i].input),
                std::max(ahead[i + 1].target, ordered[i].target)};
  }
  for (std::int64_t i = 0; i < n; ++i) {
    if (i % 64 == 0) ctx.check_cancelled();
    SampleLength longest, priced;
    const ShapeCosts::Shape* shape = nullptr;
    const std::int64_t width = std::min({n - i, costs.largest_batch(), longest_window});
    for (std::int64_t k = 0; k < width; ++k) {
      const auto at = static_cast<std::size_t>(i + k);
      longest = {std::max(longest.input, ordered[at].input),
                 std::max(longest.target, ordered[at].target)};
      if (shape == nullptr || longest != priced) {
        shape = &costs.shape(options.rounding.input(longest.input),
                             options.rounding.target(longest.target));
        priced = longest;
      }
      if (k >= shape->most_samples) {
        const bool final_shape =
            ahead[at].input <= longest.input && ahead[at].target <= longest.target;
        if (final_shape) break;
        rows.push(kImpossible);
        continue;
      }
      const WindowCost cost = costs.cost(*shape, k + 1);
      const bool fits = cost.stored <= stored_limit && cost.peak <= peak_limit;
      rows.push(fits ? to_ticks(cost.time) : kImpossible);
    }
    rows.end_row();
  }
  return rows;
}

/// A way to run given micro-batches on one replica.
struct Candidate {
  SchedulePolicy policy = SchedulePolicy::cyclic;
  double memory_limit = kInfinity;
  Reordering reordering;
};

/// The schedule that finishes first within memory; none if nothing fits.
std::optional<Candidate> best_schedule(const Context& ctx, const detail::StageTables& tables,
                                       const Cluster& cluster, const PlanOptions& options) {
  std::optional<Candidate> best;
  const auto consider = [&](SchedulePolicy policy, double limit) {
    ReorderOptions reorder;
    reorder.schedule = {policy, limit, 0};
    reorder.streams = options.streams;
    reorder.fits = cluster.device_memory_mb;
    reorder.only_identity = !options.reorder;
    Reordering found = reorder_microbatches(ctx, tables.times(), tables.memory(), reorder);
    if (found.makespan < 0) return;
    if (!best || found.makespan < best->reordering.makespan) {
      best = Candidate{policy, limit, std::move(found)};
    }
  };
  if (options.schedule != PlannedSchedule::f1b1) {
    consider(SchedulePolicy::cyclic, kInfinity);
    if (!best) consider(SchedulePolicy::cyclic, cluster.device_memory_mb);
  }
  if (options.schedule != PlannedSchedule::cyclic) consider(SchedulePolicy::f1b1, kInfinity);
  return best;
}

/// Lays a replica out in time. `micro_batches` are in the order of their injection.
ReplicaPlan lay_out(std::vector<MicroBatch> micro_batches, const detail::StageTables& tables,
                    SchedulePolicy policy, double memory_limit, const PlanOptions& options) {
  ReplicaPlan replica;
  const auto count = static_cast<std::int64_t>(micro_batches.size());
  const std::int64_t stages = tables.fw.extent(1);
  replica.micro_batches = std::move(micro_batches);
  replica.policy = policy;
  replica.order = Array<std::int32_t, 2>({stages, 2 * count});
  replica.start = Array<double, 2>({stages, 2 * count});
  replica.comm_start = Array<double, 2>({stages, 2 * count});
  replica.forward_ms = tables.fw;
  replica.backward_ms = tables.bw;
  replica.transfer_ms = tables.comm_fw;
  make_schedule(tables.memory(), {policy, memory_limit, 0}, replica.order);
  const Array<double, 1> peak({stages}), busy({stages});
  replica.makespan_ms =
      simulate_schedule(replica.order, tables.times(), tables.memory(), options.streams,
                        {replica.start, replica.comm_start}, {peak, busy});
  for (std::int64_t s = 0; s < stages; ++s) {
    replica.peak_mb.push_back(peak(s));
    auto& peaks = replica.memory_peak_mb.emplace_back();
    auto& after = replica.memory_mb.emplace_back();
    double used = tables.state_mem(s);
    for (std::int64_t p = 0; p < 2 * count; ++p) {
      const std::int64_t m = micro_batch_of(replica.order(s, p));
      const bool backward = is_backward(replica.order(s, p));
      peaks.push_back(used + (backward ? 0 : tables.peak(m, s)));
      used += backward ? -tables.stored(m, s) : tables.stored(m, s);
      after.push_back(used);
    }
    replica.busy_ms.push_back(busy(s));
  }
  return replica;
}

void write_program(ReplicaPlan& replica, const ModelLayout& layout) {
  replica.communication = plan_communication(replica.order, replica.start, replica.comm_start);
  std::vector<MicroBatchShape> shapes;
  for (const MicroBatch& batch : replica.micro_batches) shapes.push_back(batch.shape);
  replica.program = lower_plan(replica.order, replica.communication, shapes, layout);
}

/// The micro-batch of some samples.
MicroBatch micro_batch_of_samples(std::vector<std::int32_t> samples,
                                  std::span<const SampleLength> mini_batch,
                                  const Rounding& rounding) {
  SampleLength longest;
  for (const std::int32_t i : samples) {
    const SampleLength& sample = mini_batch[static_cast<std::size_t>(i)];
    longest = {std::max(longest.input, sample.input), std::max(longest.target, sample.target)};
  }
  const MicroBatchShape shape = {static_cast<std::int32_t>(samples.size()),
                                 static_cast<std::int32_t>(rounding.input(longest.input)),
                                 static_cast<std::int32_t>(rounding.target(longest.target))};
  return {std::move(samples), shape};
}

PaddingStats padding_of(const IterationPlan& plan, std::span<const SampleLength> mini_batch) {
  PaddingStats stats;
  for (const ReplicaPlan& replica : plan.replicas) {
    for (const MicroBatch& batch : replica.micro_batches) {
      stats.padded_inputs += std::int64_t{batch.shape.samples} * batch.shape.input;
      stats.padded_targets += std::int64_t{batch.shape.samples} * batch.shape.target;
    }
  }
  for (const SampleLength& sample : mini_batch) {
    stats.real_inputs += sample.input;
    stats.real_targets += sample.target;
  }
  return stats;
}

/// Planning of one mini-batch.
class Planning {
 public:
  Planning(const Context& ctx, std::span<const SampleLength> mini_batch, const Model& model,
           const Cluster& cluster, const PlanOptions& options)
      : ctx_(ctx),
        mini_batch_(mini_batch),
        model_(model),
        cluster_(cluster),
        options_(options),
        pipeline_(pipeline_of(model, cluster)) {
    check_mini_batch(mini_batch, model);
    order_ = order_samples(mini_batch, {options.order, options.rounding, 16});
    for (const std::int32_t i : order_) {
      ordered_.push_back(mini_batch[static_cast<std::size_t>(i)]);
    }
    time_.order_ms = watch_.lap();
  }

  IterationPlan solve() {
    const double share = options_.per_micro_batch_memory > 0
                             ? options_.per_micro_batch_memory
                             : 1 / static_cast<double>(cluster_.stages);
    for (const bool preferred : {true, false}) {
      if (!preferred && share >= 1) break;
      std::optional<IterationPlan> best;
      for (const Recompute recompute : options_.recompute) {
        auto plan = attempt(recompute, pipeline_.available_mb * (preferred ? share : 1));
        if (!plan || (best && best->iteration_ms() <= plan->iteration_ms())) continue;
        best = std::move(plan);
        best->preferred_limit = preferred;
        if (options_.recompute_policy == RecomputePolicy::first) break;
      }
      if (best) return finish(std::move(*best));
    }
    refuse();
  }

 private:
  std::optional<IterationPlan> attempt(Recompute recompute, double stored_limit) {
    ctx_.check_cancelled();
    watch_.lap();
    ShapeCosts costs(model_.profile->tables(recompute), pipeline_.shape,
                     static_cast<std::int64_t>(ordered_.size()), stored_limit,
                     pipeline_.available_mb);
    const WindowRows rows =
        fitting_windows(ctx_, ordered_, costs, options_, stored_limit, pipeline_.available_mb);
    time_.windows_ms += watch_.lap();
    const Partition partition =
        partition_samples(rows, {cluster_.stages, cluster_.replicas, pipeline_.shape.chunks},
                          [&] { ctx_.check_cancelled(); });
    time_.partition_ms += watch_.lap();
    if (!partition.feasible()) return std::nullopt;

    std::vector<MicroBatch> batches;
    std::vector<Ticks> weights;
    for (std::size_t m = 0; m + 1 < partition.cuts.size(); ++m) {
      const std::int64_t begin = partition.cuts[m], end = partition.cuts[m + 1];
      batches.push_back(micro_batch_of_samples({order_.begin() + begin, order_.begin() + end},
                                               mini_batch_, options_.rounding));
      weights.push_back(rows.row(begin)[static_cast<std::size_t>(end - begin - 1)]);
    }
    Deal deal = balanced_partition(weights, cluster_.replicas);
    refine_deal(weights, cluster_.stages, deal);

    IterationPlan plan;
    plan.recompute = recompute;
    plan.objective_ms =
        PartitionProblem{cluster_.stages, cluster_.replicas, pipeline_.shape.chunks}.milliseconds(
            partition.objective, kTick);
    for (std::int64_t g = 0; g < cluster_.replicas; ++g) {
      std::vector<MicroBatch> own;
      for (std::size_t m = 0; m < batches.size(); ++m) {
        if (deal.bin_of[m] == g) own.push_back(batches[m]);
      }
      ctx_.check_cancelled();
      const auto tables = detail::stage_tables(own, model_, cluster_, pipeline_, recompute);
      const auto best = best_schedule(ctx_, tables, cluster_, options_);
      if (!best) return std::nullopt;
      std::vector<MicroBatch> injected;
      for (const std::int64_t m : best->reordering.perm) {
        injected.push_back(std::move(own[static_cast<std::size_t>(m)]));
      }
      const auto injected_tables =
          detail::stage_tables(injected, model_, cluster_, pipeline_, recompute);
      plan.replicas.push_back(lay_out(std::move(injected), injected_tables, best->policy,
                                      best->memory_limit, options_));
    }
    time_.schedule_ms += watch_.lap();
    return plan;
  }

  IterationPlan finish(IterationPlan plan) {
    watch_.lap();
    plan.hidden = model_.profile->hidden;
    plan.n_enc_stages = pipeline_.n_enc_stages;
    for (ReplicaPlan& replica : plan.replicas) {
      write_program(replica, {static_cast<std::int32_t>(plan.hidden),
                              static_cast<std::int32_t>(plan.n_enc_stages)});
    }
    plan.padding = padding_of(plan, mini_batch_);
    time_.lower_ms = watch_.lap();
    plan.planning = time_;
    return plan;
  }

  /// Nothing fits: names the first sample that does not fit even alone.
  [[noreturn]] void refuse() const {
    for (std::size_t i = 0; i < mini_batch_.size(); ++i) {
      const std::int64_t input = options_.rounding.input(mini_batch_[i].input);
      const std::int64_t target = options_.rounding.target(mini_batch_[i].target);
      double least = kInfinity;
      for (const Recompute recompute : options_.recompute) {
        const WindowCost cost =
            window_cost(model_.profile->tables(recompute), pipeline_.shape, 1, input, target);
        least = std::min(least, std::max(cost.peak, cost.stored));
      }
      if (least <= pipeline_.available_mb) continue;
      const std::string what = fmt::format("sample {} of {} + {} tokens", i, mini_batch_[i].input,
                                           mini_batch_[i].target);
      if (least == kInfinity) {
        throw Error(kPlan, "mini_batch", "samples that the profile covers", what);
      }
      throw Error(kPlan, "mini_batch",
                  fmt::format("samples that fit alone into {:.0f} MB", pipeline_.available_mb),
                  fmt::format("{}, which needs {:.0f} MB", what, least));
    }
    throw Error(
        kPlan, "mini_batch",
        fmt::format("micro-batches that a schedule fits into {:.0f} MB", cluster_.device_memory_mb),
        "none, though every sample fits alone");
  }

  const Context& ctx_;
  std::span<const SampleLength> mini_batch_;
  const Model& model_;
  const Cluster& cluster_;
  const PlanOptions& options_;
  Pipeline pipeline_;
  Stopwatch watch_;
  PlanningTime time_;
  std::vector<std::int32_t> order_;
  std::vector<SampleLength> ordered_;
};

}  // namespace

Pipeline pipeline_of(const Model& model, const Cluster& cluster) {
  const auto refuse = [](std::string_view argument, std::string_view wanted, std::int64_t got) {
    throw Error(kPlan, argument, wanted, fmt::format("{}", got));
  };
  if (model.profile == nullptr) throw Error(kPlan, "model", "a profile", "none");
  if (cluster.stages < 1) refuse("stages", "at least 1", cluster.stages);
  if (cluster.replicas < 1) refuse("replicas", "at least 1", cluster.replicas);
  if (cluster.devices_per_node < 1) {
    refuse("devices_per_node", "at least 1", cluster.devices_per_node);
  }
  if (model.encoder_layers < 1) refuse("encoder_layers", "at least 1", model.encoder_layers);
  const bool encdec = model.profile->kind() == ModelKind::encdec;
  if (encdec != (model.decoder_layers > 0)) {
    refuse("decoder_layers", encdec ? "at least 1" : "0 for a decoder-only profile",
           model.decoder_layers);
  }
  const std::int64_t layers = model.encoder_layers + model.decoder_layers;
  Pipeline pipeline;
  if (encdec && cluster.stages == 1) {
    if (model.encoder_layers != model.decoder_layers) {
      refuse("decoder_layers", "as many as encoder layers where there is one stage",
             model.decoder_layers);
    }
    pipeline.shape = {model.encoder_layers, 2};
  } else {
    if (cluster.stages > layers || layers % cluster.stages != 0) {
      refuse("stages", fmt::format("a divisor of {} layers", layers), cluster.stages);
    }
    pipeline.shape = {layers / cluster.stages, 1};
    pipeline.n_enc_stages = cluster.stages;
    if (encdec) {
      if (model.encoder_layers % pipeline.shape.layers != 0) {
        refuse("stages", "stages that are either encoder or decoder", cluster.stages);
      }
      pipeline.n_enc_stages = model.encoder_layers / pipeline.shape.layers;
    }
  }
  const double encoder = model.profile->encoder_layer_mb, decoder = model.profile->decoder_layer_mb;
  const double layer = pipeline.shape.chunks == 1 ? std::max(encoder, decoder) : encoder + decoder;
  pipeline.state_mb =
      (model.profile->embedding_mb + static_cast<double>(pipeline.shape.layers) * layer) *
      states_per_weight(cluster);
  pipeline.available_mb = cluster.device_memory_mb - pipeline.state_mb;
  if (!(pipeline.available_mb > 0)) {
    throw Error(
        kPlan, "device_memory_mb",
        fmt::format("more than the {:.0f} MB of weights, gradients and moments", pipeline.state_mb),
        fmt::format("{:.0f}", cluster.device_memory_mb));
  }
  return pipeline;
}

double IterationPlan::iteration_ms() const {
  double slowest = 0;
  for (const ReplicaPlan& replica : replicas) slowest = std::max(slowest, replica.makespan_ms);
  return slowest;
}

double IterationPlan::peak_mb() const {
  double peak = 0;
  for (const ReplicaPlan& replica : replicas) {
    for (const double mb : replica.peak_mb) peak = std::max(peak, mb);
  }
  return peak;
}

double IterationPlan::mean_bubble() const {
  double busy = 0, all = 0;
  for (const ReplicaPlan& replica : replicas) {
    for (const double ms : replica.busy_ms) {
      busy += ms;
      all += iteration_ms();
    }
  }
  return all > 0 ? 1 - busy / all : 0;
}

std::int64_t IterationPlan::micro_batches() const {
  std::int64_t count = 0;
  for (const ReplicaPlan& replica : replicas) {
    count += static_cast<std::int64_t>(replica.micro_batches.size());
  }
  return count;
}

IterationPlan plan(const Context& ctx, std::span<const SampleLength> mini_batch, const Model& model,
                   const Cluster& cluster, const PlanOptions& options) {
  if (options.recompute.empty()) throw Error(kPlan, "recompute", "at least one way", "none");
  return Planning(ctx, mini_batch, model, cluster, options).solve();
}

IterationPlan plan_micro_batches(const Context& ctx, std::vector<MicroBatch> micro_batches,
                                 std::span<const SampleLength> mini_batch, const Model& model,
                                 const Cluster& cluster, Recompute recompute, SchedulePolicy policy,
                                 const PlanOptions& options) {
  const Pipeline pipeline = pipeline_of(model, cluster);
  Stopwatch watch;
  IterationPlan plan;
  plan.recompute = recompute;
  plan.hidden = model.profile->hidden;
  plan.n_enc_stages = pipeline.n_enc_stages;
  for (std::int64_t g = 0; g < cluster.replicas; ++g) {
    std::vector<MicroBatch> own;
    for (auto m = static_cast<std::size_t>(g); m < micro_batches.size();
         m += static_cast<std::size_t>(cluster.replicas)) {
      own.push_back(micro_batches[m]);
    }
    ctx.check_cancelled();
    const auto tables = detail::stage_tables(own, model, cluster, pipeline, recompute);
    plan.replicas.push_back(lay_out(std::move(own), tables, policy, kInfinity, options));
    write_program(plan.replicas.back(), {static_cast<std::int32_t>(plan.hidden),
                                         static_cast<std::int32_t>(plan.n_enc_stages)});
  }
  plan.padding = padding_of(plan, mini_batch);
  if (plan.peak_mb() > cluster.device_memory_mb) {
    throw Error(kPlan, "device_memory_mb", fmt::format("at least {:.0f}", plan.peak_mb()),
                fmt::format("{:.0f}", cluster.device_memory_mb));
  }
  plan.planning.schedule_ms = watch.lap();
  return plan;
}

IterationPlan plan_packing(const Context& ctx, std::span<const SampleLength> mini_batch,
                           const Model& model, const Cluster& cluster, std::int64_t max_seqlen,
                           std::int64_t mbs, Recompute recompute, const PlanOptions& options) {
  check_mini_batch(mini_batch, model);
  const ModelKind kind = model.profile->kind();
  const Packing packing = pack_next_fit(mini_batch, max_seqlen, max_seqlen, kind);
  const auto sequences = static_cast<std::int64_t>(packing.used.size());
  const auto length = static_cast<std::int32_t>(max_seqlen);
  const MicroBatchShape shape = {static_cast<std::int32_t>(mbs), length,
                                 kind == ModelKind::encdec ? length : 0};
  std::vector<MicroBatch> batches(static_cast<std::size_t>((sequences + mbs - 1) / mbs));
  for (MicroBatch& batch : batches) batch.shape = shape;
  for (std::size_t i = 0; i < mini_batch.size(); ++i) {
    batches[static_cast<std::size_t>(packing.sequence_of[i] / mbs)].samples.push_back(
        static_cast<std::int32_t>(i));
  }
  return plan_micro_batches(ctx, std::move(batches), mini_batch, model, cluster, recompute,
                            SchedulePolicy::f1b1, options);
}

}  // namespace researchkit::dynapipe
