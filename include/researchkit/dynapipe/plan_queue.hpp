#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "researchkit/core/context.hpp"
#include "researchkit/dynapipe/planner.hpp"

namespace researchkit::dynapipe {

struct PlanQueueOptions {
  std::int64_t iterations = 0;  ///< 0 .. iterations-1 are planned
  int threads = 1;              ///< that plan, at least 1
  std::int64_t ahead = 4;       ///< plans made or under way before they are asked for, at least 1
};

/// Plans of coming iterations, made by threads while the present one runs.
///
///     PlanQueue plans([&](const Context& ctx, std::int64_t i) { return plan(ctx, mini_batch(i), model, cluster); },
///                     {.iterations = 1000});
///     while (auto next = plans.next()) train(*next);
///
/// Plans come in the order of the iterations, however long each took; at most `ahead` exist at a time.
/// The function is called by several threads at once, with a Context of one thread each; a plan does
/// not depend on which.
class PlanQueue {
 public:
  using MakePlan = std::function<IterationPlan(const Context&, std::int64_t iteration)>;

  /// Starts planning. Throws Error for options out of range.
  PlanQueue(MakePlan make, const PlanQueueOptions& options);
  /// Cancels, and waits for the planners to see it.
  ~PlanQueue();
  PlanQueue(const PlanQueue&) = delete;
  PlanQueue& operator=(const PlanQueue&) = delete;

  /// The next iteration's plan, waited for; nothing behind the last. Throws Error with the iteration's
  /// number where its planner threw, then and from then on; Cancelled after cancel().
  std::optional<IterationPlan> next();
  /// Ends planning. May be called from any thread; next() that waits returns at once.
  void cancel();

  /// Milliseconds that next() has waited: planning that the training did not hide.
  double waited_ms() const;

 private:
  struct Failure {
    std::string what;
  };
  void work();

  MakePlan make_;
  PlanQueueOptions options_;
  std::stop_source stop_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::int64_t claimed_ = 0, delivered_ = 0;
  std::map<std::int64_t, std::variant<IterationPlan, Failure>> ready_;
  double waited_ms_ = 0;
  std::vector<std::thread> threads_;
};

}  // namespace researchkit::dynapipe
