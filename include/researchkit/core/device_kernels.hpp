#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <typeindex>
#include <typeinfo>
#include <utility>

#include "researchkit/core/context.hpp"
#include "researchkit/core/tensor.hpp"

namespace researchkit {

/// Which values of a tensor are legal, in numbers.
struct ValueRange {
  double lower, upper;
  bool lower_is_open = false, upper_is_open = false;
  bool finite = false;
};

/// The operators that a backend runs, filled by one function per namespace (kernels/cuda/).
class DeviceKernels {
 public:
  /// `run` gets an operator that is legal: its tensors lie on the device, but for the inputs
  /// described with `.host`, which it finds on the host.
  template <class Op>
  void add(void (*run)(const Context& ctx, const Op& op)) {
    runs_[std::type_index(typeid(Op))] = [run](const Context& ctx, const void* op) {
      run(ctx, *static_cast<const Op*>(op));
    };
  }
  using Run = std::function<void(const Context& ctx, const void* op)>;
  /// Null if the operator has no kernel there.
  const Run* find(std::type_index op) const {
    const auto found = runs_.find(op);
    return found == runs_.end() ? nullptr : &found->second;
  }
  std::size_t size() const { return runs_.size(); }

  /// The row-major position of the first entry of a row-major tensor that is outside of the range,
  /// or -1.
  std::int64_t (*find_outside)(const Context& ctx, const Tensor& tensor,
                               const ValueRange& range) = nullptr;

 private:
  std::map<std::type_index, Run> runs_;
};

}  // namespace researchkit
