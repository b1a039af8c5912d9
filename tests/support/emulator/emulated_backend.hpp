#pragma once

#include "researchkit/core/backend.hpp"

namespace researchkit {

/// A device that is the host: its kernels are those of kernels/cuda/, run on the emulated grid.
///
///     Tensor there = tensor.to(emulated_device());
Device emulated_device();

}  // namespace researchkit
