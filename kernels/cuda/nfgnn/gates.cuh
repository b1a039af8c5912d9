#pragma once

// The gates of the coefficients (equation N4) with the bits of kernels/cpu/nfgnn/coefficients.cpp: in
// float the same polynomials, every operation rounded by itself; in double the functions of the
// library.

#include "researchkit/core/cuda/launch.cuh"
#include "researchkit/core/host_device.hpp"
#include "researchkit/nfgnn/attributes.hpp"

namespace researchkit::nfgnn::RESEARCHKIT_DEVICE {

using namespace device;  // NOLINT(google-build-using-namespace): the vocabulary is the language here

/// A gate and its slope.
template <class Real>
struct GateValue {
  Real value, slope;
};

/// exp(x) for |x| <= 80: x = n ln 2 + r, and the series of exp(r) to r^7 / 7!.
RESEARCHKIT_DEVICE_FUNCTION float exp_bounded(float x) {
  constexpr float kRound = 12582912.f;  // 1.5 * 2^23: adding it leaves no fraction
  const float n = sub_rn(add_rn(mul_rn(x, 1.44269504f), kRound), kRound);
  float r = sub_rn(x, mul_rn(n, 0.693359375f));
  r = add_rn(r, mul_rn(n, 2.12194440e-4f));
  float sum = 1.f / 5040;
  for (const float factor : {1.f / 720, 1.f / 120, 1.f / 24, 1.f / 6, 0.5f, 1.f, 1.f}) {
    sum = add_rn(mul_rn(sum, r), factor);
  }
  const auto exponent = static_cast<std::uint32_t>(static_cast<std::int32_t>(n) + 127) << 23;
  return mul_rn(sum, float_of(exponent));
}

RESEARCHKIT_DEVICE_FUNCTION GateValue<float> tanh_gate(float x) {
  constexpr std::uint32_t kSign = 0x80000000U;
  if (x != x) return {x, x};
  const float absolute = float_of(bits_of(x) & ~kSign), size = absolute < 40.f ? absolute : 40.f;
  const float rest = div_rn(2.f, add_rn(exp_bounded(add_rn(size, size)), 1.f));
  const float square = mul_rn(size, size);
  float series = 62.f / 2835;
  for (const float factor : {-17.f / 315, 2.f / 15, -1.f / 3, 1.f}) {
    series = add_rn(mul_rn(series, square), factor);
  }
  const float result = size < 0.25f ? mul_rn(series, size) : sub_rn(1.f, rest);
  return {float_of((bits_of(result) & ~kSign) | (bits_of(x) & kSign)),
          mul_rn(rest, sub_rn(2.f, rest))};
}
RESEARCHKIT_DEVICE_FUNCTION GateValue<double> tanh_gate(double x) {
  const double h = hyperbolic_tangent(x);
  return {h, sub_rn(1.0, mul_rn(h, h))};
}

RESEARCHKIT_DEVICE_FUNCTION GateValue<float> sigmoid_gate(float x) {
  if (x != x) return {x, x};
  const float below = -x < 80.f ? -x : 80.f;
  const float power = exp_bounded(below > -80.f ? below : -80.f);
  const float h = div_rn(1.f, add_rn(1.f, power));
  return {h, mul_rn(mul_rn(h, h), power)};
}
RESEARCHKIT_DEVICE_FUNCTION GateValue<double> sigmoid_gate(double x) {
  const double h = div_rn(1.0, add_rn(1.0, exponential(-x)));
  return {h, mul_rn(h, sub_rn(1.0, h))};
}

template <class Real>
RESEARCHKIT_DEVICE_FUNCTION GateValue<Real> gate_of(Gate gate, Real x) {
  if (gate == Gate::tanh) return tanh_gate(x);
  if (gate == Gate::sigmoid) return sigmoid_gate(x);
  return {x, Real(1)};
}

/// Coefficients on a device: see nfgnn/coefficients.hpp. Signals are [n, c] without padding.
template <class Real>
struct DeviceCoefficients {
  Global<const Real> w, b, gamma;
  std::int64_t n = 0, c = 0, rank = 1, orders = 1;
  bool shared_w = false, shared_b = false;
  Gate gate = Gate::tanh;
  Real scale = 1;

  RESEARCHKIT_HOST_DEVICE std::int64_t parameters() const { return w.size + b.size + gamma.size; }

  /// The gate of rank r and order k, signal(j) being the node's j-th entry. The projection is summed
  /// in double.
  template <class Signal>
  RESEARCHKIT_DEVICE_FUNCTION GateValue<Real> gated(std::int64_t k, std::int64_t r,
                                                    const Signal& signal) const {
    const std::int64_t from = (shared_w ? 0 : k * c * rank) + r;
    double sum = static_cast<double>(b[(shared_b ? 0 : k * rank) + r]);
    for (std::int64_t j = 0; j < c; ++j) {
      const auto entry = static_cast<double>(signal(j));
      sum = add_rn(sum, mul_rn(entry, static_cast<double>(w[from + j * rank])));
    }
    return gate_of(gate, static_cast<Real>(sum));
  }
};

/// The coefficients of an operator over n nodes.
template <class Real, class Op>
DeviceCoefficients<Real> coefficients_of(const Op& op, std::int64_t n) {
  const std::int64_t rank = op.gamma.extent(0);
  return {global(op.w),
          global(op.b),
          global(op.gamma),
          n,
          op.w.extent(1),
          rank,
          op.gamma.extent(1),
          op.w.extent(0) == 1,
          op.b.extent(0) == 1,
          op.activation,
          static_cast<Real>(op.normalize_by_rank ? 1.0 / static_cast<double>(rank) : 1.0)};
}

}  // namespace researchkit::nfgnn::RESEARCHKIT_DEVICE
