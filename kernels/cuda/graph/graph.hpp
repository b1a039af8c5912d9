#pragma once

#include "researchkit/core/cuda/device.cuh"
#include "researchkit/core/device_kernels.hpp"

namespace researchkit::graph::RESEARCHKIT_DEVICE {

// One function for each file of kernels.
void register_products(DeviceKernels& kernels);
void register_normalising(DeviceKernels& kernels);
void register_attention(DeviceKernels& kernels);
void register_loss(DeviceKernels& kernels);
void register_entrywise(DeviceKernels& kernels);

inline void register_kernels(DeviceKernels& kernels) {
  register_products(kernels);
  register_normalising(kernels);
  register_attention(kernels);
  register_loss(kernels);
  register_entrywise(kernels);
}

}  // namespace researchkit::graph::RESEARCHKIT_DEVICE
