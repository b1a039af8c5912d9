#include "researchkit/dynapipe/planner.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <optional>

#include "researchkit/core/error.hpp"
#include "researchkit/dynapipe/balance.hpp"
#include "src/dynapipe/micro_batch_windows.hpp"
#include "src/dynapipe/replica_layout.hpp"

namespace researchkit::dynapipe {
namespace {

using detail::best_schedule;
using detail::kPlan;
using detail::lay_out;
using detail::padding_of;
using detail::write_programs;

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
        // What the cut gains by packing a schedule may lose: both are laid out.
        for (const bool pack : {false, true}) {
          if (pack && !options_.pack_windows) break;
          auto plan = attempt(recompute, pack, pipeline_.available_mb * (preferred ? share : 1));
          if (!plan || (best && best->iteration_ms() <= plan->iteration_ms())) continue;
          best = std::move(plan);
          best->preferred_limit = preferred;
        }
        if (best && options_.recompute_policy == RecomputePolicy::first) break;
      }
      if (best) return finish(std::move(*best));
    }
    refuse();
  }

 private:
  std::optional<IterationPlan> attempt(Recompute recompute, bool pack, double stored_limit) {
    ctx_.check_cancelled();
    watch_.lap();
    detail::MicroBatchWindows windows(ordered_, model_.profile->tables(recompute), pipeline_.shape,
                                      options_, pack, stored_limit, pipeline_.available_mb);
    const WindowRows rows = windows.rows(ctx_);
    time_.windows_ms += watch_.lap();
    const PartitionProblem problem = {cluster_.stages, cluster_.replicas,
                                      std::max(pipeline_.shape.chunks, pipeline_.chunks)};
    const Partition partition = partition_samples(rows, problem, [&] { ctx_.check_cancelled(); });
    time_.partition_ms += watch_.lap();
    if (!partition.feasible()) return std::nullopt;

    std::vector<MicroBatch> batches;
    std::vector<Ticks> weights;
    for (std::size_t m = 0; m + 1 < partition.cuts.size(); ++m) {
      const std::int64_t begin = partition.cuts[m], end = partition.cuts[m + 1];
      batches.push_back(windows.micro_batch(begin, end, order_));
      weights.push_back(rows.row(begin)[static_cast<std::size_t>(end - begin - 1)]);
    }
    Deal deal = balanced_partition(weights, cluster_.replicas);
    refine_deal(weights, cluster_.stages, deal, problem.chunks);

    IterationPlan plan;
    plan.recompute = recompute;
    plan.objective_ms = problem.milliseconds(partition.objective, kTick);
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
    write_programs(plan, model_, pipeline_);
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
  for (std::int64_t g = 0; g < cluster.replicas; ++g) {
    std::vector<MicroBatch> own;
    for (auto m = static_cast<std::size_t>(g); m < micro_batches.size();
         m += static_cast<std::size_t>(cluster.replicas)) {
      own.push_back(micro_batches[m]);
    }
    ctx.check_cancelled();
    const auto tables = detail::stage_tables(own, model, cluster, pipeline, recompute);
    plan.replicas.push_back(lay_out(std::move(own), tables, policy, kInfinity, options));
  }
  write_programs(plan, model, pipeline);
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
    MicroBatch& batch = batches[static_cast<std::size_t>(packing.sequence_of[i] / mbs)];
    batch.samples.push_back(static_cast<std::int32_t>(i));
    batch.sequence_of.push_back(static_cast<std::int32_t>(packing.sequence_of[i] % mbs));
  }
  return plan_micro_batches(ctx, std::move(batches), mini_batch, model, cluster, recompute,
                            SchedulePolicy::f1b1, options);
}

}  // namespace researchkit::dynapipe
