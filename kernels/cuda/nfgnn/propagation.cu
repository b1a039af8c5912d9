// propagate and its gradient: K sparse products (kernels/cuda/graph/spmm.cuh), each of which
// subtracts the order before the last as it writes. Per order the CSR once, a row of T for each
// entry, and three rows for each node.
#include "kernels/cuda/nfgnn/nfgnn.hpp"
#include "kernels/cuda/nfgnn/recursion.hpp"
#include "researchkit/nfgnn/operators_propagate.hpp"

namespace researchkit::nfgnn::RESEARCHKIT_DEVICE {
namespace {

using namespace device;

template <class Real>
RESEARCHKIT_KERNEL(256)
void copy_all(Global<const Real> from, Global<Real> to) {
  for (std::int64_t i = grid_thread(); i < to.size; i += grid_threads()) to[i] = from[i];
}

template <class Real, class Index>
void run_propagate(const Context& ctx, const Propagate<Real, Index>& op) {
  graph::RESEARCHKIT_DEVICE::require_csr(ctx, op.name, op.indptr, op.indices.extent(0));
  const Device device = op.t.device();
  const auto a = graph::RESEARCHKIT_DEVICE::device_csr<Real, Index>(
      op.indptr, op.indices, global(op.values), op.x.extent(0));
  copy_entries<Real>(ctx, device, global(op.x), global(op.t).part(0, op.x.size()));
  propagate_orders<Real, Index>(ctx, device, a, op.basis, op.x.extent(1), op.K + 1, global(op.t));
}

template <class Real, class Index>
void run_propagate_backward(const Context& ctx, const PropagateBackward<Real, Index>& op) {
  graph::RESEARCHKIT_DEVICE::require_csr(ctx, op.name, op.indptr, op.indices.extent(0));
  const Device device = op.d_x.device();
  const std::int64_t entries = op.d_x.size();
  const auto a = graph::RESEARCHKIT_DEVICE::device_csr<Real, Index>(
      op.indptr, op.indices, global(op.values), op.d_x.extent(0));
  with_adjoint(ctx, device, a, op.symmetric, [&](const auto& transposed) {
    DeviceAdjoint recursion(ctx, device, transposed, op.basis, op.K + 1, op.d_x.extent(1));
    for (std::int64_t k = op.K; k >= 0; --k) {
      recursion.add(ctx, global(op.d_t).part(k * entries, entries));
    }
    copy_entries<Real>(ctx, device, recursion.result(), global(op.d_x));
  });
}

}  // namespace

template <class Real>
void copy_entries(const Context& ctx, Device device, Global<const Real> from, Global<Real> to) {
  if (to.size == 0) return;
  launch(ctx, device, "copy_entries", copy_all<Real>, for_entries(to.size), from, to);
}
template void copy_entries(const Context&, Device, Global<const float>, Global<float>);
template void copy_entries(const Context&, Device, Global<const double>, Global<double>);

namespace {

template <class Real, class Index>
void add_for(DeviceKernels& kernels) {
  kernels.add<Propagate<Real, Index>>(run_propagate<Real, Index>);
  kernels.add<PropagateBackward<Real, Index>>(run_propagate_backward<Real, Index>);
}

}  // namespace

void register_propagation(DeviceKernels& kernels) {
  add_for<float, std::int32_t>(kernels);
  add_for<float, std::int64_t>(kernels);
  add_for<double, std::int32_t>(kernels);
  add_for<double, std::int64_t>(kernels);
}

}  // namespace researchkit::nfgnn::RESEARCHKIT_DEVICE
