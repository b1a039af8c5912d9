// The planner as a trainer uses it: from several threads, stopped half-way, with impossible wishes.
#include <thread>

#include "researchkit/dynapipe/plan_file.hpp"
#include "support/catch.hpp"
#include "support/contains.hpp"

using namespace researchkit;
using namespace researchkit::dynapipe;

namespace {

struct Setting {
  ModelProfile profile = analytic_profile({1024, 16, 64, 4096, 1, false}, ModelKind::decoder);
  Model model{&profile, 24, 0};
  Cluster cluster = [] {
    Cluster c;
    c.stages = 4;
    c.replicas = 2;
    return c;
  }();
  std::vector<SampleLength> samples = flan_lengths(3, 200, ModelKind::decoder, 2048);
};

std::string text_of(const IterationPlan& plan) {
  std::string text;
  for (std::size_t g = 0; g < plan.replicas.size(); ++g) {
    text += plan_to_json(stored_plan(plan, g, "test"));
  }
  return text;
}

template <class F>
std::string refusal_of(const std::string& argument, F&& call) {
  try {
    call();
  } catch (const Error& error) {
    CHECK(error.argument() == argument);
    return error.what();
  }
  FAIL_CHECK("'" << argument << "' was not refused");
  return "";
}

}  // namespace

TEST_CASE("a plan does not depend on the number of threads") {
  const Setting s;
  const std::string one = text_of(plan(Context({.threads = 1}), s.samples, s.model, s.cluster));
  for (const int threads : {2, 3, 7}) {
    CHECK(text_of(plan(Context({.threads = threads}), s.samples, s.model, s.cluster)) == one);
  }
}

TEST_CASE("several threads plan at once, each with a context of its own") {
  const Setting s;
  const std::string expected = text_of(plan(Context(), s.samples, s.model, s.cluster));
  std::vector<std::string> results(6);
  std::vector<std::thread> threads;
  for (std::string& result : results) {
    threads.emplace_back(
        [&] { result = text_of(plan(Context({.threads = 1}), s.samples, s.model, s.cluster)); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& result : results) CHECK(result == expected);
}

TEST_CASE("a planner that is asked to stop throws Cancelled") {
  const Setting s;
  std::stop_source source;
  source.request_stop();
  ContextOptions options;
  options.stop = source.get_token();
  CHECK_THROWS_AS(plan(Context(options), s.samples, s.model, s.cluster), Cancelled);
}

TEST_CASE("choosing among all ways to recompute is never slower than taking the first that fits") {
  Setting s;
  for (const double memory : {2500., 4000., 9000.}) {
    s.cluster.device_memory_mb = memory;
    PlanOptions first;
    first.recompute_policy = RecomputePolicy::first;
    const auto a = plan(Context(), s.samples, s.model, s.cluster, first);
    const auto b = plan(Context(), s.samples, s.model, s.cluster);
    CHECK(b.iteration_ms() <= a.iteration_ms());
  }
}

TEST_CASE("what cannot be planned is refused by name") {
  const Setting s;
  const Context ctx;
  const auto planned = [&](const std::vector<SampleLength>& samples, const Cluster& cluster) {
    return plan(ctx, samples, s.model, cluster);
  };
  refusal_of("mini_batch", [&] { planned({}, s.cluster); });
  CHECK_THAT(refusal_of("mini_batch",
                        [&] {
                          planned({{5, 0}, {0, 0}}, s.cluster);
                        }),
             test::contains("0 at [1]"));
  refusal_of("mini_batch", [&] { planned({{5, 3}}, s.cluster); });
  refusal_of("mini_batch", [&] { planned({{100000, 0}}, s.cluster); });
  Cluster cluster = s.cluster;
  cluster.device_memory_mb = 1900;
  CHECK_THAT(refusal_of("mini_batch",
                        [&] {
                          planned({{5, 0}, {8000, 0}}, cluster);
                        }),
             test::contains("sample 1 of 8000 + 0 tokens, which needs"));
  cluster.device_memory_mb = 10;
  refusal_of("device_memory_mb", [&] { planned({{5, 0}}, cluster); });
  cluster = s.cluster;
  cluster.stages = 25;
  refusal_of("stages", [&] { planned({{5, 0}}, cluster); });
  cluster.stages = 7;
  refusal_of("stages", [&] { planned({{5, 0}}, cluster); });
}

TEST_CASE("fewer micro-batches than replicas leave some of them without work") {
  Setting s;
  s.cluster.replicas = 3;
  const auto result = plan(Context(), std::vector<SampleLength>{{40, 0}}, s.model, s.cluster);
  CHECK(result.replicas.size() == 3);
  CHECK(result.micro_batches() == 1);
  CHECK_FALSE(find_plan_fault(result, 1, s.cluster.device_memory_mb));
}

TEST_CASE("equal micro-batches under 1F1B take (M + S - 1) forwards and backwards") {
  for (const std::int64_t stages : {1, 2, 4}) {
    for (const std::int64_t count : {1, 3, 8}) {
      Array<double, 2> fw({count, stages}), bw({count, stages}), zero({count, stages});
      const Array<double, 2> link({count, stages - 1});
      for (std::int64_t m = 0; m < count; ++m) {
        for (std::int64_t st = 0; st < stages; ++st) fw(m, st) = 2, bw(m, st) = 3;
      }
      const Array<double, 1> state({stages}), peak({stages}), busy({stages});
      const Array<std::int32_t, 2> order({stages, 2 * count});
      const Array<double, 2> start({stages, 2 * count}), sent({stages, 2 * count});
      const StageMemory memory{zero, zero, state};
      make_schedule(memory, {SchedulePolicy::f1b1}, order);
      CHECK(simulate_schedule(order, {fw, bw, link, link}, memory, CommStreams::device,
                              {start, sent},
                              {peak, busy}) == 5. * static_cast<double>(count + stages - 1));
    }
  }
}
