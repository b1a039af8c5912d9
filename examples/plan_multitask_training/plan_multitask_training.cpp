// Plans the training of a language model on tasks of very different lengths: micro-batches,
// schedule, transfers, predicted time and memory, against what training does without it. `--help`
// lists what it can do.
//
// compare.cpp calls the planner and the baselines, report.cpp prints and writes.
#include <fmt/format.h>

#include "lengths_file.hpp"
#include "options.hpp"
#include "report.hpp"

namespace {

using dynapipe::ModelKind;
using dynapipe::SampleLength;

dynapipe::PlanOptions plan_options(const Options& o, ModelKind kind) {
  dynapipe::PlanOptions options;
  const bool path = o.order == "path" || (o.order == "auto" && kind == ModelKind::encdec);
  options.order = path ? dynapipe::OrderMethod::path : dynapipe::OrderMethod::sort;
  options.recompute.clear();
  for (const std::string& name : o.recompute) {
    options.recompute.push_back(name == "none"        ? dynapipe::Recompute::none
                                : name == "selective" ? dynapipe::Recompute::selective
                                                      : dynapipe::Recompute::full);
  }
  if (o.schedule == "1f1b") options.schedule = dynapipe::PlannedSchedule::f1b1;
  if (o.schedule == "cyclic") options.schedule = dynapipe::PlannedSchedule::cyclic;
  options.reorder = !o.no_reorder;
  options.pack_windows = o.pack_windows;
  return options;
}

Setting make_setting(const Options& o, const std::string& model) {
  Setting setting;
  setting.name = model;
  setting.kind = model == "t5" ? ModelKind::encdec : ModelKind::decoder;
  setting.layers = o.layers > 0 ? o.layers : model == "t5" ? 24 : 32;
  setting.gpus = o.gpus;
  setting.chunks = o.chunks;
  setting.zero = o.zero;
  setting.memory_mb = o.memory_mb;
  setting.options = plan_options(o, setting.kind);
  for (const std::int64_t tp : {1, 2, 4, 8}) {
    if (tp > o.gpus) continue;
    if (o.hidden > 0) {
      if (o.heads % tp != 0) continue;
      const std::int64_t ffn = o.ffn > 0 ? o.ffn : 4 * o.hidden;
      setting.profiles[tp] = dynapipe::analytic_profile(
          {o.hidden, o.heads, o.kv_channels, ffn, tp, false}, setting.kind);
    } else {
      const char* file = model == "t5" ? "/t5_11b.json" : "/gpt_6p7b.json";
      setting.profiles[tp] = dynapipe::load_profile(o.profiles + file, tp);
    }
  }
  return setting;
}

std::vector<SampleLength> all_samples(const Options& o, ModelKind kind, std::int64_t max_seqlen,
                                      std::int64_t tokens) {
  if (o.lengths.empty()) {
    // The shortest samples have a few tokens: more than enough for all mini-batches.
    return dynapipe::flan_lengths(o.seed, 1000 + o.iterations * tokens / 50, kind, max_seqlen);
  }
  std::vector<SampleLength> samples = read_lengths(o.lengths);
  const auto longest = static_cast<std::int32_t>(max_seqlen);
  for (SampleLength& sample : samples) {
    if (kind == ModelKind::decoder) sample = {sample.input + sample.target, 0};
    sample = {std::min(sample.input, longest), std::min(sample.target, longest)};
  }
  return samples;
}

MiniBatches mini_batches(const Options& o, ModelKind kind, std::int64_t max_seqlen,
                         std::int64_t tokens) {
  const auto samples = all_samples(o, kind, max_seqlen, tokens);
  const auto offsets = dynapipe::mini_batch_offsets(samples, tokens);
  MiniBatches batches;
  for (std::size_t b = 0; b + 1 < offsets.size(); ++b) {
    if (static_cast<std::int64_t>(b) == o.iterations) break;
    batches.emplace_back(samples.begin() + offsets[b], samples.begin() + offsets[b + 1]);
  }
  if (batches.empty()) throw rk::Error("there are no samples");
  return batches;
}

void write_plan(const Options& o, const dynapipe::IterationPlan& plan) {
  if (!o.plan.empty()) {
    const auto stored = dynapipe::stored_plan(plan, 0, fmt::format("seed {}, iteration 0", o.seed));
    if (o.plan.ends_with(".rkdp")) {
      const auto bytes = dynapipe::plan_to_bytes(stored);
      write_text(o.plan, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    } else {
      write_text(o.plan, dynapipe::plan_to_json(stored));
    }
  }
  if (!o.trace.empty()) write_text(o.trace, dynapipe::chrome_trace(plan.replicas.front()));
}

/// Tells which samples fit nowhere, before a training finds out.
int dry_run(const rk::Context& ctx, const Options& o, const Setting& setting,
            const MiniBatches& batches) {
  int refused = 0;
  for (std::size_t b = 0; b < batches.size(); ++b) {
    try {
      best_dynapipe(ctx, setting, {batches[b]}, divisions(setting, o.tp, o.pp));
    } catch (const rk::Error& error) {
      fmt::print("mini-batch {}: {}\n", b, error.what());
      ++refused;
    }
  }
  fmt::print("{} of {} mini-batches cannot be planned\n", refused, batches.size());
  return refused == 0 ? 0 : 1;
}

int plan_training(const rk::Context& ctx, const Options& o) {
  const Setting setting = make_setting(o, o.model);
  const MiniBatches batches = mini_batches(o, setting.kind, o.max_seqlen, o.tokens);
  const auto among = divisions(setting, o.tp, o.pp);
  if (o.dry_run) return dry_run(ctx, o, setting, batches);
  const Score best = best_dynapipe(ctx, setting, batches, among);
  fmt::print("{}, {} layers, {} devices of {:.0f} MB, {}{}\n", setting.name, setting.layers,
             setting.gpus, setting.memory_mb, best.settings,
             setting.chunks > 1 ? fmt::format(", chunks {}", best.first->chunks) : "");
  std::string csv =
      "iteration,samples,micro_batches,recompute,iteration_ms,padding,peak_mb,planning_ms\n";
  for (std::size_t b = 0; b < batches.size(); ++b) {
    const auto planned = plan(ctx, batches[b], setting.model(best.division.tp),
                              setting.cluster(best.division.tp, best.division.pp), setting.options);
    print_iteration(b, batches[b].size(), planned);
    if (b == 0) write_plan(o, planned);
    csv +=
        fmt::format("{},{},{},{},{:.3f},{:.4f},{:.1f},{:.3f}\n", b, batches[b].size(),
                    planned.micro_batches(), rk::name_of(planned.recompute), planned.iteration_ms(),
                    planned.padding.efficiency(), planned.peak_mb(), planned.planning.total_ms());
  }
  if (!o.csv.empty()) write_text(o.csv, csv);
  if (!o.compare) return 0;
  std::vector<Score> scores = {best};
  const auto all = divisions(setting, 0, 0);
  if (auto packing = best_packing(ctx, setting, batches, o.max_seqlen, all)) {
    packing->method = "packing, best";
    scores.push_back(std::move(*packing));
  }
  if (auto packing = artifact_packing(ctx, setting, batches, o.max_seqlen)) {
    scores.push_back(std::move(*packing));
  }
  for (Score& other : other_baselines(ctx, setting, batches, best.division)) {
    scores.push_back(std::move(other));
  }
  print_scores(scores);
  return 0;
}

/// Packing and DynaPipe of one GPT iteration on the same four stages.
std::vector<Score> pipelines_of_four(const rk::Context& ctx, const Options& o) {
  constexpr std::int64_t kLength = 2048;
  const Setting setting = make_setting(o, "gpt");
  const MiniBatches batches = mini_batches(o, setting.kind, kLength, 65536);
  std::vector<Score> scores;
  if (auto packing = artifact_packing(ctx, setting, batches, kLength)) {
    scores.push_back(std::move(*packing));
  }
  scores.push_back(best_dynapipe(ctx, setting, batches, {{1, 4}}));
  return scores;
}

int sweep(const rk::Context& ctx, const Options& o) {
  std::vector<SweepPoint> points;
  for (const std::string model : {"gpt", "t5"}) {
    const Setting setting = make_setting(o, model);
    const auto among = divisions(setting, o.tp, o.pp);
    const auto add = [&](std::int64_t max_seqlen, std::int64_t tokens) {
      const MiniBatches batches = mini_batches(o, setting.kind, max_seqlen, tokens);
      points.push_back(
          {model, max_seqlen, tokens, best_dynapipe(ctx, setting, batches, among),
           best_packing(ctx, setting, batches, max_seqlen, among),
           tokens == 65536 ? artifact_packing(ctx, setting, batches, max_seqlen) : std::nullopt});
    };
    for (const std::int64_t max_seqlen : {512, 1024, 2048, 4096, 8192}) {
      // The T5 profile was measured up to 4096 tokens.
      if (max_seqlen <= setting.profiles.begin()->second.seq_grid.back()) add(max_seqlen, 65536);
    }
    for (const std::int64_t tokens : {16384, 32768, 131072}) add(2048, tokens);
  }
  print_sweep(points);
  if (!o.report.empty()) write_report(o.report, points, pipelines_of_four(ctx, o));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Plans pipeline-parallel training on sequences of very different lengths");
  Options options;
  add_options(app, options);
  CLI11_PARSE(app, argc, argv);
  try {
    const rk::Context ctx({.threads = options.threads});
    return options.sweep ? sweep(ctx, options) : plan_training(ctx, options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "plan_multitask_training: {}\n", error.what());
    return 1;
  }
}
