#include "paired.hpp"

#include <fmt/format.h>

#include <cmath>

namespace rk = researchkit;
namespace bikt = researchkit::bikt;

namespace {

double ms_per_epoch(const bikt::TrainingResult& result) {
  return 1e3 * result.seconds / static_cast<double>(std::max<std::int64_t>(result.epochs, 1));
}

void print_row(const char* name, const rk::nn::Summary& summary) {
  fmt::print("  {:<38} {:6.2f} +- {:5.2f}\n", name, summary.mean, summary.deviation);
}

}  // namespace

bikt::TrainingResult train_host(const rk::Context& ctx, const Task& task,
                                const std::shared_ptr<const bikt::DerivableHost<float>>& host,
                                const bikt::TrainingOptions& training, std::int64_t k) {
  if (!task.graphs) return bikt::train(ctx, host, task.graph, task.data, task.cut(k), training);
  const auto pooled = std::make_shared<bikt::PooledHost<float>>(host, task.graphs->members);
  return bikt::train(ctx, pooled, task.graph, *task.graphs, task.cut(k), training);
}

std::shared_ptr<bikt::BuiltinHost<float>> start(const Task& task, Method& method, std::int64_t k) {
  method.host.seed = method.training.seed = task.seed + static_cast<std::uint64_t>(k);
  return std::make_shared<bikt::BuiltinHost<float>>(method.host, task.features().columns(),
                                                    task.classes());
}

Trained train_once(const rk::Context& ctx, const Task& task, Method method, std::int64_t k) {
  Trained trained;
  trained.host = start(task, method, k);
  trained.result = train_host(ctx, task, trained.host, method.training, k);
  return trained;
}

Pair train_pair(const rk::Context& ctx, const Task& task, const Method& plain, const Method& bikt,
                std::int64_t k, const PairOptions& options) {
  Pair pair{.seed = static_cast<std::int64_t>(task.seed) + k};
  const Trained without = train_once(ctx, task, plain, k);
  const Trained with = train_once(ctx, task, bikt, k);
  pair.plain = without.result;
  pair.bikt = with.result;
  if (options.with_distance) {
    pair.plain_distance = bikt::proxy_distance(ctx, *without.host, task.graph, task.features());
    pair.bikt_distance = bikt::proxy_distance(ctx, *with.host, task.graph, task.features());
  }
  if (options.with_mlp) {
    Method alone = plain;
    const auto host = std::make_shared<bikt::WithoutPropagation<float>>(start(task, alone, k));
    pair.mlp = train_host(ctx, task, host, alone.training, k).test_accuracy;
  }
  if (options.keep) options.keep(with, pair.seed);
  return pair;
}

rk::nn::Summary percent(const std::vector<Pair>& pairs,
                        const std::function<double(const Pair&)>& of) {
  std::vector<double> values;
  values.reserve(pairs.size());
  for (const Pair& pair : pairs) values.push_back(100 * of(pair));
  return rk::nn::summarize(values);
}

Gain gain_of(const std::vector<Pair>& pairs) {
  Gain gain;
  gain.difference =
      percent(pairs, [](const Pair& p) { return p.bikt.test_accuracy - p.plain.test_accuracy; });
  if (pairs.size() > 1) {
    gain.standard_error =
        gain.difference.deviation / std::sqrt(static_cast<double>(pairs.size()) - 1);
  }
  return gain;
}

void print_pair(const Pair& pair) {
  fmt::print(
      "seed {}: host {:.2f} % ({} epochs), with BiKT {:.2f} % ({} epochs){}; derived {:.2f} -> "
      "{:.2f} %\n",
      pair.seed, 100 * pair.plain.test_accuracy, pair.plain.epochs, 100 * pair.bikt.test_accuracy,
      pair.bikt.epochs, pair.bikt.lowered ? ", feedback lowered" : "",
      100 * pair.plain.derived_test_accuracy, 100 * pair.bikt.derived_test_accuracy);
}

void print_table(const std::vector<Pair>& pairs, const PairOptions& options) {
  fmt::print("\ntest accuracy in percent, {} seeds\n", pairs.size());
  print_row("host", percent(pairs, [](const Pair& p) { return p.plain.test_accuracy; }));
  print_row("host with BiKT", percent(pairs, [](const Pair& p) { return p.bikt.test_accuracy; }));
  const Gain gain = gain_of(pairs);
  fmt::print("  {:<38} {:+6.2f} (standard error {:.2f}, 95 % interval [{:+.2f}, {:+.2f}])\n",
             "difference", gain.difference.mean, gain.standard_error, gain.difference.low,
             gain.difference.high);
  print_row("derived model of the plain host",
            percent(pairs, [](const Pair& p) { return p.plain.derived_test_accuracy; }));
  print_row("derived model of BiKT",
            percent(pairs, [](const Pair& p) { return p.bikt.derived_test_accuracy; }));
  print_row("  at its own best epoch",
            percent(pairs, [](const Pair& p) { return p.bikt.derived_best_test_accuracy; }));
  if (options.with_mlp) {
    print_row("multilayer perceptron trained alone",
              percent(pairs, [](const Pair& p) { return p.mlp; }));
  }
  const auto mean = [&](const std::function<double(const Pair&)>& of) {
    return percent(pairs, of).mean / 100;
  };
  if (options.with_distance) {
    fmt::print("  {:<38} {:.2f} -> {:.2f}\n", "proxy distance of the branches",
               mean([](const Pair& p) { return p.plain_distance; }),
               mean([](const Pair& p) { return p.bikt_distance; }));
  }
  const double plain_ms = mean([](const Pair& p) { return ms_per_epoch(p.plain); });
  const double bikt_ms = mean([](const Pair& p) { return ms_per_epoch(p.bikt); });
  fmt::print("  {:<38} {:.2f} -> {:.2f} ({:.2f} x)\n", "ms per epoch", plain_ms, bikt_ms,
             bikt_ms / plain_ms);
  if (gain.difference.low <= 0 && gain.difference.high >= 0) {
    fmt::print("  The interval holds 0: no gain was shown.\n");
  } else if (gain.difference.high < 0) {
    fmt::print("  BiKT is a loss here.\n");
  }
}
