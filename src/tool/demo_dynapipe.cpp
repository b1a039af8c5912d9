#include <fmt/format.h>

#include "researchkit/dynapipe/planner.hpp"
#include "src/tool/demo.hpp"

namespace researchkit::tool {

void demo_dynapipe(const Context& ctx) {
  using namespace dynapipe;
  constexpr std::int64_t kTokens = 65536, kLength = 2048, kLayers = 24;
  const ModelProfile profile =
      analytic_profile({2048, 16, 128, 8192, 1, false}, ModelKind::decoder);
  const Model model{&profile, kLayers, 0};
  Cluster cluster;
  cluster.stages = 4;
  cluster.replicas = 2;
  auto samples = flan_lengths(11, 2000, ModelKind::decoder, kLength);
  samples.resize(static_cast<std::size_t>(mini_batch_offsets(samples, kTokens)[1]));
  fmt::print(
      "{} samples of a mixture of tasks, {} tokens -> 4 stages x 2 replicas, a predicted "
      "{}-layer model\n",
      samples.size(), kTokens, kLayers);

  const IterationPlan planned = plan(ctx, samples, model, cluster);
  const IterationPlan packed =
      plan_packing(ctx, samples, model, cluster, kLength, 1, planned.recompute);
  fmt::print("  {:<10}{:>14}{:>12}{:>10}{:>12}{:>16}\n", "", "iteration", "tokens/s", "bubble",
             "padding", "micro-batches");
  const auto show = [](std::string_view name, const IterationPlan& p) {
    fmt::print("  {:<10}{:>11.1f} ms{:>12.0f}{:>8.1f} %{:>10.1f} %{:>16}\n", name, p.iteration_ms(),
               static_cast<double>(p.padding.real()) / p.iteration_ms() * 1000,
               100 * p.mean_bubble(), 100 * (1 - p.padding.efficiency()), p.micro_batches());
  };
  show("packing", packed);
  show("DynaPipe", planned);
  fmt::print("{:.2f} x faster, planned in {:.1f} ms on {} thread{}\n",
             packed.iteration_ms() / planned.iteration_ms(), planned.planning.total_ms(),
             ctx.threads(), ctx.threads() == 1 ? "" : "s");
  const auto fault =
      find_plan_fault(planned, static_cast<std::int64_t>(samples.size()), cluster.device_memory_mb);
  fmt::print("plan holds (samples once, no deadlock, buffers freed, within memory): {}\n",
             fault ? *fault : "yes");
  if (fault) throw Error(*fault);
}

}  // namespace researchkit::tool
