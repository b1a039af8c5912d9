#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "researchkit/core/registry.hpp"
#include "researchkit/fusefps/demo_clouds.hpp"
#include "src/tool/demo.hpp"
#include "src/tool/progress.hpp"
#include "src/tool/tool.hpp"

namespace researchkit::tool {
namespace {

constexpr std::int64_t kPoints = 120'000, kSamples = 16'384;

struct Method {
  std::string_view operator_name, title;
  int repeats;
};
constexpr Method kMethods[] = {
    {"fusefps.farthest_point_sample", "plain: every point for every sample", 1},
    {"fusefps.bucket_farthest_point_sample", "QuickFPS: first a tree, then its buckets", 5},
    {"fusefps.fused_farthest_point_sample", "FuseFPS: the tree grows while sampling", 5}};

struct Run {
  double seconds = std::numeric_limits<double>::infinity();  // the best of some
  TensorMap outputs;
};

Run best_run(const Method& method, const Arguments& call, const Context& ctx) {
  const Operator& op = default_registry().at(method.operator_name);
  Run best;
  for (int i = 0; i < method.repeats; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    Outcome outcome = op.run(ctx, call);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
    if (elapsed.count() < best.seconds) best = {elapsed.count(), std::move(outcome.outputs)};
  }
  return best;
}

bool same_samples(const TensorMap& a, const TensorMap& b) {
  return std::ranges::equal(a.at("indices").values<std::int32_t>(),
                            b.at("indices").values<std::int32_t>()) &&
         std::ranges::equal(a.at("distances").values<float>(), b.at("distances").values<float>());
}

/// How the samples close in on the cloud: sample number i was this far from all before it.
void print_radii(const Tensor& distances) {
  fmt::print("\nno point is farther from the samples than\n");
  const auto squared = distances.values<float>();
  for (std::size_t count = 4; count < squared.size(); count *= 8) {
    const double radius = std::sqrt(static_cast<double>(squared[count]));
    const auto cells = static_cast<std::size_t>(std::lround(radius));
    fmt::print("  {:>6.2f} m  after {:>6} samples  {}\n", radius, count, std::string(cells, '#'));
  }
}

}  // namespace

void demo_fusefps(const Context& ctx) {
  Array<float, 2> scan({kPoints, 4});
  fusefps::generate_lidar_scan({}, scan);
  const Tensor points = scan.tensor().slice(1, 0, 3).clone().reshape({1, kPoints, 3});
  const Arguments call{.inputs = {{"points", points}}, .attributes = {{"k", kSamples}}};
  fmt::print("{} points of a simulated street scan -> {} samples, {} thread{}\n", kPoints, kSamples,
             ctx.threads(), ctx.threads() == 1 ? "" : "s");

  Progress progress;
  const Context watched(
      {.threads = ctx.threads(),
       .progress = [&](double f, std::string_view what) { progress.show(f, what); }});
  Run plain;
  bool all_same = true;
  for (const Method& method : kMethods) {
    Run run = best_run(method, call, watched);
    progress.wipe();
    if (plain.outputs.empty()) plain = run;
    all_same = all_same && same_samples(plain.outputs, run.outputs);
    fmt::print("  {:<42}  {:>8}  {:>6.1f} x\n", method.title, show_seconds(run.seconds),
               plain.seconds / run.seconds);
  }
  fmt::print("identical index sequence: {}\n", all_same ? "yes" : "NO");
  print_radii(plain.outputs.at("distances"));
  if (!all_same) throw Error("the methods chose different points");
}

}  // namespace researchkit::tool
