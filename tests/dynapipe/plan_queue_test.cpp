// Plans made ahead: in order, bounded, with errors at their place, cancellable.
#include "researchkit/dynapipe/plan_queue.hpp"
#include "researchkit/dynapipe/plan_file.hpp"

#include <atomic>
#include <chrono>
#include <thread>

#include "support/catch.hpp"
#include "support/contains.hpp"

using namespace researchkit;
using namespace researchkit::dynapipe;
using namespace std::chrono_literals;

namespace {

/// A plan that says which iteration it is of; even ones take longer.
IterationPlan labelled(std::int64_t iteration) {
  std::this_thread::sleep_for(iteration % 2 == 0 ? 5ms : 0ms);
  IterationPlan plan;
  plan.hidden = iteration;
  return plan;
}

}  // namespace

TEST_CASE("plans come in the order of the iterations for any number of planners") {
  for (const int threads : {1, 2, 7}) {
    PlanQueue queue([](const Context&, std::int64_t i) { return labelled(i); },
                    {.iterations = 20, .threads = threads, .ahead = 5});
    for (std::int64_t i = 0; i < 20; ++i) CHECK(queue.next().value().hidden == i);
    CHECK_FALSE(queue.next().has_value());
  }
}

TEST_CASE("planned ahead are the plans of plan()") {
  static const ModelProfile profile =
      analytic_profile({64, 1, 64, 256, 1, false}, ModelKind::decoder);
  const Model model{&profile, 4, 0};
  const Cluster cluster{.stages = 2, .device_memory_mb = 1000};
  const auto batch = [](std::int64_t i) {
    return flan_lengths(static_cast<std::uint64_t>(i), 20, ModelKind::decoder, 512);
  };
  PlanQueue queue(
      [&](const Context& ctx, std::int64_t i) { return plan(ctx, batch(i), model, cluster); },
      {.iterations = 6, .threads = 3});
  for (std::int64_t i = 0; i < 6; ++i) {
    const auto ahead = queue.next().value();
    CHECK(stored_plan(ahead, 0, "") ==
          stored_plan(plan(Context(), batch(i), model, cluster), 0, ""));
  }
}

TEST_CASE("no more plans are made than may wait") {
  std::atomic<std::int64_t> made{0};
  PlanQueue queue(
      [&](const Context&, std::int64_t i) {
        ++made;
        return labelled(i);
      },
      {.iterations = 100, .threads = 4, .ahead = 3});
  for (std::int64_t i = 0; i < 5; ++i) {
    std::this_thread::sleep_for(30ms);
    CHECK(made <= i + 3);
    queue.next();
  }
  std::this_thread::sleep_for(30ms);
  CHECK(made == 8);
}

TEST_CASE("a planner's error reaches the trainer at its iteration, with its number") {
  PlanQueue queue(
      [](const Context&, std::int64_t i) {
        if (i == 3) throw Error("sample 7 does not fit");
        return labelled(i);
      },
      {.iterations = 10, .threads = 3, .ahead = 8});
  for (std::int64_t i = 0; i < 3; ++i) CHECK(queue.next().has_value());
  for (int again = 0; again < 2; ++again) {
    CHECK_THROWS_WITH(queue.next(),
                      test::contains("planning of iteration 3: sample 7 does not fit"));
  }
}

TEST_CASE("a queue is cancelled while it plans and while it is waited for") {
  const auto begin = std::chrono::steady_clock::now();
  PlanQueue queue(
      [](const Context& ctx, std::int64_t) -> IterationPlan {
        for (;;) {
          ctx.check_cancelled();
          std::this_thread::sleep_for(1ms);
        }
      },
      {.iterations = 10, .threads = 2});
  std::thread other([&] {
    std::this_thread::sleep_for(20ms);
    queue.cancel();
  });
  CHECK_THROWS_AS(queue.next(), Cancelled);
  other.join();
  CHECK(queue.waited_ms() >= 10);
  CHECK(std::chrono::steady_clock::now() - begin < 5s);
}

TEST_CASE("queues that cannot be are refused") {
  const auto make = [](const Context&, std::int64_t i) { return labelled(i); };
  CHECK_THROWS_AS(PlanQueue(make, {.iterations = -1}), Error);
  CHECK_THROWS_AS(PlanQueue(make, {.iterations = 1, .threads = 0}), Error);
  CHECK_THROWS_AS(PlanQueue(make, {.iterations = 1, .ahead = 0}), Error);
  PlanQueue none(make, {});
  CHECK_FALSE(none.next().has_value());
}
