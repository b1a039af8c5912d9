#pragma once

#include "researchkit/core/cuda/device.cuh"
#include "researchkit/core/device_kernels.hpp"

namespace researchkit::nn::RESEARCHKIT_DEVICE {

void register_kernels(DeviceKernels& kernels);

}  // namespace researchkit::nn::RESEARCHKIT_DEVICE
