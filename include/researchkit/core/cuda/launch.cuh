#pragma once

// Launching kernels and lending them memory, the same on CUDA and on the emulated grid.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "researchkit/core/context.hpp"
#include "researchkit/core/cuda/device.cuh"
#include "researchkit/core/description.hpp"
#include "researchkit/core/tensor.hpp"

#if defined(__CUDACC__)
#include "researchkit/core/cuda/launch_cuda.cuh"
#else
#include "tests/support/emulator/launch_emulator.hpp"
#endif

namespace researchkit::device {

/// A grid whose threads share `entries` pieces of work in steps of grid_threads().
inline Launch for_entries(std::int64_t entries) {
  return {.blocks = std::clamp<std::int64_t>((entries + 255) / 256, 1, 4096),
          .block_threads = entries <= 64 ? 64 : 256};
}

/// The elements of a row-major view, for a kernel.
template <class T, int Rank>
Global<T> global(const TensorView<T, Rank>& view) {
  return {view.data_handle(), view.size()};
}

/// An output that a kernel writes row by row, wherever its memory has gaps.
template <class T, int Rank>
class PackedOutput {
 public:
  explicit PackedOutput(const TensorView<T, Rank>& view)
      : target_(detail::alias_of(view)),
        memory_(target_.is_contiguous()
                    ? target_
                    : Tensor(target_.dtype(), target_.shape(), target_.device())) {}
  Global<T> global() { return {static_cast<T*>(memory_.data()), memory_.size()}; }
  /// Puts what was written where it belongs; after the launch.
  void store() {
    if (!target_.is_contiguous()) target_.copy_from(memory_);
  }

 private:
  Tensor target_, memory_;
};

/// A row-major copy of a view, or the view itself if it is that.
template <class T, int Rank>
Tensor row_major(const TensorView<T, Rank>& view) {
  return detail::alias_of(view).contiguous();
}
template <class T>
Global<const T> global(const Tensor& tensor) {
  return {static_cast<const T*>(tensor.data()), tensor.size()};
}

/// Memory on the device of a call, in the order of its stream; zeroed.
///
///     DeviceArray<float> x(ctx, device, n);
///     launch(ctx, device, "fill", fill<float>, {.blocks = 4, .block_threads = 256}, x.global());
template <class T>
class DeviceArray {
 public:
  DeviceArray(const Context& ctx, Device device, std::int64_t count)
      : ctx_(ctx), device_(device), count_(count) {
    memory_ = device.backend->allocate(device.index, static_cast<std::size_t>(count) * sizeof(T),
                                       ctx.stream().handle());
  }
  DeviceArray(const Context& ctx, Device device, std::span<const T> values)
      : DeviceArray(ctx, device, static_cast<std::int64_t>(values.size())) {
    device.backend->copy(device.index, memory_, values.data(), values.size_bytes(),
                         Backend::Direction::to_device, ctx.stream().handle());
  }
  DeviceArray(const Context& ctx, Device device, const std::vector<T>& values)
      : DeviceArray(ctx, device, std::span<const T>(values)) {}
  DeviceArray(DeviceArray&& other) noexcept
      : ctx_(other.ctx_),
        device_(other.device_),
        count_(std::exchange(other.count_, 0)),
        memory_(std::exchange(other.memory_, nullptr)) {}
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  ~DeviceArray() {
    if (memory_ == nullptr) return;
    device_.backend->release(device_.index, memory_, ctx_.stream().handle());
  }

  Global<T> global() const { return {static_cast<T*>(memory_), count_}; }
  /// The elements, after waiting for the stream.
  std::vector<T> read() const {
    std::vector<T> values(static_cast<std::size_t>(count_));
    void* stream = ctx_.stream().handle();
    device_.backend->copy(device_.index, values.data(), memory_, values.size() * sizeof(T),
                          Backend::Direction::to_host, stream);
    device_.backend->synchronize_stream(device_.index, stream);
    return values;
  }

 private:
  Context ctx_;
  Device device_;
  std::int64_t count_;
  void* memory_;
};

}  // namespace researchkit::device
