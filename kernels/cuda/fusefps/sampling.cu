#include "kernels/cuda/fusefps/fusefps.hpp"

namespace researchkit::fusefps::RESEARCHKIT_DEVICE {

void register_sampling(DeviceKernels&) {}

}  // namespace researchkit::fusefps::RESEARCHKIT_DEVICE
