// One step of Adam: 16 operations per parameter on 28 bytes of traffic, bound by memory (L2 for the
// small models of this library). Every lane does what AdamConstants::update says, in its order.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/graph/adam.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cstdint>

#include "researchkit/core/parallel.hpp"
#include "researchkit/core/simd.hpp"
#include "researchkit/graph/dense.hpp"

HWY_BEFORE_NAMESPACE();
namespace researchkit::graph::detail {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class Real>
void adam(const AdamConstants<Real>& constants, const Real* grad, std::int64_t count, Real* param,
          Real* first, Real* second) {
  const hn::ScalableTag<Real> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto set = [&](Real value) { return hn::Set(d, value); };
  const auto keep = set(constants.keep), decay = set(constants.decay);
  const auto beta1 = set(constants.beta1), rest1 = set(constants.rest1);
  const auto beta2 = set(constants.beta2), rest2 = set(constants.rest2);
  const auto step_size = set(constants.step_size), eps = set(constants.eps);
  const auto correction = set(constants.root_correction);
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto p = hn::Mul(hn::LoadU(d, param + i), keep);
    const auto g = hn::Add(hn::LoadU(d, grad + i), hn::Mul(decay, p));
    const auto m = hn::Add(hn::Mul(beta1, hn::LoadU(d, first + i)), hn::Mul(rest1, g));
    const auto v = hn::Add(hn::Mul(beta2, hn::LoadU(d, second + i)), hn::Mul(rest2, hn::Mul(g, g)));
    const auto divisor = hn::Add(hn::Mul(hn::Sqrt(v), correction), eps);
    hn::StoreU(m, d, first + i);
    hn::StoreU(v, d, second + i);
    hn::StoreU(hn::Sub(p, hn::Div(hn::Mul(step_size, m), divisor)), d, param + i);
  }
  for (; i < count; ++i) constants.update(param[i], grad[i], first[i], second[i]);
}

void adam_f32(const AdamConstants<float>& constants, const float* g, std::int64_t count, float* p,
              float* m, float* v) {
  adam(constants, g, count, p, m, v);
}
void adam_f64(const AdamConstants<double>& constants, const double* g, std::int64_t count,
              double* p, double* m, double* v) {
  adam(constants, g, count, p, m, v);
}

}  // namespace HWY_NAMESPACE
}  // namespace researchkit::graph::detail
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace researchkit::graph {
namespace detail {
HWY_EXPORT(adam_f32);
HWY_EXPORT(adam_f64);

template <class Real, class Kernel>
void in_pieces(const Context& ctx, const AdamSettings& settings, Kernel kernel, const Real* g,
               std::int64_t count, Real* p, Real* m, Real* v) {
  const AdamConstants<Real> constants(settings);
  parallel_for(ctx, count, 16384, [&](std::int64_t begin, std::int64_t end) {
    kernel(constants, g + begin, end - begin, p + begin, m + begin, v + begin);
  });
}
}  // namespace detail

namespace kernels {

template <>
void adam_step<float>(const Context& ctx, const AdamSettings& settings, const float* g,
                      std::int64_t count, float* p, float* m, float* v) {
  initialize_simd();
  using namespace detail;
  in_pieces(ctx, settings, HWY_DYNAMIC_DISPATCH(adam_f32), g, count, p, m, v);
}

template <>
void adam_step<double>(const Context& ctx, const AdamSettings& settings, const double* g,
                       std::int64_t count, double* p, double* m, double* v) {
  initialize_simd();
  using namespace detail;
  in_pieces(ctx, settings, HWY_DYNAMIC_DISPATCH(adam_f64), g, count, p, m, v);
}

}  // namespace kernels
}  // namespace researchkit::graph
#endif
