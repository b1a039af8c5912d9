// spmm, sddmm and their gradients. How rows are summed is told in spmm.cuh; gradients of x gather
// over a transpose that is made for the call. The dot products of sddmm have eight lanes each, which are
// the eight sums of interleaved_dot: 8 bytes of structure and two rows for each entry.
#include <algorithm>

#include "kernels/cuda/graph/graph.hpp"
#include "kernels/cuda/graph/spmm.cuh"
#include "researchkit/graph/operators_sparse.hpp"

namespace researchkit::graph::RESEARCHKIT_DEVICE {
namespace {

constexpr int kThreads = 256;

template <class Real, class Index, int kColumns>
RESEARCHKIT_KERNEL(256)
void sum_rows_of(RESEARCHKIT_SHARED_ARGUMENT DeviceCsr<Real, Index> a,
                 RESEARCHKIT_SHARED_ARGUMENT Product<Real> product, int lanes) {
  SharedMemory memory = dynamic_shared();
  const Shared<Real> products = memory.take<Real>(2 * kTileProducts);
  const int rows = block_threads() / lanes;
  const auto store = [&](std::int64_t row, std::int64_t column, Real sum) {
    const std::int64_t at = row * product.d + column;
    product.y[at] = finish(product, sum, at);
  };
  for (std::int64_t first = block_index() * rows; first < a.rows; first += block_count() * rows) {
    sum_short_rows<kColumns>(a, product.x, product.d, lanes, first, store);
    sum_long_rows(a, product.x, product.d, first, rows, products, store);
  }
}

/// values[e] = alpha <u_i, v_j>: lane l of eight adds up columns l, l + 8, ...
template <class Real, class Index>
RESEARCHKIT_KERNEL(256)
void dot_rows(Global<const std::int64_t> row_of, Global<const Index> indices, Real alpha,
              Global<const Real> u, Global<const Real> v, std::int64_t d, Global<Real> values) {
  constexpr int kSums = 8;
  const int own = lane() % kSums;
  const std::int64_t at_a_time = grid_threads() / kSums;
  for (std::int64_t base = 0; base < indices.size; base += at_a_time) {
    const std::int64_t e = base + grid_thread() / kSums;
    Real sum = 0;
    if (e < indices.size) {
      const std::int64_t left = row_of[e] * d, right = indices[e] * d;
      for (std::int64_t c = own; c < d; c += kSums) {
        sum = add_rn(sum, mul_rn(u[left + c], v[right + c]));
      }
    }
    RESEARCHKIT_UNROLL
    for (int step = kSums / 2; step > 0; step /= 2) sum = add_rn(sum, shuffle(sum, lane() ^ step));
    if (e < indices.size && own == 0) values[e] = alpha == Real(1) ? sum : mul_rn(alpha, sum);
  }
}

template <class Real>
RESEARCHKIT_KERNEL(256)
void scale_entries(Global<const Real> x, Real factor, Global<Real> y) {
  for (std::int64_t i = grid_thread(); i < y.size; i += grid_threads()) {
    y[i] = mul_rn(factor, x[i]);
  }
}

template <class Real, class Index>
void run_dots(const Context& ctx, Device device, const DeviceCsr<Real, Index>& pattern, Real alpha,
              Global<const Real> u, Global<const Real> v, std::int64_t d, Global<Real> values) {
  if (pattern.entries() == 0) return;
  const auto row_of = rows_of_entries(ctx, device, pattern.indptr, pattern.entries());
  launch(ctx, device, "sddmm", dot_rows<Real, Index>, for_entries(pattern.entries() * 8),
         row_of.global(), pattern.indices, alpha, u, v, d, values);
}

template <class Real, class Index>
void run_spmm(const Context& ctx, const Spmm<Real, Index>& op) {
  require_csr(ctx, op.name, op.indptr, op.indices.extent(0));
  Product<Real> product{global(op.x), global(op.y), op.x.extent(1), Real(op.alpha), Real(op.beta)};
  if (op.z) product.z = global(*op.z);
  spmm(ctx, op.y.device(),
       device_csr<Real, Index>(op.indptr, op.indices, global(op.values), op.x.extent(0)), product);
}

template <class Real, class Index>
void run_spmm_backward(const Context& ctx, const SpmmBackward<Real, Index>& op) {
  require_csr(ctx, op.name, op.indptr, op.indices.extent(0));
  const Device device = op.d_x.device();
  const std::int64_t d = op.x.extent(1);
  const auto a = device_csr<Real, Index>(op.indptr, op.indices, global(op.values), op.x.extent(0));
  const auto transposed = transpose(ctx, device, a);
  spmm<Real, std::int64_t>(ctx, device, transposed.view(),
                           {global(op.d_y), global(op.d_x), d, Real(op.alpha)});
  run_dots(ctx, device, a, Real(op.alpha), global(op.d_y), global(op.x), d, global(op.d_values));
  if (op.d_z.size() == 0) return;
  launch(ctx, device, "scale_entries", scale_entries<Real>, for_entries(op.d_z.size()),
         global(op.d_y), Real(op.beta), global(op.d_z));
}

template <class Real, class Index>
void run_sddmm(const Context& ctx, const Sddmm<Real, Index>& op) {
  require_csr(ctx, op.name, op.indptr, op.indices.extent(0));
  run_dots(ctx, op.values.device(),
           device_csr<Real, Index>(op.indptr, op.indices, {}, op.v.extent(0)), Real(1),
           global(op.u), global(op.v), op.u.extent(1), global(op.values));
}

template <class Real, class Index>
void run_sddmm_backward(const Context& ctx, const SddmmBackward<Real, Index>& op) {
  require_csr(ctx, op.name, op.indptr, op.indices.extent(0));
  const Device device = op.d_u.device();
  const std::int64_t d = op.u.extent(1);
  const auto a =
      device_csr<Real, Index>(op.indptr, op.indices, global(op.d_values), op.v.extent(0));
  spmm<Real, Index>(ctx, device, a, {global(op.v), global(op.d_u), d});
  const auto transposed = transpose(ctx, device, a);
  spmm<Real, std::int64_t>(ctx, device, transposed.view(), {global(op.u), global(op.d_v), d});
}

}  // namespace

template <class Real, class Index>
void spmm(const Context& ctx, Device device, const DeviceCsr<Real, Index>& a,
          const Product<Real>& product) {
  if (a.rows == 0 || product.d == 0) return;
  const int lanes = lanes_of_row(product.d);
  const std::int64_t rows = kThreads / lanes;
  const Launch grid{.blocks = std::min<std::int64_t>((a.rows + rows - 1) / rows, 1 << 20),
                    .block_threads = kThreads,
                    .shared_bytes = long_row_bytes<Real>()};
  const auto kernel = product.d <= kWarp       ? sum_rows_of<Real, Index, 1>
                      : product.d <= 2 * kWarp ? sum_rows_of<Real, Index, 2>
                                               : sum_rows_of<Real, Index, 4>;
  launch(ctx, device, "spmm", kernel, grid, a, product, lanes);
}

#define RESEARCHKIT_INSTANTIATE(Real, Index) \
  template void spmm(const Context&, Device, const DeviceCsr<Real, Index>&, const Product<Real>&)
RESEARCHKIT_INSTANTIATE(float, std::int32_t);
RESEARCHKIT_INSTANTIATE(float, std::int64_t);
RESEARCHKIT_INSTANTIATE(double, std::int32_t);
RESEARCHKIT_INSTANTIATE(double, std::int64_t);
#undef RESEARCHKIT_INSTANTIATE

namespace {

template <class Real, class Index>
void add_for(DeviceKernels& kernels) {
  kernels.add<Spmm<Real, Index>>(run_spmm<Real, Index>);
  kernels.add<SpmmBackward<Real, Index>>(run_spmm_backward<Real, Index>);
  kernels.add<Sddmm<Real, Index>>(run_sddmm<Real, Index>);
  kernels.add<SddmmBackward<Real, Index>>(run_sddmm_backward<Real, Index>);
}

}  // namespace

void register_products(DeviceKernels& kernels) {
  add_for<float, std::int32_t>(kernels);
  add_for<float, std::int64_t>(kernels);
  add_for<double, std::int32_t>(kernels);
  add_for<double, std::int64_t>(kernels);
}

}  // namespace researchkit::graph::RESEARCHKIT_DEVICE
