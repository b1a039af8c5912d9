#include "compare.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace {

using dynapipe::IterationPlan;
using dynapipe::MicroBatch;
using dynapipe::Recompute;
using dynapipe::SampleLength;

/// A uniform plan is known before the training; its memory may be closer to the device's.
constexpr double kUniformSlackMb = 3000;

std::string words(const Division& division, const std::string& more) {
  return fmt::format("tp {} pp {}{}{}", division.tp, division.pp, more.empty() ? "" : ", ", more);
}

void keep_faster(std::optional<Score>& best, std::optional<Score> other) {
  if (other && (!best || other->tokens_per_s > best->tokens_per_s)) best = std::move(other);
}

std::optional<Score> packing(const rk::Context& ctx, const Setting& setting,
                             const MiniBatches& batches, std::int64_t max_seqlen,
                             const Division& division, std::int64_t mbs, Recompute recompute) {
  dynapipe::Cluster cluster = setting.cluster(division.tp, division.pp);
  cluster.chunks = 1;
  cluster.device_memory_mb += kUniformSlackMb;
  auto result =
      score("packing", words(division, fmt::format("mbs {}, {}", mbs, rk::name_of(recompute))),
            batches, [&](const std::vector<SampleLength>& samples) {
              return plan_packing(ctx, samples, setting.model(division.tp), cluster, max_seqlen,
                                  mbs, recompute, setting.options);
            });
  if (result) result->division = division;
  return result;
}

/// Micro-batches of ordered samples by their number.
std::vector<MicroBatch> batches_of(const std::vector<SampleLength>& samples,
                                   const std::vector<std::int32_t>& order,
                                   const std::vector<std::int32_t>& ids,
                                   const dynapipe::Rounding& rounding) {
  std::vector<MicroBatch> batches(static_cast<std::size_t>(ids.back()) + 1);
  for (std::size_t k = 0; k < order.size(); ++k) {
    MicroBatch& batch = batches[static_cast<std::size_t>(ids[k])];
    const SampleLength& sample = samples[static_cast<std::size_t>(order[k])];
    batch.samples.push_back(order[k]);
    batch.shape.samples += 1;
    batch.shape.input =
        std::max(batch.shape.input, static_cast<std::int32_t>(rounding.input(sample.input)));
    batch.shape.target =
        std::max(batch.shape.target, static_cast<std::int32_t>(rounding.target(sample.target)));
  }
  return batches;
}

}  // namespace

dynapipe::Cluster Setting::cluster(std::int64_t tp, std::int64_t pp) const {
  dynapipe::Cluster cluster;
  cluster.stages = pp;
  if (pp > 1) cluster.chunks = chunks;
  cluster.replicas = gpus / (tp * pp);
  cluster.device_memory_mb = memory_mb;
  cluster.zero = zero;
  return cluster;
}

std::vector<Division> divisions(const Setting& setting, std::int64_t tp, std::int64_t pp) {
  std::vector<Division> all;
  for (const auto& [degree, profile] : setting.profiles) {
    for (std::int64_t stages = 1; degree * stages <= setting.gpus; stages *= 2) {
      const bool wanted = (tp == 0 || tp == degree) && (pp == 0 || pp == stages);
      if (wanted && setting.gpus % (degree * stages) == 0) all.push_back({degree, stages});
    }
  }
  return all;
}

std::optional<Score> score(std::string method, std::string settings, const MiniBatches& batches,
                           const Planner& planner) {
  Score total;
  total.method = std::move(method);
  total.settings = std::move(settings);
  double real = 0, padded = 0, bubble = 0;
  for (const auto& samples : batches) {
    IterationPlan planned;
    try {
      planned = planner(samples);
    } catch (const rk::Error&) {
      return std::nullopt;
    }
    real += static_cast<double>(planned.padding.real());
    padded += static_cast<double>(planned.padding.padded());
    total.iteration_ms += planned.iteration_ms();
    bubble += planned.mean_bubble();
    total.peak_mb = std::max(total.peak_mb, planned.peak_mb());
    total.planning_ms += planned.planning.total_ms();
    if (!total.first) total.first = std::move(planned);
  }
  const auto count = static_cast<double>(batches.size());
  total.tokens_per_s = real / total.iteration_ms * 1000;
  total.padding_efficiency = real / padded;
  total.bubble = bubble / count;
  total.iteration_ms /= count;
  total.planning_ms /= count;
  return total;
}

Score best_dynapipe(const rk::Context& ctx, const Setting& setting, const MiniBatches& batches,
                    const std::vector<Division>& among) {
  std::optional<Score> best;
  std::string refusal = "no way to divide the devices";
  for (const Division& division : among) {
    const dynapipe::Model model = setting.model(division.tp);
    const dynapipe::Cluster cluster = setting.cluster(division.tp, division.pp);
    auto result = score("DynaPipe", "", batches, [&](const std::vector<SampleLength>& samples) {
      try {
        return plan(ctx, samples, model, cluster, setting.options);
      } catch (const rk::Error& error) {
        refusal = error.what();
        throw;
      }
    });
    if (result) {
      result->division = division;
      result->settings = words(division, std::string(rk::name_of(result->first->recompute)));
    }
    keep_faster(best, std::move(result));
  }
  if (!best) throw rk::Error(refusal);
  return std::move(*best);
}

