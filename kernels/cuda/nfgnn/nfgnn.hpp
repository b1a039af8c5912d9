#pragma once

#include "researchkit/core/cuda/device.cuh"
#include "researchkit/core/device_kernels.hpp"

namespace researchkit::nfgnn::RESEARCHKIT_DEVICE {

// One function for each file of kernels.
void register_propagation(DeviceKernels& kernels);
void register_coefficients(DeviceKernels& kernels);
void register_filters(DeviceKernels& kernels);
void register_filter_gradients(DeviceKernels& kernels);

inline void register_kernels(DeviceKernels& kernels) {
  register_propagation(kernels);
  register_coefficients(kernels);
  register_filters(kernels);
  register_filter_gradients(kernels);
}

}  // namespace researchkit::nfgnn::RESEARCHKIT_DEVICE
