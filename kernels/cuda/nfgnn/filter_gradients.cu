// Gradients of node_oriented_filter and node_variant_filter: the orders are propagated again, what
// each of them sends to the parameters and back to itself is worked out per node (coefficients.cu),
// and the adjoint recursion brings it to x. 4 nnz c operations for each order besides the
// coefficients'; bound as the products are.
#include "kernels/cuda/nfgnn/gradients.hpp"
#include "kernels/cuda/nfgnn/nfgnn.hpp"
#include "kernels/cuda/nfgnn/recursion.hpp"
#include "researchkit/nfgnn/operators_filter.hpp"

namespace researchkit::nfgnn::RESEARCHKIT_DEVICE {
namespace {

/// d_eta[i, k] = <g_i, T_k[i]> and D_k = eta[:, k] g, a thread for each node.
template <class Real>
RESEARCHKIT_KERNEL(256)
void send_back(Global<const Real> g, Global<const Real> t, Global<const Real> eta, std::int64_t c,
               std::int64_t orders, std::int64_t k, Global<Real> d_eta, Global<Real> d) {
  for (std::int64_t i = grid_thread(); i < d_eta.size / orders; i += grid_threads()) {
    const Real weight = eta[i * orders + k];
    Real sum = 0;
    for (std::int64_t at = i * c; at < (i + 1) * c; ++at) {
      sum = add_rn(sum, mul_rn(g[at], t[at]));
      d[at] = mul_rn(weight, g[at]);
    }
    d_eta[i * orders + k] = sum;
  }
}

template <class Real, class Index>
void run_variant_backward(const Context& ctx, const NodeVariantFilterBackward<Real, Index>& op) {
  graph::RESEARCHKIT_DEVICE::require_csr(ctx, op.name, op.indptr, op.indices.extent(0));
  const Device device = op.d_x.device();
  const std::int64_t n = op.x.extent(0), c = op.x.extent(1), orders = op.eta.extent(1);
  const auto a = graph::RESEARCHKIT_DEVICE::device_csr<Real, Index>(op.indptr, op.indices,
                                                                    global(op.values), n);
  const DeviceArray<Real> stack(ctx, device, orders * n * c), d(ctx, device, n * c);
  copy_entries<Real>(ctx, device, global(op.x), stack.global().part(0, n * c));
  propagate_orders(ctx, device, a, op.basis, c, orders, stack.global());
  with_adjoint(ctx, device, a, op.symmetric, [&](const auto& transposed) {
    DeviceAdjoint recursion(ctx, device, transposed, op.basis, orders, c);
    for (std::int64_t k = orders; k-- > 0;) {
      launch(ctx, device, "send_back", send_back<Real>, for_entries(n), global(op.d_y),
             stack.global().part(k * n * c, n * c), global(op.eta), c, orders, k, global(op.d_eta),
             d.global());
      recursion.add(ctx, d.global());
    }
    copy_entries<Real>(ctx, device, recursion.result(), global(op.d_x));
  });
}

/// The orders of an oriented filter's backward while all of them, or three, are held.
template <class Real, class Index>
class OrientedBackward {
 public:
  OrientedBackward(const Context& ctx, const NodeOrientedFilterBackward<Real, Index>& op,
                   const DeviceCsr<Real, Index>& a)
      : ctx_(ctx),
        op_(op),
        a_(a),
        device_(op.d_x.device()),
        entries_(op.x.size()),
        is_rolling_(op.save == Save::recompute && op.basis == Basis::chebyshev),
        slots_(is_rolling_ ? 3 : op.K + 1),
        model_(coefficients_of<Real>(op, op.x.extent(0))),
        gradients_(ctx, device_, model_),
        t_(ctx, device_, slots_ * entries_),
        d_t_(ctx, device_, (is_rolling_ ? 1 : op.K + 1) * entries_) {}

  template <class TransposedIndex>
  void run(const DeviceCsr<Real, TransposedIndex>& transposed) {
    DeviceAdjoint recursion(ctx_, device_, transposed, op_.basis, op_.K + 1, model_.c);
    copy_entries<Real>(ctx_, device_, global(op_.x), order(0));
    for (std::int64_t k = 1; k <= op_.K; ++k) {
      graph::RESEARCHKIT_DEVICE::spmm(ctx_, device_, a_,
                                      next_order<Real>(op_.basis, k, model_.c, order(k - 1),
                                                       order(k > 1 ? k - 2 : 0), order(k)));
    }
    OrderGradients<Real> call{0, op_.K + 1, t_.global(), global(op_.eta), global(op_.d_y)};
    if (op_.d_eta) call.d_eta = global(*op_.d_eta);
    call.d_t = d_t_.global();
    if (!is_rolling_) gradients_.add(ctx_, model_, call);
    for (std::int64_t k = op_.K; k >= 0; --k) {
      if (is_rolling_) {
        call.first = k;
        call.orders = 1;
        call.t = order(k);
        gradients_.add(ctx_, model_, call);
      }
      recursion.add(ctx_, d_t_.global().part(is_rolling_ ? 0 : k * entries_, entries_));
      if (is_rolling_ && k >= 2) {  // T_{k-2} = 2 A T_{k-1} - T_k
        graph::RESEARCHKIT_DEVICE::spmm(
            ctx_, device_, a_,
            next_order<Real>(op_.basis, k, model_.c, order(k - 1), order(k), order(k - 2)));
      }
    }
    copy_entries<Real>(ctx_, device_, recursion.result(), global(op_.d_x));
    gradients_.write(ctx_, model_, global(op_.d_w), global(op_.d_b), global(op_.d_gamma));
  }

 private:
  Global<Real> order(std::int64_t k) const {
    return t_.global().part(k % slots_ * entries_, entries_);
  }

  const Context& ctx_;
  const NodeOrientedFilterBackward<Real, Index>& op_;
  DeviceCsr<Real, Index> a_;
  Device device_;
  std::int64_t entries_;
  bool is_rolling_;
  std::int64_t slots_;
  DeviceCoefficients<Real> model_;
  DeviceParameterGradients<Real> gradients_;
  DeviceArray<Real> t_, d_t_;
};

template <class Real, class Index>
void run_oriented_backward(const Context& ctx, const NodeOrientedFilterBackward<Real, Index>& op) {
  graph::RESEARCHKIT_DEVICE::require_csr(ctx, op.name, op.indptr, op.indices.extent(0));
  const auto a = graph::RESEARCHKIT_DEVICE::device_csr<Real, Index>(
      op.indptr, op.indices, global(op.values), op.x.extent(0));
  OrientedBackward<Real, Index> backward(ctx, op, a);
  with_adjoint(ctx, op.d_x.device(), a, op.symmetric,
               [&](const auto& transposed) { backward.run(transposed); });
}

template <class Real, class Index>
void add_for(DeviceKernels& kernels) {
  kernels.add<NodeVariantFilterBackward<Real, Index>>(run_variant_backward<Real, Index>);
  kernels.add<NodeOrientedFilterBackward<Real, Index>>(run_oriented_backward<Real, Index>);
}

}  // namespace

void register_filter_gradients(DeviceKernels& kernels) {
  add_for<float, std::int32_t>(kernels);
  add_for<float, std::int64_t>(kernels);
  add_for<double, std::int32_t>(kernels);
  add_for<double, std::int64_t>(kernels);
}

}  // namespace researchkit::nfgnn::RESEARCHKIT_DEVICE
