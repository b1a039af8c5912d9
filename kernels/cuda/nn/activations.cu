// Activations, log-softmax and their gradients. A thread for each entry, or for each row of a
// softmax, since rows here are the few classes of a node; bound by memory bandwidth. The dense layer
// (nn.linear) has no kernel: on the CPU it is a product of BLAS, whose order of sums no other code
// has, so its bits could not be those of the CPU.
#include "kernels/cuda/nn/nn.hpp"
#include "researchkit/core/cuda/launch.cuh"
#include "researchkit/nn/operators_activation.hpp"

namespace researchkit::nn::RESEARCHKIT_DEVICE {
namespace {

using namespace device;

/// tanh(u) of gelu.
template <class Real>
RESEARCHKIT_DEVICE_FUNCTION Real gelu_tanh(Real z) {
  const Real cube = mul_rn(mul_rn(z, z), z);
  const Real sum = add_rn(z, mul_rn(static_cast<Real>(0.044715), cube));
  return hyperbolic_tangent(mul_rn(static_cast<Real>(0.79788456080286535588), sum));
}
template <class Real>
RESEARCHKIT_DEVICE_FUNCTION Real gelu_of(Real z) {
  return mul_rn(mul_rn(Real(0.5), z), add_rn(Real(1), gelu_tanh(z)));
}
template <class Real>
RESEARCHKIT_DEVICE_FUNCTION Real gelu_slope_of(Real z) {
  const Real t = gelu_tanh(z), half = Real(0.5);
  Real steep = mul_rn(mul_rn(half, z), sub_rn(Real(1), mul_rn(t, t)));
  steep = mul_rn(steep, static_cast<Real>(0.79788456080286535588));
  const Real square = mul_rn(mul_rn(static_cast<Real>(3 * 0.044715), z), z);
  return add_rn(mul_rn(half, add_rn(Real(1), t)), mul_rn(steep, add_rn(Real(1), square)));
}

/// activate_one, every operation rounded by itself.
template <class Real>
RESEARCHKIT_DEVICE_FUNCTION Real activation_of(Activation kind, Real x, Real negative_slope) {
  switch (kind) {
    case Activation::relu:
      return x <= Real(0) ? Real(0) : x;  // NaN stays
    case Activation::elu:
      return x > Real(0) ? x : sub_rn(exponential(x), Real(1));
    case Activation::tanh:
      return hyperbolic_tangent(x);
    case Activation::sigmoid:
      return div_rn(Real(1), add_rn(Real(1), exponential(-x)));
    case Activation::gelu:
      return gelu_of(x);
    case Activation::leaky_relu:
      break;
  }
  return x > Real(0) ? x : mul_rn(negative_slope, x);
}

/// activation_slope, likewise.
template <class Real>
RESEARCHKIT_DEVICE_FUNCTION Real slope_of(Activation kind, Real x, Real y, Real negative_slope) {
  switch (kind) {
    case Activation::relu:
      return x > Real(0) ? Real(1) : Real(0);
    case Activation::elu:
      return x > Real(0) ? Real(1) : add_rn(y, Real(1));
    case Activation::tanh:
      return sub_rn(Real(1), mul_rn(y, y));
    case Activation::sigmoid:
      return mul_rn(y, sub_rn(Real(1), y));
    case Activation::gelu:
      return gelu_slope_of(x);
    case Activation::leaky_relu:
      break;
  }
  return x > Real(0) ? Real(1) : negative_slope;
}

template <class Real>
RESEARCHKIT_KERNEL(256)
void activate_entries(Activation kind, Real negative_slope, Global<const Real> x, Global<Real> y) {
  for (std::int64_t i = grid_thread(); i < y.size; i += grid_threads()) {
    y[i] = activation_of(kind, x[i], negative_slope);
  }
}

template <class Real>
RESEARCHKIT_KERNEL(256)
void scale_by_slopes(Activation kind, Real negative_slope, Global<const Real> x,
                     Global<const Real> y, Global<const Real> d_y, Global<Real> d_x) {
  for (std::int64_t i = grid_thread(); i < d_x.size; i += grid_threads()) {
    d_x[i] = mul_rn(d_y[i], slope_of(kind, x[i], y[i], negative_slope));
  }
}

template <class Real>
RESEARCHKIT_KERNEL(256)
void log_softmax_rows(Global<const Real> x, std::int64_t columns, Global<Real> y) {
  for (std::int64_t row = grid_thread(); row < x.size / columns; row += grid_threads()) {
    const std::int64_t begin = row * columns, end = begin + columns;
    Real largest = x[begin], sum = 0;
    for (std::int64_t at = begin + 1; at < end; ++at) {
      const Real logit = x[at];
      if (largest < logit) largest = logit;
    }
    for (std::int64_t at = begin; at < end; ++at) {
      sum = add_rn(sum, exponential(sub_rn(x[at], largest)));
    }
    const Real log_sum = logarithm(sum);
    for (std::int64_t at = begin; at < end; ++at) y[at] = sub_rn(sub_rn(x[at], largest), log_sum);
  }
}

/// d_x = d_y - exp(y) sum(d_y).
template <class Real>
RESEARCHKIT_KERNEL(256)
void log_softmax_rows_backward(Global<const Real> y, Global<const Real> d_y, std::int64_t columns,
                               Global<Real> d_x) {
  for (std::int64_t row = grid_thread(); row < y.size / columns; row += grid_threads()) {
    const std::int64_t begin = row * columns, end = begin + columns;
    Real sum = 0;
    for (std::int64_t at = begin; at < end; ++at) sum = add_rn(sum, d_y[at]);
    for (std::int64_t at = begin; at < end; ++at) {
      d_x[at] = sub_rn(d_y[at], mul_rn(exponential(y[at]), sum));
    }
  }
}

template <class T>
Global<T> entries_of(const FlatView<T>& view) {
  return {view.data_handle(), view.size()};
}

template <class Real>
void run_activate(const Context& ctx, const Activate<Real>& op) {
  if (op.y.size() == 0) return;
  launch(ctx, op.y.device(), "activate", activate_entries<Real>, for_entries(op.y.size()), op.kind,
         static_cast<Real>(op.negative_slope), entries_of(op.x), entries_of(op.y));
}

template <class Real>
void run_activate_backward(const Context& ctx, const ActivateBackward<Real>& op) {
  if (op.d_x.size() == 0) return;
  launch(ctx, op.d_x.device(), "activate_backward", scale_by_slopes<Real>,
         for_entries(op.d_x.size()), op.kind, static_cast<Real>(op.negative_slope),
         entries_of(op.x), entries_of(op.y), entries_of(op.d_y), entries_of(op.d_x));
}

template <class Real>
void run_log_softmax(const Context& ctx, const LogSoftmax<Real>& op) {
  if (op.y.size() == 0) return;
  launch(ctx, op.y.device(), "log_softmax", log_softmax_rows<Real>, for_entries(op.x.extent(0)),
         global(op.x), op.x.extent(1), global(op.y));
}

template <class Real>
void run_log_softmax_backward(const Context& ctx, const LogSoftmaxBackward<Real>& op) {
  if (op.d_x.size() == 0) return;
  launch(ctx, op.d_x.device(), "log_softmax_backward", log_softmax_rows_backward<Real>,
         for_entries(op.y.extent(0)), global(op.y), global(op.d_y), op.y.extent(1), global(op.d_x));
}

template <class Real>
void add_for(DeviceKernels& kernels) {
  kernels.add<Activate<Real>>(run_activate<Real>);
  kernels.add<ActivateBackward<Real>>(run_activate_backward<Real>);
  kernels.add<LogSoftmax<Real>>(run_log_softmax<Real>);
  kernels.add<LogSoftmaxBackward<Real>>(run_log_softmax_backward<Real>);
}

}  // namespace

void register_kernels(DeviceKernels& kernels) {
  add_for<float>(kernels);
  add_for<double>(kernels);
}

}  // namespace researchkit::nn::RESEARCHKIT_DEVICE
