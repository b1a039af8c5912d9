#include "kernels/cuda/fusefps/sampling.cuh"

namespace researchkit::fusefps::RESEARCHKIT_DEVICE {

void register_sampling_f32(DeviceKernels& kernels) { add_sampling<float>(kernels); }

}  // namespace researchkit::fusefps::RESEARCHKIT_DEVICE