std::optional<Score> best_packing(const rk::Context& ctx, const Setting& setting,
                                  const MiniBatches& batches, std::int64_t max_seqlen,
                                  const std::vector<Division>& among) {
  std::optional<Score> best;
  for (const Division& division : among) {
    for (const std::int64_t mbs : {1, 2, 4, 8, 16, 32, 64}) {
      for (const Recompute recompute : dynapipe::kAllRecompute) {
        keep_faster(best, packing(ctx, setting, batches, max_seqlen, division, mbs, recompute));
      }
    }
  }
  return best;
}

std::optional<Score> artifact_packing(const rk::Context& ctx, const Setting& setting,
                                      const MiniBatches& batches, std::int64_t max_seqlen) {
  struct Configuration {
    dynapipe::ModelKind kind;
    std::int64_t length;
    Division division;
    std::int64_t mbs;
    Recompute recompute;
  };
  using enum dynapipe::ModelKind;
  constexpr std::array<Configuration, 9> kFound = {
      Configuration{decoder, 512, {1, 4}, 2, Recompute::none},
      {decoder, 1024, {1, 4}, 1, Recompute::none},
      {decoder, 2048, {1, 4}, 1, Recompute::selective},
      {decoder, 4096, {4, 1}, 1, Recompute::selective},
      {decoder, 8192, {4, 1}, 1, Recompute::full},
      {encdec, 512, {4, 1}, 8, Recompute::full},
      {encdec, 1024, {4, 1}, 4, Recompute::full},
      {encdec, 2048, {4, 1}, 1, Recompute::full},
      {encdec, 4096, {8, 1}, 1, Recompute::full}};
  for (const Configuration& c : kFound) {
    const bool same = c.kind == setting.kind && c.length == max_seqlen && setting.gpus == 8;
    if (!same || !setting.profiles.contains(c.division.tp)) continue;
    auto result = packing(ctx, setting, batches, max_seqlen, c.division, c.mbs, c.recompute);
    if (result) result->method = "packing, artifact's";
    return result;
  }
  return std::nullopt;
}

std::vector<Score> other_baselines(const rk::Context& ctx, const Setting& setting,
                                   const MiniBatches& batches, const Division& like) {
  const dynapipe::Model model = setting.model(like.tp);
  const dynapipe::Cluster cluster = setting.cluster(like.tp, like.pp);
  const dynapipe::Rounding rounding = setting.options.rounding;
  using Cut = std::function<std::vector<std::int32_t>(const std::vector<SampleLength>& ordered)>;
  const auto best_of = [&](const std::string& method, const std::string& settings, const Cut& cut) {
    std::optional<Score> best;
    for (const Recompute recompute : dynapipe::kAllRecompute) {
      keep_faster(
          best, score(method, words(like, settings + ", " + std::string(rk::name_of(recompute))),
                      batches, [&](const std::vector<SampleLength>& samples) {
                        const auto order =
                            dynapipe::order_samples(samples, {setting.options.order, rounding, 16});
                        std::vector<SampleLength> ordered;
                        ordered.reserve(order.size());
                        for (const std::int32_t i : order) {
                          ordered.push_back(samples[static_cast<std::size_t>(i)]);
                        }
                        return plan_micro_batches(
                            ctx, batches_of(samples, order, cut(ordered), rounding), samples, model,
                            cluster, recompute, dynapipe::SchedulePolicy::f1b1, setting.options);
                      }));
    }
    return best;
  };
  std::optional<Score> tokens, fixed;
  for (const std::int64_t budget : {1024, 2048, 3072, 4096, 8192}) {
    keep_faster(tokens, best_of("by tokens", fmt::format("{} tokens", budget),
                                [&](const std::vector<SampleLength>& ordered) {
                                  return dynapipe::token_microbatches(ordered, budget, rounding);
                                }));
  }
  for (const std::int64_t size : {1, 2, 4, 8, 16, 32}) {
    keep_faster(fixed, best_of("fixed size", fmt::format("{} samples", size),
                               [&](const std::vector<SampleLength>& ordered) {
                                 return dynapipe::uniform_microbatches(
                                     static_cast<std::int64_t>(ordered.size()), size);
                               }));
  }
  const auto one =
      best_of("one batch", "all samples", [](const std::vector<SampleLength>& ordered) {
        return std::vector<std::int32_t>(ordered.size(), 0);
      });
  std::vector<Score> found;
  for (const auto& result : {tokens, fixed, one}) {
    if (result) found.push_back(*result);
  }
  return found;
}
