#pragma once

#include "researchkit/core/device_kernels.hpp"

namespace researchkit {

namespace on_cuda {
/// The kernels of every namespace, compiled for CUDA.
DeviceKernels all_kernels();
}  // namespace on_cuda

namespace on_emulator {
/// The same sources, compiled for the emulated grid.
DeviceKernels all_kernels();
}  // namespace on_emulator

}  // namespace researchkit
