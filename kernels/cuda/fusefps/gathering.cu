// gather_points and its gradient. Gathering moves every byte once: bound by memory bandwidth.
#include "kernels/cuda/fusefps/fusefps.hpp"
#include "researchkit/core/cuda/launch.cuh"
#include "researchkit/fusefps/operators_grouping.hpp"

namespace researchkit::fusefps::RESEARCHKIT_DEVICE {
namespace {

using namespace device;

/// One thread for each entry of `gathered` [b, k, c].
template <class Real>
RESEARCHKIT_KERNEL(256)
void gather(Global<const Real> features, Global<const std::int32_t> indices, Global<Real> gathered,
            std::int64_t n, std::int64_t k, std::int64_t c) {
  for (std::int64_t at = grid_thread(); at < gathered.size; at += grid_threads()) {
    const std::int64_t row = at / c, column = at % c;
    const std::int64_t i = indices[row];
    gathered[at] = i < 0 ? Real(0) : features[(row / k * n + i) * c + column];
  }
}

template <class Real>
void run_gather(const Context& ctx, const GatherPoints<Real>& op) {
  if (op.gathered.size() == 0) return;
  launch(ctx, op.gathered.device(), "gather_points", gather<Real>, for_entries(op.gathered.size()),
         global(op.features), global(op.indices), global(op.gathered), op.features.extent(1),
         op.indices.extent(1), op.features.extent(2));
}

}  // namespace

void register_gathering(DeviceKernels& kernels) {
  kernels.add<GatherPoints<float>>(run_gather<float>);
  kernels.add<GatherPoints<double>>(run_gather<double>);
}

}  // namespace researchkit::fusefps::RESEARCHKIT_DEVICE
