#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <mutex>
#include <vector>

#include "researchkit/dynapipe/executor.hpp"
#include "support/catch.hpp"

// Running a pipeline on ranks, and holding its gradients against others.
namespace researchkit::dynapipe::test {

using Stages = std::vector<std::unique_ptr<PipelineStage>>;
/// Stage `number` of `stages`.
using MakeStage =
    std::function<std::unique_ptr<PipelineStage>(std::int64_t number, std::int64_t stages)>;

/// The gradients of all stages as one map: names do not meet.
inline TensorMap joined(const std::vector<TensorMap>& parts) {
  TensorMap all;
  for (std::size_t s = 0; s < parts.size(); ++s) {
    for (const auto& [name, tensor] : parts[s]) {
      all.set(all.contains(name) ? name + "@" + std::to_string(s) : name, tensor);
    }
  }
  return all;
}

/// The gradients that the first replica's ranks bring home; all replicas have the same.
inline std::vector<TensorMap> run_on_ranks(const std::vector<StoredPlan>& plans,
                                           const MakeStage& make, const RunOptions& options = {}) {
  const auto devices = static_cast<int>(plans[0].program.stages.size());
  const std::int64_t stages = devices * plans[0].chunks;
  std::vector<TensorMap> gradients(static_cast<std::size_t>(stages));
  run_ranks(devices * static_cast<int>(plans.size()), [&](Communicator& ranks) {
    Stages own;
    std::vector<PipelineStage*> pointers;
    for (std::int64_t v = ranks.rank() % devices; v < stages; v += devices) {
      own.push_back(make(v, stages));
      pointers.push_back(own.back().get());
    }
    auto run = run_pipeline(Context({.threads = 1}), ranks, plans, pointers, options);
    if (ranks.rank() >= devices) return;
    for (std::size_t c = 0; c < run.gradients.size(); ++c) {
      gradients[c * static_cast<std::size_t>(devices) + static_cast<std::size_t>(ranks.rank())] =
          std::move(run.gradients[c]);
    }
  });
  return gradients;
}

inline std::vector<TensorMap> run_alone(const std::vector<StoredPlan>& plans,
                                        const MakeStage& make) {
  Stages stages;
  std::vector<PipelineStage*> pointers;
  const auto count = static_cast<std::int64_t>(plans[0].program.stages.size()) * plans[0].chunks;
  for (std::int64_t s = 0; s < count; ++s) {
    stages.push_back(make(s, count));
    pointers.push_back(stages.back().get());
  }
  return run_stages_alone(Context(), plans, pointers);
}

/// Largest difference over the largest entry, of all weights. All names of b are in a.
inline double largest_difference(const TensorMap& a, const TensorMap& b) {
  double difference = 0, size = 0;
  REQUIRE(a.size() == b.size());
  for (const auto& [name, tensor] : b) {
    visit_dtype(tensor.dtype(), [&, &name = name, &tensor = tensor]<class T>(T) {
      const auto x = a.at(name).template values<T>();
      const auto y = tensor.template values<T>();
      REQUIRE(x.size() == y.size());
      for (std::size_t i = 0; i < x.size(); ++i) {
        const auto one = static_cast<double>(x[i]), other = static_cast<double>(y[i]);
        if (!std::isfinite(one)) FAIL(name << " is not finite");
        difference = std::max(difference, std::fabs(one - other));
        size = std::max(size, std::fabs(other));
      }
    });
  }
  REQUIRE(size > 0);
  return difference / size;
}

}  // namespace researchkit::dynapipe::test
