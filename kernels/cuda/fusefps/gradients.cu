#include "kernels/cuda/fusefps/fusefps.hpp"

namespace researchkit::fusefps::RESEARCHKIT_DEVICE {

void register_gradients(DeviceKernels&) {}

}  // namespace researchkit::fusefps::RESEARCHKIT_DEVICE
