#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <utility>

#include "researchkit/core/tensor_map.hpp"

namespace researchkit::dynapipe::detail {

/// sum += term, name by name.
inline void add_to(TensorMap& sum, const TensorMap& term) {
  for (auto& [name, tensor] : sum) {
    visit_dtype(tensor.dtype(), [&, &name = name, &tensor = tensor]<class T>(T) {
      if constexpr (std::is_floating_point_v<T>) {
        const auto to = tensor.template values<T>();
        const auto from = term.at(name).template values<T>();
        std::transform(to.begin(), to.end(), from.begin(), to.begin(), std::plus<>());
      }
    });
  }
}

/// The sum of the gradients of micro-batches, in ascending order of these or as they come. In order,
/// a gradient waits for those before it.
class GradientSum {
 public:
  GradientSum(const TensorMap& weights, bool ascending) : ascending_(ascending) {
    for (const auto& [name, weight] : weights) {
      sum_.set(name, Tensor(weight.dtype(), weight.shape()));
    }
  }
  void add(std::int32_t m, TensorMap gradient) {
    if (!ascending_) return add_to(sum_, gradient);
    waiting_.emplace(m, std::move(gradient));
    for (auto first = waiting_.begin(); first != waiting_.end() && first->first == next_; ++next_) {
      add_to(sum_, first->second);
      first = waiting_.erase(first);
    }
  }
  TensorMap take() { return std::move(sum_); }

 private:
  bool ascending_;
  std::int32_t next_ = 0;
  TensorMap sum_;
  std::map<std::int32_t, TensorMap> waiting_;
};

}  // namespace researchkit::dynapipe::detail
