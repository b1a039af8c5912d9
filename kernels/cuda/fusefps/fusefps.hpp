#pragma once

#include "researchkit/core/cuda/device.cuh"
#include "researchkit/core/device_kernels.hpp"

namespace researchkit::fusefps::RESEARCHKIT_DEVICE {

// One function for each file of kernels.
void register_sampling_f32(DeviceKernels& kernels);
void register_sampling_f64(DeviceKernels& kernels);
void register_gathering(DeviceKernels& kernels);
void register_neighbors(DeviceKernels& kernels);
void register_gradients(DeviceKernels& kernels);

inline void register_kernels(DeviceKernels& kernels) {
  register_sampling_f32(kernels);
  register_sampling_f64(kernels);
  register_gathering(kernels);
  register_neighbors(kernels);
  register_gradients(kernels);
}

}  // namespace researchkit::fusefps::RESEARCHKIT_DEVICE
