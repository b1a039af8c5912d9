// Holds every entry of a tensor against a range: reads the tensor once, at memory speed.
#include "kernels/cuda/core/find_outside.hpp"

#include <limits>
#include <type_traits>

#include "researchkit/core/cuda/launch.cuh"
#include "researchkit/core/dtype.hpp"

namespace researchkit::RESEARCHKIT_DEVICE {
namespace {

using namespace device;

constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();

template <class T>
RESEARCHKIT_DEVICE_FUNCTION bool is_inside(T value, const ValueRange& range) {
  const auto x = static_cast<double>(value);
  if (range.finite && !(x - x == 0)) return false;
  const bool above = range.lower_is_open ? x > range.lower : x >= range.lower;
  const bool below = range.upper_is_open ? x < range.upper : x <= range.upper;
  return above && below;
}

template <class T>
RESEARCHKIT_KERNEL(256)
void find_outside_kernel(Global<const T> values, ValueRange range, Global<std::int64_t> first) {
  for (std::int64_t i = grid_thread(); i < values.size; i += grid_threads()) {
    if (is_inside(values[i], range)) continue;
    atomic_min(first[0], i);
    return;
  }
}

}  // namespace

std::int64_t find_outside(const Context& ctx, const Tensor& tensor, const ValueRange& range) {
  if (tensor.size() == 0) return -1;
  const DeviceArray<std::int64_t> first(ctx, tensor.device(), std::span(&kNone, 1));
  visit_dtype(tensor.dtype(), [&]<class T>(T) {
    const Global<const T> values{static_cast<const T*>(tensor.data()), tensor.size()};
    launch(ctx, tensor.device(), "find_outside", find_outside_kernel<T>, for_entries(tensor.size()),
           values, range, first.global());
  });
  const std::int64_t found = first.read()[0];
  return found == kNone ? -1 : found;
}

}  // namespace researchkit::RESEARCHKIT_DEVICE
