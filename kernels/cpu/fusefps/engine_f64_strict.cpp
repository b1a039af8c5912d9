// The samplers' kernels for double, every operation rounded (1), for each instruction set.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/fusefps/engine_f64_strict.cpp"
#include <hwy/foreach_target.h>

#include "kernels/cpu/fusefps/engine-inl.h"
#include "researchkit/core/simd.hpp"

HWY_BEFORE_NAMESPACE();
namespace researchkit::fusefps::detail {
namespace HWY_NAMESPACE {

const Kernels<double>* find_f64_strict(int dims, bool track_assignment) {
  return find_kernels<double, false>(dims, track_assignment);
}

}  // namespace HWY_NAMESPACE
}  // namespace researchkit::fusefps::detail
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace researchkit::fusefps::detail {

HWY_EXPORT(find_f64_strict);

const Kernels<double>& kernels_f64_strict(int dims, bool track_assignment) {
  initialize_simd();
  return *HWY_DYNAMIC_DISPATCH(find_f64_strict)(dims, track_assignment);
}

}  // namespace researchkit::fusefps::detail
#endif
