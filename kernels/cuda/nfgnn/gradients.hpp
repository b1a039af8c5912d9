#pragma once

// Gradients of the coefficients on a device, for the operators whose backward needs them.

#include "kernels/cuda/nfgnn/gates.cuh"
#include "researchkit/core/cuda/launch.cuh"
#include "researchkit/nfgnn/coefficients.hpp"

namespace researchkit::nfgnn::RESEARCHKIT_DEVICE {

/// Where the gradients of some orders first, first + 1, ... come from and go to. Stacks are
/// [orders, n, c].
template <class Real>
struct OrderGradients {
  std::int64_t first = 0, orders = 1;
  Global<const Real> t = {};
  Global<const Real> eta = {}, g = {};  // g: gradient of y; both empty or none
  Global<const Real> d_eta = {};        // a further gradient of eta, or empty
  Global<Real> d_t = {};
};

/// Gradients of the parameters as sums over pieces of rows: ParameterGradients, whose order of sums
/// this keeps. Orders may be added in any number of calls.
template <class Real>
class DeviceParameterGradients {
 public:
  static constexpr std::int64_t kLanes = ParameterGradients<Real>::kLanes;
  static constexpr std::int64_t kRows = ParameterGradients<Real>::kRows;

  DeviceParameterGradients(const Context& ctx, Device device, const DeviceCoefficients<Real>& model)
      : device_(device),
        pieces_((model.n + kRows - 1) / kRows),
        sums_(ctx, device, pieces_ * model.parameters() * kLanes) {}

  /// Writes d_t of the orders and adds to the sums. Workspace: 2 rank + 1 numbers for each node and
  /// order.
  void add(const Context& ctx, const DeviceCoefficients<Real>& model,
           const OrderGradients<Real>& call);
  /// Writes the totals.
  void write(const Context& ctx, const DeviceCoefficients<Real>& model, Global<Real> d_w,
             Global<Real> d_b, Global<Real> d_gamma) const;

 private:
  Device device_;
  std::int64_t pieces_;
  DeviceArray<Real> sums_;  // [pieces, parameters, kLanes]
};

}  // namespace researchkit::nfgnn::RESEARCHKIT_DEVICE
