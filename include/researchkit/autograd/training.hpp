#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <limits>
#include <numbers>
#include <vector>

namespace researchkit::autograd {

/// The factor of the learning rate at a step, counted from 0.
using Schedule = std::function<double(std::int64_t step)>;

/// `gamma` to the power of step / every.
inline Schedule step_decay(std::int64_t every, double gamma) {
  return [=](std::int64_t step) {
    return std::pow(gamma, static_cast<double>(std::div(step, every).quot));
  };
}
/// From 1 down to `floor` along half a cosine over `total` steps, then `floor`.
inline Schedule cosine_decay(std::int64_t total, double floor = 0) {
  return [=](std::int64_t step) {
    const double part = step >= total ? 1 : static_cast<double>(step) / static_cast<double>(total);
    return floor + (1 - floor) * (1 + std::cos(std::numbers::pi * part)) / 2;
  };
}
/// Linearly up to 1 over the first `steps` steps, then `next`, which counts from there.
inline Schedule warm_up(
    std::int64_t steps, Schedule next = [](std::int64_t) { return 1.0; }) {
  return [steps, next = std::move(next)](std::int64_t step) {
    return step < steps ? static_cast<double>(step + 1) / static_cast<double>(steps)
                        : next(step - steps);
  };
}

/// Stops when the loss exceeds the mean of the `window` losses before it, once more than `window`
/// epochs have passed; remembers the epoch of the lowest loss (the first one).
class WindowStop {
 public:
  explicit WindowStop(std::int64_t window) : window_(window) {}
  /// Takes the loss of the next epoch, counted from 0; true: stop.
  bool stop_after(double loss) {
    const auto epoch = static_cast<std::int64_t>(losses_.size());
    if (losses_.empty() || loss < losses_[static_cast<std::size_t>(best_)]) best_ = epoch;
    double sum = 0;
    for (std::int64_t i = std::max<std::int64_t>(0, epoch - window_); i < epoch; ++i) {
      sum += losses_[static_cast<std::size_t>(i)];
    }
    losses_.push_back(loss);
    return epoch > window_ && loss > sum / static_cast<double>(window_);
  }
  std::int64_t best_epoch() const { return best_; }

 private:
  std::int64_t window_, best_ = 0;
  std::vector<double> losses_;
};

/// Stops after `patience` epochs without a better score, ties broken by lower loss.
class PatienceStop {
 public:
  explicit PatienceStop(std::int64_t patience) : patience_(patience) {}
  /// Takes score (higher is better) and loss of the next epoch; true: stop.
  bool stop_after(double score, double loss) {
    const bool better = score > score_ || (score == score_ && loss < loss_);
    if (better) {
      score_ = score;
      loss_ = loss;
      best_ = epoch_;
    }
    return epoch_++ - best_ >= patience_;
  }
  std::int64_t best_epoch() const { return best_; }
  /// Whether the epoch given last is the best so far.
  bool improved() const { return best_ == epoch_ - 1; }

 private:
  std::int64_t patience_, best_ = 0, epoch_ = 0;
  double score_ = -std::numeric_limits<double>::infinity();
  double loss_ = std::numeric_limits<double>::infinity();
};

}  // namespace researchkit::autograd
