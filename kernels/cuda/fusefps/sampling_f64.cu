#include "kernels/cuda/fusefps/sampling.cuh"

namespace researchkit::fusefps::RESEARCHKIT_DEVICE {

void register_sampling_f64(DeviceKernels& kernels) { add_sampling<double>(kernels); }

}  // namespace researchkit::fusefps::RESEARCHKIT_DEVICE
