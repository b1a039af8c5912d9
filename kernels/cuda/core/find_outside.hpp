#pragma once

#include "researchkit/core/cuda/device.cuh"
#include "researchkit/core/device_kernels.hpp"

namespace researchkit::RESEARCHKIT_DEVICE {

/// The row-major position of the first entry of a row-major tensor that is outside of the range, or
/// -1. One pass over the tensor and one number read back.
std::int64_t find_outside(const Context& ctx, const Tensor& tensor, const ValueRange& range);

}  // namespace researchkit::RESEARCHKIT_DEVICE
