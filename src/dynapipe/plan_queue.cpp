#include "researchkit/dynapipe/plan_queue.hpp"

#include <fmt/format.h>

#include <chrono>

#include "researchkit/core/error.hpp"

namespace researchkit::dynapipe {

PlanQueue::PlanQueue(MakePlan make, const PlanQueueOptions& options)
    : make_(std::move(make)), options_(options) {
  const auto refuse = [](std::string_view argument, std::string_view wanted, std::int64_t got) {
    throw Error("dynapipe.plan_queue", argument, wanted, fmt::format("{}", got));
  };
  if (options.iterations < 0) refuse("iterations", "at least 0", options.iterations);
  if (options.threads < 1) refuse("threads", "at least 1", options.threads);
  if (options.ahead < 1) refuse("ahead", "at least 1", options.ahead);
  for (int t = 0; t < options.threads; ++t) threads_.emplace_back([this] { work(); });
}

PlanQueue::~PlanQueue() {
  cancel();
  for (std::thread& thread : threads_) thread.join();
}

void PlanQueue::cancel() {
  {
    const std::lock_guard lock(mutex_);
    stop_.request_stop();
  }
  changed_.notify_all();
}

double PlanQueue::waited_ms() const {
  const std::lock_guard lock(mutex_);
  return waited_ms_;
}

void PlanQueue::work() {
  const Context ctx({.threads = 1, .stop = stop_.get_token()});
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] {
      return stop_.stop_requested() || claimed_ >= options_.iterations ||
             claimed_ < delivered_ + options_.ahead;
    });
    if (stop_.stop_requested() || claimed_ >= options_.iterations) return;
    const std::int64_t iteration = claimed_++;
    lock.unlock();
    std::variant<IterationPlan, Failure> result;
    try {
      result = make_(ctx, iteration);
    } catch (const std::exception& error) {
      result = Failure{error.what()};
    }
    lock.lock();
    ready_.emplace(iteration, std::move(result));
    changed_.notify_all();
  }
}

std::optional<IterationPlan> PlanQueue::next() {
  std::unique_lock lock(mutex_);
  if (delivered_ >= options_.iterations) return std::nullopt;
  const auto begin = std::chrono::steady_clock::now();
  changed_.wait(lock, [&] { return stop_.stop_requested() || ready_.contains(delivered_); });
  waited_ms_ +=
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  if (stop_.stop_requested()) throw Cancelled();
  const auto found = ready_.find(delivered_);
  if (const Failure* failure = std::get_if<Failure>(&found->second)) {
    // It stays: the iterations behind it cannot be delivered.
    throw Error(fmt::format("planning of iteration {}: {}", delivered_, failure->what));
  }
  IterationPlan plan = std::get<IterationPlan>(std::move(found->second));
  ready_.erase(found);
  ++delivered_;
  changed_.notify_all();
  return plan;
}

}  // namespace researchkit::dynapipe
