// Assembles what the namespaces have: one line each.
#include "kernels/cuda/all_kernels.hpp"

#include "kernels/cuda/core/find_outside.hpp"
#include "kernels/cuda/fusefps/fusefps.hpp"
#include "kernels/cuda/graph/graph.hpp"
#include "kernels/cuda/nfgnn/nfgnn.hpp"
#include "kernels/cuda/nn/nn.hpp"
#include "researchkit/core/cuda/device.cuh"

namespace researchkit::RESEARCHKIT_DEVICE {

DeviceKernels all_kernels() {
  DeviceKernels kernels;
  kernels.find_outside = &find_outside;
  fusefps::RESEARCHKIT_DEVICE::register_kernels(kernels);
  graph::RESEARCHKIT_DEVICE::register_kernels(kernels);
  nfgnn::RESEARCHKIT_DEVICE::register_kernels(kernels);
  nn::RESEARCHKIT_DEVICE::register_kernels(kernels);
  return kernels;
}

}  // namespace researchkit::RESEARCHKIT_DEVICE
