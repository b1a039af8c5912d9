#pragma once

#include <cuda_runtime_api.h>

#include <string>
#include <string_view>

#include "researchkit/core/error.hpp"

namespace researchkit::device {

/// Throws Error if a call of the CUDA runtime failed: "CUDA: allocation: out of memory".
inline void check_cuda(cudaError_t status, std::string_view what) {
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();  // a later call must not report this one
  throw Error("CUDA: " + std::string(what) + ": " + cudaGetErrorString(status));
}

/// Makes a device the current one of this thread, and the one before it again at the end.
class CurrentDevice {
 public:
  explicit CurrentDevice(int index) {
    check_cuda(cudaGetDevice(&before_), "the current device");
    if (index != before_) check_cuda(cudaSetDevice(index), "device " + std::to_string(index));
    changed_ = index != before_;
  }
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;
  ~CurrentDevice() {
    if (changed_) (void)cudaSetDevice(before_);
  }

 private:
  int before_ = 0;
  bool changed_ = false;
};

}  // namespace researchkit::device
